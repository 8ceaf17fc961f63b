"""Claims about any text at all, on its whole way from bytes to a batch: it is read, in bounded time and memory, and
says nothing of the texts beside it.

That the tokenisers lose nothing is claimed in test_words.py and test_wordpiece.py; here is what is built on them.
"""

import io
import json
import sys
import time
from collections import Counter

import numpy as np
import pytest
from classifier_runs import make_transfer
from encoder_runs import make_bert, make_bilm
from faults import in_a_child, limit_memory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strange_texts import ANYTHING

from finetune.predict import answer as predict
from minitransfer.apparatus.commands import run_command
from minitransfer.text.batching import as_rows, batches_by_length, head_and_tail, pad
from minitransfer.text.cleaning import decode
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, SEP_ID, UNK_ID, train_wordpiece
from minitransfer.text.words import (
    MAX_BYTES,
    NUM_CHARS,
    SPECIAL_WORDS,
    spell_all,
    tokenize,
)
from minitransfer.transfer import tokens
from minitransfer.transfer.tokens import tokenise_pieces, tokenise_words

MEGABYTE = 2**20
TEXTS = st.lists(ANYTHING, max_size=5)
some_texts = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def wordpiece():
    return train_wordpiece(["the film was worth watching , and watching again"] * 3, 80)


@some_texts
@given(TEXTS, st.integers(1, 12))
def test_any_texts_become_words_with_head_and_tail_of_long_ones(texts, max_tokens):
    found = tokenise_words(texts, max_tokens)
    assert len(found.token_ids) == len(texts) == len(found.shortened)
    for text, token_ids, shortened in zip(texts, found.token_ids, found.shortened):
        words = [word for line in text.split("\n") for word in tokenize(line)]
        kept = [found.tokens[i] for i in token_ids]
        head = max_tokens // 2
        expected = words if len(words) <= max_tokens else words[:head] + words[len(words) - max_tokens + head :]
        assert kept == expected and shortened == (len(words) > max_tokens)
        assert not set(kept) & set(SPECIAL_WORDS)  # marks that somebody wrote are text


@some_texts
@given(TEXTS, st.integers(3, 12))
def test_any_texts_become_pieces_between_one_cls_and_one_sep(wordpiece, texts, max_tokens):
    found = tokenise_pieces(texts, max_tokens, wordpiece)
    for text, token_ids in zip(texts, found.token_ids, strict=True):
        first, *inside, last = token_ids.tolist()
        assert (first, last) == (CLS_ID, SEP_ID) and len(token_ids) <= max_tokens
        assert all(i == UNK_ID or MASK_ID < i < wordpiece.vocab_size for i in inside)
        alone = tokenise_pieces([text], max_tokens, wordpiece).token_ids[0]
        assert alone.tolist() == token_ids.tolist()  # whatever stands beside it


@some_texts
@given(st.lists(st.text(st.characters(), max_size=40), max_size=9), st.integers(3, 30))
def test_any_strings_at_all_have_spellings_within_the_table(words, max_bytes):
    table = spell_all(words, max_bytes)
    assert table.shape == (len(words), max_bytes) and table.min(initial=0) >= 0 and table.max(initial=0) < NUM_CHARS
    for row, word in zip(table, words):
        assert word == "<pad>" or (row > 0).sum() >= 2 and row[0] == 257  # never nothing, not even for an empty word
        assert (row[:-1] > 0).tolist() == sorted((row[:-1] > 0).tolist(), reverse=True)


@some_texts
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 60))
def test_texts_of_any_lengths_are_batched_once_each_and_padded_behind(lengths, tokens_per_batch):
    texts = [np.arange(3, 3 + n, dtype=np.int32) for n in lengths]
    seen = []
    for rows in batches_by_length(lengths, tokens_per_batch):
        token_ids, mask = pad([texts[i] for i in rows])
        assert token_ids.shape == mask.shape and token_ids.shape[1] >= 1
        assert len(rows) == 1 or token_ids.size <= tokens_per_batch
        for i, row, real in zip(rows, token_ids, mask):
            assert row[real].tolist() == texts[i].tolist() and not row[~real].any()
            assert real.tolist() == [True] * lengths[i] + [False] * (len(real) - lengths[i])
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(lengths)))


