"""Part I, chapter 3: batches. How is text of every length cut into rectangles?

A language model takes one endless stream, cut into windows that follow on from one another. A classifier takes texts
of their own lengths: each **batch** has texts of about one length, and what is left of its rectangle is **padding**,
which a mask keeps out of every sum.

Read next: `minitransfer.text.wordpiece`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minitransfer.text.words import EOS_ID, PAD_ID

STEP = 16  # lengths of batches are its multiples: for each new shape kernels are made, and kept in memory for good


def as_rows(stream: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay a stream out in rows to be encoded side by side, with what comes after each token.

    Row b continues row b of the window before it, so a recurrent state may be carried from window to window. The
    first word of the stream is predicted from `<eos>`; the end of the rows is filled with padding, which as a target
    is ignored, so every token is predicted exactly once.

    Shapes: stream (N,) -> inputs and targets, each (batch_size, ⌈N / batch_size⌉) int64.
    """
    length = -(-len(stream) // batch_size)
    spare = np.full(length * batch_size - len(stream), PAD_ID)
    before = np.concatenate([[EOS_ID], stream])[: len(stream)]
    inputs = np.concatenate([before, spare]).astype(np.int64)
    targets = np.concatenate([stream, spare]).astype(np.int64)
    return inputs.reshape(batch_size, length), targets.reshape(batch_size, length)


def windows(rows: np.ndarray, length: int) -> list[np.ndarray]:
    """Cut rows (B, N) into consecutive windows (B, ≤ length), the last one shorter where N is not a multiple."""
    return [rows[:, i : i + length] for i in range(0, rows.shape[1], length)]


def head_and_tail(token_ids: np.ndarray, max_tokens: int) -> np.ndarray:
    """Shorten a text to `max_tokens` by leaving out its middle: reviews open and close with their verdict."""
    if len(token_ids) <= max_tokens:
        return token_ids
    head = max_tokens // 2
    return np.concatenate([token_ids[:head], token_ids[len(token_ids) - (max_tokens - head) :]])


def batches_by_length(lengths: Sequence[int] | np.ndarray, tokens_per_batch: int) -> Iterator[np.ndarray]:
    """Group texts of similar length so that no batch, once padded, holds more than `tokens_per_batch` tokens.

    Yields the positions of each batch's texts, int64, longest batch first (if memory runs out, it does so at once).
    A text longer than the limit makes a batch of its own.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        size = max(tokens_per_batch // longest, 1)
        yield order[start : start + size]
        start += size


def rounded_up(length: Any) -> Any:
    """The next multiple of `STEP`, of a length or of each of an array of them."""
    return -(-length // STEP) * STEP


def pad(texts: Sequence[np.ndarray], least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Stand texts of unequal length in one rectangle: token_ids (B, T) int64; mask (B, T) bool, True = real token.

    T is the length of the longest, and at least `least`; of 1, so that a batch of empty texts is still a batch.
    """
    lengths = np.array([len(text) for text in texts])
    mask = np.arange(max(lengths.max(initial=0), least)) < lengths[:, None]
    token_ids = np.full(mask.shape, PAD_ID, np.int64)
    if lengths.sum():
        token_ids[mask] = np.concatenate(texts)
    return token_ids, mask
