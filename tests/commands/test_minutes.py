"""Claims about `python -m finetune.compare --minutes`: each run is followed to raw text, and no stage is forgotten."""

import json

import pytest
import torch
from commands import last_line
from encoder_runs import save_run
from markdown_tables import table_rows

from finetune.compare.__main__ import Settings, main
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command

SEED = {"seed": 0, "environment": {"threads": 1}}


def record(path, told, **config):
    """A finished run that tells this, and no more; returns its fingerprint."""
    save_run(path, {**SEED, **config}, {"w": torch.tensor([float(len(str(path)))])}, {})
    (path / "complete.json").write_text(json.dumps({"step": 1, **told}))
    return load_run(path).fingerprint


def classifier(path, accuracy, minutes, labels=500, encoding=0.0, **config):
    """A classifier; minutes: of training."""
    told = {"data": "sample", "labels": labels, "test_accuracy": accuracy / 100, "seconds": 60 * (minutes + encoding),
            "seconds_encoding": 60 * encoding, "seconds_training": 60 * minutes}
    return record(path, told, labels=labels, **{"kind": "transfer", "mode": "finetune", "trial": None, **config})


@pytest.fixture
def runs(tmp_path):
    """Static vectors, 2 minutes; a biLM that begins with them, 30; one that begins with that, 100."""
    path = tmp_path / "runs"
    static = record(path / "static", {"seconds": 120}, kind="static", origin=None)
    bilm = record(path / "bilm", {"seconds": 1800}, kind="bilm", origin={"kind": "static", "fingerprint": static})
    more = record(path / "more", {"seconds": 6000}, kind="bilm", origin={"kind": "bilm", "fingerprint": bilm})
    return path, {"static": static, "bilm": bilm, "more": more}


def told(path, capsys):
    """The rows of the table by their accuracy, and all that is printed below it."""
    assert run_command(main, Settings, ["--minutes", "--out", str(path / "compare")]) == 0
    out = capsys.readouterr().out
    head, *body = table_rows(out)
    return {row[0]: dict(zip(head[1:], row[1:])) for row in body}, out


def test_all_stages_are_counted_and_the_least_minutes_shown(runs, capsys):
    path, known = runs
    classifier(path / "compare" / "a", 84.9, 4, encoder_fingerprint=known["bilm"])  # 2 + 30 + 4
    classifier(path / "compare" / "b", 90.0, 5, encoder_fingerprint=known["more"])  # 2 + 30 + 100 + 5
    classifier(path / "compare" / "c", 83.5, 0, kind="bag", mode="bag", encoding=0.5)
    classifier(path / "d", 81.0, 9, labels=100, encoder_fingerprint=known["static"])  # 2 + 9
    table, out = told(path, capsys)
    assert [row["500 labels"] for row in table.values()] == \
        ["0.5 c", "0.5 c", "137 b", "137 b", "137 b", "137 b", "—", "—", "—"]
    assert [row["100 labels"] for row in table.values()] == ["11 d", *["—"] * 8]
    assert list(table) == ["80 %", "83 %", "85 %", "87 %", "88 %", "90 %", "91.5 %", "92.5 %", "93 %"]
    stages = f"{path / 'static'} 2 + {path / 'bilm'} 30 + {path / 'more'} 100 + itself 5"
    assert f"- {path / 'compare' / 'b'} (seed 0): 90.0 % in 137 min = {stages}\n" in out
    assert "compare/a " not in out  # it is dearer than c, and no better at any of these accuracies


def test_from_scratch_needs_no_pretraining(runs, capsys):
    path, known = runs
    classifier(path / "a", 80.0, 3, mode="scratch", encoder_fingerprint=known["more"])
    assert told(path, capsys)[0]["80 %"]["500 labels"] == "3 a"


def test_seeds_of_one_recipe_are_one_line_at_their_mean(runs, capsys):
    path, known = runs
    for seed, (accuracy, minutes) in enumerate([(86.0, 4), (82.0, 6), (90.0, 2)]):
        classifier(path / f"a-{seed}", accuracy, minutes, seed=seed, encoder_fingerprint=known["static"])
    table, out = told(path, capsys)
    assert [row["500 labels"] for row in table.values()] == ["6 a-0"] * 3 + ["—"] * 6
    assert "a-0 (seed 0, 1, 2): 86.0 % in 6 min" in out


def test_a_frozen_run_is_charged_with_the_pass_that_filled_the_cache(runs, capsys):
    path, known = runs
    frozen = {"mode": "frozen", "encoder_fingerprint": known["static"], "max_tokens": 512}
    classifier(path / "a", 85.0, 1, labels=100, encoding=20, **frozen)
    classifier(path / "b", 85.0, 1, encoding=0.01, **frozen)
    classifier(path / "c", 83.0, 1, encoding=3, **{**frozen, "max_tokens": 64})
    table, _ = told(path, capsys)
    assert table["85 %"]["500 labels"] == "23 b" and table["83 %"]["500 labels"] == "6 c"


def test_a_head_that_reads_every_token_is_charged_with_no_pass_of_another(runs, capsys):
    path, known = runs
    frozen = {"mode": "frozen", "encoder_fingerprint": known["static"], "max_tokens": 512}
    classifier(path / "a", 70.0, 1, encoding=20, model={"head": "mean"}, **frozen)
    classifier(path / "b", 85.0, 3, encoding=0.5, model={"head": "bilstm"}, **frozen)
    assert told(path, capsys)[0]["85 %"]["500 labels"] == "5.5 b"


