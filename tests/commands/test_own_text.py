"""Claims about own text in any language, from files to accuracy: pretraining on it, transfer, and what is refused."""

import json

import numpy as np
import pytest
from bert_runs import PRESET as BERT
from commands import last_line
from languages import LANGUAGES, own_text, reviews_in
from pretrain_runs import PRESETS

from finetune.imdb import run as imdb
from finetune.imdb.settings import Settings as ImdbSettings
from minitransfer.apparatus.checkpoint import RunDirectory, load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.text.corpora import Reviews
from pretrain.bert import run as bert
from pretrain.bilm import run as bilm
from pretrain.inspect import look
from pretrain.inspect.settings import Settings as InspectSettings
from pretrain.static import train as static

COMMANDS = {"static": static, "bilm": bilm, "bert": bert}
TINY = {"static": {**PRESETS["static"], "epochs": 20},
        "bilm": {**PRESETS["bilm"], "projection_size": 16, "hidden_size": 32, "dropout": 0.0,
                 "filters": ((2, 41), (3, 79), (5, 83))},
        "bert": {**BERT, "hidden_size": 33, "vocab_size": 400, "dropout": 0.0, "max_positions": 71, "seq_length": 53}}


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """`--preset tiny`, which small own text has by itself, is made tinier."""
    with pytest.MonkeyPatch.context() as patched:
        for name, module in COMMANDS.items():
            patched.setitem(module.Settings.presets, "tiny", TINY[name])
        yield


def pretrain(kind, *flags):
    module = COMMANDS[kind]
    return run_command(module.main, module.Settings, [*map(str, flags), "--log-every", "1000", "--threads", "1"])


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """One encoder of each kind, pretrained by its bare command on a file in all languages at once."""
    path = tmp_path_factory.mktemp("own")
    (path / "text.txt").write_text(own_text(list(LANGUAGES)))
    for kind in ("bilm", "bert"):  # whose first stage learns static vectors
        assert pretrain(kind, "--corpus", path / "text.txt", "--out", path / kind) == 0
    return path


def as_reviews(name, train, test):
    """Labelled reviews, as those that are read from files."""
    (texts, labels), (test_texts, test_labels) = train, test
    return Reviews(name, texts, np.array(labels, np.int64), test_texts, np.array(test_labels, np.int64), [], "made up")


def transfer(encoder, out, reviews, *flags):
    settings = ImdbSettings.parse_args(["--encoder", str(encoder), "--out", str(out), "--log-every", "1000",
                                        "--threads", "1", *flags])
    imdb.main(settings, reviews)
    return json.loads((out / "results.json").read_text())


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_text_of_any_language_goes_from_a_file_to_an_accuracy(encoders, tmp_path, capsys, language, kind):
    reviews = as_reviews(language, reviews_in(language, 200, seed=1), reviews_in(language, 200, seed=2))
    found = transfer(encoders / kind, tmp_path / "run", reviews)
    assert found["test_accuracy"] > (0.9 if kind == "static" else 0.65)  # the other two are tiny; by chance 0.5 ± 0.04
    assert found["encoder_corpus"] == str(encoders / "text.txt")
    assert "may not know the language" not in capsys.readouterr().err


def test_an_encoder_of_another_language_is_warned_of_with_numbers(tmp_path, capsys):
    (tmp_path / "text.txt").write_text(own_text(["german"]))
    reviews = as_reviews("japanese", reviews_in("japanese", 40, seed=1), reviews_in("japanese", 10, seed=2))
    for kind, told in (("bilm", "of their running words are none of the"), ("bert", "of their word pieces are [UNK]")):
        assert pretrain(kind, "--corpus", tmp_path / "text.txt", "--out", tmp_path / kind, "--epochs", 1) == 0
        capsys.readouterr()
        transfer(tmp_path / kind, tmp_path / f"{kind}-ja", reviews, "--epochs", "1")
        line = next(line for line in capsys.readouterr().err.splitlines() if "may not know the language" in line)
        assert told in line and "warning: " in line and "%" in line
        transfer(tmp_path / kind, tmp_path / f"{kind}-scratch", reviews, "--mode", "scratch", "--epochs", "1")
        assert "may not know the language" not in capsys.readouterr().err


def test_config_has_names_and_fingerprints_and_the_preset_follows_the_size(encoders):
    config = load_run(encoders / "bilm").config
    name = str(encoders / "text.txt")
    assert config["preset"] == "tiny" and config["corpus"]["name"] == name
    assert list(config["corpus"]["own_text"]) == [name] and config["origin"]["corpus"] == config["corpus"]
    assert load_run(encoders / "static").config["corpus"] == config["corpus"]  # its first stage, beside it


