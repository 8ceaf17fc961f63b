"""Claims about `python -m finetune.compare`: which runs it is made of, that none is lost or made twice, its sums."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
from collections import Counter

import pytest
import torch
from corpus_files import few_of_sample
from encoder_runs import make_bert, make_bilm, make_gpt, make_oracle
from markdown_tables import table_rows

import finetune.bag.__main__
import finetune.imdb.__main__
from finetune.compare import grid, tables
from finetune.compare import run as compare
from finetune.compare.run import Settings, main
from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.durable import take_lock
from minitransfer.apparatus.errors import DataError
from minitransfer.text import corpora
from minitransfer.transfer import encoders as encoders_chapter

GRID = ("--labels", "12", "30", "--seeds", "0", "3", "--modes", "frozen", "--epochs", "2", "--no-plots")
LINES = [("bag", "bag"), ("oracle", "frozen"), ("oracle", "scratch"), ("bilm", "frozen"), ("bilm", "scratch")]
NAMES = {f"{'bag' if model == 'bag' else f'{model}-{mode}'}-{n}-{seed}"
         for model, mode in LINES for n in (12, 30) for seed in (0, 3)}


@pytest.fixture(scope="module")
def few_reviews(tmp_path_factory):
    """Of the built-in reviews every ninth to train on, and every nineteenth to test on."""
    return few_of_sample(tmp_path_factory.mktemp("data"), 19, train_every=9)


@pytest.fixture(autouse=True)
def reviews_are_few(monkeypatch, few_reviews):
    read = []
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: (read.append(1), few_reviews)[1])
    return read


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    return make_oracle(path / "oracle"), make_bilm(path / "bilm")


def run(encoders, out, *flags):
    """The exit code of the command."""
    argv = ["--data", "sample", "--encoders", *map(str, encoders), "--out", str(out), "--log-every", "1000", *flags]
    return run_command(main, Settings, argv)


@pytest.fixture(scope="module")
def whole(encoders, tmp_path_factory, few_reviews):
    """A grid that was never stopped."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(corpora, "load_reviews", lambda *a, **k: few_reviews)
        path = tmp_path_factory.mktemp("runs") / "whole"
        assert run(encoders, path, *GRID) == 0
    return path


@pytest.fixture
def copy(whole, tmp_path):
    """The same grid, to be spoilt."""
    path = tmp_path / "whole"
    shutil.copytree(whole, path)
    return path


@pytest.fixture
def runs(monkeypatch):
    """The --out of each cell that is run from now on."""
    started = []
    for module in (finetune.imdb.__main__, finetune.bag.__main__):
        original = module.main
        monkeypatch.setattr(module, "main", lambda arguments, reviews=None, original=original:
                            (started.append(os.path.basename(arguments.out)), original(arguments, reviews))[1])
    return started


def lines_of(path):
    return [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]


def without_times(row):
    """A row without what differs from run to run, and from folder to folder."""
    return {name: value for name, value in row.items() if "seconds" not in name and name != "command"}


def cells_in(path):
    return {entry.name for entry in path.iterdir() if entry.is_dir()} - {"cache"}


def test_the_grid_is_exactly_these_cells_each_with_its_command(whole, encoders):
    assert cells_in(whole) == NAMES
    found = lines_of(whole)
    assert len(found) == len(NAMES) and {row["cell"] for row in found} == NAMES
    for row in found:
        words = shlex.split(row["command"])
        module = grid.COMMANDS[words[2]]
        asked = module.Settings.parse_args(words[3:])
        config = json.loads((whole / row["cell"] / "config.json").read_text())
        for name in ("mode", "labels", "seed", *(["precision"] if row["mode"] != "bag" else [])):
            assert asked.config()[name] == config[name] == row[name]
        assert words[:2] == ["python", "-m"] and asked.out == str(whole / row["cell"]) and asked.data == ("sample",)
        assert row["mode"] == "bag" or asked.encoder == str({e.name: e for e in encoders}[row["model"]])
    assert Counter((row["model"], row["mode"]) for row in found) == {line: 4 for line in LINES}


