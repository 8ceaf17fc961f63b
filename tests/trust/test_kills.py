"""Claims about runs that are killed: whenever it happens, they end with the weights, rows and results of a run that
was never stopped.

The slow one kills real processes with SIGKILL, three of each command; `python -m tests.harness` does so fifty times.
The others are what it has found.
"""

import itertools
import json
import subprocess
import sys

import bert_runs
import pretrain_runs
import pytest
import torch
from encoder_runs import make_oracle
from harness import COMMANDS, harness, timeless
from pretrain_runs import ROOT, make_wikitext, rows

from finetune.imdb import __main__ as imdb
from minitransfer.apparatus import metrics, optim
from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.apparatus.commands import run_command


@pytest.mark.slow
def test_killed_at_random_moments_and_at_stages_of_a_save_every_command_ends_with_the_same_bits():
    argv = [sys.executable, "-m", "tests.harness", "--kills", "3"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=900)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(":")[0] for line in lines] == list(COMMANDS)
    assert all("3 kills survived" in line and line.endswith(", equal") for line in lines)


@pytest.mark.slow
def test_the_harness_notices_a_command_that_does_not_end_alike(tmp_path, monkeypatch, capsys):
    """Seeds that differ from process to process stand in for whatever may make a run end otherwise."""
    import harness as module

    flags = module.flags_of
    seeds = itertools.count()
    monkeypatch.setattr(module, "flags_of", lambda *named: [*flags(*named), "--seed", str(next(seeds))])
    monkeypatch.setattr(module, "make_small", lambda: None)
    monkeypatch.setattr(module, "make_encoders", lambda path: None)
    assert not harness(["bag"], 0, 0, tmp_path, sys.stdout)
    assert "0 kills survived in 1 runs" in (told := capsys.readouterr().out) and "NOT EQUAL" in told


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_wikitext(tmp_path_factory.mktemp("data"), words=1_500)


@pytest.fixture
def pretrain(data, monkeypatch):
    """Runs a pretraining command on little text; returns its exit code."""
    for name, module in pretrain_runs.COMMANDS.items():
        monkeypatch.setitem(module.Settings.presets, "tiny", pretrain_runs.PRESETS[name])

    def run(command, out, *more):
        if command in bert_runs.COMMANDS:
            return bert_runs.pretrain(data, out, *more, command=command)
        return pretrain_runs.pretrain(command, data, out, *more)

    return run


def failing_after(count, original):
    """A function that fails at its call after `count` ones, as if the process had ended there."""
    calls = []

    def instead(*arguments, **settings):
        calls.append(1)
        return original(*arguments, **settings) if len(calls) <= count else 1 / 0

    return instead


@pytest.mark.parametrize("command", ["static", "bilm", "bert", "gpt"])
@pytest.mark.parametrize("moment", ["after its first rows, before its first state", "before it is complete"])
def test_each_row_is_logged_once_by_a_run_that_was_killed(pretrain, tmp_path, monkeypatch, command, moment):
    flags = ("--epochs", "5" if command == "static" else "1")  # a step in each
    assert pretrain(command, tmp_path / "whole", *flags) == 0
    with monkeypatch.context() as patched:
        if "first" in moment:
            patched.setattr(metrics, "append_row", failing_after(3, metrics.append_row))
        else:
            patched.setattr(RunDirectory, "mark_complete", failing_after(0, None))
        assert pretrain(command, tmp_path / "cut", *flags) == 1
    assert pretrain(command, tmp_path / "cut", *flags, "--resume") == 0
    whole, cut = rows(tmp_path / "whole"), rows(tmp_path / "cut")
    assert cut == whole and len({(row["step"], *row) for row in cut}) == len(cut) > 3


def test_steps_that_were_skipped_before_a_kill_are_still_counted_after_it(tmp_path, monkeypatch):
    make_oracle(tmp_path / "oracle")
    flags = ["--data", "sample", "--encoder", str(tmp_path / "oracle"), "--labels", "12", "--batch-size", "3",
             "--epochs", "3", "--mode", "scratch", "--save-every", "1e-9", "--max-tokens", "9"]

    def run(out, *more):
        return run_command(imdb.main, imdb.Settings, [*flags, "--out", str(tmp_path / out), *more])

    def not_finite_twice(count):
        """The norm of the gradients, which is nan in the 2nd and 3rd step; the process fails after `count`."""
        norms, original = iter([1.0, torch.nan, torch.nan]), optim.clip_gradients
        return failing_after(count, lambda *given: (original(*given), next(norms, 1.0))[1])

    for out, count in (("whole", 99), ("cut", 5)):
        with monkeypatch.context() as patched:
            patched.setattr(optim, "clip_gradients", not_finite_twice(count))
            assert run(out) == (0 if out == "whole" else 1)
    monkeypatch.setattr(optim, "clip_gradients", lambda *given: 1.0)
    assert run("cut", "--resume") == 0
    found = [[timeless(json.loads(line)) for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
             for out in ("whole", "cut")]
    assert [[row["skipped"] for row in of_run if "epoch_loss" in row] for of_run in found] == [[2, 2, 2]] * 2
    assert [[row["skipped"] for row in of_run if "loss" in row] for of_run in found] == [[0, 1, *[2] * 10]] * 2
