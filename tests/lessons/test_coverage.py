"""Claims about coverage: the share of running tokens that an encoder does not know, and when it is warned of."""

import pytest
import torch
from encoder_runs import make_bert, make_bilm, make_static
from hypothesis import given
from hypothesis import strategies as st

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.text.words import SPECIAL_WORDS
from minitransfer.transfer.coverage import MUCH, unknown_rate, warning
from minitransfer.transfer.loading import load_encoder
from minitransfer.transfer.tokens import tokenise_words

CPU = torch.device("cpu")


@given(st.lists(st.lists(st.sampled_from("abcde")).map(" ".join), max_size=5), st.sets(st.sampled_from("abcde")))
def test_the_rate_is_that_of_running_words_not_of_distinct_ones(texts, known):
    running = " ".join(texts).split()
    expected = sum(word not in known for word in running) / len(running) if running else 0.0
    assert unknown_rate(tokenise_words(texts, 999), known) == pytest.approx(expected)


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
    line = warning(run, kind, load_encoder(run, CPU).tokenise(words, 99))
    assert line is None if told is None else f"{told} of their running words" in line and of in line


def test_bert_counts_its_unk_and_neither_cls_nor_sep(tmp_path):
    run = load_run(make_bert(tmp_path / "bert"))
    encoder = load_encoder(run, CPU)
    assert warning(run, "bert", encoder.tokenise(["the film was good"] * 3, 70)) is None
    line = warning(run, "bert", encoder.tokenise(["素晴らしい映画"], 70))
    assert "100% of their word pieces are [UNK]: none of its 300 pieces" in line and "\n" not in line
    line = warning(run, "bert", encoder.tokenise(["the", "映"], 70))
    assert "50% of their word pieces" in line