@pytest.mark.parametrize("cell", ["bilm-frozen-30-3", "oracle-scratch-12-0", "bag-30-0"])
def test_typed_by_hand_a_command_of_the_table_gives_the_same_bits(whole, tmp_path, cell):
    row = next(row for row in lines_of(whole) if row["cell"] == cell)
    words = shlex.split(row["command"])
    words[words.index("--out") + 1] = str(tmp_path / cell)
    module = grid.COMMANDS[words[2]]
    assert run_command(module.main, module.Settings, words[3:]) == 0
    first, second = load_run(whole / cell).tensors, load_run(tmp_path / cell).tensors
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert json.loads((tmp_path / cell / "results.json").read_text())["test_accuracy"] == row["test_accuracy"]


def test_what_is_done_is_not_run_again(whole, copy, encoders, runs, capsys, reviews_are_few):
    before = {path: path.stat().st_mtime_ns for cell in NAMES for path in (copy / cell).rglob("*")}
    (copy / "table.md").unlink()
    assert run(encoders, copy, *GRID, "--resume") == 0
    assert runs == [] and len(reviews_are_few) == 1
    assert before == {path: path.stat().st_mtime_ns for cell in NAMES for path in (copy / cell).rglob("*")}
    assert (copy / "table.md").read_text() == (whole / "table.md").read_text().replace(str(whole), str(copy))
    assert "20 cells, of which 20 are done" in capsys.readouterr().err


def test_a_grid_may_grow(copy, encoders, runs):
    more = [*GRID]
    more[more.index("30") + 1 : more.index("30") + 1] = ["8"]
    assert run(encoders, copy, *more, "--resume") == 0
    assert len(runs) == 10 and all("-8-" in name for name in runs) and len(lines_of(copy)) == 30


def test_a_grid_run_in_pieces_is_shown_as_one(copy, encoders, runs, capsys):
    """What is left out of a larger grid are only the cells that nobody has run."""
    larger = ("--labels", "8", "12", "30", "--seeds", "0", "3", "--epochs", "2", "--no-plots")
    assert run(encoders, copy, *larger, "--modes", "frozen", "gradual", "--show") == 0
    assert runs == [] and {row["cell"] for row in lines_of(copy)} == NAMES
    shown = capsys.readouterr().out
    assert shown.startswith("|  | 12 labels | 30 labels |") and "8 labels" not in shown and "gradual" not in shown
    assert run(encoders, copy, "--labels", "10", "--no-plots", "--show") == 4
    assert "nothing of this grid is done" in capsys.readouterr().err


def test_reviews_are_read_once_for_all_cells(encoders, tmp_path, reviews_are_few):
    flags = ("--labels", "8", "--seeds", "0", "1", "--epochs", "1", "--no-plots")
    assert run(encoders[:1], tmp_path / "out", *flags) == 0
    assert len(reviews_are_few) == 1 and len(lines_of(tmp_path / "out")) == 2 * 4  # bag, frozen, finetune, scratch


def test_a_stderr_that_nobody_reads_ends_no_comparison(whole, encoders, tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", Gone())
        assert run(encoders, tmp_path / "out", *GRID) == 0
    assert (tmp_path / "out" / "results.jsonl").is_file()


def test_stopped_amid_a_cell_it_saves_and_goes_on_where_it_was(whole, encoders, tmp_path, monkeypatch, capsys, runs):
    steps, clip = [], optim.clip_gradients

    def counting(*arguments):
        steps.append(1)
        if len(steps) == 5:  # each cell has 12 labels, a step an epoch, two epochs: this is amid the third
            os.kill(os.getpid(), signal.SIGTERM)
        return clip(*arguments)

    flags = [*GRID, "--save-every", "1000"]
    with monkeypatch.context() as patched:
        patched.setattr(optim, "clip_gradients", counting)
        patched.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])  # nobody's flags
        assert run(encoders, tmp_path / "cut", *flags) == 143
    err = capsys.readouterr().err
    [line] = [line for line in err.splitlines() if "to go on: " in line]
    again = shlex.split(line.partition("to go on: python -m finetune.compare ")[2])
    assert again[-1] == "--resume" and str(tmp_path / "cut") in again and "kernel.json" not in err
    done = len(lines_of(tmp_path / "cut"))
    assert runs[-1] not in {row["cell"] for row in lines_of(tmp_path / "cut")} and 0 < done < 20
    half = runs[-1]
    assert list((tmp_path / "cut" / half / "state").glob("step-*"))
    runs.clear()
    assert run(encoders, tmp_path / "cut", *flags, "--resume") == 0
    assert runs[0] == half and len(runs) == 20 - done
    assert list(map(without_times, lines_of(tmp_path / "cut"))) == list(map(without_times, lines_of(whole)))


