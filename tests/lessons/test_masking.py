"""Claims about masking: 15 %, then 80/10/10 without overlap, never the form of a text, and whole words if asked."""

import math

import numpy as np
import pytest
import torch
from binomial import as_often_as
from torch import Tensor

from minitransfer.bert.masking import (
    IGNORE_INDEX,
    first_of_word,
    mask_tokens,
    unigram_entropy,
)
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, PAD_ID, SEP_ID, UNK_ID

B, T, V = 401, 997, 1_013
GOES_ON = torch.arange(V) % 3 == 0  # which pieces have ##, for tests of whole words …
GOES_ON[:5] = False  # … none of the special ones


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_text(seed: int = 0, rows: int = B, length: int = T) -> Tensor:
    """Rows of [CLS] pieces [SEP] pieces [SEP] padding, with some [UNK] and pieces that go on with a word."""
    token_ids = torch.randint(5, V, (rows, length), generator=generator(seed))
    token_ids[torch.rand(rows, length, generator=generator(seed + 1)) < 0.02] = UNK_ID
    token_ids[:, 0], token_ids[:, length // 3], token_ids[:, -4] = CLS_ID, SEP_ID, SEP_ID
    token_ids[:, -3:] = PAD_ID
    return token_ids


def is_form(token_ids: Tensor) -> Tensor:
    return sum(token_ids == i for i in (PAD_ID, CLS_ID, SEP_ID)).bool()


def test_fifteen_percent_are_chosen_then_eighty_ten_ten():
    token_ids = some_text()
    inputs, labels = mask_tokens(token_ids, generator(), vocab_size=V)
    chosen = labels != IGNORE_INDEX
    n = int(chosen.sum())
    assert as_often_as(0.15, n, of=int((~is_form(token_ids)).sum()))
    masked = int((inputs[chosen] == MASK_ID).sum())
    replaced = int(((inputs != token_ids) & (inputs != MASK_ID))[chosen].sum())
    itself = 1 / (V - 5)  # how often a random piece is the one that stood there
    assert as_often_as(0.8, masked, of=n)
    assert as_often_as(0.1 * (1 - itself), replaced, of=n)
    assert as_often_as(0.1 * (1 + itself), n - masked - replaced, of=n)


def test_independent_draws_would_have_been_noticed():
    """Drawn apart from one another, a tenth of the masks is overwritten by pieces: 72/10/18."""
    n = 59_000
    masked, replaced = torch.rand(2, n, generator=generator()) < torch.tensor([[0.8], [0.1]])
    assert not as_often_as(0.8, int((masked & ~replaced).sum()), of=n)
    assert not as_often_as(0.1, int((~masked & ~replaced).sum()), of=n)


def test_what_is_not_chosen_is_read_as_it_is_and_not_asked_for():
    token_ids = some_text()
    before = token_ids.clone()
    inputs, labels = mask_tokens(token_ids, generator(), vocab_size=V)
    chosen = labels != IGNORE_INDEX
    assert torch.equal(token_ids, before) and inputs.data_ptr() != token_ids.data_ptr()
    assert inputs.dtype == labels.dtype == torch.int64 and inputs.shape == labels.shape == (B, T)
    assert torch.equal(labels[chosen], token_ids[chosen]) and torch.equal(inputs[~chosen], token_ids[~chosen])


@pytest.mark.parametrize("continues", [None, GOES_ON])
def test_pad_cls_and_sep_are_never_chosen_and_unk_is_a_piece_like_any_other(continues):
    token_ids = some_text(rows=31)
    inputs, labels = mask_tokens(token_ids, generator(), vocab_size=V, continues=continues, probability=1.0)
    assert torch.equal(labels == IGNORE_INDEX, is_form(token_ids))
    assert torch.equal(inputs[is_form(token_ids)], token_ids[is_form(token_ids)])
    assert (labels == UNK_ID).sum() == (token_ids == UNK_ID).sum() > 0
    inputs, labels = mask_tokens(token_ids, generator(), vocab_size=V, continues=continues, probability=0.0)
    assert torch.equal(inputs, token_ids) and (labels == IGNORE_INDEX).all()


def test_random_pieces_are_all_the_ordinary_ones_and_all_alike():
    token_ids, size = torch.full((B, T), 7), 29
    inputs, _ = mask_tokens(token_ids, generator(), vocab_size=size, probability=1.0)
    drawn = inputs[(inputs != MASK_ID) & (inputs != 7)]
    seen = torch.bincount(drawn, minlength=size).double()
    assert (seen[:5] == 0).all() and len(seen) == size
    seen = seen[[i for i in range(5, size) if i != 7]]
    expected = len(drawn) / len(seen)
    chi_square = ((seen - expected) ** 2 / expected).sum()
    assert len(seen) - 1 == 22 and chi_square < 48.3  # exceeded once in a thousand with 22 degrees of freedom


def words_by_loops(row: list[int]) -> list[list[int]]:
    """The positions of each word: a piece with ## belongs to the word before it, if there is one."""
    words: list[list[int]] = []
    for t, piece in enumerate(row):
        if t and GOES_ON[piece] and row[t - 1] not in (PAD_ID, CLS_ID, SEP_ID):
            words[-1].append(t)
        else:
            words.append([t])
    return words


def test_a_word_begins_at_its_last_piece_without_the_mark():
    token_ids = some_text(rows=13, length=41)
    token_ids[0, 1], token_ids[1, 0] = 6, 9  # behind [CLS], and with nothing before it
    assert GOES_ON[6] and GOES_ON[9]
    begins = first_of_word(token_ids, GOES_ON)
    for row, found in zip(token_ids.tolist(), begins.tolist()):
        assert found == [word[0] for word in words_by_loops(row) for _ in word]
    assert first_of_word(token_ids[:, :0], GOES_ON).shape == (13, 0)


def test_the_pieces_of_a_word_are_chosen_together_and_words_as_often_as_pieces_were():
    token_ids = some_text()
    inputs, labels = mask_tokens(token_ids, generator(), vocab_size=V, continues=GOES_ON)
    chosen, words, hidden, long, alike = labels != IGNORE_INDEX, 0, 0, 0, 0
    for row, choice, read in zip(token_ids.tolist(), chosen.tolist(), inputs.tolist()):
        for word in words_by_loops(row):
            if row[word[0]] in (PAD_ID, CLS_ID, SEP_ID):
                continue
            assert len({choice[t] for t in word}) == 1
            words, hidden = words + 1, hidden + choice[word[0]]
            if choice[word[0]] and len(word) > 1:
                long += 1
                alike += (read[word[0]] == MASK_ID) == (read[word[1]] == MASK_ID)
    assert as_often_as(0.15, hidden, of=words)
    # What becomes of each piece is its own affair: both become [MASK], or neither, in 0.8² + 0.2² of the cases.
    assert long > 10_000 and abs(alike - 0.68 * long) <= 5 * math.sqrt(long * 0.68 * 0.32)


@pytest.mark.parametrize("continues", [None, GOES_ON])
def test_a_generator_decides_the_masks_and_the_next_ones_are_others(continues):
    token_ids, draw = some_text(rows=7), generator(3)
    first, second = (mask_tokens(token_ids, draw, vocab_size=V, continues=continues) for _ in range(2))
    again = mask_tokens(token_ids, generator(3), vocab_size=V, continues=continues)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    both = ((first[1] != IGNORE_INDEX) & (second[1] != IGNORE_INDEX)).sum() / (first[1] != IGNORE_INDEX).sum()
    assert both < 0.25  # about 15 % are chosen again by chance


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_one_generator_masks_alike_on_every_device():
    token_ids = some_text(rows=7)
    here = mask_tokens(token_ids, generator(), vocab_size=V, continues=GOES_ON)
    there = mask_tokens(token_ids.cuda(), generator(), vocab_size=V, continues=GOES_ON.cuda())
    assert all(b.is_cuda and torch.equal(a, b.cpu()) for a, b in zip(here, there))
    on_gpu = torch.Generator("cuda").manual_seed(0)
    inputs, labels = (x.cpu() for x in mask_tokens(token_ids.cuda(), on_gpu, vocab_size=V))
    assert torch.equal(torch.where(labels == IGNORE_INDEX, inputs, labels), token_ids)


def test_unigram_entropy_is_that_of_the_formula():
    counts = [3, 0, 1, 7, 0, 40]
    expected = -sum(c / 51 * math.log(c / 51) for c in counts if c)
    for given in (torch.tensor(counts), np.array(counts), torch.tensor(counts, dtype=torch.int32)):
        assert unigram_entropy(given) == pytest.approx(expected, rel=1e-12)
    assert unigram_entropy(torch.full((V,), 9)) == pytest.approx(math.log(V))
    assert unigram_entropy(torch.tensor([0, 5])) == 0
    for nothing in (torch.zeros(7), torch.zeros(0)):
        with pytest.raises(ValueError, match="nothing was counted"):
            unigram_entropy(nothing)


def test_a_model_that_knows_only_frequencies_has_the_unigram_entropy_as_its_loss():
    counts = torch.tensor([0, 0, 0, 0, 0, 2, 5, 1, 9])
    labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
    logits = (counts / counts.sum()).log().expand(len(labels), -1)
    assert torch.nn.functional.cross_entropy(logits, labels).item() == pytest.approx(unigram_entropy(counts))
