"""Claims about tokens: head and tail stay, what stands in a text is text, and BERT's frame counts as well."""

import numpy as np
import pytest

from minitransfer.text.wordpiece import CLS_ID, SEP_ID, SPECIAL_PIECES, WordPiece
from minitransfer.transfer import tokens
from minitransfer.transfer.tokens import tokenise_pieces, tokenise_words


def test_long_texts_keep_head_and_tail_and_are_counted():
    texts = tokenise_words(["a b c d e f g", "a b c", "one two three four"], 3)
    words = [[texts.tokens[t] for t in ids] for ids in texts.token_ids]
    assert words == [["a", "f", "g"], ["a", "b", "c"], ["one", "three", "four"]]
    assert texts.shortened.tolist() == [True, False, True] and texts.lengths.tolist() == [3, 3, 3]


def test_a_text_beyond_any_length_is_read_at_its_ends(monkeypatch):
    monkeypatch.setattr(tokens, "MAX_CHARACTERS", 12)
    texts = tokenise_words(["first " + "x" * 1000 + " last"], 4)
    assert [texts.tokens[t] for t in texts.token_ids[0]] == ["first", "x", "last"] and texts.shortened[0]


def test_marks_of_the_models_own_are_text_in_a_review():
    texts = tokenise_words(["<unk> [MASK] <pad>"], 99)
    assert texts.token_ids[0].min() > 2  # no special word among them
    assert [texts.tokens[t] for t in texts.token_ids[0]] == "< unk > [ mask ] < pad >".split()


@pytest.fixture
def wordpiece() -> WordPiece:
    return WordPiece([*SPECIAL_PIECES, *"abcdefgmsk[]", *(f"##{letter}" for letter in "abcdefgmsk")])


def test_pieces_stand_between_cls_and_sep_and_a_long_text_keeps_both_ends(wordpiece):
    texts = tokenise_pieces(["a b c d e f g", "", "ab c"], 5, wordpiece)
    pieces = [[texts.tokens[t] for t in ids] for ids in texts.token_ids]
    assert pieces == [["[CLS]", "a", "f", "g", "[SEP]"], ["[CLS]", "[SEP]"], ["[CLS]", "a", "##b", "c", "[SEP]"]]
    assert texts.shortened.tolist() == [True, False, False] and texts.lengths.tolist() == [5, 2, 5]


def test_a_mask_that_somebody_wrote_is_no_mask(wordpiece):
    ids = tokenise_pieces(["[MASK] a"], 99, wordpiece).token_ids[0]
    assert ids[0] == CLS_ID and ids[-1] == SEP_ID and ids[1:-1].min() > max(CLS_ID, SEP_ID)
    assert [wordpiece.pieces[t] for t in ids[1:-1]] == ["[", "m", "##a", "##s", "##k", "]", "a"]


def test_of_no_texts_there_are_no_tokens(wordpiece):
    assert tokenise_pieces([], 9, wordpiece).token_ids == [] and tokenise_words([], 9).token_ids == []


def test_batches_have_few_lengths_and_none_is_longer_than_the_longest_text():
    """Kernels are made for each new shape, and kept; and a BERT has only so many positions."""
    texts = tokenise_words(["a " * n for n in (1, 15, 16, 17, 40, 0)], max_tokens=38)
    lengths = {}
    for rows in ([0], [1], [2], [0, 3], [3, 4], [5]):
        batch = texts.batch(np.array(rows))
        lengths[tuple(rows)] = batch.mask.shape[1]
        assert batch.mask.sum(1).tolist() == texts.lengths[rows].tolist()
    assert lengths == {(0,): 16, (1,): 16, (2,): 16, (0, 3): 32, (3, 4): 38, (5,): 1}