def test_forgetting_is_measured_on_what_was_held_out_and_on_nothing_else(encoders, tmp_path, capsys):
    (tmp_path / "text.txt").write_text(own_text(["german"]))
    assert pretrain("bilm", "--corpus", tmp_path / "text.txt", "--out", tmp_path / "bilm", "--epochs", 1) == 0
    reviews = as_reviews("german", reviews_in("german", 40, seed=1), reviews_in("german", 10, seed=2))
    flags = ("--measure-forgetting", "--mode", "finetune", "--epochs", "1")
    forgetting = transfer(tmp_path / "bilm", tmp_path / "run", reviews, *flags)["forgetting"]
    assert forgetting["corpus"] == str(tmp_path / "text.txt") and forgetting["before"] != forgetting["after"]
    argv = ["--encoder", str(tmp_path / "bilm"), "--out", str(tmp_path / "again"), *flags]
    with open(tmp_path / "text.txt", "a") as file:
        file.write("\nAnd more.\n")
    capsys.readouterr()
    assert run_command(imdb.main, ImdbSettings, argv) == 3
    assert "is not the text that" in last_line(capsys)
    (tmp_path / "text.txt").unlink()
    assert run_command(imdb.main, ImdbSettings, argv) == 2
    assert "there is no such file" in last_line(capsys)


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_run_is_not_resumed_with_text_that_has_changed(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(own_text(["german"]))
    flags = ("--corpus", "text.txt", "--out", "run", *(["--warm-start", "none"] if kind != "static" else []))

    def die(*args, **more):
        raise RuntimeError("killed")

    with monkeypatch.context() as dying:  # a run that was begun, and has no weights
        dying.setattr(RunDirectory, "save_model", die)
        assert pretrain(kind, *flags, "--epochs", 1) == 1
    with open("text.txt", "a") as file:
        file.write("Und noch mehr, und mehr.\n")
    capsys.readouterr()
    assert pretrain(kind, *flags, "--epochs", 1, "--resume") == 4
    assert "corpus" in last_line(capsys)


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_finished_run_is_complete_only_for_the_text_that_it_was_learned_from(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(own_text(["german"]))
    flags = ("--out", "run", "--epochs", 1, *(["--warm-start", "none"] if kind != "static" else []))
    assert pretrain(kind, "--corpus", "text.txt", *flags) == 0
    before = {file: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()}
    assert pretrain(kind, "--corpus", "text.txt", *flags, "--resume") == 0
    assert "already complete" in capsys.readouterr().err
    with open("text.txt", "a") as file:
        file.write("Und noch mehr, und mehr.\n" * 50)
    for named in (["--corpus", "text.txt"], []):
        assert pretrain(kind, *named, *flags, "--resume") == 4
        assert "corpus.own_text.text.txt" in last_line(capsys)
    (tmp_path / "text.txt").unlink()
    assert pretrain(kind, *flags, "--resume") == 0  # nobody says that it is another
    assert "already complete" in capsys.readouterr().err
    assert before == {file: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()}


def test_vectors_of_other_text_under_the_same_name_are_not_taken(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(own_text(["german"]))
    (tmp_path / "more.txt").write_text(own_text(["arabic"]))
    assert pretrain("static", "--corpus", "text.txt", "more.txt", "--hidden-size", 32, "--out", "static") == 0
    assert pretrain("bilm", "--corpus", "text.txt", "--out", "bilm", "--epochs", 1) == 0
    assert load_run(tmp_path / "bilm").config["origin"]["fingerprint"] == load_run(tmp_path / "static").fingerprint
    (tmp_path / "text.txt").write_text(own_text(["german"]) + "Mehr.\n")
    assert pretrain("bilm", "--corpus", "text.txt", "--out", "other", "--epochs", 1) == 0
    mine = load_run(tmp_path / "other-static")
    assert load_run(tmp_path / "other").config["origin"]["fingerprint"] == mine.fingerprint


WRONG_USES = [  # what is named, the exit code, and what is said
    ("nothing.txt", 2, "'nothing.txt' is not one of auto, wikitext-2"),
    ("wikitext-22", 2, "did you mean wikitext-2?"),
    ("text.txt text.txt", 2, "are not different ones"),
    ("text.txt ./text.txt", 2, "text.txt is in text.txt and in ./text.txt"),
    ("empty", 3, "the folder empty has no file that ends in .txt"),
    ("line.txt", 3, "line.txt is a single line"),
    ("latin.txt", 3, "latin.txt is not UTF-8 text: byte 0xfc at offset 1"),
    ("lines.txt", 3, "corpus lines.txt has"),
    ("/dev/null", 3, "/dev/null is no file"),
]


@pytest.mark.parametrize(("kind", "names", "code", "told"), [(kind, *WRONG_USES[i]) for i, kind in enumerate(
    ["static", "bilm", "bert", "static", "bilm", "bert", "static", "bilm", "bert"])])
def test_text_that_cannot_be_learned_from_is_refused_in_a_line(tmp_path, capsys, monkeypatch, kind, names, code, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, text in {"text": b"a\n\nb\n", "line": b"one line", "latin": b"f\xfcr", "lines": b"one\ntwo\n"}.items():
        (tmp_path / f"{name}.txt").write_bytes(text)
    assert pretrain(kind, "--corpus", *names.split(), "--out", "run") == code
    assert told in last_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_word_is_looked_up_in_ones_own_text(encoders, capsys):
    flags = [str(encoders / "bilm"), "--word", "film", "--occurrences", "9", "--out", str(encoders / "x.png")]
    assert run_command(look.main, InspectSettings, flags) == 0
    assert "film" in capsys.readouterr().out
