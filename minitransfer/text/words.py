"""Part I, chapter 2: words. How does a text become integers without losing how its words are spelled?

**Tokenisation** cuts text into words. One serves WikiText and reviews alike, so that what is learned on one is found
again in the other. A word has two names here: its *token id*, a row number in the **vocabulary**
(`Vocabulary`), and its *char ids*, the UTF-8 bytes it is spelled with. A biLM takes the second and
predicts the first, so a word never seen in training still has a vector.

Read next: `minitransfer.text.batching`.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby

import numpy as np

PAD_WORD, UNK_WORD, EOS_WORD = "<pad>", "<unk>", "<eos>"
SPECIAL_WORDS = (PAD_WORD, UNK_WORD, EOS_WORD)
PAD_ID, UNK_ID, EOS_ID = range(3)

# Char ids: 0 pads, byte b is b + 1, and four marks follow the 256 bytes.
BEGIN_OF_WORD, END_OF_WORD, UNK_CHAR, EOS_CHAR = range(257, 261)
NUM_CHARS = 261
MAX_BYTES = 24  # with both marks; 99.9 % of the running words of WikiText-2 and IMDB are shorter

# Scripts written without spaces, of which each character is a token, since only a dictionary could tell where a word
# ends: Unicode's line breaking (UAX #14) names them, Han and kana in its class ID and the others in its class SA.
# Hangul has spaces, and Tibetan parts its syllables by a mark, so these two keep their words.
WITHOUT_SPACES = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf\U00011700-\U0001174f"  # Tai Le to Ahom
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U0003ffff"  # Han, rarer ones
    "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"  # Hiragana, Katakana
)
FLAGS = "\U0001f1e6-\U0001f1ff"  # letters, of which two are the flag of a country

TOKEN = re.compile(
    r"""
    (?:[^\W\d_]\.){2,}                     # initials and abbreviations: u.s.  e.g.
    | (?:mr|mrs|ms|dr|st|jr|vs)\.(?!\w)    # titles keep their full stop, as in WikiText
    | '(?:s|t|re|m|ve|ll|d)(?!\w)          # don't -> don 't, again as in WikiText
    | [^\W_]+                              # a run of letters and digits
    | \.{2,}                               # an ellipsis
    | [^\w\s] | _                          # any other mark stands alone
    """,
    re.VERBOSE,
)


def tokenize(text: str, marks_unknown: bool = False) -> list[str]:
    """Split one line into lower-case word tokens.

    A mark is a token whether or not a space stands beside it, so `don 't - stop`, as WikiText has it, and
    `don't-stop`, as a review has it, give the same tokens; and so is each character of a script without spaces. With
    `marks_unknown`, as in WikiText, a literal `<unk>` is one token; in a review it is text: `<`, `unk`, `>`.

    Example: "It isn't Mr. Bean's, e.g." -> it isn 't mr. bean 's , e.g.
    Example: "映画は最高!" -> 映 画 は 最 高 !
    """
    if not marks_unknown or UNK_WORD not in text:
        return _cut(text.lower())
    tokens: list[str] = []
    for i, piece in enumerate(text.split(UNK_WORD)):
        tokens += [UNK_WORD] * (i > 0) + _cut(piece.lower())
    return tokens


def _cut(text: str) -> list[str]:
    """Split lower-case text; most has nothing special in it, and the plain pattern takes half the time."""
    if text.isascii():
        return TOKEN.findall(text)
    special, alone, token = _patterns()
    return token.findall(alone.sub(r" \g<0> ", text)) if special.search(text) else TOKEN.findall(text)


@cache
def _patterns() -> tuple[re.Pattern, re.Pattern, re.Pattern]:
    """What finds text to be cut otherwise than by TOKEN; what stands alone in it; and TOKEN with marks on letters.

    Marks are accents, vowel signs, variation selectors: Unicode's categories M, which Python's \\w leaves out.
    """
    codes = [i for i in (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0)) if unicodedata.category(chr(i))[0] == "M"]
    runs = [[code for _, code in run] for _, run in groupby(enumerate(codes), lambda pair: pair[1] - pair[0])]
    marks = "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)
    # In the first, all that is beyond the first plane is one range: there the search takes no time.
    near = re.sub("[\U00010000-\U0010ffff](-.)?", "", WITHOUT_SPACES + marks)
    return (re.compile(f"[{near}\U00010000-\U0010ffff]"),
            re.compile(f"[{WITHOUT_SPACES}][{marks}]*|[{FLAGS}]{{2}}"),
            re.compile(rf"[^\W_]+(?:[{marks}]+[^\W_]*)+ | [{FLAGS}]{{2}} | [^\w\s][{marks}]+ | {TOKEN.pattern}",
                       re.VERBOSE))


def token_stream(documents: Iterable[str], marks_unknown: bool = False) -> Iterator[list[str]]:
    """Yield the tokens of each line of each document, every line closed by `<eos>`."""
    for document in documents:
        for line in document.split("\n"):
            if tokens := tokenize(line, marks_unknown):
                yield tokens + [EOS_WORD]


class Vocabulary:
    """The words a token id can stand for: `words[token_id]`, and `ids[word]` back. The specials come first."""

    def __init__(self, words: Sequence[str]):
        """Number the words as they come. Raises: ValueError if the specials do not open them, or one comes twice."""
        if tuple(words[:3]) != SPECIAL_WORDS:
            raise ValueError(f"a vocabulary opens with {SPECIAL_WORDS}, not {tuple(words[:3])}")
        self.words = list(words)
        self.ids = {word: i for i, word in enumerate(self.words)}
        if len(self.ids) != len(self.words):
            raise ValueError(f"{len(self.words) - len(self.ids)} words stand in the vocabulary twice")

    @classmethod
    def from_tokens(cls, lines: Iterable[Sequence[str]]) -> "Vocabulary":
        """Count tokens and rank every distinct word by falling frequency, ties in alphabetical order."""
        counts: Counter[str] = Counter()
        for tokens in lines:
            counts.update(tokens)
        ranked = sorted((w for w in counts if w not in SPECIAL_WORDS), key=lambda w: (-counts[w], w))
        return cls([*SPECIAL_WORDS, *ranked])

    @classmethod
    def from_text(cls, text: str) -> "Vocabulary":
        """The words of a vocab.txt, one a line. Raises: ValueError if it is no vocabulary."""
        return cls(text.removesuffix("\n").split("\n"))

    def __len__(self) -> int:
        """The number of words, the specials among them."""
        return len(self.words)

    def encode(self, lines: Iterable[Sequence[str]], grow: bool = False) -> np.ndarray:
        """Turn lines of tokens into one stream of token ids, int32 (N,).

        A word not in the vocabulary becomes `<unk>`; with `grow` it is given the next free id instead, so that a
        model that is given its spelling still sees it.
        """
        chunks = []
        for tokens in lines:
            if grow:
                for word in tokens:
                    if word not in self.ids:
                        self.ids[word] = len(self.words)
                        self.words.append(word)
            chunks.append(np.fromiter((self.ids.get(word, UNK_ID) for word in tokens), np.int32, len(tokens)))
        return np.concatenate(chunks) if chunks else np.empty(0, np.int32)


def spell(word: str, max_bytes: int = MAX_BYTES) -> list[int]:
    """Spell a word as char ids: begin mark, its UTF-8 bytes each plus one, end mark; at most `max_bytes` in all.

    The specials are not spelled, they have one mark each; `<pad>` is nothing at all. A longer word keeps its
    beginning.

    Example: "cat" -> [257, 100, 98, 117, 258]
    """
    if word == PAD_WORD:
        return []
    if word in SPECIAL_WORDS:
        return [BEGIN_OF_WORD, UNK_CHAR if word == UNK_WORD else EOS_CHAR, END_OF_WORD]
    # A lone surrogate has no UTF-8 form; "replace" spells it "?" rather than stopping hours of work.
    letters = word[:max_bytes].encode("utf-8", "replace")[: max_bytes - 2]
    return [BEGIN_OF_WORD, *(b + 1 for b in letters), END_OF_WORD]


def spell_all(words: Sequence[str], max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Spell many words into one table of char ids, int16 (len(words), max_bytes), padded with zeros on the right."""
    table = np.zeros((len(words), max_bytes), np.int16)
    for row, word in zip(table, words):
        char_ids = spell(word, max_bytes)
        row[: len(char_ids)] = char_ids
    return table
