"""Claims about word pieces: learned alike in every process, cut as by hand, and text that looks special is text."""

import json
import os
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from minitransfer.text import sample, wordpiece
from minitransfer.text.wordpiece import (
    ALL_SCRIPTS,
    CLS_ID,
    MASK_ID,
    PAD_ID,
    SEP_ID,
    SPECIAL_PIECES,
    UNCASED_BERT,
    UNK_ID,
    WordPiece,
    choose_letters,
    count_words,
    train_wordpiece,
)
from minitransfer.text.words import tokenize

ROOT = Path(__file__).resolve().parents[2]
TRICKY = [*"aSs'.mr-_<unk>5[]# \n\t\x00\x1c\ufeff\u200b\u0301\u0345İßΣ\ud800\udfffאם中한😀\U000e0041", "[MASK]",
          "[CLS]", "<unk>", "##a", "Mr."]
ANYTHING = st.lists(st.one_of(st.sampled_from(TRICKY), st.characters())).map("".join)
any_text = settings(max_examples=100, deadline=None)


def made_up(number: int, seed: int = 0) -> list[str]:
    """Documents of made-up words that share many syllables, so that counts are often equal."""
    rng = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    known = ["".join(rng.sample(syllables, rng.choice([1, 2, 3]))) for _ in range(90)]
    return [" ".join(rng.choices(known, k=31)) + " (the end)." for _ in range(number)]


@pytest.fixture(scope="module")
def learned() -> WordPiece:
    """Pieces of made-up words and of a line with marks, from which brackets and the word mask can be spelled."""
    return train_wordpiece([*made_up(20), "[ mask cls sep pad unk ] < unk > 'tis naïve\nnew - line 中 ?" * 3], 211)


def test_the_special_pieces_have_the_first_ids(learned):
    assert tuple(learned.pieces[:5]) == SPECIAL_PIECES == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert (PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID) == (0, 1, 2, 3, 4)
    assert learned.vocab_size == len(learned.pieces) == len(set(learned.pieces)) == 211


def test_pieces_that_go_on_with_a_word_are_marked(learned):
    assert learned.continues.dtype == bool and learned.continues.shape == (211,)
    assert [piece for piece, goes_on in zip(learned.pieces, learned.continues) if goes_on] == [
        piece for piece in learned.pieces if piece[:2] == "##"]
    assert 10 < learned.continues.sum() < 200


def pieces_by_loops(documents: list[str], vocab_size: int) -> list[str]:
    """Byte-pair merging with every pair counted anew each time; of equal counts the pair with the smallest ids."""
    counts = Counter(word for document in documents for word in document.split())
    frequency = Counter(letter for word, count in counts.items() for letter in word * count)
    pieces = list(SPECIAL_PIECES)
    for letter in sorted(frequency, key=lambda letter: (-frequency[letter], letter)):
        pieces += [letter] + ["##" + letter] * any(letter in word[1:] for word in counts)
    spelled = {word: [word[0], *("##" + letter for letter in word[1:])] for word in counts}
    while len(pieces) < vocab_size:
        pairs = Counter()
        for word, parts in spelled.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[word]
        a, b = min(pairs, key=lambda pair: (-pairs[pair], pieces.index(pair[0]), pieces.index(pair[1])))
        if pairs[a, b] < 2:
            break
        pieces += [a + b[2:]] * (a + b[2:] not in pieces)
        for word, parts in spelled.items():
            for i in range(len(parts) - 1, 0, -1):
                if parts[i - 1 : i + 1] == [a, b]:
                    parts[i - 1 : i + 1] = [a + b[2:]]
    return pieces


@pytest.mark.parametrize("vocab_size", [23, 60, 181, 10_000])
def test_the_most_frequent_pair_becomes_a_piece_until_the_vocabulary_is_full(vocab_size):
    documents = [document.removesuffix(" (the end).") for document in made_up(3)]
    fewest = len(SPECIAL_PIECES) + sum(len(set(p)) for p in ("bdfgklmnprstaeiou", "aeioubdfgklmnprst"))
    found = train_wordpiece(documents, vocab_size).pieces
    if vocab_size >= fewest:
        assert found == pieces_by_loops(documents, vocab_size)
    else:  # room for some letters, and none for pairs
        letters = choose_letters(count_words(documents), vocab_size - len(SPECIAL_PIECES))
        assert found[: len(SPECIAL_PIECES)] == list(SPECIAL_PIECES) and sorted(found[5:]) == sorted(letters)
    assert len(found) <= vocab_size


