"""Claims about `pretrain.static --method glove`: a run like any of static vectors, to all that take one."""

import math
import shutil
import signal

import pretrain_runs
import pytest
import torch
from commands import last_line
from encoder_runs import save_run
from pretrain_runs import die_at, pretrain, rows, signal_at

import minitransfer
from finetune.imdb import __main__ as imdb
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from pretrain.inspect import __main__ as inspect
from pretrain.static import train as static

GLOVE = ("--method", "glove")
PIECES = (*GLOVE, "--pieces", "301")


small_presets = pytest.fixture(scope="module", autouse=True)(pretrain_runs.small_presets)
data = pytest.fixture(scope="module")(pretrain_runs.wikitext)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Finished runs, of words and of pieces, and one of skip-gram."""
    path = tmp_path_factory.mktemp("runs")
    for name, more in (("words", GLOVE), ("pieces", PIECES), ("skipgram", ())):
        assert pretrain("static", data, path / name, *more) == 0
    return path


def same(first, second):
    a, b = load_run(first), load_run(second)
    return a.files == b.files and a.tensors.keys() == b.tensors.keys() and all(
        torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def test_a_run_has_the_files_of_any_static_run_and_says_that_it_is_of_glove(whole):
    of_glove, other = load_run(whole / "words", "static"), load_run(whole / "skipgram", "static")
    assert of_glove.config["model"] == other.config["model"] | {"method": "glove"}
    assert of_glove.files == other.files and of_glove.tensors["counts"].equal(other.tensors["counts"])
    V = len(other.tensors["vectors"])
    shapes = {name: tuple(tensor.shape) for name, tensor in of_glove.tensors.items()}
    assert shapes == {"vectors": (V, 12), "contexts": (V, 12), "bias": (V, 1), "context_bias": (V, 1), "counts": (V,)}
    assert load_run(whole / "pieces").tensors["vectors"].shape == (301, 12)
    losses = [row["loss"] for row in rows(whole / "words")]
    assert sum(losses[-9:]) < sum(losses[:9])


@pytest.mark.parametrize("name, more", [("words", GLOVE), ("pieces", PIECES)])
def test_stopped_and_resumed_a_run_ends_with_the_same_bits_and_counts_anew(data, whole, tmp_path, name, more):
    with pytest.MonkeyPatch.context() as patched:
        signal_at("static", 3, signal.SIGTERM, patched.setattr)
        assert pretrain("static", data, tmp_path / "cut", *more) == 143
    assert pretrain("static", data, tmp_path / "cut", *more, "--resume") == 0
    assert same(whole / name, tmp_path / "cut") and rows(whole / name) == rows(tmp_path / "cut")


def test_killed_and_resumed_in_new_processes_a_run_ends_with_the_same_bits(data, whole, tmp_path):
    every_step = ("--save-every", "1e-9")
    first = die_at("static", "static", 2, "SIGKILL", data, tmp_path / "cut", *GLOVE, *every_step)
    assert first.returncode == -signal.SIGKILL
    assert pretrain("static", data, tmp_path / "cut", *GLOVE, "--resume") == 0
    assert same(whole / "words", tmp_path / "cut") and rows(whole / "words") == rows(tmp_path / "cut")


def test_stopped_while_it_counts_a_run_can_be_resumed(data, whole, tmp_path, monkeypatch, capsys):
    counting = static.count_units

    def stopped(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return counting(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(static, "count_units", stopped)
        assert pretrain("static", data, tmp_path / "cut", *GLOVE) == 143
    assert "to go on: " in capsys.readouterr().err
    assert pretrain("static", data, tmp_path / "cut", *GLOVE, "--resume") == 0
    assert same(whole / "words", tmp_path / "cut")


def test_neither_method_goes_on_with_a_run_of_the_other(data, whole, tmp_path, capsys):
    for name, more in (("words", ()), ("skipgram", GLOVE)):
        shutil.copytree(whole / name, tmp_path / name)
        assert pretrain("static", data, tmp_path / name, *more, "--resume") == 4
        assert "model" in last_line(capsys)
    assert pretrain("static", data, tmp_path / "words", *GLOVE, "--resume") == 0
    assert "already complete" in capsys.readouterr().err


def test_a_bilm_begins_with_glove_where_it_is_told_to_and_never_by_itself(data, whole, tmp_path, capsys):
    assert pretrain("bilm", data, tmp_path / "told", "--warm-start", str(whole / "words"), "--epochs", "1") == 0
    shutil.copytree(whole / "words", tmp_path / "static")
    assert pretrain("bilm", data, tmp_path / "bilm", "--warm-start", "auto", "--epochs", "1") == 0
    assert f"static vectors, into {tmp_path / 'bilm-static'}" in capsys.readouterr().err
    assert same(tmp_path / "static", whole / "words")


def test_a_frozen_encoder_and_its_features_are_those_vectors(whole, tmp_path):
    argv = ["--encoder", str(whole / "words"), "--data", "sample", "--labels", "20", "--epochs", "2", "--no-cache",
            "--out", str(tmp_path / "transfer")]
    assert run_command(imdb.main, imdb.Settings, argv) == 0
    encoder, one = minitransfer.load(whole / "words"), minitransfer.load(tmp_path / "transfer")
    assert encoder.encode("a film").shape == (12,) and one.predict(["a film"])[0] in ("negative", "positive")


def test_runs_of_glove_have_places_of_their_own():
    for more, place in ((GLOVE, "runs/glove"), (PIECES, "runs/glove-pieces"), ((), "runs/static")):
        assert static.Settings.parse_args(more).out == place


def test_each_method_has_its_own_defaults_and_takes_what_is_said():
    skipgram, glove = (static.Settings.of(preset="small", method=method) for method in ("skipgram", "glove"))
    table = static.Settings.presets["small"]
    assert (skipgram.epochs, skipgram.learning_rate) == (table["epochs"], table["learning_rate"])
    assert (glove.epochs, glove.learning_rate) == (table["glove"]["epochs"], table["glove"]["learning_rate"])
    assert glove.window == skipgram.window and glove.but(epochs=2).epochs == 2


@pytest.mark.parametrize("wrong, told", [
    ("--method word2vec", "'word2vec'"),
    ("--method", "expected one argument"),
    ("--method glove --epochs 0", "--epochs: must be"),
])
def test_a_method_that_is_none_is_refused_before_any_text_is_read(tmp_path, capsys, monkeypatch, wrong, told):
    monkeypatch.setattr("pretrain.shared.load_corpus", lambda *_, **__: pytest.fail("the corpus was read"))
    assert run_command(static.main, static.Settings, ["--out", str(tmp_path / "run"), *wrong.split()]) == 2
    assert told in last_line(capsys) and not (tmp_path / "run").exists()


def test_text_of_less_than_a_block_is_refused(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("a b c d .\n" * 20)
    assert run_command(static.main, static.Settings, [
        "--corpus", str(tmp_path / "text.txt"), *GLOVE, "--out", str(tmp_path / "run")]) == 3
    assert "thinned out, the text has" in last_line(capsys)


def shown(capsys, data, *argv):
    """The exit code, what --pmi prints, and the last line of errors."""
    capsys.readouterr()
    flags = ["--pmi", "--data-dir", str(data), "--offline", "--out", str(data / "pmi.png"), *map(str, argv)]
    code = run_command(inspect.main, inspect.Settings, flags)
    out, err = capsys.readouterr()
    return code, out, err.splitlines()[-1] if err else ""


def test_products_are_held_against_the_counts_of_the_text_and_drawn(data, whole, tmp_path, capsys):
    paths = [str(whole / name) for name in ("skipgram", "words", "pieces")]
    tables = minitransfer.run("pretrain.inspect", runs=paths, pmi=True, data_dir=data, offline=True,
                              out=str(tmp_path / "pmi.png"))
    out = capsys.readouterr().out
    assert out.count("skip-gram on wikitext-2") == 1 and out.count("GloVe on wikitext-2") == 2
    assert list(tables) == paths
    for rows_of_run in tables.values():
        for least, pairs, *numbers in rows_of_run:
            assert pairs > 1 and all(math.isfinite(number) for number in numbers)
            line = f"  {least:<8}{pairs:<14,}{numbers[0]:<14.3f}"
            assert line in out
    assert (tmp_path / "pmi.png").read_bytes().startswith(b"\x89PNG") and f"picture: {tmp_path / 'pmi.png'}" in out
    assert tables[paths[2]][0][3] > 0.2  # after three passes


@pytest.mark.parametrize("change, told", [
    ({"training": {"window": -3}}, "does not say how its text was counted"),
    ({"training": None}, "does not say how its text was counted"),
    ({"seed": "x"}, "does not say how its text was counted"),
    ({"corpus": {"name": "mine"}}, "no corpus known here"),
    ({"training": {"min_count": 3}}, "does not have the counts of wikitext-2"),
])
def test_a_run_whose_counts_cannot_be_had_is_refused_in_one_line(data, whole, tmp_path, capsys, change, told):
    words = load_run(whole / "words")
    if isinstance(change.get("training"), dict):
        change = {"training": words.config["training"] | change["training"]}
    run = save_run(tmp_path / "run", words.config | change, words.tensors, words.files)
    code, out, line = shown(capsys, data, run)
    assert (code, out) == (4, "") and told in line and ". Fix: " in line


def test_pmi_takes_static_runs_alone_and_no_flag_of_another_mode(data, whole, tmp_path, capsys):
    words = load_run(whole / "words")
    bilm = save_run(tmp_path / "bilm", words.config | {"kind": "bilm"}, words.tensors, words.files)
    code, _, line = shown(capsys, data, bilm)
    assert code == 4 and "'bilm'" in line
    assert shown(capsys, data, whole / "words", "--out", "x.jpg")[0] == 2
    assert shown(capsys, data, whole / "words", "--corpus", "sample")[0] == 2
    assert shown(capsys, data, *[whole / "words"] * 8)[0] == 2
    assert shown(capsys, data, tmp_path / "nowhere")[0] == 4
