"""Claims about the bare pretraining commands: static vectors first, found or learned, and the preset by the text.

Stopped or killed in any stage, and gone on with, a command ends with the bits of one that was never stopped.
"""

import json
import os
import shutil
import signal
from pathlib import Path

import bert_runs
import pretrain_runs
import pytest
import torch
from commands import last_line
from pretrain_runs import make_wikitext, signal_at
from processes import together

from finetune.reports import corpus_of
from minitransfer.apparatus import progress
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from pretrain.bert import __main__ as bert
from pretrain.bilm import __main__ as bilm
from pretrain.gpt import __main__ as gpt
from pretrain.static import __main__ as static

COMMANDS = {"bilm": bilm, "bert": bert, "gpt": gpt, "static": static}
SMALL = {"bilm": {**pretrain_runs.PRESETS["bilm"], "epochs": 1}, "bert": {**bert_runs.PRESET, "epochs": 1},
         "gpt": {**bert_runs.PRESETS["gpt"], "epochs": 1},
         "static": pretrain_runs.PRESETS["static"]}
BESIDE = {"bilm": "static", "bert": "static-pieces", "gpt": "static-pieces"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, module in COMMANDS.items():
        monkeypatch.setitem(module.Settings.presets, "tiny", SMALL[name])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_wikitext(tmp_path_factory.mktemp("data"))


def run(name: str, data: Path, out: Path, *more: str) -> int:
    corpus = () if "--corpus" in more else ("--corpus", "wikitext-2")
    argv = [*corpus, "--offline", "--data-dir", str(data), "--preset", "tiny", "--threads", "1",
            "--out", str(out), *more]
    return run_command(COMMANDS[name].main, COMMANDS[name].Settings, argv)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_run(path).tensors


def same(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Each command, bare and never stopped."""
    path = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        for name, module in COMMANDS.items():
            patched.setitem(module.Settings.presets, "tiny", SMALL[name])
        for name in BESIDE:
            assert run(name, data, path / name) == 0
    return path


@pytest.mark.parametrize("name", BESIDE)
def test_the_vectors_are_a_run_of_their_own_and_the_same_that_the_two_commands_make(name, whole, data, tmp_path):
    more = ["--pieces", str(SMALL["bert"]["vocab_size"])] if name != "bilm" else []
    assert run("static", data, tmp_path / "vectors", *more) == 0
    assert same(tmp_path / "vectors", whole / BESIDE[name])
    assert run(name, data, tmp_path / "by hand", "--warm-start", str(tmp_path / "vectors")) == 0
    assert same(tmp_path / "by hand", whole / name)


@pytest.mark.parametrize("name", BESIDE)
def test_vectors_that_suit_are_taken_and_not_learned_again(name, whole, data, tmp_path, capsys):
    shutil.copytree(whole / BESIDE[name], tmp_path / BESIDE[name])
    assert run(name, data, tmp_path / "again") == 0
    assert f"static vectors are in {tmp_path / BESIDE[name]}" in capsys.readouterr().err
    assert same(tmp_path / "again", whole / name)


@pytest.mark.parametrize("change", [
    {"corpus": {"name": "imdb", "fingerprint": "0" * 64}},
    {"corpus": {"name": "wikitext-2", "fingerprint": "0" * 64}},
    {"model": {"hidden_size": 13}},
    {"unit": "pieces", "most_pieces": 50},
    {"kind": "bilm"},
])  # fmt: skip
def test_vectors_of_another_text_width_or_unit_are_left_alone_and_others_learned(change, whole, data, tmp_path, capsys):
    shutil.copytree(whole / "static", tmp_path / "static")
    config = json.loads((tmp_path / "static" / "config.json").read_text())
    (tmp_path / "static" / "config.json").write_text(json.dumps(config | change))
    before = {path.name: path.read_bytes() for path in (tmp_path / "static").iterdir() if path.is_file()}
    assert run("bilm", data, tmp_path / "bilm") == 0
    assert "into " + str(tmp_path / "bilm-static") in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "static").iterdir() if path.is_file()}
    assert same(tmp_path / "bilm", whole / "bilm")


def test_photographs_in_the_place_of_vectors_are_left_alone(whole, data, tmp_path, capsys):
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "photo.jpg").write_bytes(b"photo")
    assert run("bilm", data, tmp_path / "bilm") == 0
    assert "into " + str(tmp_path / "bilm-static") in capsys.readouterr().err
    assert os.listdir(tmp_path / "static") == ["photo.jpg"] and same(tmp_path / "bilm", whole / "bilm")


def test_of_too_little_text_for_vectors_a_network_is_told_to_begin_without(tmp_path, capsys):
    (tmp_path / "short.txt").write_text("a film\nanother film\n" * 9)
    assert run("bilm", tmp_path, tmp_path / "bilm", "--corpus", str(tmp_path / "short.txt")) == 3
    assert "begin without vectors by --warm-start none" in last_line(capsys)


@pytest.mark.parametrize("name", BESIDE)
def test_a_run_by_the_name_that_vectors_have_leaves_that_place_to_itself(name, whole, data, tmp_path):
    out = tmp_path / BESIDE[name]
    assert run(name, data, out) == 0
    assert same(out, whole / name) and same(tmp_path / f"{BESIDE[name]}-{BESIDE[name]}", whole / BESIDE[name])
    assert run(name, data, out, "--resume") == 0


def test_vectors_that_have_read_this_text_and_more_suit(data, tmp_path, capsys):
    assert run("static", data, tmp_path / "static", "--corpus", "wikitext-2", "sample", "--epochs", "1") == 0
    assert run("bilm", data, tmp_path / "bilm") == 0
    told = f"static vectors are in {tmp_path / 'static'}, learned from wikitext-2+sample, which is more text than wiki"
    assert told in capsys.readouterr().err
    assert corpus_of(load_run(tmp_path / "bilm"), "frozen") == "wikitext-2, from static vectors of wikitext-2+sample"
    assert corpus_of(load_run(tmp_path / "bilm"), "scratch") is None


STAGES = [("bilm", "static", 3), ("bilm", "spelling", 1), ("bilm", "bilm", 7),
          ("bert", "static", 2), ("bert", "bert", 5), ("gpt", "gpt", 5)]


@pytest.mark.parametrize(("name", "stage", "step"), STAGES)
def test_stopped_in_any_stage_resume_ends_with_the_same_bits(name, stage, step, whole, data, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patched:
        signal_at(stage, step, signal.SIGTERM, patched.setattr)
        assert run(name, data, tmp_path / name) == 143
    [line] = [line for line in capsys.readouterr().err.splitlines() if "to go on" in line]
    assert f"python -m pretrain.{name}" in line and line.endswith("--resume")
    assert run(name, data, tmp_path / name, "--resume") == 0
    assert same(tmp_path / name, whole / name) and same(tmp_path / BESIDE[name], whole / BESIDE[name])


@pytest.mark.parametrize(("name", "stage", "step"), STAGES)
def test_killed_in_any_stage_resume_ends_with_the_same_bits(name, stage, step, whole, data, tmp_path, monkeypatch):
    """As SIGKILL would, an error that nobody expects leaves what was on disk at that moment."""
    class Killed(BaseException):
        pass

    advance, steps = progress.Progress.advance, []

    def killing(self, n=1, **numbers):
        steps.append(self.description == stage)
        if sum(steps) == step and steps[-1]:
            raise Killed
        return advance(self, n, **numbers)

    with monkeypatch.context() as patched:
        patched.setattr(progress.Progress, "advance", killing)
        assert run(name, data, tmp_path / name) == 1
    assert run(name, data, tmp_path / name, "--resume") == 0
    assert same(tmp_path / name, whole / name)


def test_killed_between_vectors_and_network_resume_ends_with_the_same_bits(whole, data, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("pretrain.bilm.run.read_text", lambda *_: 1 / 0)
        assert run("bilm", data, tmp_path / "bilm") == 1
    assert (tmp_path / "static" / "complete.json").is_file() and not (tmp_path / "bilm" / "config.json").exists()
    assert run("bilm", data, tmp_path / "bilm", "--resume") == 0
    assert same(tmp_path / "bilm", whole / "bilm")


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("vectors", ["finished", "stopped"])
def test_a_mistyped_out_is_no_run_to_resume_though_vectors_are_beside_it(name, vectors, whole, data, tmp_path, capsys):
    if vectors == "finished":
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    else:
        with pytest.MonkeyPatch.context() as patched:
            signal_at("static", 3, signal.SIGTERM, patched.setattr)
            assert run(name, data, tmp_path / name) == 143
    before = sorted(tmp_path.iterdir())
    assert run(name, data, tmp_path / "typo", "--resume") == 4
    assert "there is no such directory. Fix: leave out --resume" in last_line(capsys)
    assert sorted(tmp_path.iterdir()) == before


def test_of_two_processes_the_first_learns_the_vectors_and_both_go_on_from_them(whole, data, tmp_path):
    """Stopped by the signal of either while the vectors are learned, both end, and --resume ends with the same bits."""
    argv = ["--corpus", "wikitext-2", "--offline", "--data-dir", str(data), "--preset", "tiny", "--threads", "1",
            "--batch-size", "6"]

    def work(rank: int, out: str, *more: str, stopped: bool = False) -> int:
        if stopped and rank == 0:
            signal_at("static", 3, signal.SIGTERM)
        flags = [*argv, "--out", str(tmp_path / out / "bilm"), *more]
        return run_command(bilm.main, bilm.Settings, flags, together=True)

    ended = together(2, lambda rank: work(rank, "a"), tmp_path / "log")
    assert [code for code, _ in ended] == [0, 0], ended
    assert same(tmp_path / "a" / "static", whole / "static")
    ended = together(2, lambda rank: work(rank, "b", stopped=True), tmp_path / "log")
    assert [code for code, _ in ended] == [143, 143], ended
    ended = together(2, lambda rank: work(rank, "b", "--resume"), tmp_path / "log")
    assert [code for code, _ in ended] == [0, 0], ended
    assert same(tmp_path / "b" / "bilm", tmp_path / "a" / "bilm")


def test_a_finished_run_is_left_as_it_is(whole, data, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "runs")
    for name in BESIDE:
        assert run(name, data, tmp_path / "runs" / name, "--resume") == 0
        assert "already complete" in capsys.readouterr().err


def test_vectors_that_are_gone_are_named(whole, data, tmp_path, capsys):
    shutil.copytree(whole / "bilm", tmp_path / "bilm")
    assert run("bilm", data, tmp_path / "bilm", "--resume") == 4
    assert "the vectors that" in (error := capsys.readouterr().err) and "Fix: name their run with --warm-start" in error


@pytest.mark.parametrize("name", COMMANDS)
def test_the_preset_follows_the_text(name):
    of = COMMANDS[name].Settings.of
    assert of().preset == "small" and of(corpus=("sample",)).preset == "tiny"
    assert of(corpus=("sample",), preset="base").preset == "base"
    settings = of(epochs=5).but(corpus=("sample",))
    assert (settings.preset, settings.epochs) == ("tiny", 5)
    assert settings.learning_rate == SMALL[name]["learning_rate"]