def test_every_word_is_written_out_as_often_as_it_was_counted():
    counts = {"rare": 1, "some": 1_000, "more": 2_345}
    lines = list(wordpiece._written_out(counts, counts))
    assert Counter(word for line in lines for word in line.split()) == counts
    assert max(len(line.split()) for line in lines) == 1_000


def test_the_same_text_gives_the_same_bytes_in_every_process():
    """Many words occur equally often, and hash tables begin differently in each process."""
    program = ("from tests.lessons.test_wordpiece import made_up, train_wordpiece; import sys; "
               "sys.stdout.write(train_wordpiece(made_up(9), 150).to_json())")
    found = set()
    for hash_seed in "0", "1", "2":
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."})
        found.add(done.stdout)
    assert found == {train_wordpiece(made_up(9), 150).to_json()}
    assert {train_wordpiece(reversed(made_up(9)), 150).to_json() for _ in range(5)} == found  # nor does order count


def test_a_small_corpus_gives_fewer_pieces_than_asked_for_and_a_small_number_is_kept_to():
    assert train_wordpiece(["aa ab ab"], 1_000).pieces == [*SPECIAL_PIECES, "a", "##a", "b", "##b", "ab"]
    assert train_wordpiece([], 1_000).pieces == train_wordpiece(["", "\n \x00"], 6).pieces == list(SPECIAL_PIECES)
    for size in range(6, 60):
        assert train_wordpiece(made_up(2), size).vocab_size in (size, size - 1)  # a letter may need two places
    for size in (-1, 0, 5):
        with pytest.raises(ValueError, match=f"{size} pieces are too few: the special ones alone are 5"):
            train_wordpiece(["a b"], size)


def test_only_the_thousand_most_frequent_characters_are_pieces():
    """Of equally frequent ones those that come first in Unicode."""
    rare = [chr(0x4E00 + i) for i in range(1_500)]
    documents = [" ".join(rare), " ".join(rare[1_200:]), "ab " * 3]
    assert choose_letters(count_words(documents), 99_999) == [
        "a", "b", "##b", *sorted(rare[1_200:]), *rare[: 1_000 - 302]]
    assert set(train_wordpiece(documents, 99_999).pieces[5:]) == {
        "a", "b", "##b", "ab", *rare[1_200:], *rare[: 1_000 - 302]}


def cut_by_hand(word: str, pieces: set[str]) -> list[str]:
    """Always the longest piece that fits; a word of which something is left over is unknown as a whole."""
    if len(word) > 100:
        return ["[UNK]"]
    parts, start = [], 0
    while start < len(word):
        ends = [end for end in range(start + 1, len(word) + 1) if "##" * (start > 0) + word[start:end] in pieces]
        if not ends:
            return ["[UNK]"]
        parts.append("##" * (start > 0) + word[start : ends[-1]])
        start = ends[-1]
    return parts


def words_by_hand(text: str) -> list[str]:
    """Lower-case words without accents, each mark and each Chinese character alone; for the characters used below."""
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn").lower()
    alone = {c for c in text if not c.isalnum() and not c.isspace() or "一" <= c <= "鿿"}
    return "".join(f" {c} " if c in alone else c for c in text).split()


@any_text
@given(st.lists(st.one_of(st.sampled_from([*"abdefghiklmnoprstuABEÄéïçñÅ.,-'!?[]() \n\t中文59ßq", "[MASK]", "x" * 101]),
                          st.sampled_from(made_up(1)[0].split()))).map("".join))
def test_a_text_is_cut_as_by_hand(learned, text):
    pieces = set(learned.pieces)
    expected = [part for word in words_by_hand(text) for part in cut_by_hand(word, pieces)]
    assert [learned.pieces[i] for i in learned.encode([text])[0]] == expected


