"""Part V, chapter 9: examples. Where does a training loop get its logits, and in which order does it see the texts?

A loop asks for the logits of some rows, and does not care how they come about: from features that were worked out
before, or from tokens read anew. Texts of about one length share a batch; which ones, and when, chance decides, and
the seed decides chance.

Read next: `minitransfer.transfer.stopping`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Examples:
    """Labelled texts, ready to be classified: `logits` takes row numbers (B,) int64 and gives (B, N).

    `labels`, int64 (N,), are on the device of the logits. `lengths` (N,) int64 is how many tokens reading each text
    costs, one each for pooled texts: those of like length share a batch. `shortened` is how many had their middle left
    out. `renew` is called when weights may have changed. `fit_standardise` takes the rows of some texts to learn from,
    and lets the model standardise by what it now sees in them.
    """

    logits: Callable[[np.ndarray], Tensor]
    labels: Tensor
    lengths: np.ndarray
    shortened: int = 0
    renew: Callable[[], None] = lambda: None
    fit_standardise: Callable[[np.ndarray], None] = lambda rows: None


def pooled_examples(model: Classifier, features: Tensor, labels: np.ndarray, shortened: int = 0) -> Examples:
    """Texts of which the pooled layers (N, L + 1, W) are known."""
    features = features.to(model.device)

    def logits(rows: np.ndarray) -> Tensor:
        return model.judge(features[torch.from_numpy(rows)])

    return Examples(logits, torch.from_numpy(labels).to(model.device), np.ones(len(labels), np.int64), shortened)


def token_examples(model: Classifier, texts: TokenisedTexts, labels: np.ndarray) -> Examples:
    """Texts to be read anew each time.

    In a step that tokens learn from, the vectors of its own tokens are worked out, each once. Otherwise those of all
    tokens are, at once, and serve as long as no token learns, or until the classification ends. Several processes
    share the texts of a batch, and all have the logits of all of it.
    """
    encoder = model.encoder
    known, table = None, None

    def vectors_of(token_ids: np.ndarray) -> Tensor:
        """Shapes: (B, T) numbers of tokens -> (B, T, D)."""
        nonlocal known, table
        if encoder.tokens_learn and torch.is_grad_enabled():
            if known is None:
                known = encoder.look_up(texts.tokens)
            distinct, place = np.unique(token_ids, return_inverse=True)
            x = encoder.token_vectors(known[torch.from_numpy(distinct).to(known.device)])
            # index_select, since threads add up the gradient of x[place] in any order, and round differently each.
            return x.index_select(0, torch.from_numpy(place.ravel()).to(x.device)).view(*token_ids.shape, -1)
        if table is None:
            table = encoder.token_table(texts.tokens)
        return table[torch.from_numpy(token_ids).to(table.device)]

    def padded(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        token_ids, mask = pad([texts.token_ids[i] for i in rows])
        x = vectors_of(token_ids)
        return x, torch.from_numpy(mask).to(x.device)

    def logits(rows: np.ndarray) -> Tensor:
        mine = share_of_rows(rows)
        return model.from_tokens(*padded(mine if len(mine) else rows[:1]), len(rows))

    def renew() -> None:
        nonlocal table
        if encoder.tokens_learn:
            table = None

    @torch.no_grad()
    def fit_standardise(rows: np.ndarray) -> None:
        if not isinstance(model.head, MeanPoolHead):
            return
        renew()
        features = []
        for batch in batches_by_length(texts.lengths[rows], TOKENS_PER_BATCH):
            x, mask = padded(rows[batch])
            features.append(pool_tokens(model.read(x, mask), mask, model.pool))
        model.standardise.fit(torch.cat(features))

    shortened = int(texts.shortened.sum())
    return Examples(logits, torch.from_numpy(labels).to(model.device), texts.lengths, shortened, renew, fit_standardise)


def classify(examples: Examples, rows: np.ndarray, keep_on: Callable[[], bool] = lambda: True,
             advance: Callable[[int], None] = lambda tokens: None) -> Tensor | None:
    """The logits of the given rows, (len(rows), N) on the CPU, without gradients; None if told not to keep on.

    The model must be in evaluation mode. `advance` is told what each batch has cost, in tokens, once it is done.
    """
    logits: list[Tensor | None] = [None] * len(rows)
    examples.renew()
    with torch.no_grad():
        for batch in batches_by_length(examples.lengths[rows], TOKENS_PER_BATCH):
            if not keep_on():
                return None
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
    """The probability of each class for each text: (N, classes), rows that sum to one."""
    return answers(model, texts).softmax(dim=-1)


def answers(model: Classifier, texts: TokenisedTexts) -> Tensor:
    """The logits of texts whose labels nobody knows: (N, classes)."""
    N = len(texts.token_ids)
    return classify(token_examples(model, texts, np.zeros(N, np.int64)), np.arange(N))
