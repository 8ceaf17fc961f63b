"""Claims about `python -m finetune.bag`: what it says can be counted again, and it is as honest as the rest."""

import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from corpus_files import few_of_sample
from encoder_runs import make_oracle

import finetune.imdb.__main__
from finetune.bag import train
from finetune.bag.__main__ import Settings, main
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.text import corpora
from minitransfer.text.words import tokenize
from minitransfer.transfer import api, baselines
from minitransfer.transfer.labels import choose_labelled, split_validation


@pytest.fixture(scope="module")
def few_reviews(tmp_path_factory):
    """The built-in reviews, of the test half every fifth."""
    return few_of_sample(tmp_path_factory.mktemp("data"), 5)


@pytest.fixture(autouse=True)
def reviews_are_read_once(monkeypatch, few_reviews):
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: few_reviews)


def run(out, *flags):
    """The exit code of the command."""
    return run_command(main, Settings, ["--data", "sample", "--out", str(out), *flags])


def results(path):
    return json.loads((path / "results.json").read_text())


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def same(first, second):
    a, b = load_run(first, "bag"), load_run(second, "bag")
    return a.files["ngrams.txt"] == b.files["ngrams.txt"] and all(torch.equal(a.tensors[n], b.tensors[n])
                                                                  for n in a.tensors)


@pytest.mark.parametrize("longest", [2, 3])
def test_its_test_accuracy_is_that_of_a_plain_loop_over_what_it_saved(tmp_path, few_reviews, capsys, longest):
    assert run(tmp_path / "run", "--labels", "300", "--ngrams", str(longest)) == 0
    told = results(tmp_path / "run")
    assert f"strength {told['strength']:g}, found in {told['epochs']} passes" in capsys.readouterr().out
    saved = load_run(tmp_path / "run", "bag")
    weight = dict(zip(saved.text("ngrams.txt").split("\n"), saved.tensors["weights"].tolist()))
    right = 0
    for text, label in zip(few_reviews.test_texts, few_reviews.test_labels):
        words = [word for line in text.split("\n") for word in tokenize(line)]
        grams = {" ".join(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)}
        score = saved.tensors["b"].item() + sum(weight.get(gram, 0.0) for gram in grams)
        right += (score > 0) == (label == 1)
    assert results(tmp_path / "run")["test_accuracy"] == pytest.approx(right / len(few_reviews.test_labels))
    p = api.load(tmp_path / "run").predict_proba(few_reviews.test_texts)
    kept = safetensors.torch.load(saved.files["logits.safetensors"])["test"].softmax(dim=1)
    np.testing.assert_allclose(p, kept, atol=1e-5)


def test_in_a_trial_reviews_of_the_training_half_stand_in_for_the_test_half(tmp_path, few_reviews, monkeypatch, capsys):
    assert run(tmp_path / "run", "--labels", "40", "--trial", "30") == 0
    assert "development accuracy" in capsys.readouterr().out
    other = dataclasses.replace(few_reviews, test_texts=["?"], test_labels=np.array([0]))
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: other)
    assert run(tmp_path / "again", "--labels", "40", "--trial", "30") == 0
    assert results(tmp_path / "run")["test_accuracy"] == results(tmp_path / "again")["test_accuracy"]
    assert results(tmp_path / "run")["trial"] == 30


def test_the_held_out_reviews_choose_the_strength(tmp_path):
    assert run(tmp_path / "run", "--labels", "200", "--strengths", "1000", "1", "50", "1") == 0
    told, tried = results(tmp_path / "run"), rows(tmp_path / "run")
    assert [row["strength"] for row in tried] == [1000, 1, 50]
    best = min(tried, key=lambda row: row["validation_loss"])
    assert (told["strength"], told["validation_loss"], told["validation_accuracy"], told["epochs"]) == \
        (best["strength"], best["validation_loss"], best["validation_accuracy"], best["passes"])
    assert told["epochs_run"] == sum(row["passes"] for row in tried)


def test_it_learns_from_the_same_reviews_as_every_other_run(tmp_path, monkeypatch, few_reviews):
    given, count = [], baselines.count_ngrams
    monkeypatch.setattr(train, "count_ngrams", lambda *a, **k: given.extend(a) or count(*a, **k))
    assert run(tmp_path / "run", "--labels", "60", "--seed", "3") == 0
    chosen = choose_labelled(few_reviews.train_labels, 60, 3)
    split = split_validation(chosen, few_reviews.train_labels, 3)
    for positions, (texts, labels) in zip(split, given):
        assert texts == [few_reviews.train_texts[i] for i in positions]
        assert np.array_equal(labels, few_reviews.train_labels[positions])


def test_the_labels_of_the_test_half_decide_nothing_but_its_own_score(tmp_path, monkeypatch, few_reviews):
    assert run(tmp_path / "a", "--labels", "100") == 0
    other = dataclasses.replace(few_reviews, test_labels=1 - few_reviews.test_labels)
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: other)
    assert run(tmp_path / "b", "--labels", "100") == 0
    assert same(tmp_path / "a", tmp_path / "b")
    assert results(tmp_path / "a")["test_accuracy"] == pytest.approx(1 - results(tmp_path / "b")["test_accuracy"])