def test_what_looks_like_a_special_piece_is_text(learned):
    for piece in SPECIAL_PIECES:
        apart = learned.encode([f"a [ {piece[1:-1]} ] b"])[0]
        for written in (f"a {piece} b", f"a{piece}b", f"A {piece.lower()} b"):
            found = learned.encode([written])[0]
            assert found.tolist() == apart.tolist() and found.min() >= 5
    assert learned.encode(["##a"])[0].tolist() == learned.encode(["# # a"])[0].tolist()


def test_unk_is_one_piece_only_in_a_corpus_that_marks_its_unknown_words(learned):
    names = [learned.pieces[i] for i in learned.encode(["bo<unk>'s <UNK> <unk>"], marks_unknown=True)[0]]
    assert [i for i, name in enumerate(names) if name == "[UNK]"] == [
        len(learned.encode(["bo"])[0]), len(names) - 1]
    assert UNK_ID not in learned.encode(["ta <unk>"])[0]
    marked, plain = (set(train_wordpiece(["ta <unk> <unk>"], 50, marks).pieces[5:]) for marks in (True, False))
    assert marked == {"t", "a", "##a"} and {"<", "unk", ">"} < plain


def test_the_lines_of_a_document_are_one_text(learned):
    one, other = "ta bo\n(ke) ", "\n ru [MASK]"
    found = learned.encode([one + other, one, other, ""])
    assert found[0].tolist() == [*found[1], *found[2]] and all(ids.dtype == np.int32 for ids in found)
    assert found[3].shape == (0,) and learned.encode([]) == []


@any_text
@given(ANYTHING, ANYTHING, st.booleans())
def test_any_text_has_ids_and_a_space_is_where_it_may_be_parted(learned, text, more, marks_unknown):
    together, one, other = learned.encode([f"{text} {more}", text, more], marks_unknown)
    assert together.tolist() == [*one, *other]
    assert all(i == UNK_ID or 5 <= i < 211 for i in together)
    if "<unk>" not in text:
        assert learned.encode([text], marks_unknown=not marks_unknown)[0].tolist() == one.tolist()


@any_text
@given(st.lists(ANYTHING, max_size=4), st.booleans())
def test_the_words_of_any_text_are_spelled_once_they_were_learned_from(texts, marks_unknown):
    learned = train_wordpiece(texts, 10_000, marks_unknown)
    ids = np.concatenate([np.empty(0, int), *learned.encode(texts, marks_unknown)])
    names = [learned.pieces[i] for i in ids if i != UNK_ID]
    spelled = "".join(name[2:] if name[:2] == "##" else " " + name for name in names).split(" ")[1:]
    assert Counter(spelled) == count_words(texts, marks_unknown)
    if not marks_unknown:
        assert len(names) == len(ids) or any(len(text) > 100 for text in texts)


@any_text
@given(st.lists(ANYTHING, max_size=4), ANYTHING)
def test_a_tokenizer_is_read_back_as_it_was_written(texts, text):
    learned = train_wordpiece(texts, 90)
    again = WordPiece.from_json(learned.to_json())
    assert again.pieces == learned.pieces and again.to_json() == learned.to_json()
    assert np.array_equal(again.encode([text])[0], learned.encode([text])[0])


def test_characters_that_are_no_text_do_not_stop_hours_of_work(learned):
    together, half, nul = learned.encode(["tabo?", "ta\x00bo\ud800", "\x00\u200b\ufeff"])
    assert half.tolist() == together.tolist() and len(nul) == 0  # half a surrogate pair is a question mark


@pytest.mark.parametrize("portion", [13, 1_000])
def test_a_long_text_is_cut_in_portions_between_words(learned, monkeypatch, portion):
    texts = [*made_up(7), "", "ta\n" * 99, "bo " * 99]
    whole = learned.encode(texts)
    monkeypatch.setattr(wordpiece, "PORTION", portion)
    monkeypatch.setattr(wordpiece, "AT_ONCE", 3)
    assert all(np.array_equal(a, b) for a, b in zip(learned.encode(texts), whole, strict=True))
    for text in [*texts, "x" * 2_999]:
        parts = list(wordpiece._portions(text))
        assert "".join(parts) == text and all(0 < len(part) <= portion for part in parts)


