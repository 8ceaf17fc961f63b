"""Benchmarks: text. What must made-up text have in common with real text, for a benchmark to mean anything?

How often words repeat, since work is done once per distinct word; how long words are, since it is done per byte; and
how long reviews are. Nothing here has to make sense.

Next: flop.py, how much there is to compute.
"""

import math
from types import SimpleNamespace

import numpy as np
import torch

from minitransfer.elmo.softmax import proposal
from minitransfer.text.words import SPECIAL_WORDS, spell

REVIEW_MEDIAN, REVIEW_SPREAD = 221, 0.64  # of the words in an IMDB review, log-normal: median, and σ of the logarithm


def zipf(vocab_size: int) -> np.ndarray:
    """How probable each token id is, float64 (vocab_size ≥ 4,): p ∝ 1 / (rank + 2.7), and 0 for the specials."""
    p = 1 / (np.arange(vocab_size) - len(SPECIAL_WORDS) + 1 + 2.7)
    p[: len(SPECIAL_WORDS)] = 0
    return p / p.sum()


def zipf_stream(vocab_size: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Running text, int32 (length,), whose words are drawn independently of one another."""
    return rng.choice(vocab_size, size=length, p=zipf(vocab_size)).astype(np.int32)


def made_up_words(vocab_size: int, rng: np.random.Generator) -> list[str]:
    """A spelling for each token id, all different, rarer words longer: about 8 letters at rank 100,000."""
    words = list(SPECIAL_WORDS)
    taken = set(words)
    while len(words) < vocab_size:
        letters = 1 + rng.poisson(0.6 * math.log(len(words)))
        word = "".join(map(chr, rng.integers(ord("a"), ord("z") + 1, letters)))
        if word not in taken:
            taken.add(word)
            words.append(word)
    return words


def review_lengths(how_many: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Words of each review, int64 (how_many,), at least 10 and at most `most`."""
    return np.exp(rng.normal(math.log(REVIEW_MEDIAN), REVIEW_SPREAD, how_many)).astype(np.int64).clip(10, most)


def make_text(V: int, B: int, T: int) -> SimpleNamespace:
    """What the biLM's training loop has of a corpus of V words, and one window of it for each direction.

    `inputs` and `targets` hold two tensors (B, T) int64 each; `width` is the bytes of the longest word in the inputs.
    """
    rng = np.random.default_rng(0)
    windows = torch.from_numpy(zipf_stream(V, 4 * B * T, rng)).long().view(4, B, T).unbind()
    words = made_up_words(V, rng)
    width = max(len(spell(words[i])) for i in torch.cat(windows[:2]).unique())
    return SimpleNamespace(vocabulary=SimpleNamespace(words=words), inputs=windows[:2], targets=windows[2:],
                           width=width, log_q=proposal(torch.from_numpy(zipf(V) * 1e7)))
