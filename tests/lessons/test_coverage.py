"""Claims about coverage: the share of running tokens that an encoder does not know, and when it is warned of."""

import pytest
import torch
from encoder_runs import make_bert, make_bilm, make_gpt, make_static
from hypothesis import given
from hypothesis import strategies as st

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.text.words import SPECIAL_WORDS
from minitransfer.transfer.coverage import MUCH, UNKNOWN, Coverage, count_unknown
from minitransfer.transfer.loading import KINDS, load_encoder
from minitransfer.transfer.tokens import tokenise_words

CPU = torch.device("cpu")


@given(st.lists(st.lists(st.sampled_from("abcde")).map(" ".join), max_size=5), st.sets(st.sampled_from("abcde")))
def test_the_rate_is_that_of_running_words_not_of_distinct_ones(texts, known):
    running = " ".join(texts).split()
    expected = sum(word not in known for word in running), len(running)
    assert count_unknown(tokenise_words(texts, 999), known) == expected


@pytest.mark.parametrize(("words", "told"), [
    (["the film"] * 4 + ["bad"] * 2, None),  # 2 of 10
    (["the film"] * 4 + ["bad"] * 3, "27%"),
    (["素晴らしい映画"], "100%"),
    (["", " "], None),
])
@pytest.mark.parametrize("kind", ["bilm", "static"])
def test_it_is_said_only_where_more_than_a_fifth_of_the_words_is_unknown(tmp_path, kind, words, told):
    assert MUCH == 0.2
    if kind == "bilm":
        path, of = make_bilm(tmp_path / kind), "none of the 5 that it was trained to predict"
    else:
        vectors = torch.arange(15.0).view(5, 3) ** 2
        path, of = make_static(tmp_path / kind, [*SPECIAL_WORDS, "the", "film"], vectors), "its 5 words"
    run = load_run(path)
    line = Coverage(run, kind).count(load_encoder(run, CPU).tokenise(words, 99)).warning()
    assert line is None if told is None else f"{told} of their running words" in line and of in line


@pytest.mark.parametrize(("kind", "make"), [("bert", make_bert), ("gpt", make_gpt)])
def test_unk_is_counted_and_neither_cls_nor_sep(tmp_path, kind, make):
    run = load_run(make(tmp_path / kind))
    encoder = load_encoder(run, CPU)
    assert Coverage(run, kind).count(encoder.tokenise(["the film was good"] * 3, 70)).warning() is None
    line = Coverage(run, kind).count(encoder.tokenise(["素晴らしい映画"], 70)).warning()
    assert "100% of their word pieces are [UNK]: none of its 300 pieces" in line and "\n" not in line
    line = Coverage(run, kind).count(encoder.tokenise(["the", "映"], 70)).warning()
    assert "50% of their word pieces" in line


def test_every_kind_of_encoder_has_its_words():
    assert set(UNKNOWN) == set(KINDS)


@pytest.mark.parametrize(("unknown", "running", "told"), [(2, 2, False), (3, 3, True), (4, 6, False), (5, 6, True),
                                                          (23, 100, False), (32, 100, False), (33, 100, True)])
def test_batch_by_batch_a_few_unknown_words_may_be_chance(tmp_path, unknown, running, told):
    """k > N p + 3 √(N p (1 − p)) with p = 0.2"""
    assert told == (unknown > running / 5 + 3 * (running * 4 / 25) ** 0.5)
    run = load_run(make_bilm(tmp_path / "bilm"))
    coverage = Coverage(run, "bilm")
    for word in ["film"] * (running - unknown) + ["krimi"] * unknown:
        coverage.count(tokenise_words([word, ""], 99))
    line = coverage.warning(3)
    assert line is None if not told else f"{unknown / running:.0%} of their running words" in line
