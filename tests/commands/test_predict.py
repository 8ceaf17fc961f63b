"""Claims about predictions: any text is answered, alone as in any company, and a run that cannot answer is named."""

import io
import json
import os
import re
import subprocess
import sys
import threading

import pytest
import torch
from classifier_runs import make_bag
from encoder_runs import make_bilm, make_oracle
from predictions import answer, feed
from strange_texts import STRANGE

from finetune.imdb import __main__ as imdb
from finetune.predict import answer as predict
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.transfer.classifier import load_classifier


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Transfer runs: of the oracle, which knows its words, and of a biLM that knows nothing."""
    path = tmp_path_factory.mktemp("runs")
    make_bilm(path / "encoders" / "bilm")
    make_oracle(path / "encoders" / "oracle")
    for name, out, flags in [("oracle", "oracle", []), ("bilm", "bilm", ["--epochs", "2"]),
                             ("bilm", "bilstm", ["--epochs", "1", "--head", "bilstm", "--labels", "40"])]:
        argv = ["--data", "sample", "--encoder", str(path / "encoders" / name), "--out", str(path / out), *flags]
        assert run_command(imdb.main, imdb.Settings, argv) == 0
    return path


def test_words_the_encoder_knows_decide_the_label(runs, capsys):
    code, out, _ = answer(capsys, runs / "oracle", "a marvellous film, a triumph", "dull and dreadful, a mess")
    for label, line in zip(("positive", "negative"), out, strict=True):
        assert re.fullmatch(rf"{label} (0\.[5-9]\d|1\.00)  .*", line)
    assert code == 0
    assert out[0].endswith("  a marvellous film, a triumph")


@pytest.mark.parametrize("run", ["oracle", "bilm", "bilstm"])
def test_any_text_is_answered_alone_as_in_any_company(runs, capsys, run):
    alone = [json.loads(answer(capsys, runs / run, "--json", "--", text)[1][0]) for text in STRANGE]
    code, together, _ = answer(capsys, runs / run, "--json", "--batch-size", "9", "--", *STRANGE)
    assert code == 0 and len(together) == len(STRANGE)
    for one, other in zip(alone, map(json.loads, together)):
        probability = one["probability"] and pytest.approx(one["probability"], abs=2e-6)
        assert {**one, "probability": probability} == other
        if one["label"] is not None:
            assert 0.5 <= one["probability"] <= 1 and one["label"] in ("negative", "positive")
    told = dict(zip(STRANGE, alone))
    assert told[""] == {"label": None, "probability": None, "tokens": 0, "shortened": False}
    assert told["x" * 1_000_000]["tokens"] == 1
    assert told["dull " * 3000] | {"tokens": 512, "shortened": True} == told["dull " * 3000]
    assert told["bad<br /><br />film"]["tokens"] == 2 and not told["ok"]["shortened"]


def test_each_text_is_shown_on_one_short_line(runs, capsys):
    _, out, _ = answer(capsys, runs / "oracle", "--", *STRANGE)
    assert len(out) == len(STRANGE) and max(map(len, out)) < 90 and out[0] == "no answer  (an empty text)"


def test_lines_of_stdin_are_answered_one_by_one_and_blank_ones_marked(runs, capsys, monkeypatch):
    feed(monkeypatch, "a triumph\r\n\nzu lang? schön\n \u200b\t".encode())
    code, out, err = answer(capsys, runs / "oracle")
    shown = [line.split("  ", 1)[1] for line in out]
    assert code == 0 and not err and shown == ["a triumph", "(an empty text)", "zu lang? schön", "(an empty text)"]
    assert [line.startswith("no answer") for line in out] == [False, True, False, True]


@pytest.mark.parametrize("size", ["1", "2", "9"])
def test_a_line_that_is_no_text_is_named_by_its_byte_and_the_others_are_answered(runs, capsys, monkeypatch, size):
    feed(monkeypatch, b"fine\nna\xefve\na triumph\n\xff\n")
    code, out, err = answer(capsys, runs / "oracle", "--batch-size", size)
    fault = "line 2 of stdin is not UTF-8 text: byte 0xef at offset 7"
    assert code == 3 and len(out) == 4 and out[1] == f"no answer  ({fault})" and out[2].endswith("a triumph")
    assert err[0] == f"no answer: {fault}" and "line 4 of stdin" in err[1]
    assert err[-1].startswith(f"error: 2 of 4 lines have no answer; the first: {fault}. Fix: ")
    feed(monkeypatch, b"na\xefve\nfine\n")
    code, out, _ = answer(capsys, runs / "oracle", "--json", "--batch-size", size)
    first, second = map(json.loads, out)
    assert code == 3 and first["label"] is None and first["fault"].startswith("line 1 of stdin") and second["label"]


def test_files_are_read_line_by_line_after_the_texts_and_a_dash_is_stdin(runs, capsys, monkeypatch, tmp_path):
    (tmp_path / "a.txt").write_text("a triumph\n\ndull\n"), (tmp_path / "b.txt").write_bytes(b"caf\xc3\xa9")
    flags = ["--file", tmp_path / "a.txt", "--file", tmp_path / "b.txt"]
    shown = [line.split("  ", 1)[1] for line in answer(capsys, runs / "oracle", *flags)[1]]
    assert shown == ["a triumph", "(an empty text)", "dull", "café"]
    feed(monkeypatch, b"second\nthird\n")
    shown = [line.split("  ", 1)[1] for line in answer(capsys, runs / "oracle", *flags[2:], "first", "-", "fourth")[1]]
    assert shown == ["first", "second", "third", "fourth", "café"]


@pytest.mark.parametrize("flags, code, told", [
    (["{}/a.txt"], 2, "is the name of a file. Fix: use --file"),
    (["fine", "{}/a.txt"], 2, "is the name of a file. Fix: use --file"),
    (["--file", "{}/none.txt"], 2, "none.txt does not exist"),
    (["--file", "{}"], 2, "is a directory. Fix: name a file with one text per line"),
    (["--file"], 2, "expected one argument"),
    (["--file", "{}/a.txt", "--file", ""], 2, "does not exist"),
])  # fmt: skip
def test_a_file_where_a_text_should_be_and_the_other_way_round_are_refused(runs, capsys, tmp_path, flags, code, told):
    (tmp_path / "a.txt").write_text("dull\n")
    found, out, err = answer(capsys, runs / "oracle", *(flag.format(tmp_path) for flag in flags))
    assert found == code and not out and told in err[-1] and ". Fix: " in err[-1]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read all files")
def test_a_file_that_may_not_be_read_is_told_so(runs, capsys, tmp_path):
    (tmp_path / "a.txt").write_text("dull\n")
    (tmp_path / "a.txt").chmod(0)
    code, out, err = answer(capsys, runs / "oracle", "--file", tmp_path / "a.txt")
    assert code == 2 and not out and "cannot be read: Permission denied. Fix: let your user read it" in err[-1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_as_good_as_a_file(runs, capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("a triumph\n"))
    writer.start()
    assert answer(capsys, runs / "oracle", "--file", tmp_path / "pipe")[1][0].endswith("a triumph")
    writer.join()


def test_a_bag_answers_as_its_weights_add_up(capsys, tmp_path, monkeypatch):
    """make_bag: good 0, bad 1, "very good" 2, b = 0."""
    make_bag(tmp_path / "bag")
    _, out, _ = answer(capsys, tmp_path / "bag", "bad, bad", "very good", "neither")
    assert out == ["positive 0.73  bad, bad", "positive 0.88  very good", "negative 0.50  neither"]
    code, out, err = answer(capsys, tmp_path / "bag", "--words", "bad")
    assert code == 4 and not out and "has no encoder" in err[-1] and "python -m finetune.imdb" in err[-1]


def test_no_stdin_at_all_is_a_usage_error(runs, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert answer(capsys, runs / "oracle")[0] == 2


def test_a_stdin_that_cannot_be_read_is_a_usage_error(runs, capsys, monkeypatch, tmp_path):
    """As nohup leaves it: open, but for writing only."""
    with open(tmp_path / "out", "wb", buffering=0) as written:
        reader = io.TextIOWrapper(io.BufferedReader(io.FileIO(written.fileno(), "rb", closefd=False)))
        monkeypatch.setattr(sys, "stdin", reader)
        code, out, err = answer(capsys, runs / "oracle")
    assert code == 2 and not out and "stdin cannot be read: Bad file descriptor" in err[-1]


@pytest.mark.parametrize("size", ["1", "2"])
def test_texts_of_another_language_are_answered_and_warned_of_once(runs, capsys, monkeypatch, size):
    """Of the biLM only `the` and `film` are words that it was trained to predict."""
    told = f"warning: {runs / 'bilm'} may not know the language of these texts: 100% of their running words"
    code, out, err = answer(capsys, runs / "bilm", "--batch-size", size, "zu lang", "öde", "fade", "the film")
    assert code == 0 and len(out) == 4 and len(err) == 1 and err[0].startswith(told)
    assert answer(capsys, runs / "bilm", "the film", "film", "film öde")[2] == []


def test_a_network_from_scratch_was_not_pretrained_on_any_language(runs, capsys, tmp_path):
    flags = ["--data", "sample", "--encoder", str(runs / "encoders" / "bilm"), "--out", str(tmp_path / "run"), "--mode",
             "scratch", "--epochs", "1", "--labels", "20"]
    assert run_command(imdb.main, imdb.Settings, flags) == 0
    assert answer(capsys, tmp_path / "run", "zu lang, zu fade, zu öde")[2] == []


def test_without_a_run_only_the_run_is_asked_for(capsys):
    assert run_command(predict.main, predict.Settings, []) == 2
    assert "required: RUN. Fix" in capsys.readouterr().err


def test_a_transfer_run_needs_nothing_but_itself(runs, capsys, tmp_path):
    before = answer(capsys, runs / "bilm", "--json", "a fine film")[1]
    (runs / "bilm").rename(tmp_path / "moved")
    (runs / "encoders").rename(runs / "hidden")
    try:
        assert answer(capsys, tmp_path / "moved", "--json", "a fine film")[1] == before
    finally:
        (runs / "hidden").rename(runs / "encoders")
        (tmp_path / "moved").rename(runs / "bilm")


@pytest.mark.parametrize("path, told", [("encoders/bilm", "kind 'bilm', and only those of finetune.imdb and"),
                                        ("nowhere", "no such directory")])
def test_a_run_that_cannot_answer_is_named(runs, capsys, path, told):
    code, out, err = answer(capsys, runs / path, "text")
    assert code == 4 and not out and told in err[-1]


@pytest.mark.parametrize("change", [
    {"model": {"head": "mean", "pool": "mean", "head_size": 10**9, "dropout": 0.0}},
    {"model": {"head": "mean", "pool": "median", "head_size": 64, "dropout": 0.0}},
    {"model": {"head": "ears", "pool": "mean", "head_size": 64, "dropout": 0.0}},
    {"model": None}, {"encoder": {}}, {"encoder": None},
])  # fmt: skip
def test_a_config_that_the_weights_cannot_fill_is_refused(runs, change):
    from minitransfer.apparatus.errors import CheckpointError

    run = load_run(runs / "bilm")
    run.config.update(change)
    with pytest.raises(CheckpointError, match="config.json"):
        load_classifier(run, torch.device("cpu"))


def test_in_a_process_of_its_own_a_broken_argument_is_answered(runs):
    command = [sys.executable, "-m", "finetune.predict", str(runs / "oracle"), b"gr\xfc\xdfe, a triumph"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith(b"positive") and not done.stderr