def test_one_seed_run_twice_counts_once_and_one_that_cannot_be_followed_harms_no_other(runs, capsys):
    path, known = runs
    for name, seed, accuracy in (("a", 0, 80.0), ("b", 0, 90.0), ("c", 1, 84.0), ("d", 2, 99.0)):
        classifier(path / name, accuracy, 4, seed=seed, encoder_fingerprint=known["static"], environment=name)
    complete = path / "d" / "complete.json"
    complete.write_text(json.dumps({**json.loads(complete.read_text()), "seconds": None}))
    assert run_command(main, Settings, ["--minutes", "--out", str(path / "compare")]) == 0
    out, err = capsys.readouterr()
    assert "a (seed 0, 1): 82.0 % in 6 min" in out and f"left out: {path / 'd'}" in err


def test_each_stage_is_told_at_its_mean_over_the_seeds(runs, capsys):
    path, known = runs
    for seed, minutes in enumerate((4, 8)):
        members = [classifier(path / f"a-{seed}", 80.5, minutes, seed=seed, encoder_fingerprint=known["static"]),
                   classifier(path / f"c-{seed}", 79.0, 1, seed=seed, kind="bag", mode="bag")]
        classifier(path / f"mean-{seed}", 88, 12, kind="average", mode="average", runs=members, seed=seed)
    out = told(path, capsys)[1]
    assert "88.0 % in 9 min = " in out and f"{path / 'a-0'} 6" in out  # 2 + (4 + 8) / 2 + 1


def test_an_average_costs_what_its_runs_cost_and_what_they_share_once(runs, capsys):
    path, known = runs
    for seed in (0, 1):
        members = [classifier(path / f"a-{seed}", 80.5, 4, seed=seed, encoder_fingerprint=known["bilm"]),
                   classifier(path / f"b-{seed}", 80.0, 7, seed=seed, encoder_fingerprint=known["bilm"], mode="top"),
                   classifier(path / f"c-{seed}", 79.0, 1, seed=seed, kind="bag", mode="bag")]
        classifier(path / f"mean-{seed}", 88 + seed, 12, kind="average", mode="average", runs=members, seed=seed)
    table, out = told(path, capsys)
    assert table["88 %"]["500 labels"] == "44 mean-0"  # 2 + 30 + 4 + 7 + 1
    assert "mean-0 (seed 0, 1): 88.5 %" in out


def test_what_cannot_be_followed_is_said_and_left_out(runs, capsys):
    path, known = runs
    classifier(path / "a", 90.0, 1, encoder_fingerprint="0123456789abcdef")
    orphan = record(path / "orphan", {"seconds": 60}, kind="bert", origin={"folder": "elsewhere"})
    classifier(path / "b", 90.0, 1, encoder_fingerprint=orphan)
    timeless = record(path / "timeless", {}, kind="bert", origin=None)
    classifier(path / "c", 90.0, 1, encoder_fingerprint=timeless)
    classifier(path / "d", 80.0, 1, encoder_fingerprint=known["static"])
    classifier(path / "trial", 99.0, 1, encoder_fingerprint=known["static"], trial=100)
    for name, wrong in (("e", None), ("f", "long"), ("g", float("nan")), ("h", -1)):
        classifier(path / name, 99.0, 1, encoder_fingerprint=known["static"], epochs=name)
        complete = path / name / "complete.json"
        complete.write_text(json.dumps(json.loads(complete.read_text()) | {"seconds": wrong}))
    classifier(path / "i", 99.0, 1, kind="average", mode="average", runs=7)
    classifier(path / "j", 99.0, 1, kind="average", mode="average", runs=[["a"]])
    (path / "compare" / "torn").mkdir(parents=True)
    (path / "compare" / "torn" / "manifest.json").write_text("{}")
    (path / "compare" / "torn" / "complete.json").write_text("{")
    assert run_command(main, Settings, ["--minutes", "--out", str(path / "compare")]) == 0
    out, err = capsys.readouterr()
    rows = {row[0]: row[1] for row in table_rows(out)}
    assert rows["80 %"] == "3 d" and rows["83 %"] == "—"
    assert f"left out: {path / 'a'}: what {path / 'a'} began with is not found (fingerprint '0123456789ab" in err
    assert f"left out: {path / 'b'}: what {path / 'orphan'} began with is not found" in err
    assert f"left out: {path / 'c'}: {path / 'timeless'} does not tell its seconds" in err
    assert all(f"left out: {path / name}: {path / name} does not tell its seconds" in err for name in "efgh")
    assert all(f"left out: {path / name}: what {path / name} began with is not found" in err for name in "ij")
    assert "torn" in err and "trial" not in out + err


def test_runs_that_claim_to_come_from_one_another_end(runs, capsys, monkeypatch):
    path, known = runs
    config = json.loads((path / "static" / "config.json").read_text())
    (path / "static" / "config.json").write_text(json.dumps({**config, "origin": {"fingerprint": known["bilm"]}}))
    classifier(path / "a", 80.0, 3, encoder_fingerprint=known["bilm"])
    assert told(path, capsys)[0]["80 %"]["500 labels"] == "35 a"


def test_where_there_is_nothing_to_tell_it_says_so(runs, capsys):
    path, _ = runs
    assert run_command(main, Settings, ["--minutes", "--out", str(path / "compare")]) == 4
    assert "no finished classifier" in last_line(capsys)


@pytest.mark.parametrize("flags", [["--labels", "100"], ["--draw", "x"], ["--show"], ["--no-baselines"], ["--plots"]])
def test_flags_that_would_decide_nothing_are_refused(tmp_path, capsys, flags):
    assert run_command(main, Settings, ["--minutes", "--out", str(tmp_path / "x"), *flags]) == 2
    assert f"whatever {flags[0]} says" in last_line(capsys)
