"""Claims about commands in Python: results are returned, errors raised, and an interrupt loses nothing."""

import errno
import io
import json
import re
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from encoder_runs import make_bert, make_oracle
from pretrain_runs import rows, signal_at, small_presets, wikitext

import minitransfer
from minitransfer.apparatus import calling
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.errors import (
    CheckpointError,
    DataError,
    MinitransferError,
    ResourceError,
    Stopped,
    UsageError,
)

small_presets = pytest.fixture(scope="module", autouse=True)(small_presets)
wikitext = pytest.fixture(scope="module")(wikitext)
SAMPLE = {"data": "sample", "offline": True, "threads": 1}


@pytest.fixture
def text(wikitext):
    """The flags of pretraining on made-up text."""
    return {"corpus": ["wikitext-2"], "data_dir": wikitext, "offline": True, "preset": "tiny", "log_every": 1e-9}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    return make_oracle(tmp_path_factory.mktemp("encoders") / "oracle")


@pytest.fixture(scope="module")
def transferred(oracle, tmp_path_factory):
    """A transfer run, and what the command returned."""
    out = tmp_path_factory.mktemp("transfer") / "imdb"
    return out, minitransfer.run("finetune.imdb", encoder=oracle, labels=40, epochs=2, out=out, **SAMPLE)


def test_pretraining_returns_what_the_run_came_to_and_a_finished_run_says_it_again(text, tmp_path):
    for command, more in (("pretrain.static", {}), ("pretrain.bilm", {"warm_start": "none", "epochs": 1})):
        out = tmp_path / command
        results = minitransfer.run(command, out=out, **text, **more)
        noted = json.loads((out / "complete.json").read_text())
        assert results == {"out": str(out), **noted} and noted["step"] > 0
        assert minitransfer.run(command, out=out, resume=True, **text, **more) == results
    assert results["perplexity"] > 1 and load_run(results["out"], "bilm").fingerprint


def test_transfer_returns_what_results_json_has(transferred):
    out, results = transferred
    saved = json.loads((out / "results.json").read_text())
    assert results == {"out": str(out), **saved, "step": results["step"]} and results["labels"] == 40
    assert minitransfer.load(results["out"]).predict(["a triumph"]) == ["positive"]


def test_the_bag_the_comparison_and_the_prediction_return_their_results(oracle, tmp_path):
    bag = minitransfer.run("finetune.bag", labels=40, strengths=[10, 1.0], out=tmp_path / "bag", **SAMPLE)
    assert bag["mode"] == "bag" and bag["strength"] in (10, 1)
    grid = {"encoders": [oracle], "modes": ["frozen"], "labels": [8], "seeds": [0], "epochs": 1, "plots": False,
            "no_baselines": True, "out": tmp_path / "compare"}
    (row,) = minitransfer.run("finetune.compare", **grid, **SAMPLE)
    assert row == json.loads((tmp_path / "compare" / "results.jsonl").read_text())
    assert row["cell"] == "oracle-frozen-8-0"
    again = minitransfer.run("finetune.compare", draw=[tmp_path / "compare"], plots=False, out=tmp_path / "again")
    assert again == [row]
    answers = minitransfer.run("finetune.predict", run=bag["out"], texts=["-5 of 10", ""], batch_size=2)
    assert [one["label"] is None for one in answers] == [False, True]


FLAGS_AS_TEXTS = ["--json", "--help", "--file=b.txt", "--bogus", "--", "-", "--threads=2", "-x"]


def test_a_text_from_python_is_a_text_whatever_it_says(transferred):
    answers = minitransfer.run("finetune.predict", run=transferred[0], texts=[*FLAGS_AS_TEXTS, "a triumph"])
    assert len(answers) == len(FLAGS_AS_TEXTS) + 1 and answers[-1]["label"] == "positive"
    assert minitransfer.run("finetune.predict", run=transferred[0], texts=[]) == []


def test_texts_from_python_may_be_an_array_or_a_generator_and_nothing_without_an_order(transferred):
    texts = ["a triumph", "a mess", "dull"]
    several = [minitransfer.run("finetune.predict", run=transferred[0], texts=kind)
               for kind in (texts, np.array(texts), (text for text in texts), tuple(texts))]
    assert len(several[0]) == 3 and all(answers == several[0] for answers in several)
    with pytest.raises(CheckpointError, match="no run at nowhere-0"):  # so are the runs of a command, and read once
        minitransfer.run("finetune.average", runs=(f"nowhere-{i}" for i in range(2)))
    for texts, told in (({"a", "b"}, "of type set"), ({"a": 1}, "of type dict"), (b"film", "of type bytes"),
                        (["film", None], "of type NoneType"), (Path("film"), "of type PosixPath|of type WindowsPath")):
        with pytest.raises(UsageError, match=told):
            minitransfer.run("finetune.predict", run=transferred[0], texts=texts)


