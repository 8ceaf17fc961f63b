"""Claims about `python -m finetune.prompt`: all that was asked is told, nothing is chosen, and errors are a line."""

import json

import numpy as np
import pytest
import torch
from bert_runs import make_bert, make_tokenizer

from finetune.prompt.__main__ import Settings, main
from minitransfer.apparatus.options import run_command
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.text.sample import reviews
from minitransfer.text.wordpiece import train_wordpiece
from minitransfer.transfer.prompts import SAMPLE_PAIRS, TEMPLATES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A BERT that has learnt nothing, whose pieces hold the words of three of the four pairs."""
    words = " ".join(word for pair in SAMPLE_PAIRS[:3] for word in pair)
    tokenizer = train_wordpiece([f"{words} it was all in all , the film was . in short a just !"] * 9, 200)
    shape = BertConfig(tokenizer.vocab_size, hidden_size=10, num_layers=1, num_heads=5, intermediate_size=9,
                       max_positions=40)
    torch.manual_seed(0)
    return make_bert(tmp_path_factory.mktemp("prompt") / "bert", model=shape.to_dict(),
                     tensors=MaskedLM(shape).state_dict(), tokenizer=tokenizer.to_json())


def ask(*flags):
    return run_command(main, Settings, [str(flag) for flag in flags])


def test_all_templates_and_pairs_are_told_with_mean_spread_and_worst(run, capsys):
    assert not ask(run, "--data", "sample", "--reviews", "60", "--json")
    found = json.loads(capsys.readouterr().out)
    told = [(answer["template"], answer["words"]) for answer in found["answers"]]
    assert told == [(template, list(pair)) for template in TEMPLATES for pair in SAMPLE_PAIRS[:3]]
    for kind in ("raw", "median"):
        accuracies = [answer[kind] for answer in found["answers"]]
        assert found[kind] == pytest.approx({"mean": np.mean(accuracies), "spread": np.std(accuracies),
                                             "worst": min(accuracies)})
    assert found["labels"] == 0 and found["reviews"] == 60


def test_what_has_learnt_nothing_is_at_chance_and_the_table_says_so(run, capsys):
    assert not ask(run, "--data", "sample")
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert len(lines) == 1 + 4 * 3 + 2 and "3 of 4 pairs of words" in output.err
    assert all(0.4 < float(line.split()[-1].rstrip("%")) / 100 < 0.6 for line in lines[1:13])


def test_the_median_does_not_look_at_a_label(run, capsys, monkeypatch):
    """With every training label turned round the answers are the same."""
    assert not ask(run, "--data", "sample", "--reviews", "40", "--json")
    before = json.loads(capsys.readouterr().out)
    train, test, unsup = reviews()
    turned = ([(text, 1 - label) for text, label in train], test, unsup)
    monkeypatch.setattr("minitransfer.text.sample.reviews", lambda: turned)
    assert not ask(run, "--data", "sample", "--reviews", "40", "--json")
    assert json.loads(capsys.readouterr().out) == before


@pytest.mark.parametrize("flags, message", [
    (("--max-tokens", "9"), "--max-tokens 9 is not within"),
    (("--max-tokens", "41"), "--max-tokens 41 is not within"),
    (("--reviews", "0"), "--reviews"),
    (("--data", "imbd"), "--data"),
])
def test_a_wrong_flag_is_one_line(run, flags, message, capsys):
    assert ask(run, "--data", "sample", *flags) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert message in line


def test_a_run_without_the_words_or_of_another_kind_is_one_line(tmp_path, capsys):
    make_bert(tmp_path / "bert", tokenizer=make_tokenizer().to_json())
    assert ask(tmp_path / "bert", "--data", "sample") > 0
    assert "knows no pair as single pieces" in capsys.readouterr().err
    assert ask(tmp_path / "none", "--data", "sample") > 0
    assert "no run at" in capsys.readouterr().err