def test_a_word_of_a_million_characters_is_unknown_and_teaches_nothing(learned):
    long = "ta" * 500_000
    assert set(learned.encode([f"bo {long}"])[0][-9:].tolist()) == {UNK_ID}
    assert learned.encode(["ta" * 50 + " " + "ta" * 50 + "t"])[0][-1] == UNK_ID  # of 100 characters, and of 101
    assert UNK_ID not in learned.encode(["ta" * 50])[0]
    assert train_wordpiece([*made_up(3), long], 99).pieces == train_wordpiece(made_up(3), 99).pieces


def test_the_file_is_one_that_the_library_reads_by_itself(learned):
    """There a literal [MASK] is the piece, and a text gets its [CLS] and [SEP]."""
    theirs = Tokenizer.from_str(learned.to_json())
    ours = learned.encode(["Ta, boke (naïve)!"])[0].tolist()
    assert theirs.encode("Ta, boke (naïve)!").ids == [CLS_ID, *ours, SEP_ID]
    assert theirs.encode("ta", "[MASK]").tokens[-3:] == ["[SEP]", "[MASK]", "[SEP]"]
    assert theirs.encode("ta", "bo").type_ids[0] == 0 and theirs.encode("ta", "bo").type_ids[-1] == 1
    assert theirs.get_vocab_size() == learned.vocab_size
    assert json.loads(theirs.to_str()) == json.loads(learned.to_json())


WRONG = {  # what is done to the JSON of a tokenizer, and what is said of it
    "another model": (lambda t: t["model"].update(type="BPE"), 'it.model.type is "BPE", not "WordPiece"'),
    "no model": (lambda t: t.pop("model"), "it.model is null, not"),
    "a model of another kind": (lambda t: t.update(model=[1, {}]), "it.model is a list, not an object"),
    "another prefix": (lambda t: t["model"].update(continuing_subword_prefix="@@"), "continuing_subword_prefix is"),
    "words of any length": (lambda t: t["model"].pop("max_input_chars_per_word"), "per_word is null, not 100"),
    "capitals": (lambda t: t["normalizer"].update(lowercase=False), "it.normalizer.lowercase is false, not true"),
    "another splitting": (lambda t: t.update(pre_tokenizer={"type": "Whitespace"}), "it.pre_tokenizer.type is"),
    "cut short": (lambda t: t.update(truncation={"max_length": 3}), "it.truncation is"),
    "lists in lists": (lambda t: t.update(padding=json.loads("[" * 900 + "]" * 900)), "padding is a list, not null"),
    "something new": (lambda t: t.update(surprise=1), "it.surprise is 1, not null"),
    "another special piece": (lambda t: t["added_tokens"].append({"id": 9}), "it.added_tokens.5 is"),
    "[MASK] found in text": (lambda t: t["added_tokens"][4].update(special=False), "added_tokens.4.special is false"),
    "no pieces": (lambda t: t["model"].update(vocab=["a"]), "its pieces have no ids"),
    "[MASK] elsewhere": (lambda t: t["model"]["vocab"].update({"[MASK]": 7, "a": 4}), "id of .MASK. is 7, not 4"),
    "no [UNK]": (lambda t: t["model"]["vocab"].pop("[UNK]"), "id of .UNK. is None, not 1"),
    "a hole": (lambda t: t["model"]["vocab"].update(a=9), "ids of its 7 pieces are not 0 to 6"),
    "an id twice": (lambda t: t["model"]["vocab"].update(b=5), "ids of its 7 pieces are not 0 to 6"),
    "a negative id": (lambda t: t["model"]["vocab"].update(b=-1), "ids of its 7 pieces"),
    "half an id": (lambda t: t["model"]["vocab"].update(b=5.5), "ids of its 7 pieces"),
    "ids that are words": (lambda t: t["model"]["vocab"].update(b="6"), "ids of its 7 pieces"),
    "ids that are true": (lambda t: t["model"]["vocab"].update({"[UNK]": True}), "ids of its 7 pieces"),
    "a piece of two words": (lambda t: t["model"]["vocab"].update({"b c": 7}), "'b c' cannot be a piece"),
    "an empty piece": (lambda t: t["model"]["vocab"].update({"": 7}), "'' cannot be a piece"),
    "half a surrogate pair": (lambda t: t["model"]["vocab"].update({"\ud800": 7}), r"ud800' cannot be a piece"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_such_tokenizer_is_refused_by_what_is_wrong_with_it(wrong):
    change, told = WRONG[wrong]
    tokenizer = json.loads(WordPiece([*SPECIAL_PIECES, "a", "b"]).to_json())
    WordPiece.from_json(json.dumps(tokenizer))
    change(tokenizer)
    with pytest.raises(ValueError, match=told):
        WordPiece.from_json(json.dumps(tokenizer))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "NaN", "[]", '"a"', "{}", "1" * 9_999, "\ud800", "{}{}"])
