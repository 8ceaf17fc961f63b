"""Part I, chapter 4: word pieces. How can a vocabulary of a few thousand entries spell every word there is?

**Subword tokenisation (WordPiece)**: a frequent word is one piece, and a rarer one is cut into several, where `##`
marks those that go on with it: play ##wright. Which pieces there are is learned from text: beginning with single
characters, the two neighbours that stand together most often become one piece, again and again until the vocabulary is
full. Then each word is cut from left to right, every time into the longest piece that fits, as BERT's published program
does (tokenization.py). Its paper (Devlin et al. 2019, section 3) does not say how a word is cut. The library
`tokenizers` does the work.

Read next: `minitransfer.text.packing`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from minitransfer.apparatus.durable import entry
from minitransfer.text.words import FLAGS, UNK_WORD, WITHOUT_SPACES

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = range(5)
MASK = SPECIAL_PIECES[MASK_ID]  # as one writes it into a text that is to be filled in

PREFIX = "##"
LONGEST_WORD = 100  # characters; a longer word is unknown, as it is to the library's own BERT
MOST_LETTERS = 1_000  # distinct characters to spell with; words with any other are too rare to learn from
LEAST_COUNT = 2  # neighbours that were seen together only once are not joined
TOO_LONG = " " + "x" * (LONGEST_WORD + 1) + " "
PORTION, AT_ONCE = 1 << 16, 64  # characters; the library needs some hundred bytes for each that it works on

# How a text becomes words, and what stands around one, as the library writes it down: first for uncased BERT.
AROUND = {
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", SEP_ID], "cls": ["[CLS]", CLS_ID]},
    "decoder": {"type": "WordPiece", "prefix": PREFIX, "cleanup": True},
}
UNCASED_BERT: dict[str, Any] = {
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                   "strip_accents": None, "lowercase": True},  # None: accents go, because case does
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    **AROUND,
}
# And for the pieces that we learn: the same for English, but fair to other scripts. Uncased BERT takes off whatever
# stands on a letter: accents in Europe, vowels in India, and what makes が of か. Here accents go, and the vowel points
# of Hebrew and Arabic, which are seldom written. And each character of a script without spaces is a word, and each
# emoji, which there would be a part of the word it touches.
OPTIONAL_MARKS = (r"\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06ed"
                  r"\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20f0\ufe00-\ufe0f\ufe20-\ufe2f")
EMOJI = "\u2600-\u27bf\U0001f000-\U0001faff"
ALL_SCRIPTS: dict[str, Any] = {
    "normalizer": {"type": "Sequence", "normalizers": [
        {**UNCASED_BERT["normalizer"], "strip_accents": False, "lowercase": False}, {"type": "NFD"},
        {"type": "Replace", "pattern": {"Regex": f"[{OPTIONAL_MARKS}&&\\p{{Mn}}]"}, "content": ""},
        {"type": "NFC"}, {"type": "Lowercase"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": f"[{FLAGS}]{{2}}|[{WITHOUT_SPACES}{EMOJI}]\\p{{M}}*"},
         "behavior": "Isolated", "invert": False},
        UNCASED_BERT["pre_tokenizer"]]},
    **AROUND,
}


class WordPiece:
    """Word pieces and their ids: `pieces[token_id]`, the five special ones first. `train_wordpiece` makes one.

    `continues` (V,) bool marks the pieces that go on with a word. `rules`: how a text becomes words, UNCASED_BERT,
    which earlier runs have and BERTs from elsewhere, or ALL_SCRIPTS.
    """

    def __init__(self, pieces: Sequence[str], rules: Mapping[str, Any] = UNCASED_BERT):
        self.pieces, self.rules = list(pieces), rules
        self.continues = np.array([piece.startswith(PREFIX) for piece in self.pieces])
        self._tokenizer = Tokenizer.from_str(self.to_json())
        self._tokenizer.encode_special_tokens = True  # else a [MASK] that somebody wrote would be the special piece

    @property
    def vocab_size(self) -> int:
        """How many pieces there are, the special ones included."""
        return len(self.pieces)

    def encode(self, texts: Sequence[str], marks_unknown: bool = False) -> list[np.ndarray]:
        """Cut each text into pieces, with no [CLS] or [SEP] around them; for each its token ids, int32 (T,).

        Text is lower-cased, accents go, and punctuation stands alone, as do Chinese characters and, by ALL_SCRIPTS,
        those of all scripts without spaces. A word that the pieces cannot spell is one [UNK], and so is one of more
        than 100 characters. "[MASK]" in a text is text. With `marks_unknown` a literal `<unk>` is [UNK], as word-level
        WikiText means it.

        Differs: to bound memory, a run of more than 65,536 characters without a space is cut there, even within a
        word, which may then have several [UNK].
        """
        token_ids: list[list[np.ndarray]] = [[] for _ in texts]
        portions = ((i, part) for i, text in enumerate(texts) for part in _portions(_plain(text, marks_unknown)))
        while some := list(islice(portions, AT_ONCE)):
            encodings = self._tokenizer.encode_batch_fast([part for _, part in some], add_special_tokens=False)
            for (i, _), encoding in zip(some, encodings):
                token_ids[i].append(np.array(encoding.ids, np.int32))
        return [np.concatenate(parts) if parts else np.empty(0, np.int32) for parts in token_ids]

    def words(self, text: str) -> list[str]:
        """The words of a text, before they are cut into pieces."""
        normalizer, splitter = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        return [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]

    def to_json(self) -> str:
        """The pieces, and how they are used, in the format of `tokenizers`: what a run keeps as tokenizer.json."""
        vocab = {piece: i for i, piece in enumerate(self.pieces)}
        return json.dumps(_description(vocab, self.rules), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "WordPiece":
        """Read what `to_json` has written. Raises: ValueError telling in what it is something else."""
        try:
            description = json.loads(text)
        except (ValueError, RecursionError) as failure:
            raise ValueError(f"it is not JSON: {type(failure).__name__}") from failure
        vocab, of_words = entry(description, "model.vocab"), "pre_tokenizer.type"
        several = entry(description, of_words) == entry(ALL_SCRIPTS, of_words)
        rules = ALL_SCRIPTS if several else UNCASED_BERT
        _compare(description, _description(vocab, rules), "it")
        for i, piece in enumerate(SPECIAL_PIECES if isinstance(vocab, dict) else ()):
            if vocab.get(piece) != i:
                raise ValueError(f"the id of {piece} is {str(vocab.get(piece))[:20]}, not {i}")
        return cls(cls.by_id(vocab), rules)

    @staticmethod
    def by_id(vocab: Any) -> list[str]:
        """The pieces in the order of their ids. Raises: ValueError if these are not 0, 1, 2 … or one is no piece."""
        if not isinstance(vocab, dict):
            raise ValueError("its pieces have no ids")
        ids = vocab.values()
        if any(type(i) is not int for i in ids) or sorted(ids) != list(range(len(vocab))):
            raise ValueError(f"the ids of its {len(vocab):,} pieces are not 0 to {len(vocab) - 1:,}")
        pieces = sorted(vocab, key=vocab.__getitem__)
        wrong = [piece for piece in pieces if piece.split() != [_plain(piece)]]
        if wrong:
            raise ValueError(f"{wrong[0][:20]!r} cannot be a piece")
        return pieces


def train_wordpiece(documents: Iterable[str], vocab_size: int, marks_unknown: bool = False) -> WordPiece:
    """Learn at most `vocab_size` word pieces from text, always the same ones from the same text.

    The library hands out ids in the order of a hash table that is different in each process, and its ties go by id.
    So the single characters, which would get their ids in that order, are given to it beforehand as if they were
    special: all that follows is then decided by counts, and among equals by these ids.

    Differs: of pairs, the most frequent one is joined, as in byte-pair encoding (Sennrich et al. 2016); the WordPiece
    of Schuster and Nakajima (2012) joins the one that makes the text most probable.
    Raises: ValueError if there is no room for a piece beside the special ones.
    """
    if vocab_size <= len(SPECIAL_PIECES):
        raise ValueError(f"{vocab_size} pieces are too few: the special ones alone are {len(SPECIAL_PIECES)}")
    counts = count_words(documents, marks_unknown)
    letters = choose_letters(counts, vocab_size - len(SPECIAL_PIECES))
    alphabet = set(letters)
    words = [word for word in sorted(counts) if alphabet.issuperset(word)]
    # No text has more pieces than this, and the library reserves memory for all that it is asked for.
    most = len(SPECIAL_PIECES) + len(letters) + sum(len(word) - 1 for word in words)
    tokenizer = Tokenizer(models.WordPiece({}, unk_token=SPECIAL_PIECES[UNK_ID]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(vocab_size=min(vocab_size, most), min_frequency=LEAST_COUNT,
                                        special_tokens=[*SPECIAL_PIECES, *letters], show_progress=False)
    tokenizer.train_from_iterator(_written_out(words, counts), trainer)
    ids = tokenizer.get_vocab()
    return WordPiece(sorted(ids, key=ids.__getitem__), ALL_SCRIPTS)


def count_words(documents: Iterable[str], marks_unknown: bool = False) -> Counter[str]:
    """Count the words of a text as `WordPiece.encode` sees them by ALL_SCRIPTS, but for those too long for pieces."""
    strings: Counter[str] = Counter()
    for document in documents:
        for part in _portions(_plain(document, marks_unknown)):
            strings.update(part.replace("\n", " ").split(" "))  # what is met often is then looked at once
    cutter = WordPiece(SPECIAL_PIECES, ALL_SCRIPTS)
    counts: Counter[str] = Counter()
    for string, count in strings.items():
        for word in cutter.words(string):
            if len(word) <= LONGEST_WORD:
                counts[word] += count
    return counts


def choose_letters(counts: Mapping[str, int], room: int) -> list[str]:
    """The pieces of one character, those of the most frequent characters first: at most `room`, of 1,000 characters.

    A character that is never seen inside a word has no piece with `##`.
    """
    frequency: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in word:
            frequency[letter] += count
    inside = {letter for word in counts for letter in word[1:]}
    letters: list[str] = []
    for letter in sorted(frequency, key=lambda letter: (-frequency[letter], letter))[:MOST_LETTERS]:
        more = [letter, PREFIX + letter] if letter in inside else [letter]
        if len(letters) + len(more) > room:
            break
        letters += more
    return letters


def _written_out(words: Iterable[str], counts: Mapping[str, int]) -> Iterator[str]:
    """Yield text in which each word stands as often as it was counted, in lines of no more than 1,000 words."""
    for word in words:
        for done in range(0, counts[word], 1_000):
            yield f"{word} " * min(counts[word] - done, 1_000)


def _plain(text: str, marks_unknown: bool = False) -> str:
    """The text in a form that UTF-8 has, half a surrogate pair being "?".

    With `marks_unknown` each `<unk>` becomes a word longer than any that is cut into pieces, and so comes out as [UNK].
    """
    if marks_unknown:
        text = text.replace(UNK_WORD, TOO_LONG)
    return text.encode("utf-8", "replace").decode()


def _portions(text: str) -> Iterator[str]:
    """Yield a text in portions of at most PORTION characters, cut at a space or line end where there is one."""
    start = 0
    while start < len(text):
        end = start + PORTION
        if end < len(text):
            space = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = space if space > start else end
        yield text[start:end]
        start = end


def _description(vocab: Any, rules: Mapping[str, Any]) -> dict[str, Any]:
    """The whole content of a tokenizer.json, around the ids of its pieces and the rules by which text becomes words."""
    model = {"type": "WordPiece", "unk_token": SPECIAL_PIECES[UNK_ID], "continuing_subword_prefix": PREFIX,
             "max_input_chars_per_word": LONGEST_WORD, "vocab": vocab}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": piece, **plain} for i, piece in enumerate(SPECIAL_PIECES)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **rules, "model": model}


def _compare(actual: Any, needed: Any, name: str) -> None:
    """Raises: ValueError naming the first entry in which two JSON values differ; null is as good as nothing."""
    if isinstance(actual, list) and isinstance(needed, list):
        actual, needed = dict(enumerate(actual)), dict(enumerate(needed))
    if isinstance(actual, dict) and isinstance(needed, dict):
        for key in {**needed, **actual}:
            _compare(actual.get(key), needed.get(key), f"{name}.{key}")
    elif actual != needed:
        names: dict[type, str] = {dict: "an object", list: "a list"}
        there, here = (names.get(type(value)) or json.dumps(value)[:60] for value in (actual, needed))
        raise ValueError(f"{name} is {there}, not {here}")
