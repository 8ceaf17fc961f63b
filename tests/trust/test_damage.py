"""Claims about damaged files: whatever befalls one of them, it is noticed and named, or does no harm; never is a run
read as another than was saved.

Each file of a run of each kind is cut short, emptied, changed by a bit, taken away, and replaced by a directory, a
pipe, and links to something else, to nothing and in a circle.
"""

import os
import random
import shutil

import pytest
import torch
from classifier_runs import make_bag, make_transfer
from encoder_runs import WORDS, make_bert, make_bilm, make_gpt, make_static
from faults import CONFIG, begin, flip, make_state, value_of

from finetune.imdb import __main__ as imdb
from finetune.predict import answer as predict
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import CheckpointError, MinitransferError
from minitransfer.transfer.classifier import load_classifier
from minitransfer.transfer.loading import load_encoder

KINDS = ("static", "bilm", "bert", "gpt", "transfer", "bag")
LOADED = ("static", "bilm", "bert", "gpt")  # as encoders
CPU = torch.device("cpu")
FLIPS = 9  # of each file, beside one in its first and one in its last byte


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of each kind, with a metrics.jsonl beside the files that are its own."""
    path = tmp_path_factory.mktemp("runs")
    make_static(path / "static", WORDS, torch.rand(len(WORDS), 7))
    make_bilm(path / "bilm"), make_bert(path / "bert"), make_gpt(path / "gpt"), make_bag(path / "bag")
    make_transfer(path / "transfer", path / "bilm")
    for kind in KINDS:
        (path / kind / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    return path


def read(path):
    """All tensors of a run as whoever needs it would have them. Raises: CheckpointError."""
    run = load_run(path)
    if run.kind == "transfer":
        return load_classifier(run, CPU).state_dict() | run.files
    tensors = load_encoder(run, CPU).state_dict() if run.kind in LOADED else {}
    return {**run.tensors, **tensors, **run.files}


def same(first, second):
    """Whether two runs hold the same bits."""
    def equal(a, b):
        return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

    return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)


def replaced(make):
    """A way to damage a file: take it away, and make something else in its place."""
    def damage(path):
        path.rename(path.with_name("aside"))
        make(path)

    return damage


def damages(size, seed):
    """Ways to damage a file of so many bytes, by what they are called; offsets are drawn."""
    rng = random.Random(seed)
    cuts = sorted({0, size // 3, size - 2, rng.randrange(size - 1)})  # without the line end it says the same
    bits = [0, 8 * size - 1, *(rng.randrange(8 * size) for _ in range(FLIPS))]
    return {
        **{f"cut to {n} bytes": lambda path, n=n: os.truncate(path, n) for n in cuts},
        **{f"bit {bit} flipped": lambda path, bit=bit: flip(path, bit) for bit in bits},
        "gone": lambda path: path.unlink(),
        "a directory": replaced(lambda path: path.mkdir()),
        "a pipe": replaced(lambda path: os.mkfifo(path)),
        "a link to other bytes": replaced(lambda path: (path.with_name("b").write_bytes(b"x" * size),
                                                        path.symlink_to("b"))),
        "a link to nothing": replaced(lambda path: path.symlink_to("absent")),
        "a link to itself": replaced(lambda path: path.symlink_to(path.name)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_of_a_finished_run_is_named_or_the_run_is_read_as_it_was_saved(runs, tmp_path, kind):
    whole = read(runs / kind)
    files = sorted(file.name for file in (runs / kind).iterdir())
    told = {}
    for name in files:
        size = (runs / kind / name).stat().st_size
        for what, damage in damages(size, f"{kind} {name}").items():
            path = tmp_path / "run"
            shutil.copytree(runs / kind, path)
            damage(path / name)
            try:
                assert same(read(path), whole), f"{name} {what}: another run was read"
                told[name, what] = None
            except CheckpointError as failure:
                assert str(path) in failure.what, (name, what, failure.what)
                told[name, what] = failure.what
            shutil.rmtree(path)
    needed = [name for name in files if name not in ("complete.json", "lock", "metrics.jsonl")]
    unnoticed = {(name, what) for (name, what), failure in told.items() if name in needed and failure is None}
    assert not unnoticed  # of what a reader needs, no damage is without a word
    assert all(name in failure for (name, what), failure in told.items()
               if name in needed and name not in ("config.json", "manifest.json"))
    assert "config.json" in told["config.json", "gone"] and "manifest.json" in told["manifest.json", "gone"]
    assert len(needed) >= 4 and all(told[name, what] is None for name, what in told if name not in needed)


@pytest.mark.parametrize("kind, name", [("static", "vocab.txt"), ("bilm", "model.safetensors"),
                                        ("bert", "tokenizer.json"), ("gpt", "tokenizer.json"), ("bag", "ngrams.txt")])
def test_a_command_given_a_damaged_encoder_ends_with_4_and_one_line(runs, tmp_path, capsys, kind, name):
    shutil.copytree(runs / kind, tmp_path / "run")
    flip(tmp_path / "run" / name, 77)
    argv = ["--data", "sample", "--encoder", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert run_command(imdb.main, imdb.Settings, argv) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and name in line and "Fix: " in line and not (tmp_path / "out").exists()


def test_a_question_to_a_damaged_classifier_is_answered_with_4_and_one_line(runs, tmp_path, capsys):
    for name in ("config.json", "model.safetensors", "vocab.txt", "manifest.json"):
        path = tmp_path / name
        shutil.copytree(runs / "transfer", path)
        os.truncate(path / name, (path / name).stat().st_size - 2)
        assert run_command(predict.main, predict.Settings, [str(path), "a fine film"]) == 4
        out, err = capsys.readouterr()
        assert not out and len(err.splitlines()) == 1 and name in err


@pytest.fixture
def unfinished(tmp_path):
    """A run with two states, of the values 1 and 2, and a row for each."""
    with begin(tmp_path / "whole") as run:
        for step in (1, 2):
            run.log_metrics({"step": step, "loss": 1 / step})
            run.save_state(step, make_state(float(step)))
    return tmp_path / "whole"


@pytest.mark.parametrize("name", ["state/step-00000002/state.pt", "state/step-00000002/manifest.json"])
def test_a_damaged_state_is_passed_over_with_a_warning_and_the_one_before_is_used(unfinished, tmp_path, name):
    for what, damage in damages((unfinished / name).stat().st_size, name).items():
        path, heard = tmp_path / "run", []
        shutil.copytree(unfinished, path)
        damage(path / name)
        with begin(path, resume=True, said=heard) as run:
            value = value_of(run.load_state())
            assert value == 1.0 and len(heard) == 1 and "step-00000002" in heard[0] or not heard and value == 2.0
            assert value == 1.0 or name.endswith("manifest.json")  # where a space or a line end may be another
            run.save_state(2, make_state(3.0))
            assert value_of(run.load_state()) == 3.0
        shutil.rmtree(path)


@pytest.mark.parametrize("name", ["metrics.jsonl", "lock", "state/latest"])
def test_what_no_model_depends_on_may_be_damaged_and_the_newest_state_or_the_one_before_is_used(
    unfinished, tmp_path, name
):
    for what, damage in damages((unfinished / name).stat().st_size, name).items():
        path = tmp_path / "run"
        shutil.copytree(unfinished, path)
        damage(path / name)
        try:
            with begin(path, resume=True) as run:
                newest = (1.0, 2.0) if name == "state/latest" and "bit" in what else (2.0,)
                assert value_of(run.load_state()) in newest, what
                run.truncate_metrics(2)
                run.log_metrics({"step": 3})
                run.save_state(3, make_state(3.0))
                assert value_of(run.load_state()) == 3.0
                assert name == "metrics.jsonl" or run.read_metrics()[-1] == {"step": 3}
        except MinitransferError as failure:  # nothing can be written where a directory, a pipe or a link stands
            assert what.startswith("a ") and str(path / name) in failure.what and failure.exit_code in (2, 6)
        shutil.rmtree(path)


def test_the_config_of_an_unfinished_run_is_held_against_the_flags(unfinished, tmp_path):
    for what, damage in damages((unfinished / "config.json").stat().st_size, "config").items():
        path, heard = tmp_path / "run", []
        shutil.copytree(unfinished, path)
        damage(path / "config.json")
        try:
            with begin(path, resume=True, said=heard) as run:
                told = {key: value for key, value in run.config.items() if key != "environment"}
                expected = {**CONFIG, "widths": [1, 2, 3], "format_version": 1}
                assert told == {key: value for key, value in expected.items() if key != "environment"}
                assert heard or "bit" in what
        except CheckpointError as failure:
            assert str(path) in failure.what
        shutil.rmtree(path)


@pytest.mark.parametrize("left", ["nothing", "a file", "no manifest", "files for states"])
def test_where_states_were_and_none_is_left_nothing_is_begun_anew_in_silence(unfinished, left):
    states = unfinished / "state"
    if left in ("nothing", "a file"):
        shutil.rmtree(states)
    if left == "a file":
        states.write_text("mine")
    for state in states.glob("step-*"):
        (state / "manifest.json").unlink() if left == "no manifest" else shutil.rmtree(state)
        if left == "files for states":
            state.write_text("mine")
    with begin(unfinished, resume=True) as run:
        if left == "nothing":
            assert run.load_state() is None  # as of a run that was killed before its first state
        else:
            with pytest.raises(CheckpointError, match="step-00000002" if left != "a file" else "not a directory"):
                run.load_state()


def test_the_newest_state_gone_the_one_before_is_used_with_a_warning(unfinished):
    heard = []
    shutil.rmtree(unfinished / "state" / "step-00000002")
    with begin(unfinished, resume=True, said=heard) as run:
        assert value_of(run.load_state()) == value_of(run.load_state()) == 1.0  # told of once
    assert len(heard) == 1 and "step-00000002" in heard[0] and "Going on from step-00000001" in heard[0]
