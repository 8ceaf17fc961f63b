"""Claims about words: one tokenisation for every spacing, a vocabulary in a fixed order, and spelling in bytes."""

import re
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransfer.text import sample, words
from minitransfer.text.cleaning import clean_text
from minitransfer.text.words import Vocabulary, spell, spell_all, token_stream, tokenize

# Letters with and without case, marks of the tokenisation, and what text is not expected to hold but does.
TRICKY = [*"aSs'.mr-_<unk>5 \n\x00\ufeff\u200b\u0301İßΣ\ud800אם😀", "<unk>", "'s", "e.g.", "Mr."]
ANYTHING = st.lists(st.one_of(st.sampled_from(TRICKY), st.characters())).map("".join)
any_text = settings(max_examples=100, deadline=None)


@pytest.mark.parametrize(
    ("as_in_wikitext", "as_in_a_review"),
    [
        ("I don 't know - really", "I don't know-really"),
        ("Mr. Bean 's dog , they 'd say , isn 't 3 - year - old .", "Mr. Bean's dog, they'd say, isn't 3-year-old."),
        ('" Stop ! " she said ( twice ) ; we \'ve heard .', '"Stop!" she said (twice); we\'ve heard.'),
        ("it cost 1 , 250 $ in the U.S. , i.e. a lot ...", "it cost 1,250$ in the U.S., i.e. a lot..."),
        ("the boys ' club : 2 . 5 / 10", "the boys' club: 2.5/10"),
    ],
)
def test_a_sentence_spaced_as_in_wikitext_and_as_in_a_review_gives_the_same_tokens(as_in_wikitext, as_in_a_review):
    assert tokenize(as_in_wikitext) == tokenize(as_in_a_review) == as_in_wikitext.lower().split()


def test_the_example_of_the_docstring():
    assert tokenize("It isn't Mr. Bean's, e.g.") == ["it", "isn", "'t", "mr.", "bean", "'s", ",", "e.g."]


def test_endings_titles_and_abbreviations_are_told_from_what_only_looks_like_them():
    assert tokenize("'tis 'solo' rock'n'roll") == ["'", "tis", "'", "solo", "'", "rock", "'", "n", "'", "roll"]
    assert tokenize("version 1.2.3.") == ["version", "1", ".", "2", ".", "3", "."]
    assert tokenize("st.mary vs.") == ["st", ".", "mary", "vs."]
    assert tokenize("The end.A new_start..") == ["the", "end", ".", "a", "new", "_", "start", ".."]


def test_unk_is_one_token_only_in_a_corpus_that_marks_its_unknown_words():
    assert tokenize("The<unk>'s <unk> .", marks_unknown=True) == ["the", "<unk>", "'s", "<unk>", "."]
    assert tokenize("The <unk> .") == ["the", "<", "unk", ">", "."]
    assert tokenize("< unk > <UNK>", marks_unknown=True) == ["<", "unk", ">"] * 2


@pytest.mark.parametrize("marks_unknown", [False, True])
def test_the_other_specials_are_text_wherever_they_are_written(marks_unknown):
    assert tokenize("<pad> <eos>", marks_unknown) == ["<", "pad", ">", "<", "eos", ">"]
    tokens = tokenize("[MASK] [CLS]", marks_unknown)
    assert tokens == ["[", "mask", "]", "[", "cls", "]"]


@any_text
@given(ANYTHING, st.booleans())
def test_any_text_splits_into_tokens_that_lose_nothing_but_space(text, marks_unknown):
    tokens = tokenize(text, marks_unknown)
    # An İ or a final Σ is lowered by its surroundings, so the pieces between two <unk> are lowered one by one.
    lowered = "<unk>".join(piece.lower() for piece in text.split("<unk>")) if marks_unknown else text.lower()
    assert "".join(tokens) == "".join(lowered.split())
    # One word per line is how a vocabulary is stored: no token may hold anything that ends a line.
    assert "\n".join(tokens).splitlines() == tokens


@any_text
@given(ANYTHING, st.booleans())
def test_tokens_written_with_spaces_between_them_are_the_same_tokens_again(text, marks_unknown):
    tokens = tokenize(text, marks_unknown)
    assert tokenize(" ".join(tokens), marks_unknown) == tokens


def test_every_line_closes_with_eos_and_lines_without_tokens_are_left_out():
    lines = list(token_stream(["One line.\n \nTwo!", "", "<unk>"], marks_unknown=True))
    assert lines == [["one", "line", ".", "<eos>"], ["two", "!", "<eos>"], ["<unk>", "<eos>"]]


LINES = [["b", "a", "<unk>", "c", "<eos>"], ["c", "d", "<eos>"], ["c", "a", "<eos>"], ["é", "<unk>"]]