def test_what_no_label_has_shown_counting_cannot_know(tmp_path):
    """The built-in test reviews praise and blame in words that the labelled ones lack; pretraining is for that."""
    assert run(tmp_path / "run") == 0
    told = results(tmp_path / "run")
    assert told["validation_accuracy"] > 0.9 and told["test_accuracy"] < 0.65


def test_its_results_have_the_fields_of_every_other_run(tmp_path, capsys):
    make_oracle(tmp_path / "oracle")
    flags = ["--data", "sample", "--labels", "40", "--epochs", "1", "--encoder", str(tmp_path / "oracle")]
    flags += ["--out", str(tmp_path / "imdb")]
    assert run_command(finetune.imdb.__main__.main, finetune.imdb.__main__.Settings, flags) == 0
    capsys.readouterr()
    assert run(tmp_path / "bag", "--labels", "40", "--seed", "2") == 0
    told = results(tmp_path / "bag")
    assert told.keys() == results(tmp_path / "imdb").keys() | {"strength", "ngrams"}
    expected = {"mode": "bag", "labels": 40, "seed": 2, "data": "sample", "encoder": None, "mix": None}
    assert told | expected == told
    assert told["seconds"] == pytest.approx(told["seconds_encoding"] + told["seconds_training"])
    out = capsys.readouterr().out
    assert "most positive: " in out and "scored once" in out
    assert f"next: python -m finetune.predict {tmp_path / 'bag'}" in out


def test_stopped_and_resumed_it_ends_with_the_same_bits(tmp_path, monkeypatch, capsys):
    flags = ("--labels", "60")
    assert run(tmp_path / "whole", *flags) == 0
    fit, calls = baselines.fit, []

    def stopping(*arguments, **settings):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return fit(*arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(baselines, "fit", stopping)
        assert run(tmp_path / "cut", *flags) == 143
    assert "to go on: python -m finetune.bag" in capsys.readouterr().err
    assert not (tmp_path / "cut" / "results.json").exists()
    assert run(tmp_path / "cut", *flags, "--resume") == 0
    assert same(tmp_path / "whole", tmp_path / "cut")
    tried = [[row["strength"] for row in rows(tmp_path / name)] for name in ("cut", "whole")]
    assert tried[0] == tried[1]
    assert run(tmp_path / "cut", *flags, "--resume") == 0
    assert "already complete" in capsys.readouterr().out


def test_a_signal_while_reviews_are_counted_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(train, "count_ngrams", lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM))
        assert run(tmp_path / "run", "--labels", "20") == 143
    assert "to go on: python -m finetune.bag" in capsys.readouterr().err
    assert run(tmp_path / "run", "--labels", "20", "--resume") == 0


@pytest.mark.parametrize("flags, code, told", [
    (["--labels", "1002"], 2, "choose an even number from 4 to 1,000"),
    (["--labels", "7"], 2, "cannot be chosen"),
    (["--strengths", "0"], 2, "--strengths: must be"),
    (["--strengths", "nan"], 2, "--strengths: must be"),
    (["--ngrams", "4"], 2, "choose 1, 2 or 3"),
    (["--strengths"], 2, "--strengths"),
    (["--strenghts", "1"], 2, "did you mean --strengths?"),
    (["--resume"], 4, "no run at"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, capsys, flags, code, told):
    assert run(tmp_path / "run", *flags) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and told in line and "Fix: " in line
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten_nor_resumed_with_other_settings_nor_taken_for_an_encoder(tmp_path, capsys):
    assert run(tmp_path / "run", "--labels", "20") == 0
    assert run(tmp_path / "run", "--labels", "20") == 2
    assert run(tmp_path / "run", "--labels", "20", "--strengths", "2", "--resume") == 4
    flags = ["--data", "sample", "--encoder", str(tmp_path / "run"), "--out", str(tmp_path / "other")]
    assert run_command(finetune.imdb.__main__.main, finetune.imdb.__main__.Settings, flags) == 4
    assert "kind 'bag'" in capsys.readouterr().err


def test_where_no_penalty_gives_a_number_nothing_is_saved(tmp_path, capsys):
    assert run(tmp_path / "run", "--labels", "40", "--strengths", "1e300") == 5
    assert "with none of the L2 penalties [1e+300]" in capsys.readouterr().err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_place_that_is_taken_is_refused_before_any_review_is_read(tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.jpg").write_text("precious")
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: pytest.fail("the reviews were read"))
    assert run(tmp_path) == 2 and "photo.jpg" in capsys.readouterr().err
    assert run(tmp_path / "run", "--labels", "5") == 2 and "an even number" in capsys.readouterr().err


def test_four_labels_or_empty_reviews_are_enough(tmp_path, monkeypatch, few_reviews):
    assert run(tmp_path / "four", "--labels", "4") == 0
    empty = dataclasses.replace(few_reviews, train_texts=[""] * len(few_reviews.train_texts))
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: empty)
    assert run(tmp_path / "empty", "--labels", "10") == 0
    assert results(tmp_path / "empty")["validation_accuracy"] == 0.5


def test_help_answers_without_torch():
    code = "import sys; from finetune.bag.__main__ import Settings, main, run_command; " \
           "run_command(main, Settings, ['--help']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("False\n") and "--strengths" in out