def test_what_is_not_json_or_holds_no_tokenizer_is_refused(text):
    with pytest.raises(ValueError, match="^it"):
        WordPiece.from_json(text)


# Scripts

EUROPEAN = [*"aßéñÅŻčİκΣжё.,-'!?[]() \n\t59°™", "e\u0301", "\u0323", "שָׁלוֹם", "مَرْحَبًا", "中", "\x00", "\u200b", "\ud800"]


@any_text
@given(st.lists(st.sampled_from(EUROPEAN)).map("".join))
def test_european_hebrew_and_arabic_words_and_ideographs_are_those_of_uncased_bert(text):
    text = wordpiece._plain(text)
    old, new = (WordPiece(SPECIAL_PIECES, rules).words(text) for rules in (UNCASED_BERT, ALL_SCRIPTS))
    assert new == [unicodedata.normalize("NFC", word) for word in old]


def test_the_sample_gives_the_pieces_of_uncased_bert():
    texts = [text for text, _ in sample.reviews()[0]] + sample.articles()[0]
    learned = train_wordpiece(texts, 900)
    as_before = WordPiece(learned.pieces, UNCASED_BERT)
    assert all(map(np.array_equal, learned.encode(texts), as_before.encode(texts)))


@pytest.mark.parametrize(("text", "words"), [
    ("この映画は、最高だった。", "こ の 映 画 は 、 最 高 だ っ た 。"),
    ("ハードとハート", "ハ ー ド と ハ ー ト"),  # which uncased BERT takes for one word, twice
    ("หนังดีที่สุด", "ห นั ง ดี ที่ สุ ด"),
    ("हिन्दी फ़िल्म", "हिन्दी फ़िल्म"),
    ("영화가 좋다", "영화가 좋다"),
    ("فِلْمٌ رائع!", "فلم رائع !"),
    ("Über schön", "uber schon"),
    ("great👍🏽😀 🇩🇪🇯🇵", "great 👍 🏽 😀 🇩🇪 🇯🇵"),
])
def test_words_of_other_scripts_are_those_of_the_other_encoders(text, words):
    found = [unicodedata.normalize("NFC", word) for word in WordPiece(SPECIAL_PIECES, ALL_SCRIPTS).words(text)]
    assert found == [unicodedata.normalize("NFC", word) for word in words.split()]
    marks = dict.fromkeys(map(ord, "\u064b\u064c\u0650\u0652\u0308\ufe0f"))  # which BERT drops
    assert found == tokenize(unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).translate(marks)))
    learned = train_wordpiece([text] * 3, 99)
    assert [learned.pieces[i] for i in learned.encode([text])[0]] == found  # each joined into one piece
    assert WordPiece.from_json(learned.to_json()).encode([text])[0].tolist() == learned.encode([text])[0].tolist()


def test_a_tokenizer_from_before_keeps_its_rules(learned):
    before = WordPiece.from_json(WordPiece(learned.pieces).to_json())
    assert before.rules is UNCASED_BERT and before.words("かが") == ["かか"]
    assert WordPiece.from_json(learned.to_json()).rules is ALL_SCRIPTS


@pytest.mark.parametrize("change", [
    lambda t: t["pre_tokenizer"]["pretokenizers"].pop(), lambda t: t["normalizer"]["normalizers"].reverse(),
    lambda t: t["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="a"),
    lambda t: t.update(normalizer=UNCASED_BERT["normalizer"])])
def test_rules_that_are_neither_are_refused(learned, change):
    tokenizer = json.loads(learned.to_json())
    change(tokenizer)
    with pytest.raises(ValueError, match="^it.(pre_tokenizer|normalizer)"):
        WordPiece.from_json(json.dumps(tokenizer))
