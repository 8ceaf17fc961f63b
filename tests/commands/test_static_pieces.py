"""Claims about static vectors of word pieces: ids are rows, a tokenizer comes with them, and words stay words."""

import json
import signal
from collections import Counter

import pretrain_runs
import pytest
import torch
from commands import last_line
from pretrain_runs import (
    flags,
    pretrain,
    rows,
    signal_at,
)

import finetune.imdb.__main__
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.text.corpora import load_corpus
from minitransfer.text.wordpiece import SPECIAL_PIECES, UNK_ID, WordPiece
from pretrain.static import train as static

PIECES = ("--pieces", "301")


small_presets = pytest.fixture(scope="module", autouse=True)(pretrain_runs.small_presets)
data = pytest.fixture(scope="module")(pretrain_runs.wikitext)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A finished run of vectors of pieces."""
    out = tmp_path_factory.mktemp("runs") / "pieces"
    assert pretrain("static", data, out, *PIECES) == 0
    return out


def test_a_run_of_pieces_says_so_and_holds_its_tokenizer(whole):
    run = load_run(whole, "static")
    tokenizer = WordPiece.from_json(run.text("tokenizer.json"))
    assert run.config["unit"] == "pieces" and "min_count" not in run.config["training"]
    assert run.config["most_pieces"] == run.config["vocab_size"] == tokenizer.vocab_size == 301
    assert run.text("vocab.txt").split("\n") == [*tokenizer.pieces, ""]
    assert run.tensors["vectors"].shape == run.tensors["contexts"].shape == (301, 12)


def test_row_i_is_the_vector_of_piece_i_counted_as_often_as_it_stands_in_the_text(data, whole):
    run = load_run(whole)
    tokenizer = WordPiece.from_json(run.text("tokenizer.json"))
    corpus = load_corpus(["wikitext-2"], data, offline=True)
    seen = Counter(i for ids in tokenizer.encode(corpus.train, marks_unknown=True) for i in ids.tolist())
    assert seen[UNK_ID] == sum(document.count("<unk>") for document in corpus.train) > 0
    counts = run.tensors["counts"].tolist()
    assert counts == [0] * len(SPECIAL_PIECES) + [seen[i] for i in range(len(SPECIAL_PIECES), 301)]
    met = run.tensors["counts"] > 0
    assert 5 < (~met).sum() < 100  # letters that are always joined to others, beside the special pieces
    assert run.tensors["vectors"][~met].abs().max() <= 0.5 / 12  # as they were drawn
    assert torch.equal((run.tensors["contexts"] != 0).any(dim=1), met)  # which begin with zeros


def test_stopped_and_resumed_a_run_of_pieces_ends_with_the_same_bits(data, whole, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patched:
        signal_at("static", 3, signal.SIGTERM, patched.setattr)
        assert pretrain("static", data, tmp_path / "cut", *PIECES) == 143
    assert pretrain("static", data, tmp_path / "cut", *PIECES, "--resume") == 0
    ends, cut = load_run(whole), load_run(tmp_path / "cut")
    assert all(torch.equal(ends.tensors[name], cut.tensors[name]) for name in ends.tensors)
    assert rows(whole) == rows(tmp_path / "cut") and ends.files == cut.files
    capsys.readouterr()
    assert pretrain("static", data, whole, *PIECES, "--resume") == 0
    assert "already complete" in capsys.readouterr().err
    assert pretrain("static", data, whole, "--pieces", "302", "--resume") == 4
    assert "most_pieces: 301 there, 302 now" in last_line(capsys)
    assert pretrain("static", data, whole, "--resume") == 4
    assert "unit" in last_line(capsys)


def test_a_text_without_so_many_pieces_gives_as_many_as_it_has(data, tmp_path, capsys):
    assert pretrain("static", data, tmp_path / "run", "--epochs", "1", "--pieces", "2147483647") == 0
    run = load_run(tmp_path / "run")
    found = len(run.text("vocab.txt").splitlines())
    assert run.config["most_pieces"] == 2**31 - 1 and run.config["vocab_size"] == found < 20_000
    assert len(run.tensors["vectors"]) == found and f"{found:,} different ones" in capsys.readouterr().err


@pytest.mark.parametrize("more, place", [((), "static"), (PIECES, "static-pieces")])
def test_runs_of_words_and_of_pieces_have_places_of_their_own(data, tmp_path, monkeypatch, capsys, more, place):
    monkeypatch.chdir(tmp_path)
    argv = [flag for flag in flags(data, "out", "--epochs", "1", *more) if flag not in ("--out", "out")]
    assert run_command(static.main, static.Settings, argv) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [place]
    reader = "bert" if more else "bilm"
    assert f"Next: python -m pretrain.{reader} --warm-start runs/{place} --corpus wikitext-2" in capsys.readouterr().err


def test_who_needs_words_refuses_a_run_of_pieces(data, whole, tmp_path, capsys):
    assert pretrain("bilm", data, tmp_path / "bilm", "--warm-start", str(whole)) == 4
    told = last_line(capsys)
    argv = ["--encoder", str(whole), "--data", "sample", "--offline", "--out", str(tmp_path / "transfer")]
    assert run_command(finetune.imdb.__main__.main, finetune.imdb.__main__.Settings, argv) == 4
    assert told == last_line(capsys)
    assert f"{whole} holds vectors of word pieces, but vectors of words are needed" in told
    assert "without --pieces" in told
    assert not (tmp_path / "bilm").exists() and not (tmp_path / "transfer").exists()


@pytest.mark.parametrize("wrong, told", [
    ("--pieces 5", "--pieces 5 leaves no room beside the 5 special ones"),
    ("--pieces 0", "--pieces: must be a whole number from 1"),
    ("--pieces", "expected one argument"),
    ("--pieces 300 --min-count 3", "--min-count has no meaning with --pieces"),
])
def test_a_number_of_pieces_that_means_nothing_is_refused_before_any_text_is_read(
        tmp_path, capsys, monkeypatch, wrong, told):
    monkeypatch.setattr("pretrain.shared.load_corpus", lambda *_, **__: pytest.fail("the corpus was read"))
    argv = ["--out", str(tmp_path / "run"), *wrong.split()]
    assert run_command(static.main, static.Settings, argv) == 2
    assert told in last_line(capsys) and not (tmp_path / "run").exists()


def test_text_of_too_few_pieces_is_refused_with_their_number(tmp_path, capsys):
    folder = tmp_path / "wikitext-2"
    folder.mkdir()
    for name in ("train", "valid"):
        (folder / f"wiki.{name}.tokens").write_text(" \n = a = \n \n" + " b <unk> c \n" * 20)
    assert pretrain("static", tmp_path, tmp_path / "run", *PIECES) == 3
    assert "corpus wikitext-2 has 43 running word pieces, and 64 are the least" in last_line(capsys)
    assert not (tmp_path / "run").exists()


def test_help_names_both_places_and_the_flag(capsys):
    assert run_command(static.main, static.Settings, ["--help"]) == 0
    told = capsys.readouterr().out
    assert "--pieces N" in told and "runs/static-pieces" in told and "None" not in told


def test_a_run_of_words_says_nothing_of_pieces(data, tmp_path):
    assert pretrain("static", data, tmp_path / "run", "--epochs", "1") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config.keys().isdisjoint({"unit", "most_pieces", "vocab_size", "tokenizer"})
    assert sorted(load_run(tmp_path / "run").files) == ["vocab.txt"]