def test_killed_outright_it_begins_no_cell_twice(copy, encoders, runs, whole):
    shutil.rmtree(copy / "bag-30-3")
    (copy / "bilm-scratch-12-0" / "complete.json").unlink()  # killed a moment before the end
    shutil.rmtree(copy / "bilm-frozen-12-0")
    (copy / "bilm-frozen-12-0").mkdir()  # killed at the very beginning
    assert run(encoders, copy, *GRID, "--resume") == 0
    assert sorted(runs) == ["bag-30-3", "bilm-frozen-12-0", "bilm-scratch-12-0"]
    assert list(map(without_times, lines_of(copy))) == list(map(without_times, lines_of(whole)))


def results_in(path):
    """What results.json of each cell holds, by its line and number of labels."""
    found = {}
    for cell in sorted(cells_in(path)):
        told = json.loads((path / cell / "results.json").read_text())
        name = "bag of n-grams" if told["mode"] == "bag" else \
            f"{os.path.basename(told['encoder'])}, {'frozen' if told['mode'] == 'frozen' else 'from scratch'}"
        found.setdefault((name, told["labels"]), []).append(told)
    return found


def test_the_tables_are_what_the_run_directories_say(whole, few_reviews):
    num_reviews = len(few_reviews.train_texts) + len(few_reviews.test_texts)
    found, rows = results_in(whole), table_rows((whole / "table.md").read_text())
    assert rows[0] == ["", "12 labels", "30 labels"] and len(rows) == 1 + len(LINES) + 1 + 2 * len(LINES)
    for name, *cells in rows[1 : 1 + len(LINES)]:
        for n, cell in zip((12, 30), cells, strict=True):
            scores = [100 * told["test_accuracy"] for told in found[name, n]]
            assert [float(x) for x in re.findall(r"[\d.]+", cell)] == \
                [pytest.approx(x, abs=0.0501) for x in (statistics.mean(scores), min(scores), max(scores))]
    for name, n, seeds, accuracy, minutes, epochs, command in rows[2 + len(LINES) :]:
        told = found[name, int(n)]
        reading = max(
            other["seconds_encoding"] for (line, _), others in found.items() if line == name for other in others)
        seconds = statistics.mean(
            run["seconds_training"] + (reading * int(n) / num_reviews if "frozen" in name else run["seconds_encoding"])
            for run in told)
        assert float(minutes) == pytest.approx(seconds / 60, rel=0.051)
        assert accuracy == rows[1 + [row[0] for row in rows[1:]].index(name)][1 if n == "12" else 2]
        assert seeds == "0, 3" and "--seed 0 " in command and f"--labels {n} " in command
        assert abs(float(epochs) - statistics.mean(run["epochs"] for run in told)) <= 0.5


def test_results_and_table_are_replaced_and_never_added_to(copy, encoders):
    with open(copy / "results.jsonl", "a") as file:
        file.write('{"cell": "torn')
    assert run(encoders, copy, *GRID, "--resume") == 0
    assert len(lines_of(copy)) == 20


def test_a_cell_that_fails_is_told_and_the_others_go_on(encoders, tmp_path, monkeypatch, capsys):
    flags = ("--labels", "8", "--seeds", "0", "1", "--modes", "frozen", "--epochs", "1", "--no-plots")
    with monkeypatch.context() as patched:
        original = finetune.imdb.__main__.main

        def failing(arguments, reviews=None):
            if arguments.mode == "scratch" and arguments.seed == 0:
                raise DataError("a review has gone", "look for it")
            return original(arguments, reviews)

        patched.setattr(finetune.imdb.__main__, "main", failing)
        assert run(encoders[:1], tmp_path / "out", *flags) == 3
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1 and "error: a review has gone. Fix: look for it." in captured.err
    assert "1 of 6 cells failed: oracle-scratch-8-0" in captured.err
    assert {row["cell"] for row in lines_of(tmp_path / "out")} == \
        {"bag-8-0", "bag-8-1", "oracle-frozen-8-0", "oracle-frozen-8-1", "oracle-scratch-8-1"}
    assert captured.out.startswith("|") and "saved in" in captured.out
    assert run(encoders[:1], tmp_path / "out", *flags, "--resume") == 0 and len(lines_of(tmp_path / "out")) == 6


