"""Part V, chapter 9: examples. Where does a training loop get its logits, and in which order does it see the texts?

A loop asks for the logits of some rows, and does not care how they come about: from features that were worked out
before, or from tokens read anew. Texts of about one length share a batch; which ones, and when, chance decides, and
the seed decides chance.

Read next: `minitransfer.transfer.stopping`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.distributed import share_of_rows
from minitransfer.text.batching import batches_by_length, pad
from minitransfer.text.corpora import fingerprint
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.features import TOKENS_PER_BATCH, cache_key, cached, frozen_pass, pool_tokens
from minitransfer.transfer.heads import MeanPoolHead
from minitransfer.transfer.tokens import TokenisedTexts


class Examples(ABC):
    """Labelled texts, ready to be classified.

    `labels`, int64 (N,), are on the device of the logits. `lengths` (N,) int64 is how many tokens reading each text
    costs, one each for pooled texts: those of like length share a batch. `shortened` is how many had their middle left
    out.
    """

    def __init__(self, model: Classifier, labels: np.ndarray, lengths: np.ndarray, shortened: int) -> None:
        self.model = model
        self.labels = torch.from_numpy(labels).to(model.device)
        self.lengths = lengths
        self.shortened = shortened

    @abstractmethod
    def logits(self, rows: np.ndarray) -> Tensor:
        """Shapes: rows (B,) int64, which of the texts -> (B, Y)."""

    def renew(self) -> None:
        """To be called when weights may have changed: forgets what was worked out with the earlier ones."""

    def fit_standardise(self, rows: np.ndarray) -> None:
        """Let the model standardise by what it now sees in the texts of these rows, if that may change."""


class PooledExamples(Examples):
    """Texts of which the pooled layers (N, L + 1, W) are known, since the encoder is frozen."""

    def __init__(self, model: Classifier, features: Tensor, labels: np.ndarray, shortened: int = 0) -> None:
        super().__init__(model, labels, np.ones(len(labels), np.int64), shortened)
        self.features = features.to(model.device)

    def logits(self, rows: np.ndarray) -> Tensor:
        return self.model.judge(self.features[torch.from_numpy(rows)])


class TokenExamples(Examples):
    """Texts to be read anew each time.

    In a step that tokens learn from, the vectors of its own tokens are worked out, each once. Otherwise those of all
    tokens are, at once, and serve as long as no token learns, or until the classification ends. Several processes
    share the texts of a batch, and all have the logits of all of it.
    """

    def __init__(self, model: Classifier, texts: TokenisedTexts, labels: np.ndarray) -> None:
        super().__init__(model, labels, texts.lengths, int(texts.shortened.sum()))
        self.texts = texts
        self.known: Tensor | None = None  # `look_up` of all tokens, which no training changes
        self.table: Tensor | None = None  # the vectors of all tokens, as of the last `renew`

    def logits(self, rows: np.ndarray) -> Tensor:
        mine = share_of_rows(rows)
        return self.model.from_tokens(*self.padded(mine if len(mine) else rows[:1]), len(rows))

    def padded(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """The vectors (B, T, D) of the texts of these rows, and the mask (B, T) bool of what is not padding."""
        token_ids, mask = pad([self.texts.token_ids[i] for i in rows])
        x = self.vectors_of(token_ids)
        return x, torch.from_numpy(mask).to(x.device)

    def vectors_of(self, token_ids: np.ndarray) -> Tensor:
        """Shapes: (B, T) numbers of tokens -> (B, T, D)."""
        encoder = self.model.encoder
        if encoder.tokens_learn and torch.is_grad_enabled():
            if self.known is None:
                self.known = encoder.look_up(self.texts.tokens)
            distinct, place = np.unique(token_ids, return_inverse=True)
            x = encoder.token_vectors(self.known[torch.from_numpy(distinct).to(self.known.device)])
            # index_select, since threads add up the gradient of x[place] in any order, and round differently each.
            return x.index_select(0, torch.from_numpy(place.ravel()).to(x.device)).view(*token_ids.shape, -1)
        if self.table is None:
            self.table = encoder.token_table(self.texts.tokens)
        return self.table[torch.from_numpy(token_ids).to(self.table.device)]

    def renew(self) -> None:
        if self.model.encoder.tokens_learn:
            self.table = None

    @torch.no_grad()
    def fit_standardise(self, rows: np.ndarray) -> None:
        model = self.model
        if not isinstance(model.head, MeanPoolHead):
            return
        self.renew()
        features = []
        for batch in batches_by_length(self.lengths[rows], TOKENS_PER_BATCH):
            x, mask = self.padded(rows[batch])
            features.append(pool_tokens(model.read(x, mask), mask, model.pool))
        model.standardise.fit(torch.cat(features))


def classify(examples: Examples, rows: np.ndarray, check: Callable[[], None] = lambda: None,
             advance: Callable[[int], None] = lambda tokens: None) -> Tensor:
    """The logits of the given rows, (len(rows), Y) on the CPU, without gradients.

    The model must be in evaluation mode. `check` is called before each batch, and may raise Stopped; `advance` is told
    what each batch has cost, in tokens, once it is done.
    """
    logits: list[Tensor] = [torch.empty(0)] * len(rows)
    examples.renew()
    with torch.no_grad():
        for batch in batches_by_length(examples.lengths[rows], TOKENS_PER_BATCH):
            check()
            for i, row in zip(batch, examples.logits(rows[batch]).cpu()):
                logits[i] = row
            advance(int(examples.lengths[rows[batch]].sum()))
    return torch.stack(logits)


def minibatches(
    rows: np.ndarray, lengths: np.ndarray, batch_size: int, generator: torch.Generator
) -> list[np.ndarray]:
    """Deal the rows out in batches drawn at random, each of texts of about one length, so that little is padding.

    The rows are shuffled, sorted by length within stretches of 16 batches, cut, and the batches shuffled once more.
    """
    shuffled = rows[torch.randperm(len(rows), generator=generator).numpy()]
    batches = []
    for start in range(0, len(shuffled), 16 * batch_size):
        stretch = shuffled[start : start + 16 * batch_size]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
        batches += [stretch[i : i + batch_size] for i in range(0, len(stretch), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator)]


def pooled_features(model: Classifier, texts: Sequence[str], chosen: np.ndarray, *, max_tokens: int, source: str,
                    cache: Path | None, log_every: float, say: Callable[[str], None]) -> tuple[Tensor, int]:
    """The pooled layers of the chosen texts, (len(chosen), L + 1, W), and how many of these texts were shortened.

    One rule: with a cache all texts are read and kept, so that each half of the data is read once per encoder,
    however many runs with however many labels follow; without, only those that are needed. `source` is the
    fingerprint of the run that the encoder comes from.
    """
    wanted = texts if cache else [texts[i] for i in chosen]

    def compute() -> dict[str, Tensor]:
        tokenised = model.encoder.tokenise(wanted, max_tokens)
        features = frozen_pass(model.encoder, tokenised, model.pool, device=model.device, log_every=log_every)
        return {"features": features, "shortened": torch.from_numpy(tokenised.shortened)}

    key = cache_key(source, fingerprint(texts), max_tokens, model.pool, model.encoder.precision)
    kept = cached(cache, key, compute, say=say)
    rows = torch.from_numpy(chosen) if cache else slice(None)
    return kept["features"][rows], int(kept["shortened"][rows].sum())


def predict(model: Classifier, texts: TokenisedTexts) -> Tensor:
    """The probability of each class for each text: (N, Y), rows that sum to one."""
    return answers(model, texts).softmax(dim=-1)


def answers(model: Classifier, texts: TokenisedTexts) -> Tensor:
    """The logits of texts whose labels nobody knows: (N, Y)."""
    N = len(texts.token_ids)
    return classify(TokenExamples(model, texts, np.zeros(N, np.int64)), np.arange(N))
