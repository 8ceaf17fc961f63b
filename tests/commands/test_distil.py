"""Claims about `python -m pretrain.distil`: a student is a BERT like any other, resumed with the same bits."""

import json
import signal

import pytest
import torch
from bert_runs import PRESET, make_bert, pretrain
from pretrain_runs import flags, make_wikitext, signal_at

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.transfer.loading import load_encoder
from pretrain.distil.__main__ import Settings, main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_wikitext(tmp_path_factory.mktemp("data"), words=2_000)


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "teacher"
    assert pretrain(data, out) == 0
    return out


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(Settings.presets, "tiny", PRESET)


def distil(teacher, data, out, *more):
    return run_command(main, Settings, [str(teacher), *flags(data, out, *more)])


@pytest.fixture(scope="module")
def student(data, teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "student"
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(Settings.presets, "tiny", PRESET)
        assert distil(teacher, data, out) == 0
    return out


def test_a_student_is_a_bert_of_half_the_layers_with_the_teachers_pieces(teacher, student):
    mine, its = load_run(student, "bert"), load_run(teacher, "bert")
    assert mine.config["model"] == its.config["model"] | {"num_layers": 1, "dropout": PRESET["dropout"]}
    assert mine.files["tokenizer.json"] == its.files["tokenizer.json"]
    assert mine.config["origin"]["fingerprint"] == its.fingerprint
    assert (mine.config["soft_weight"], mine.config["temperature"]) == (5.0, 2.0)
    assert load_encoder(mine, torch.device("cpu")).num_layers == 2  # the embeddings are layer 0


def test_stopped_and_resumed_a_student_ends_with_the_same_bits(data, teacher, student, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        signal_at("bert", 9, signal.SIGTERM, patched.setattr)
        assert distil(teacher, data, tmp_path / "cut") == 143
    assert "to go on: python -m pretrain.distil" in capsys.readouterr().err
    assert distil(teacher, data, tmp_path / "cut", "--resume") == 0
    whole, cut = load_run(student), load_run(tmp_path / "cut")
    assert all(torch.equal(tensor, cut.tensors[name]) for name, tensor in whole.tensors.items())


def test_resumed_with_other_weights_of_the_loss_it_is_refused(data, teacher, student, capsys):
    assert distil(teacher, data, student, "--resume", "--temperature", "3") > 0
    assert "temperature: 2.0 there, 3.0 now" in capsys.readouterr().err


def test_what_it_learns_from_the_teacher_changes_the_student(data, teacher, student, tmp_path):
    assert distil(teacher, data, tmp_path / "untaught", "--soft-weight", "0", "--cosine-weight", "0") == 0
    taught, untaught = load_run(student).tensors, load_run(tmp_path / "untaught").tensors
    assert not torch.equal(taught["dense.weight"], untaught["dense.weight"])


@pytest.mark.parametrize("flags, message", [
    (("--seq-length", "24"), "--seq-length 24 is longer than the rows of 23 pieces"),
    (("--vocab-size", "500"), "no meaning where the teacher brings its own pieces"),
    (("--soft-weight", "0", "--masked-weight", "0", "--cosine-weight", "0"), "are all 0"),
])
def test_what_could_teach_nothing_is_refused_before_any_text_is_read(data, teacher, tmp_path, flags, message, capsys):
    assert distil(teacher, data, tmp_path / "out", *flags) == 2
    told = capsys.readouterr().err
    assert message in told and "corpus" not in told and not (tmp_path / "out").exists()


def test_an_unfinished_student_is_finished_by_the_command_that_began_it(data, teacher, tmp_path, capsys):
    assert distil(teacher, data, tmp_path / "student") == 0
    (tmp_path / "student" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="python -m pretrain.distil TEACHER --resume"):
        load_run(tmp_path / "student")


@pytest.mark.parametrize("kind, message", [("absent", "no run at"), ("shallow", "a teacher of one layer has no half"),
                                           ("vectors", "kind 'static'")])
def test_a_teacher_that_cannot_teach_is_one_line(data, tmp_path, kind, message, capsys):
    path = tmp_path / kind
    if kind == "shallow":
        make_bert(path)
    elif kind == "vectors":
        make_bert(path)
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {"kind": "static"}))
    assert distil(path, data, tmp_path / "out") > 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert message in line