def test_an_encoder_trained_anew_does_not_pass_for_the_old_one(copy, encoders, tmp_path, capsys):
    other = make_bilm(tmp_path / "bilm", seed=1)
    assert run([encoders[0], other], copy, *GRID, "--resume") == 4
    err = capsys.readouterr().err
    assert "encoder_fingerprint" in err and "8 of 20 cells failed" in err
    assert {row["model"] for row in lines_of(copy)} == {"bag", "oracle"}


def test_cells_that_read_fewer_tokens_do_not_pass_for_cells_of_now(copy, encoders, monkeypatch, capsys):
    monkeypatch.setattr(encoders_chapter, "MAX_TOKENS", 23)
    assert run(encoders, copy, *GRID, "--resume") == 4
    err = capsys.readouterr().err
    assert "max_tokens: 512 there, 23 now" in err and "16 of 20 cells failed" in err
    assert {row["model"] for row in lines_of(copy)} == {"bag"}


def test_damaged_results_are_noticed(copy, encoders, capsys):
    path = copy / "oracle-frozen-12-0" / "results.json"
    path.write_text(path.read_text().replace('"labels": 12', '"labels": 13'))
    assert run(encoders, copy, *GRID, "--resume") == 4
    err = capsys.readouterr().err
    assert "the results in" in err and "oracle-frozen-12-0 are damaged" in err and len(lines_of(copy)) == 19


@pytest.mark.parametrize("kind, modes, baselines, expected", [
    ("static", ["frozen", "finetune"], True, ["frozen", "finetune", "scratch"]),
    ("static", ["top"], True, ["top", "frozen", "scratch"]),
    ("bilm", ["finetune"], True, ["finetune", "scratch"]),
    ("bert", ["gradual", "gradual"], False, ["gradual"]),
])  # fmt: skip
def test_every_encoder_is_compared_with_itself_from_scratch(kind, modes, baselines, expected):
    assert list(dict.fromkeys(grid.modes_of(kind, modes, baselines))) == expected


@pytest.mark.parametrize(("make", "head"), [(make_bert, "cls"), (make_gpt, "last")])
def test_a_bert_that_learns_is_read_at_cls_a_gpt_at_its_last_token_and_frozen_ones_by_their_mean(tmp_path, make, head):
    flags = ("--labels", "8", "--seeds", "0", "--epochs", "1", "--no-plots")
    assert run([make(tmp_path / "encoder")], tmp_path / "out", *flags) == 0
    assert {row["mode"]: row["head"] for row in lines_of(tmp_path / "out")} == \
        {"bag": "linear", "frozen": "mean", "finetune": head, "scratch": head}


def cell(model, mode, labels, seed):
    return grid.Cell(model, mode, labels, seed, "finetune.imdb", (), grid.Path(f"{model}-{mode}-{labels}-{seed}"))


def test_time_left_is_told_by_the_latest_like_cell():
    costs = {cell("a", "frozen", 100, 0): 300.0, cell("a", "frozen", 100, 1): 10.0,
             cell("a", "scratch", 100, 0): 40.0}
    assert grid.seconds_left([cell("a", "frozen", 100, 2)], costs) == (10, 0)
    assert grid.seconds_left([cell("a", "scratch", 500, 2), cell("a", "scratch", 50, 0)], costs) == (200 + 40, 0)
    assert grid.seconds_left([cell("b", "scratch", 100, 2), cell("a", "scratch", 100, 1)], costs) == (40, 1)


def draw(out, *files):
    """The exit code of the command that runs nothing."""
    return run_command(main, Settings, ["--draw", *map(str, files), "--out", str(out), "--no-plots"])


def test_recorded_lines_are_drawn_up_without_encoders_or_reviews(whole, tmp_path, runs, reviews_are_few, capsys):
    """Cut in two, as if two machines had run it, it gives the table and the lines of the whole."""
    lines = (whole / "results.jsonl").read_text().splitlines(keepends=True)
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text("".join(lines[:7]))
    other.write_text("".join(lines[7:]))
    assert draw(tmp_path / "out", one, other) == 0 and runs == reviews_are_few == []
    for name in ("results.jsonl", "table.md"):
        assert (tmp_path / "out" / name).read_text() == (whole / name).read_text()
    assert capsys.readouterr().out.startswith("|  | 12 labels | 30 labels |")


