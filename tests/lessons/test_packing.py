"""Claims about packing: every place of every row is filled, in the order of the text, and nothing comes twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransfer.apparatus.errors import DataError
from minitransfer.text.packing import pack
from minitransfer.text.wordpiece import CLS_ID, SEP_ID

DOCUMENTS = st.lists(st.lists(st.integers(5, 9), max_size=11).map(np.array), max_size=9)


def test_documents_are_joined_by_sep_and_cut_wherever_a_row_is_full():
    documents = [np.array(pieces, np.int32) for pieces in ([11, 12, 13, 14, 15, 16], [21], [31, 32], [41, 42, 43])]
    rows = pack(documents, 7)
    assert rows.dtype == np.int32
    assert rows.tolist() == [[CLS_ID, 11, 12, 13, 14, 15, SEP_ID],
                             [CLS_ID, 16, SEP_ID, 21, SEP_ID, 31, SEP_ID],
                             [CLS_ID, 32, SEP_ID, 41, 42, 43, SEP_ID]]


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.integers(3, 13))
def test_rows_hold_the_whole_text_but_for_what_fills_no_row(documents, length):
    stream, body = [], length - 2
    for document in documents:
        if len(document):
            stream += [SEP_ID] * bool(stream) + document.tolist()
    if len(stream) < body:
        with pytest.raises(DataError):
            pack(documents, length)
        return
    rows = pack(iter(documents), length)
    assert rows.shape == (len(stream) // body, length)
    assert (rows[:, 0] == CLS_ID).all() and (rows[:, -1] == SEP_ID).all()
    assert rows[:, 1:-1].flatten().tolist() == stream[: rows.shape[0] * body]


def test_too_little_text_is_refused_with_the_counts():
    documents = [np.arange(5, 1_200), np.arange(0), np.arange(5, 9)]
    with pytest.raises(DataError, match="2 documents have 1,200 pieces, and a row of 1,203 needs 1,201"):
        pack(documents, 1_203)
    assert pack(documents, 1_202).shape == (1, 1_202)
    for nothing in ([], [np.arange(0)]):
        with pytest.raises(DataError, match="0 documents have 0 pieces, and a row of 3 needs 1"):
            pack(nothing, 3)


@pytest.mark.parametrize("length", [2, 0, -5])
def test_a_row_must_have_room_for_a_piece(length):
    with pytest.raises(ValueError, match=f"a row of {length} has no room"):
        pack([np.arange(5, 99)], length)