def test_words_are_ranked_by_count_then_alphabet_after_the_specials():
    counts = Counter(word for line in LINES for word in line)
    ordinary = [word for word in counts if not word.startswith("<")]
    vocabulary = Vocabulary.from_tokens(iter(LINES))
    assert vocabulary.words[:3] == ["<pad>", "<unk>", "<eos>"]
    assert sorted(vocabulary.words[3:]) == sorted(ordinary)
    for earlier, later in zip(vocabulary.words[3:], vocabulary.words[4:]):
        assert counts[earlier] > counts[later] or (counts[earlier] == counts[later] and earlier < later)
    assert Vocabulary.from_tokens(reversed(LINES)).words == vocabulary.words


def test_ids_and_words_are_each_others_inverse_and_the_most_frequent_stand_in_front():
    vocabulary = Vocabulary.from_tokens(LINES)
    assert [vocabulary.ids[word] for word in vocabulary.words] == list(range(len(vocabulary))) == list(range(8))
    assert vocabulary.words[:5] == ["<pad>", "<unk>", "<eos>", "c", "a"]
    assert (words.PAD_ID, words.UNK_ID, words.EOS_ID) == tuple(vocabulary.ids[w] for w in ("<pad>", "<unk>", "<eos>"))


def test_encoding_round_trips_and_what_a_small_vocabulary_lacks_becomes_unk():
    vocabulary = Vocabulary.from_tokens(LINES)
    running = [word for line in LINES for word in line]
    token_ids = vocabulary.encode(iter(LINES))
    assert token_ids.dtype == np.int32 and [vocabulary.words[i] for i in token_ids] == running
    small = Vocabulary(vocabulary.words[:5])
    expected = [word if word in ("a", "c", "<eos>") else "<unk>" for word in running]
    assert [small.words[i] for i in small.encode(LINES)] == expected
    assert len(small) == 5


def test_growing_gives_new_words_the_next_ids_and_moves_no_old_one():
    vocabulary = Vocabulary.from_tokens(LINES)
    before = list(vocabulary.words)
    token_ids = vocabulary.encode([["zebra", "a"], ["yak", "zebra", "<unk>"]], grow=True)
    assert vocabulary.words == before + ["zebra", "yak"]
    assert token_ids.tolist() == [8, before.index("a"), 9, 8, 1]


@pytest.mark.parametrize("lines", [[], [[]]])
def test_no_text_encodes_to_an_empty_stream(lines):
    token_ids = Vocabulary.from_tokens(lines).encode(lines)
    assert token_ids.shape == (0,) and token_ids.dtype == np.int32


def test_a_vocabulary_with_a_word_twice_or_without_its_specials_is_refused():
    with pytest.raises(ValueError, match="2 words stand in the vocabulary twice"):
        Vocabulary(["<pad>", "<unk>", "<eos>", "a", "b", "a", "b"])
    with pytest.raises(ValueError, match="opens with"):
        Vocabulary(["<unk>", "<pad>", "<eos>", "a"])


@pytest.mark.parametrize(
    ("word", "char_ids"),
    [
        ("cat", [257, 99 + 1, 97 + 1, 116 + 1, 258]),
        ("é", [257, 0xC3 + 1, 0xA9 + 1, 258]),  # two bytes in UTF-8
        ("😀", [257, 0xF0 + 1, 0x9F + 1, 0x98 + 1, 0x80 + 1, 258]),
        ("\x00", [257, 1, 258]),  # a NUL is a byte like any other, and not padding
        ("\ud800", [257, ord("?") + 1, 258]),  # half a surrogate pair has no UTF-8 form
        ("<unk>", [257, 259, 258]),
        ("<eos>", [257, 260, 258]),
        ("<pad>", []),
        ("", [257, 258]),
    ],
)
def test_a_word_is_spelled_as_its_bytes_plus_one_between_two_marks(word, char_ids):
    assert spell(word) == char_ids


@pytest.mark.parametrize("max_bytes", [3, 7, 24])
def test_a_long_word_keeps_its_first_bytes_and_both_marks(max_bytes):
    letters = max_bytes - 2
    fits = [257, *[ord("x") + 1] * letters, 258]
    assert spell("x" * (letters - 1), max_bytes) == fits[:-2] + [258]
    assert spell("x" * letters, max_bytes) == spell("x" * letters + "yz", max_bytes) == fits
    # A euro sign is three bytes; cut inside of one, the rest of it is simply missing.
    assert spell("€" * 1_000_000, max_bytes)[1:-1] == [b + 1 for b in (b"\xe2\x82\xac" * 8)[:letters]]