@pytest.mark.parametrize("name", ["", "results.json", "results.jsonl"])
def test_recorded_lines_are_named_by_their_directory_too(whole, tmp_path, name, capsys):
    assert draw(tmp_path / "out", whole / name) == 0
    assert lines_of(tmp_path / "out") == lines_of(whole)
    assert draw(tmp_path / "other", whole / "bag-30-0" / "results.json") == 4  # of a run, beside no comparison
    assert "is not of a comparison" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", [
    lambda row: [],
    lambda row: row | {"test_accuracy": float("nan")},
    lambda row: row | {"validation_accuracies": None},
    lambda row: row | {"mode": "fried"},
    lambda row: row | {"labels": 0},
    lambda row: row | {"model": "\ud800"},
    lambda row: row | {"cell": ["bag"]},
    lambda row: row | {"reviews": "many"},
    lambda row: {name: row[name] for name in row if name != "command"},
])  # fmt: skip
def test_a_line_that_is_not_of_a_comparison_is_named(whole, tmp_path, capsys, spoil):
    rows = lines_of(whole)
    rows[1] = spoil(rows[1])
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert draw(tmp_path / "out", tmp_path / "lines.jsonl") == 4
    assert "line 2 of" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_cannot_be_drawn_up_is_said(whole, copy, encoders, tmp_path, capsys):
    (tmp_path / "empty").touch()
    lines = whole / "results.jsonl"
    for files, code, told in (([tmp_path / "empty"], 4, "there are no lines in"), ([tmp_path], 4, "cannot be read"),
                              ([tmp_path / "none"], 4, "cannot be read"), ([lines, lines], 2, "stands twice")):
        assert draw(tmp_path / "out", *files) == code
        assert told in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert draw(copy, lines) == 2 and "choose another --out for what is drawn" in capsys.readouterr().err
    for change, told in (({"data": "imdb"}, "lines of several reviews, imdb, sample"), ({"trial": 9}, "by --trial 9")):
        first, *others = lines_of(whole)
        (tmp_path / "changed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [first | change, *others]))
        assert draw(tmp_path / "out", tmp_path / "changed.jsonl") == 2
        assert told in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run(encoders, tmp_path / "out", "--draw", str(lines)) == 2
    assert "--draw shows every line" in capsys.readouterr().err


@pytest.mark.parametrize("flags, code, told", [
    (["--labels", "8", "1000"], 2, "--labels 1000 cannot be chosen"),
    (["--labels", "7"], 2, "--labels 7 cannot be chosen"),
    (["--labels", "0"], 2, "--labels: must be"),
    (["--modes", "frzen"], 2, "did you mean frozen?"),
    (["--seeds", "-1"], 2, "--seeds: must be"),
    (["--seed", "1"], 2, "did you mean --seeds?"),
    (["--encoders", "/nowhere"], 4, "there is no such directory"),
    (["--encoders", os.devnull], 4, "it is a file"),
    (["--encoders", ""], 2, "must name a directory"),
    (["--encoder", "x"], 2, "did you mean --encoders?"),
    (["--device", "gpu"], 2, "--device"),
    (["--resume"], 4, "no comparison at"),
    (["--out", os.devnull], 2, "is not a directory"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is_run(encoders, tmp_path, capsys, flags, code, told):
    assert run(encoders, tmp_path / "out", *flags) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and told in line and "Fix: " in line
    assert not (tmp_path / "out").exists()


def test_a_bag_or_a_transfer_run_is_no_encoder(whole, tmp_path, capsys):
    for name in ("bag-12-0", "bilm-frozen-12-0"):
        assert run([whole / name], tmp_path / "out", *GRID) == 4
        assert "but an encoder is of kind" in capsys.readouterr().err


def test_two_encoders_of_one_name_are_refused(encoders, tmp_path, capsys):
    make_bilm(tmp_path / "other" / "bilm")
    assert run([encoders[1], tmp_path / "other" / "bilm"], tmp_path / "out", *GRID) == 2
    assert "would both be called 'bilm'" in capsys.readouterr().err


def test_a_directory_that_holds_something_is_left_alone(whole, encoders, tmp_path, capsys):
    assert run(encoders, whole, *GRID) == 2 and "add --resume" in capsys.readouterr().err
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "cat.png").touch()
    assert run(encoders, tmp_path / "photographs", *GRID) == 2
    assert run(encoders, tmp_path / "photographs", *GRID, "--resume") == 4
    assert os.listdir(tmp_path / "photographs") == ["cat.png"]


def test_two_comparisons_at_once_in_one_directory_are_refused(copy, encoders, capsys):
    with take_lock(copy):
        assert run(encoders, copy, *GRID, "--resume") == 2
    assert "is in use by" in capsys.readouterr().err


def test_without_matplotlib_figures_are_refused_if_asked_for_and_left_out_if_not(encoders, tmp_path, monkeypatch,
                                                                                 capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(encoders, tmp_path / "out", "--plots") == 2
    assert 'Fix: pip install -e ".[plot]"' in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert not compare.can_plot(None) and "no figures will be drawn" in capsys.readouterr().err


def test_help_answers_without_torch():
    code = "import sys; from finetune.compare.__main__ import Settings, main, run_command; " \
           "run_command(main, Settings, ['--help']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("False\n") and "--no-plots" in out


def curves_of(path):
    """What metrics.jsonl of each cell says of the accuracy on the reviews held out, epoch by epoch."""
    logged = {name: [json.loads(line) for line in (path / name / "metrics.jsonl").read_text().splitlines()]
              for name in cells_in(path)}
    logged = {name: [row for row in rows if "validation_loss" in row] for name, rows in logged.items()}
    assert all([row["epoch"] for row in rows] == [1, 2] for name, rows in logged.items() if "bag" not in name)
    return {name: [row["validation_accuracy"] for row in rows] for name, rows in logged.items()}


def test_figures_show_the_numbers_of_the_run_directories(whole):
    pytest.importorskip("matplotlib")
    from finetune.compare import plots

    rows, found = lines_of(whole), results_in(whole)
    axes = plots.accuracy(rows).axes[0]
    for bars in axes.containers:
        line, _, (span,) = bars.lines
        points = zip(*line.get_data())
        for n, (x, y), ((_, low), (_, high)) in zip((12, 30), points, span.get_segments(), strict=True):
            scores = [100 * told["test_accuracy"] for told in found[bars.get_label(), n]]
            assert (y, low, high) == pytest.approx((statistics.mean(scores), min(scores), max(scores)))
            assert x == pytest.approx(n, rel=0.1)
    assert len(axes.containers) == len(LINES)
    panels, curves = plots.convergence(rows).axes, curves_of(whole)
    assert [panel.get_title() for panel in panels] == ["epoch 1", "epoch 2"]
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names == [tables.title(line) for line in LINES[1:]]
    for epoch, panel in enumerate(panels):
        drawn = {name: sorted(line.get_xdata()) for name, line in zip(names, panel.lines, strict=True)}
        for (model, mode), name in zip(LINES[1:], names):
            cells = [curves[f"{model}-{mode}-30-{seed}"] for seed in (0, 3)]
            assert drawn[name] == pytest.approx(sorted(100 * curve[epoch] for curve in cells))
    drawn = {line.get_label(): line.get_ydata() for line in plots.cost(rows).axes[0].lines}
    for (name, n), told in found.items():
        expected = statistics.mean(100 * run["test_accuracy"] for run in told)
        assert drawn[name][(12, 30).index(n)] == pytest.approx(expected)


def test_figures_are_drawn_for_any_name_and_for_baselines_alone(whole):
    pytest.importorskip("matplotlib")
    from finetune.compare import plots
    from minitransfer.apparatus.figures import png

    names = {"oracle": "_$a$ | b_", "bilm": "möwe", "bag": "bag"}
    rows = [row | {"model": names[row["model"]]} for row in lines_of(whole)]
    for some in (rows, [row for row in rows if row["mode"] == "bag"], rows[:1]):
        figures = plots.accuracy(some), plots.convergence(some), plots.cost(some)
        assert all(png(figure).startswith(b"\x89PNG") for figure in figures)
    lost = [row | {"validation_accuracies": []} if row["model"] == "möwe" else row for row in rows]
    names = [label.get_text() for label in plots.convergence(lost).axes[0].get_yticklabels()]
    assert names == [r" _\$a\$ | b_, frozen", r" _\$a\$ | b_, from scratch"]
    assert "_$a$ \\| b_, frozen" in tables.accuracy_table(rows)


def made_up(model, mode, kind, scores):
    """Rows of a line, one for each number of labels."""
    return [{"model": model, "mode": mode, "encoder_kind": kind, "labels": n, "seed": 0, "data": "imdb", "reviews": 9,
             "test_accuracy": score, "validation_accuracies": [score] * 5, "seconds": 60.0, "seconds_encoding": 9.0,
             "seconds_training": 60.0} for n, score in scores.items()]


MANY = [*made_up("bag", "bag", None, {10: 0.6, 20: 0.7, 30: 0.8}),
        *made_up("static", "frozen", "static", {10: 0.7, 20: 0.7, 30: 0.7}),
        *made_up("bilm", "frozen", "bilm", {10: 0.75, 20: 0.8, 30: 0.9}),
        *made_up("bert", "finetune", "bert", {10: 0.9, 20: 0.9, 30: 0.9}),
        *made_up("bilm", "finetune", "bilm", {10: 0.5, 30: 0.9}),
        *made_up("bilm", "top", "bilm", {10: 0.6, 30: 0.7}),
        *made_up("bilm", "gradual", "bilm", {10: 0.8, 30: 0.6}),
        *made_up("static", "scratch", "static", {10: 0.6, 20: 0.6, 30: 0.6}),
        *made_up("bilm", "scratch", "bilm", {10: 0.4, 20: 0.5})]


def test_of_many_lines_the_best_of_each_mode_are_drawn_and_what_the_best_frozen_encoder_gained_is_shaded():
    pytest.importorskip("matplotlib")
    from finetune.compare import plots

    chosen = [("bilm", "frozen"), ("bilm", "scratch"), ("bert", "finetune"), ("bag", "bag"), ("static", "frozen"),
              ("static", "scratch"), ("bilm", "gradual")]
    assert plots.telling_lines(MANY) == chosen
    together = [*MANY, *made_up("all", "average", None, {10: 0.95})]
    assert plots.telling_lines(together) == [*chosen[:4], ("all", "average"), *chosen[4:6]]
    for line in chosen[:4]:  # a mode has its colour, whatever else is drawn
        assert plots.line_styles(together)[line]["color"] == plots.COLOUR_OF[line[1]]
    styles = plots.line_styles(MANY)
    assert list(styles) == chosen and len({style["color"] for style in styles.values()}) == plots.MOST
    figure = plots.accuracy(MANY)
    assert len(figure.axes[0].containers) == plots.MOST
    (shade,) = [part for part in figure.axes[0].collections if part.get_label() == plots.GAP]
    corners = shade.get_paths()[0].vertices
    assert {tuple(corner) for corner in corners.round(6).tolist()} == {(10, 40), (10, 75), (20, 50), (20, 80)}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "bilm, frozen", "bert, fine-tuned", "bag of n-grams", "static, frozen", "static, from scratch",
        "bilm, gradually unfrozen", "bilm, from scratch", plots.GAP, "2 more, in table.md"]


def test_where_a_line_passes_a_number_of_labels_that_it_was_not_run_with_it_is_dashed():
    pytest.importorskip("matplotlib")
    from finetune.compare import plots

    joints = [line for line in plots.accuracy(MANY).axes[0].lines if len(line.get_xdata()) == 2
              and line.get_linestyle() in ("-", "--")]
    lengths = {style: sorted(round(line.get_xdata()[1] / line.get_xdata()[0], 3) for line in joints
                             if line.get_linestyle() == style) for style in ("-", "--")}
    assert lengths == {"--": [3.0], "-": [1.5] * 5 + [2.0] * 6}


def test_only_the_first_epochs_are_drawn_and_the_cost_counts_pretraining_where_it_is_known():
    pytest.importorskip("matplotlib")
    from finetune.compare import plots

    assert [axes.get_title() for axes in plots.convergence(MANY).axes] == ["epoch 1", "epoch 2", "epoch 3"]
    known = [row | ({"seconds_pretraining": 600.0} if row["model"] == "bert" else {}) for row in MANY]
    before, after = ({line.get_label(): list(line.get_xdata()) for line in plots.cost(rows).axes[0].lines}
                     for rows in (MANY, known))
    assert after["bert, fine-tuned"] == pytest.approx([minutes + 10 for minutes in before["bert, fine-tuned"]])
    assert after["bilm, frozen"] == before["bilm, frozen"]
    names = [plots.cost(rows).axes[0].get_xlabel().partition(";")[0] for rows in (MANY, known)]
    assert names == ["minutes of encoding and training", "minutes of pretraining, encoding and training"]