@pytest.mark.parametrize("failure, kind", [
    (MemoryError(), ResourceError), (OSError(errno.ENOSPC, "full"), ResourceError),
    (OSError(errno.ENAMETOOLONG, "long"), UsageError),
])  # fmt: skip
def test_what_the_system_fails_by_is_raised_with_what_to_do(text, tmp_path, monkeypatch, failure, kind):
    from pretrain.static import __main__ as static

    def fail(settings):
        raise failure

    monkeypatch.setattr(static, "main", fail)
    with pytest.raises(kind, match="Fix: "):
        minitransfer.run("pretrain.static", out=tmp_path / "static", **text)


def test_looking_into_runs_returns_what_is_shown(transferred, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mix = minitransfer.run("pretrain.inspect", runs=[transferred[0]], mix=True)
    assert sum(share for name, share in mix.items() if name != "γ") == pytest.approx(1)
    (guesses,) = minitransfer.run("pretrain.inspect", runs=make_bert(tmp_path / "bert"), fill="the [MASK]")
    assert len(guesses) == 10 and all(isinstance(piece, str) and 0 < p < 1 for piece, p in guesses)
    table = minitransfer.run("pretrain.inspect", runs=[transferred[0], transferred[0]], side_by_side=True)
    assert table["run"] == [str(transferred[0])] * 2 and "minutes" in table


@pytest.mark.parametrize("command, flags, told", [
    ("finetune.imbd", {}, "did you mean finetune.imdb?"),
    ("train", {}, "is not the name of a command"),
    (None, {}, "is not the name of a command"),
    ("minitransfer.huggingface", {}, "call export_run or import_folder of minitransfer.huggingface.exchange"),
    ("finetune.imdb", {"lables": 500}, "did you mean labels?"),
    ("finetune.imdb", {"labels": "many"}, "--labels: must be a whole number from 1"),
    ("finetune.imdb", {"labels": 4.0}, "must be a whole number from 1 to 2147483647, not '4.0'"),
    ("finetune.imdb", {"labels": True}, "not 'True'"),
    ("finetune.imdb", {"labels": 7}, "--labels 7 cannot be chosen"),
    ("finetune.imdb", {"labels": [500, 2000]}, "labels takes one value, and not [500, 2000]"),
    ("finetune.imdb", {"encoder": ()}, "encoder takes one value"),
    ("finetune.imdb", {"mode": "frozn"}, "did you mean frozen?"),
    ("finetune.imdb", {"resume": "yes"}, "resume is 'yes'. Fix: give True or False"),
    ("finetune.imdb", {"learning_rate": float("nan")}, "must be a number above 0 and at most 1e38"),
    ("finetune.imdb", {"out": ""}, "must name a directory"),
    ("pretrain.static", {"out": "x\0y"}, r"--out: 'x\x00y' can be the name of no directory"),
    ("finetune.imdb", {"encoder": "x\ud800y"}, r"--encoder: 'x\ud800y' can be the name of no directory"),
    ("finetune.compare", {"draw": ["x\0y"]}, r"--draw: 'x\x00y' can be the name of no directory"),
    ("pretrain.bilm", {"corpus": ["sample", "smple"]}, "did you mean sample?"),
    ("pretrain.bilm", {"corpus": []}, "expected at least one argument"),
    ("pretrain.bilm", {"warm_start": "a", "init_from": "b"}, "not allowed with"),
    ("pretrain.inspect", {"mix": True}, "required: RUN"),
    ("pretrain.inspect", {"runs": ["a"]}, "is required"),
    ("pretrain.inspect", {"runs": [], "mix": True}, "required: RUN"),
    ("finetune.predict", {"texts": ["film"]}, "required: RUN"),
    ("finetune.imdb", {"data": ["--seed=9"]}, "--data --seed=9 is none of auto"),
    ("finetune.compare", {"labels": {3}}, "labels are of type set. Fix: give a list of them"),
    ("finetune.predict", {"texts": ["film"], "jsn": True}, "did you mean json?"),
])  # fmt: skip
def test_a_call_that_cannot_be_meant_raises_one_line(command, flags, told, capsys):
    with pytest.raises(UsageError) as refused:
        minitransfer.run(command, **flags)
    line = str(refused.value)
    assert told in line and ". Fix: " in line and "\n" not in line and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("run", [123, None, b"runs/bilm", ["runs/bilm"], {}])
def test_what_names_no_directory_is_not_loaded(run):
    with pytest.raises(UsageError) as refused:
        minitransfer.load(run)
    assert str(refused.value) == (f"the run to load is of type {type(run).__name__}. Fix: give the directory of a "
                                  "finished run, as a string or a path.")


def test_what_a_command_fails_by_is_raised_and_not_printed(tmp_path, capsys):
    with pytest.raises(CheckpointError, match="no such directory"):
        minitransfer.run("finetune.imdb", encoder=tmp_path / "nowhere", out=tmp_path / "out", **SAMPLE)
    with pytest.raises(MinitransferError):
        minitransfer.run("pretrain.static", corpus="wikitext-2", data_dir=tmp_path, offline=True, out=tmp_path / "out")
    assert "error: " not in capsys.readouterr().err


def test_a_comparison_of_which_a_cell_fails_draws_up_the_others_and_raises_what_failed(oracle, tmp_path, monkeypatch):
    module = calling.door("finetune.imdb")

    def failing(settings, reviews=None):
        raise DataError("a review has gone", "look for it")

    monkeypatch.setattr(module, "main", failing)
    with pytest.raises(DataError, match="a review has gone"):
        minitransfer.run("finetune.compare", encoders=oracle, modes="frozen", labels=8, seeds=0, plots=False,
                         out=tmp_path / "out", **SAMPLE)
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert row["cell"] == "bag-8-0"


@pytest.mark.parametrize("command, what", [("pretrain.static", "static"), ("pretrain.bilm", "bilm")])
def test_interrupted_in_python_a_run_is_saved_and_goes_on_by_the_call_that_is_named(text, tmp_path, monkeypatch,
                                                                                  command, what):
    """As Jupyter does it: a SIGINT to the main thread, which a cell runs in, whatever the process was started as."""
    more = {"warm_start": "none", "epochs": 1} if what == "bilm" else {}
    whole = minitransfer.run(command, out=tmp_path / "whole", **text, **more)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        signal_at(what, 3, signal.SIGINT, patched.setattr)
        with pytest.raises(KeyboardInterrupt) as stopped:
            minitransfer.run(command, out=str(tmp_path / "cut"), **text, **more)
    assert isinstance(stopped.value, Stopped) and signal.getsignal(signal.SIGINT) is before
    told = str(stopped.value)
    assert told.startswith(f"stopped and saved; to go on: minitransfer.run('{command}', out=") and "kernel" not in told
    call = told.partition("to go on: ")[2].replace(repr(text["data_dir"]), repr(str(text["data_dir"])))
    results = eval(call)  # as a reader would paste it
    assert results["step"] == whole["step"]
    same = [load_run(tmp_path / name).tensors for name in ("whole", "cut")]
    assert all(tensor.equal(same[1][name]) for name, tensor in same[0].items())
    assert [row["step"] for row in rows(tmp_path / "cut")] == [row["step"] for row in rows(tmp_path / "whole")]


def test_a_signal_from_another_thread_interrupts_the_run_in_the_main_one(text, tmp_path, monkeypatch):
    """Python runs handlers in the main thread, whichever thread the signal was raised in."""
    from minitransfer.apparatus import progress

    advance, raised = progress.Progress.advance, []

    def raising(self, n=1, **numbers):
        if not raised:
            raised.append(threading.Thread(target=signal.raise_signal, args=[signal.SIGINT]))
            raised[0].start(), raised[0].join()
        return advance(self, n, **numbers)

    with monkeypatch.context() as patched:
        patched.setattr(progress.Progress, "advance", raising)
        with pytest.raises(KeyboardInterrupt, match="stopped and saved"):
            minitransfer.run("pretrain.static", out=tmp_path / "run", **text)
    assert minitransfer.run("pretrain.static", out=tmp_path / "run", resume=True, **text)["step"] > 1


def in_a_thread(work):
    """What `work` returns or raises in a thread other than the main one."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except BaseException as failure:
            outcome.append(failure)

    thread = threading.Thread(target=run)
    thread.start(), thread.join(60)
    return outcome[0]


def test_every_command_runs_in_a_thread(text, oracle, tmp_path, capsys):
    """Where signals cannot be handled: nothing asks the run to stop, and all else is the same."""
    static = in_a_thread(lambda: minitransfer.run("pretrain.static", out=tmp_path / "static", **text))
    again = minitransfer.run("pretrain.static", out=tmp_path / "again", **text)
    assert static["step"] == again["step"]
    assert load_run(static["out"]).tensors["vectors"].equal(load_run(again["out"]).tensors["vectors"])
    imdb = in_a_thread(lambda: minitransfer.run("finetune.imdb", encoder=oracle, labels=20, epochs=1,
                                                out=tmp_path / "imdb", **SAMPLE))
    bag = in_a_thread(lambda: minitransfer.run("finetune.bag", labels=20, out=tmp_path / "bag", **SAMPLE))
    assert imdb["labels"] == bag["labels"] == 20
    answers = in_a_thread(lambda: minitransfer.run("finetune.predict", run=imdb["out"], texts=["a triumph"]))
    assert answers[0]["label"] == "positive"
    assert isinstance(in_a_thread(lambda: minitransfer.run("finetune.imdb", labels=7)), UsageError)
    assert "bug" not in capsys.readouterr().err


def test_output_goes_where_python_writes_and_nothing_is_asked_of_what_a_notebook_has(text, tmp_path, monkeypatch):
    """Jupyter's streams are no files: they have no reconfigure, and a fileno that cannot be relied upon."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out), monkeypatch.setattr(sys, "stderr", err)
    minitransfer.run("pretrain.static", out=tmp_path / "run", **text)
    assert re.search(r"static: [\d,]+/", err.getvalue()) and out.getvalue() == ""


def test_a_notebook_shows_one_line_and_no_traceback():
    """IPython asks an exception for `_render_traceback_`, and shows the lines that it returns."""
    assert UsageError("that is wrong", "do this")._render_traceback_() == ["UsageError: that is wrong. Fix: do this."]
    assert Stopped(signal.SIGINT)._render_traceback_() == ["Stopped: stopped and saved"]
