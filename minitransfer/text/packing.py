"""Part I, chapter 5: packing. How do documents of every length fill rows of one length, with no padding at all?

**Packing** is like a roll of paper: document after document with [SEP] between them, cut wherever a row is full. A row
may so begin in the middle of a word, but every place in it holds a piece to learn from.

[SEP] marks where a text ends. [CLS] opens each row, as it opens each text of a task: a place that belongs to no word,
where a network may gather what the whole text says, and where a classifier may look for it (Part VI).

Read next: `minitransfer.static.skipgram`, Part II; or for BERT alone `minitransfer.bert.masking`.
"""

from collections.abc import Iterable

import numpy as np

from minitransfer.apparatus.errors import DataError
from minitransfer.text.wordpiece import CLS_ID, SEP_ID


def pack(documents: Iterable[np.ndarray], length: int) -> np.ndarray:
    """Fill rows with documents in the order given; what is left in the end and fills no row is dropped.

    Each row is [CLS] body [SEP], the body being the next `length` − 2 pieces of all documents joined by [SEP]. Empty
    documents are passed over.

    Differs: a row begins wherever the last one ended; BERT's holds whole sentences, and two segments of them.
    Shapes: documents, each (T,) integers -> (N, length) int32.
    Raises: DataError if not one row is filled; ValueError if a row has no room for a body.
    """
    body = length - 2
    if body < 1:
        raise ValueError(f"a row of {length} has no room for a piece between [CLS] and [SEP]")
    separator = np.array([SEP_ID], np.int32)
    parts = [part for document in documents if len(document) for part in (separator, document)][1:]
    stream = np.concatenate(parts).astype(np.int32) if parts else separator[:0]
    N = len(stream) // body
    if not N:
        documents_found = (len(parts) + 1) // 2
        what = f"{documents_found:,} documents have {len(stream):,} pieces, and a row of {length:,} needs {body:,}"
        raise DataError(what, "give more text, or shorter rows")
    rows = np.empty((N, length), np.int32)
    rows[:, 0], rows[:, 1:-1], rows[:, -1] = CLS_ID, stream[: N * body].reshape(N, body), SEP_ID
    return rows
