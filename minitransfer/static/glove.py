"""Part II: static vectors. Can what skip-gram learns word by word be had from a table of counts?

**GloVe** first counts how often words stand near each other, and then fits inner products of two tables of vectors to
the logarithms of these counts (Pennington et al. 2014). Skip-gram predicts and GloVe counts, and both come to nearly
the same: their inner products follow **PMI**, how much more often two words meet than chance would have it (Levy and
Goldberg 2014; `python -m pretrain.inspect RUN --pmi` measures it).

Read next: `pretrain.static.train`, the command.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minitransfer.static.skipgram import WordTables

X_MAX = 10.0  # counts from here on have the full weight
BATCH = 4096  # pairs in a step
MOST_PAIRS = 2**24  # that are kept, each with its reverse
AT_ONCE = 2**23  # pairs that are counted before they are merged with the others


@dataclass(frozen=True)
class Pairs:
    """How often words i and j stand near each other, X_ij = X_ji = `x`, if they do: (P,) int32 and float32."""

    i: Tensor
    j: Tensor
    x: Tensor


def count_pairs(blocks: np.ndarray, vocab_size: int, window: int, *, most: int = MOST_PAIRS, at_once: int = AT_ONCE,
                check: Callable[[], None] = lambda: None) -> Pairs:
    """Count the pairs of words in blocks of running text, (N, T) ids: how often skip-gram may expect to meet each.

    X_ij = Σ_{s≠t} [w_s = i] [w_t = j] max(0, 1 − (|s − t| − 1) / window),   s and t in the same block

    since a window drawn evenly from 1 to `window` reaches a word at distance d with probability 1 − (d − 1) / window.
    Pairs are counted in whole numbers of 1 / window, so that no bit depends on their order or on `at_once`, how many
    are counted in one go. At most `most` pairs are kept, whatever the text: when there are more, those that were met
    least are forgotten, much as in lossy counting (Manku and Motwani 2002). From then on, which pairs are left and how
    often they count does depend on the order: one that was forgotten begins at 0 again. check: called in between.

    Differs: in the paper a pair at distance d counts 1 / d. Here it counts as often as skip-gram would meet it.
    """
    T, at_once = blocks.shape[1], max(1, at_once // (blocks.shape[1] * window))
    keys, sums = np.empty(0, np.int64), np.empty(0, np.int64)
    for first in range(0, len(blocks), at_once):
        check()
        chunk = blocks[first : first + at_once].astype(np.int64)
        near = []  # of each pair, its two words and their distance in a single number, which sorts fast
        for d in range(1, min(window, T - 1) + 1):
            a, b = chunk[:, :-d], chunk[:, d:]
            near.append(((np.minimum(a, b) * vocab_size + np.maximum(a, b)) * T + d).ravel())
        found, distance = np.divmod(np.sort(np.concatenate(near)), T)
        found, weights = add_up(found, window + 1 - distance)
        keys, sums = np.concatenate([keys, found]), np.concatenate([sums, weights])
        order = keys.argsort(kind="stable")  # a merge of two sorted runs
        keys, sums = forget_rarest(*add_up(keys[order], sums[order]), most)
    i, j = (torch.from_numpy(part.astype(np.int32)) for part in np.divmod(keys, vocab_size))
    x = torch.from_numpy((sums / window).astype(np.float32))
    other = i != j
    x = torch.where(other, x, 2 * x)  # each of the two is near the other
    return Pairs(torch.cat([i, j[other]]), torch.cat([j, i[other]]), torch.cat([x, x[other]]))


def add_up(keys: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted keys once each, with the sum of what belongs to each."""
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.add.reduceat(sums, starts)


def forget_rarest(keys: np.ndarray, sums: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Keep the `most` keys of the greatest sums, in their order; of equal ones the first."""
    if len(keys) <= most:
        return keys, sums
    least = np.partition(sums, -most)[-most]
    kept = sums > least
    kept[np.flatnonzero(sums == least)[: most - kept.sum()]] = True
    return keys[kept], sums[kept]


def pair_weight(x: Tensor, x_max: float = X_MAX) -> Tensor:
    """f(x) = min(1, (x / x_max)^¾)        (Pennington et al. 2014, eq. 9)

    Differs: x_max is 10, and 100 in the paper, whose texts have billions of words; in one of two million hardly any
    pair is met a hundred times (docs/results.md). Where all counts stay below x_max, the largest takes its place.

    Shapes: x (P,) float32 -> (P,) float32.
    """
    return (x / min(x_max, x.max().item())).pow(0.75).clamp(max=1)


def draw_pairs(f: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the pairs of one epoch, each with probability f, in random order. Shapes: f (P,) -> places (≤ P,) int64."""
    met = (torch.rand(len(f), generator=generator) < f).nonzero().flatten()
    return met[torch.randperm(len(met), generator=generator)]


class GloVe(WordTables):
    """Two tables of word vectors and two of biases, fitted to logarithms of counts.

    w = `vectors` (V, D), w̃ = `contexts` (V, D), b = `bias` (V, 1), b̃ = `context_bias` (V, 1). The loss is

        J = Σ_ij f(X_ij) (w_i·w̃_j + b_i + b̃_j − log X_ij)²                (Pennington et al. 2014, eq. 8)

    Differs: in one epoch a pair is drawn with probability f(X_ij) and then counts fully, instead of always with the
    weight f(X_ij): the expected loss is J, and the many pairs of little weight take little time. Each row of a table
    has its own AdaGrad step size, as in `SkipGram`, instead of each number. Biases begin where they would be if words
    met by chance, b_i + b̃_j = log(X_i X_j / X), so that what is left for w_i·w̃_j to fit is PMI. Both tables are
    kept, as of skip-gram, and not their sum.
    """

    TABLES = ("vectors", "contexts", "bias", "context_bias")

    def __init__(self, pairs: Pairs, vocab_size: int, D: int, generator: torch.Generator):
        self.vectors, self.contexts = ((torch.rand(vocab_size, D, generator=generator) - 0.5) / D for _ in range(2))
        of_word = torch.from_numpy(np.bincount(pairs.i, weights=pairs.x, minlength=vocab_size)).float()  # X_i
        chance = (of_word / pairs.x.sum().sqrt()).clamp(min=1e-9).log().where(of_word > 0, 0.0).unsqueeze(1)
        self.bias, self.context_bias = chance, chance.clone()
        self.squares = {table: torch.zeros(vocab_size) for table in self.TABLES}

    def step(self, i: Tensor, j: Tensor, x: Tensor, learning_rate: float) -> float:
        """Learn from pairs that `draw_pairs` drew; returns the mean of their squared errors, J / Σ f(X_ij) on average.

        Shapes: i, j (B,) int, x (B,) float32.
        """
        w, w_ = self.vectors.index_select(0, i), self.contexts.index_select(0, j)  # (B, D); [] is slower
        error = (w * w_).sum(dim=1, keepdim=True) + self.bias[i] + self.context_bias[j] - x.log().unsqueeze(1)
        g = 2 * error  # d(error²)/d(error); the rest is the chain rule
        self._descend("vectors", i, g * w_, learning_rate)
        self._descend("contexts", j, g * w, learning_rate)
        self._descend("bias", i, g, learning_rate)
        self._descend("context_bias", j, g, learning_rate)
        return error.square().mean().item()
