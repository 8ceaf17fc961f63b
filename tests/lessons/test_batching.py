"""Claims about batches: a stream in rows loses and repeats nothing, and texts are padded little and never mixed."""

import numpy as np
import pytest

from minitransfer.text.batching import (
    as_rows,
    batches_by_length,
    head_and_tail,
    pad,
    windows,
)
from minitransfer.text.words import EOS_ID, PAD_ID

SIZES = [(23, 3), (24, 3), (22, 3), (1, 1), (2, 5), (7, 4), (1, 3), (0, 3)]


def a_stream(N: int) -> np.ndarray:
    """Token ids that tell where they stand, so that a misplaced one is seen."""
    return np.arange(100, 100 + N, dtype=np.int32)


@pytest.mark.parametrize(("N", "batch_size"), SIZES)
def test_every_token_is_predicted_once_from_the_token_before_it(N, batch_size):
    inputs, targets = as_rows(a_stream(N), batch_size)
    assert inputs.shape == targets.shape == (batch_size, -(-N // batch_size))
    assert inputs.dtype == targets.dtype == np.int64
    pairs = [(int(i), int(t)) for i, t in zip(inputs.flat, targets.flat) if t != PAD_ID]
    assert pairs == [(EOS_ID if t == 100 else t - 1, t) for t in range(100, 100 + N)]


@pytest.mark.parametrize(("N", "batch_size"), SIZES)
def test_padding_fills_only_the_end(N, batch_size):
    inputs, targets = as_rows(a_stream(N), batch_size)
    spare = targets.size - N
    assert 0 <= spare < batch_size
    assert (targets.ravel()[N:] == PAD_ID).all() and (inputs.ravel()[N:] == PAD_ID).all()


@pytest.mark.parametrize("length", [1, 4, 5, 99])
def test_each_row_of_a_window_goes_on_where_its_row_of_the_window_before_stopped(length):
    inputs, targets = as_rows(a_stream(23), 3)
    pieces = list(zip(windows(inputs, length), windows(targets, length)))
    assert all(i.shape == t.shape == (3, length) for i, t in pieces[:-1]) and 1 <= pieces[-1][0].shape[1] <= length
    for (_, before), (after, _) in zip(pieces, pieces[1:]):
        real = after[:, 0] != PAD_ID
        assert (after[real, 0] == before[real, -1]).all()  # what was predicted last is read first
    stream = np.concatenate([targets for _, targets in pieces], axis=1).ravel()
    assert stream[stream != PAD_ID].tolist() == a_stream(23).tolist()


@pytest.mark.parametrize("max_tokens", [1, 2, 5, 6, 12])
def test_a_long_text_keeps_its_first_and_last_tokens_in_equal_parts(max_tokens):
    for N in range(14):
        text = a_stream(N)
        kept = head_and_tail(text, max_tokens).tolist()
        if N <= max_tokens:
            assert kept == text.tolist()
        else:
            tail = max_tokens - max_tokens // 2  # of an odd number the verdict gets the larger half
            assert kept == [*range(100, 100 + max_tokens // 2), *range(100 + N - tail, 100 + N)]


@pytest.mark.parametrize("tokens_per_batch", [1, 13, 40, 1000])
def test_batches_hold_each_text_once_and_no_more_tokens_than_allowed(tokens_per_batch):
    lengths = np.random.default_rng(0).integers(0, 20, 57)
    batches = list(batches_by_length(lengths.tolist(), tokens_per_batch))
    assert sorted(np.concatenate(batches).tolist()) == list(range(57))
    for batch in batches:
        assert batch.dtype == np.int64
        assert len(batch) * lengths[batch].max() <= tokens_per_batch or len(batch) == 1


def test_batches_run_from_long_to_short_and_are_as_full_as_the_limit_allows():
    lengths = np.random.default_rng(1).integers(0, 20, 57)
    batches = list(batches_by_length(lengths, 40))
    in_order = lengths[np.concatenate(batches)]
    assert (in_order[1:] <= in_order[:-1]).all()
    for batch in batches[:-1]:
        assert (len(batch) + 1) * max(lengths[batch].max(), 1) > 40


def test_no_texts_make_no_batches_and_an_oversized_text_travels_alone():
    assert list(batches_by_length([], 40)) == []
    assert [batch.tolist() for batch in batches_by_length([3, 99, 3], 7)] == [[1], [0, 2]]


def test_equal_lengths_keep_their_order_so_that_batches_are_the_same_everywhere():
    assert [batch.tolist() for batch in batches_by_length([2, 5, 2, 5, 2], 10)] == [[1, 3], [0, 2, 4]]
    assert np.concatenate(list(batches_by_length([1, 2] * 200, 7))).tolist() == [*range(1, 400, 2), *range(0, 400, 2)]


def test_padding_stands_behind_each_text_and_the_mask_says_where_it_begins():
    texts = [a_stream(4), a_stream(0), a_stream(7), np.array([PAD_ID, 5])]  # a real token may even be 0
    token_ids, mask = pad(texts)
    assert token_ids.shape == mask.shape == (4, 7) and (token_ids.dtype, mask.dtype) == (np.int64, bool)
    for row, real, text in zip(token_ids, mask, texts):
        assert row.tolist() == text.tolist() + [PAD_ID] * (7 - len(text))
        assert real.tolist() == [True] * len(text) + [False] * (7 - len(text))


def test_a_batch_of_empty_texts_is_still_a_rectangle():
    token_ids, mask = pad([a_stream(0), a_stream(0)])
    assert token_ids.tolist() == [[PAD_ID], [PAD_ID]] and not mask.any()