@any_text
@given(ANYTHING)
def test_the_spelling_of_any_token_is_short_and_can_be_read_back(text):
    for word in tokenize(text):
        begin, *letters, end = spell(word, 40)
        assert (begin, end) == (words.BEGIN_OF_WORD, words.END_OF_WORD) and len(letters) <= 38
        assert all(1 <= i <= 256 for i in letters) and words.NUM_CHARS > max(words.UNK_CHAR, words.EOS_CHAR)
        if len(letters) < 38 and not any("\ud800" <= letter <= "\udfff" for letter in word):
            assert bytes(i - 1 for i in letters).decode() == word


def test_a_spelling_table_holds_each_spelling_and_zeros_behind_it():
    some = ["cat", "<pad>", "é", "x" * 30, "<unk>"]
    table = spell_all(some, max_bytes=11)
    assert table.shape == (5, 11) and table.dtype == np.int16
    for row, word in zip(table.tolist(), some):
        assert row == spell(word, 11) + [0] * (11 - len(spell(word, 11)))
    assert spell_all([]).shape == (0, words.MAX_BYTES)


# Scripts

AS_BEFORE = re.compile(  # how text was cut before other scripts were thought of
    r"""(?:[^\W\d_]\.){2,}|(?:mr|mrs|ms|dr|st|jr|vs)\.(?!\w)|'(?:s|t|re|m|ve|ll|d)(?!\w)|[^\W_]+|\.{2,}|[^\w\s]|_""")


def is_plain(character: str) -> bool:
    """Whether a character is none of those that are cut otherwise than before."""
    spaceless = re.fullmatch(f"[{words.WITHOUT_SPACES}]", character)
    return not spaceless and unicodedata.category(character)[0] != "M" and not "\U0001f1e6" <= character <= "\U0001f1ff"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from([*"aSs'.mr-_<unk>5 ßéΣж", "'s", "e.g.", "Mr.", "don't"]),
                          st.characters().filter(is_plain))).map("".join))
def test_text_without_marks_and_spaceless_scripts_is_cut_as_it_always_was(text):
    assert tokenize(text) == [token for token in AS_BEFORE.findall(text.lower())] or "\u0307" in text.lower()


def test_the_sample_is_cut_as_it_always_was():
    for text in [text for half in sample.reviews()[:2] for text, _ in half] + sample.articles()[0]:
        assert tokenize(text) == AS_BEFORE.findall(text.lower())


@pytest.mark.parametrize(("text", "tokens"), [
    ("映画は最高だった。", "映 画 は 最 高 だ っ た 。"),
    ("ABCの映画3本", "abc の 映 画 3 本"),
    ("スーパー", "ス ー パ ー"),
    ("か\u3099き", "か\u3099 き"),  # a voiced kana in two parts
    ("หนังดีที่สุด", "ห นั ง ดี ที่ สุ ด"),
    ("ຮູບເງົາ", "ຮູ ບ ເ ງົ າ"),
    ("រឿងល្អ", "រឿ ង ល្ អ"),
    ("ရုပ်ရှင်", "ရု ပ် ရှ င်"),
    ("영화가 좋다", "영화가 좋다"),  # Korean has spaces
    ("हिन्दी फ़िल्म", "हिन्दी फ़िल्म"),
    ("فِلْمٌ رائع!", "فِلْمٌ رائع !"),
    ("Über Straßen: schön, scho\u0308n", "über straßen : schön , scho\u0308n"),
    ("İstanbul", "i\u0307stanbul"),
    ("great👍🏽😀❤️", "great 👍 🏽 😀 ❤️"),  # the colour of a skin apart, so that thumbs have a word in common
    ("🇩🇪🇯🇵!", "🇩🇪 🇯🇵 !"),
    ("5️⃣", "5️⃣"),
])
def test_scripts_are_cut_where_they_can_be_and_marks_stay_on_their_letters(text, tokens):
    assert tokenize(text) == tokens.split()


def test_the_scripts_without_spaces_are_those_of_unicodes_line_breaking_and_no_other_letter():
    names = ("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "THAI", "LAO", "MYANMAR", "KHMER", "TAI", "NEW TAI",
             "AHOM", "KANGXI", "IDEOGRAPHIC", "HANGZHOU", "VERTICAL", "MASU", "KATAKANA-HIRAGANA", "HENTAIGANA")
    spaceless = re.compile(f"[{words.WITHOUT_SPACES}]")
    for character in filter(str.isalpha, map(chr, range(sys.maxunicode + 1))):
        if spaceless.match(character):
            assert unicodedata.name(character).startswith(names), character
    for character in "ぁんァヴー々〆一龥㐀𠀀ｱกฮກຮကអᥐᦀᨠꪀ𑜀":
        assert spaceless.match(character)
    for character in "aßжΩאبक한བ가ㄱⅣａ5":
        assert not spaceless.match(character)


def test_members_of_an_emoji_family_become_words_of_their_own_once_text_is_clean():
    assert tokenize(clean_text("👩‍🚀 ❤️‍🔥", Counter())) == ["👩", "🚀", "❤️", "🔥"]
