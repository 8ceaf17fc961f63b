"""Texts that somebody might write, or send: marks of the models' own, broken Unicode, words without end."""

from hypothesis import strategies as st

from minitransfer.text.words import SPECIAL_WORDS

MARKS = [*SPECIAL_WORDS, "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##ing", "<br />", "<br", "\x00", "\ud800",
         "\udfff", "\u202e", "\u2066", "\u200f", "שלום", "مرحبا", "\ufeff", "\u200d", "e\u0301\u0316", "ﷺ", "🎬", "İ",
         "ß", "\x85", "\u2028", "\r\n", "\n", "\t", "...", "u.s.", "n't", "中文"]  # fmt: skip
ANYTHING = st.lists(st.one_of(st.sampled_from(MARKS), st.text(st.characters(), max_size=9)), max_size=9).map("".join)
STRANGE = ["", " \t", "ok", "x" * 1_000_000, "\ud800 broken", "[MASK] <unk> <pad> [CLS]", "🎬" * 50,
           "a" + "\u0301" * 5000, "bad<br /><br />film", "dull " * 3000, "\u202eright to left\u202c", "null\x00byte",
           "-1", "\ufeffmark"]  # fmt: skip
