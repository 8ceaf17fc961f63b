"""Parts III and IV, around inspecting: occurrences. Does a word mean the same wherever it stands?

To a table of vectors it does: *bank* is one row, by the river and in the street (lecture 2.1). An encoder takes in the
line around it first (lecture 2.2). Here a word is looked up in a corpus, each time with the line that it stands in,
and encoded by a frozen encoder, which gives one vector per layer for every occurrence.

Read next: `pretrain.inspect.senses`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import one_line
from minitransfer.apparatus.runtime import generator
from minitransfer.text.batching import pad
from minitransfer.text.wordpiece import CLS_ID, SEP_ID, UNK_ID
from minitransfer.text.words import SPECIAL_WORDS, Vocabulary, tokenize
from minitransfer.transfer.encoders import BertEncoder, Encoder

CONTEXT = 30  # words encoded to each side
AT_ONCE = 64  # windows in a batch
HEADING = "="  # opens a heading of WikiText, which says too little around a word


@dataclass(frozen=True)
class Occurrence:
    """A word where it stands: `words[position]` of a line of the document of this number."""

    document: int
    words: list[str]
    position: int

    @property
    def before(self) -> list[str]:
        """The words to the left, as many as are encoded."""
        return self.words[max(0, self.position - CONTEXT) : self.position]

    @property
    def after(self) -> list[str]:
        """The words to the right, as many as are encoded."""
        return self.words[self.position + 1 : self.position + 1 + CONTEXT]

    def in_context(self, width: int) -> str:
        """The word in brackets between `width` characters to either side, so that such lines stand in a column."""
        left, right = (one_line(" ".join(side)) for side in (self.before, self.after))
        return f"{left[-width:]:>{width}} [{one_line(self.words[self.position])}] {right[:width]:<{width}}"


@dataclass(frozen=True)
class Window:
    """What an encoder is given of an occurrence: int32 (T,), of which [start, stop) are the word itself; `edge` tokens
    at either end are no text."""

    token_ids: np.ndarray
    start: int
    stop: int
    edge: int = 0


def find(word: str, documents: Iterable[str], marks_unknown: bool, most: int) -> list[Occurrence]:
    """The first occurrence of a token in each line of text, of `most` lines at most, in the order of the documents.

    A line that was met before is passed over, as are headings and lines of the word alone: nothing speaks around it.
    """
    occurrences: list[Occurrence] = []
    seen: set[str] = set()
    for number, document in enumerate(documents):
        if word not in document.lower():  # far faster than to cut it into words
            continue
        for line in document.split("\n"):
            words = [] if line.startswith(HEADING) or line in seen else tokenize(line, marks_unknown)
            if word in words and len(words) > 1:
                seen.add(line)
                occurrences.append(Occurrence(number, words, words.index(word)))
                if len(occurrences) == most:
                    return occurrences
    return occurrences


def windows_of_pieces(occurrences: Sequence[Occurrence], encoder: BertEncoder,
                      marks_unknown: bool) -> tuple[list[str], list[Window]]:
    """What BERT is given of each occurrence: [CLS], the word with as much text to either side as there is room, [SEP].

    Returns all pieces of the vocabulary, and the windows.
    """
    sides = [" ".join(side) for o in occurrences for side in (o.before, o.after)]
    encoded = encoder.wordpiece.encode(sides, marks_unknown)
    middle = pieces_of(encoder, occurrences[0].words[occurrences[0].position])
    room = encoder.max_tokens - 2 - len(middle)
    half, windows = room // 2, []
    for before, after in zip(encoded[::2], encoded[1::2]):
        before, after = before[max(0, len(before) - half) :], after[: room - half]
        token_ids = np.concatenate([[CLS_ID], before, middle, after, [SEP_ID]]).astype(np.int32)
        start = 1 + len(before)
        windows.append(Window(token_ids, start, start + len(middle), edge=1))
    return encoder.wordpiece.pieces, windows


def pieces_of(encoder: BertEncoder, word: str) -> np.ndarray:
    """The ids of a word's pieces, int32 (n,). Raises: UsageError for a word that BERT cannot spell, or encode whole."""
    ids = encoder.wordpiece.encode([word])[0]
    if not len(ids) or UNK_ID in ids:
        what = f"--word {one_line(word[:40])!r} cannot be spelled with the pieces of this run, to which it is [UNK]"
        raise UsageError(what, "choose another word")
    if len(ids) > encoder.max_tokens - 3:
        what = f"--word {one_line(word[:40])!r} is {len(ids)} pieces, and {encoder.max_tokens - 3} are the most"
        raise UsageError(what, "choose a shorter word")
    return ids


def windows_of(occurrences: Sequence[Occurrence], encoder: Encoder,
               marks_unknown: bool) -> tuple[list[str], list[Window]]:
    """What this encoder is given of each occurrence: the tokens that ids stand for, and the windows."""
    if isinstance(encoder, BertEncoder):
        return windows_of_pieces(occurrences, encoder, marks_unknown)
    vocabulary, windows = Vocabulary(SPECIAL_WORDS), []  # distinct words, numbered as they come
    for o in occurrences:
        words = [*o.before, o.words[o.position], *o.after]
        windows.append(Window(vocabulary.encode([words], grow=True), len(o.before), len(o.before) + 1))
    return vocabulary.words, windows


@torch.no_grad()
def encode(encoder: Encoder, tokens: Sequence[str], windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
    """All layers of each occurrence, and, to compare, of another token of each window, drawn at random.

    A word of several pieces has the mean of their vectors.

    Shapes: N windows -> two (L + 1, N, D) on the CPU.
    """
    table = encoder.token_table(tokens)
    words, others = [], []
    for i in range(0, len(windows), AT_ONCE):
        batch = windows[i : i + AT_ONCE]
        token_ids, mask = (torch.from_numpy(part).to(table.device) for part in pad([w.token_ids for w in batch]))
        layers = encoder.encode(table[token_ids], mask).cpu()  # (L + 1, B, T, D)
        words += [layers[:, b, w.start : w.stop].mean(dim=1) for b, w in enumerate(batch)]
        others += [layers[:, b, another(w, i + b)] for b, w in enumerate(batch)]
    return torch.stack(words, dim=1), torch.stack(others, dim=1)


def another(window: Window, number: int) -> int:
    """The place of a token drawn at random out of a window, but for its word, if there is any other."""
    text = range(window.edge, len(window.token_ids) - window.edge)
    places = [t for t in text if not window.start <= t < window.stop] or [window.start]
    return places[int(torch.randint(len(places), (), generator=generator("another word", number)))]
