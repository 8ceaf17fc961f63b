"""Part VI, chapter 9: examples. What is a model given at once, and in which order does it see the texts?

A loop asks for a **batch** of some rows and gives it to the model, `logits = model(examples.batch(rows))`, whether it
holds tokens or features that were worked out before. Texts of about one length share a batch; which ones, and when,
chance decides, and the seed decides chance.

Read next: `minitransfer.transfer.stopping`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.cache import cache_key, cached
from minitransfer.apparatus.distributed import share_of_rows
from minitransfer.text.corpora import fingerprint
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.features import VERSION, frozen_pass
from minitransfer.transfer.heads import MeanPoolHead
from minitransfer.transfer.tokens import Batch, TokenisedTexts, batches_to_encode


class Examples(ABC):
    """Texts, ready to be given to a model in batches.

    `labels`, int64 (N,), if they are known. `lengths` (N,) int64 is how many tokens encoding each text costs, one each
    for pooled texts: those of like length share a batch. `shortened` is how many had their middle left out.
    """

    def __init__(self, labels: np.ndarray | None, lengths: np.ndarray, shortened: int) -> None:
        self.labels = None if labels is None else torch.from_numpy(labels)
        self.lengths = lengths
        self.shortened = shortened

    @abstractmethod
    def batch(self, rows: np.ndarray) -> Batch | Tensor:
        """The texts of these rows, as a `Classifier` takes them. Shapes: rows (B,) int64."""


class PooledExamples(Examples):
    """Texts whose pooled layers (N, L + 1, W) do not change, since the encoder is frozen."""

    def __init__(self, features: Tensor, labels: np.ndarray | None = None, shortened: int = 0) -> None:
        super().__init__(labels, np.ones(len(features), np.int64), shortened)
        self.features = features

    def batch(self, rows: np.ndarray) -> Tensor:
        """Their pooled layers. Shapes: rows (B,) int64 -> (B, L + 1, W)."""
        return self.features[torch.from_numpy(rows)]


class TokenExamples(Examples):
    """Texts to be encoded anew each time. Several processes share those of a batch, each has one at least."""

    def __init__(self, texts: TokenisedTexts, labels: np.ndarray | None = None) -> None:
        super().__init__(labels, texts.lengths, int(texts.shortened.sum()))
        self.texts = texts

    def batch(self, rows: np.ndarray) -> Batch:
        """The tokens of this process's share of them, at least one text."""
        mine = share_of_rows(rows)
        return self.texts.batch(mine if len(mine) else rows[:1], len(rows))


def classify(model: Classifier, examples: Examples, rows: np.ndarray, check: Callable[[], None] = lambda: None,
             advance: Callable[[int], None] = lambda tokens: None) -> Tensor:
    """The logits of the given rows, (len(rows), Y) on the CPU, without gradients.

    The model must be in evaluation mode. `check` is called before each batch, and may raise Stopped; `advance` is told
    what each batch has cost, in tokens, once it is done.
    """
    logits: list[Tensor] = [torch.empty(0)] * len(rows)
    model.token_vectors.renew()
    with torch.no_grad():
        for batch in batches_to_encode(examples.lengths[rows]):
            check()
            for i, row in zip(batch, model(examples.batch(rows[batch])).cpu()):
                logits[i] = row
            advance(int(examples.lengths[rows[batch]].sum()))
    return torch.stack(logits)


@torch.no_grad()
def fit_standardise(model: Classifier, texts: TokenisedTexts, rows: np.ndarray) -> None:
    """Let a model with a mean head standardise by what it now makes of the texts of these rows."""
    if isinstance(model.head, MeanPoolHead):
        model.token_vectors.renew()
        batches = batches_to_encode(texts.lengths[rows])
        model.standardise.fit(torch.cat([model.encode_batch(texts.batch(rows[batch])) for batch in batches]))


def minibatches(rows: np.ndarray, lengths: np.ndarray, batch_size: int,
                generator: torch.Generator) -> list[np.ndarray]:
    """Deal the rows out in batches drawn at random, each of texts of about one length, so that little is padding.

    The rows are shuffled, sorted by length within stretches of 16 batches, cut, and the batches shuffled once more.
    Shapes: rows (n,) int64, lengths (N,) int64 of all N texts -> arrays of up to `batch_size` rows, int64.
    """
    shuffled = rows[torch.randperm(len(rows), generator=generator).numpy()]
    batches = []
    for start in range(0, len(shuffled), 16 * batch_size):
        stretch = shuffled[start : start + 16 * batch_size]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
        batches += [stretch[i : i + batch_size] for i in range(0, len(stretch), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator)]


def pooled_features(model: Classifier, texts: Sequence[str], chosen: np.ndarray, *, max_tokens: int, source: str,
                    cache: Path | None, log_every: float) -> tuple[Tensor, int]:
    """The pooled layers of the chosen texts, (len(chosen), L + 1, W), and how many of these texts were shortened.

    One rule: with a cache all texts are encoded and kept, so each half of the data is encoded once per encoder,
    however many runs with however many labels follow; without, only those that are needed. `source` is the
    fingerprint of the run that the encoder comes from.
    """
    wanted = texts if cache else [texts[i] for i in chosen]

    def compute() -> dict[str, Tensor]:
        """What is kept."""
        tokenised = model.encoder.tokenise(wanted, max_tokens)
        features = frozen_pass(model.encoder, tokenised, model.pool, device=model.device, log_every=log_every)
        return {"features": features, "shortened": torch.from_numpy(tokenised.shortened)}

    key = cache_key(VERSION, source, fingerprint(texts), max_tokens, model.pool, model.encoder.precision)
    kept = cached(cache, "features", key, compute)
    rows = torch.from_numpy(chosen) if cache else slice(None)
    return kept["features"][rows], int(kept["shortened"][rows].sum())


def predict(model: Classifier, texts: TokenisedTexts) -> Tensor:
    """The probability of each class for each text: (N, Y), rows that sum to one."""
    return logits_of(model, texts).softmax(dim=-1)


def logits_of(model: Classifier, texts: TokenisedTexts) -> Tensor:
    """The logits of texts, whose labels need not be known: (N, Y)."""
    return classify(model, TokenExamples(texts), np.arange(len(texts.token_ids)))