@some_texts
@given(TEXTS, st.integers(1, 7))
def test_a_stream_of_any_texts_predicts_each_of_its_tokens_once(texts, batch_size):
    stream = np.array([3 + len(word) for text in texts for word in tokenize(text)], np.int32)
    inputs, targets = as_rows(stream, batch_size)
    assert targets.ravel()[: len(stream)].tolist() == stream.tolist() and not targets.ravel()[len(stream) :].any()
    assert inputs.shape == targets.shape == (batch_size, -(-len(stream) // batch_size))


@some_texts
@given(st.binary(max_size=60))
def test_any_bytes_on_a_line_are_a_text_to_answer_or_an_error_with_their_place(raw):
    line = raw.replace(b"\n", b"")
    try:
        text = decode(line, "line 1 of stdin", Counter(), 0)
    except Exception as failure:
        assert "line 1 of stdin is not UTF-8 text: byte" in str(failure)
        with pytest.raises(UnicodeDecodeError):
            line.decode()
        return
    clean = predict.clean(text)
    assert clean == predict.clean(clean) or "<br" in clean  # which may stand in another <br />
    assert predict.beginning(text).isprintable() and len(predict.beginning(text)) <= predict.SHOWN


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """A classifier over a biLM, and one over a BERT, that have learnt nothing."""
    path = tmp_path_factory.mktemp("runs")
    for kind, make in (("bilm", make_bilm), ("bert", make_bert)):
        make_transfer(path / kind, make(path / f"encoder-{kind}"))
    return path


def answers(run, raw, capture):
    """What predict answers to these bytes on stdin."""
    sys.stdin, sys.stdout = io.TextIOWrapper(io.BytesIO(raw)), capture
    return run_command(predict.main, predict.Settings, [str(run), "--json"])


LONG = {"one word": b"x" * (20 * MEGABYTE), "short words": b"so bad " * (3 * MEGABYTE),
        "accents": "e\u0301".encode() * (7 * MEGABYTE), "marks": b".'<br />" * (5 * MEGABYTE // 2),
        "right to left": "שלום ".encode() * (2 * MEGABYTE)}  # fmt: skip


SOON = {("bilm", "one word"), ("bilm", "short words"), ("bert", "one word")}  # the others take longer


@pytest.mark.parametrize("kind, what", [
    pytest.param(kind, what, marks=() if (kind, what) in SOON else pytest.mark.slow)
    for kind, what in [*(("bilm", what) for what in LONG), ("bert", "one word"), ("bert", "marks")]])
def test_twenty_megabytes_on_one_line_are_answered_in_seconds_and_bounded_memory(classifiers, kind, what):
    def work():
        limit_memory(900)
        started, out = time.process_time(), io.StringIO()
        code = answers(classifiers / kind, LONG[what] + b"\nfine\n", out)
        long, short = map(json.loads, out.getvalue().splitlines())
        assert code == 0 and short["tokens"] == (1 if kind == "bilm" else short["tokens"])
        assert long["tokens"] <= 33 and (long["shortened"] or what == "one word")
        assert time.process_time() - started < 20

    assert in_a_child(work) == 0


def test_a_word_of_a_million_characters_is_one_word_and_spelled_by_its_beginning():
    found = tokenise_words(["a " + "ü" * 1_000_000, "b" * 1_000_000], 9)
    assert [len(text) for text in found.token_ids] == [2, 1]
    assert spell_all(found.tokens).shape == (6, MAX_BYTES)


@pytest.mark.parametrize("length", [0, 1, 5, 6, 7])
def test_beyond_any_length_only_the_ends_are_cut_into_words(monkeypatch, length):
    monkeypatch.setattr(tokens, "MAX_CHARACTERS", 6)
    text = "abcdefghij"[:length]
    outer, too_long = tokens.outer_characters(text)
    assert (outer, too_long) == ((text, False) if length <= 6 else ("abc\nefg", True))


def test_nothing_at_all_is_a_text():
    words, pieces = tokenise_words(["", " \n "], 5), tokenise_pieces([""], 5, train_wordpiece(["a b"], 9))
    assert [text.tolist() for text in words.token_ids] == [[], []]
    assert pieces.token_ids[0].tolist() == [CLS_ID, SEP_ID]
    assert pad(words.token_ids)[1].tolist() == [[False], [False]]
    assert head_and_tail(np.empty(0, np.int32), 1).tolist() == []
