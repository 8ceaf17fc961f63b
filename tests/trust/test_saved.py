"""Claims about finished runs: what is read is whole and of the right kind, or the error says what was found."""

import json

import pytest
import torch
from faults import CONFIG, begin, finish, in_a_child, killed_at, make_state
from torch import nn

from minitransfer.apparatus import checkpoint, durable
from minitransfer.apparatus.errors import CheckpointError, NumericsError


def test_a_finished_run_comes_back_with_weights_files_and_config(tmp_path):
    finish(tmp_path)
    run = checkpoint.load_run(tmp_path, "bilm")
    assert run.config["hidden_size"] == 7 and run.kind == "bilm" and run.text("vocab.txt") == "the\nça\n"
    assert torch.equal(run.tensors["weight"], torch.full((5, 3), 0.5)) and set(run.tensors) == {"weight", "bias"}
    with pytest.raises(CheckpointError, match="has no tokenizer.json, but vocab.txt"):
        run.text("tokenizer.json")


def test_a_fingerprint_is_of_the_content_and_nothing_else(tmp_path):
    finish(tmp_path / "a"), finish(tmp_path / "b"), finish(tmp_path / "c", value=0.25)
    finish(tmp_path / "d", config={**CONFIG, "hidden_size": 8})
    a, b, c, d = (checkpoint.load_run(tmp_path / name).fingerprint for name in "abcd")
    assert a == b and len({a, c, d}) == 3


def test_tied_and_transposed_weights_are_saved_by_value(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    with begin(tmp_path) as run:
        run.save_model({"a": weight, "b": weight, "c": weight.T, "d": weight[1:]}, {})
    loaded = checkpoint.load_run(tmp_path).tensors
    assert torch.equal(loaded["b"], weight) and torch.equal(loaded["c"], weight.T)
    assert torch.equal(loaded["d"], weight[1:])


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "lock", "../x", "/etc/x", "a/b", "", "..", ".x"])
def test_files_beside_the_weights_must_have_names_of_their_own(tmp_path, name):
    with begin(tmp_path) as run, pytest.raises(ValueError, match="names"):
        run.save_model({}, {name: ""})


def test_a_path_that_is_no_run_says_what_was_found(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("")
    expected = {"file": "it is a file", "absent": "no such directory", "folder": "config.json, found notes.txt"}
    for name, told in expected.items():
        with pytest.raises(CheckpointError, match=told):
            checkpoint.load_run(tmp_path / name)


def test_a_run_of_another_kind_names_both_and_the_command_for_the_right_one(tmp_path):
    finish(tmp_path)
    with pytest.raises(CheckpointError, match="kind 'bilm', but one of kind 'bert'.*Fix: .*python -m pretrain.bert"):
        checkpoint.load_run(tmp_path, "bert")


def test_a_run_that_never_finished_says_how_to_finish_it(tmp_path):
    with begin(tmp_path) as run:
        run.save_state(1, make_state(1.0))
    with pytest.raises(CheckpointError, match=f"not finished.*python -m pretrain.bilm --resume --out {tmp_path}"):
        checkpoint.load_run(tmp_path)


def test_a_newer_format_names_both_versions(tmp_path):
    finish(tmp_path)
    config = json.loads((tmp_path / "config.json").read_bytes()) | {"format_version": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="written by format v2, and this program reads up to v1"):
        checkpoint.load_run(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", ".", "", "a\x00b", "state"])
def test_a_manifest_cannot_point_outside_its_directory(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"")
    finish(tmp_path / "run")
    (tmp_path / "run" / "state").mkdir()
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["files"][name] = durable.manifest_of({"": b""})["files"][""]
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="not there as a plain file"):
        checkpoint.load_run(tmp_path / "run")


def test_weights_that_are_no_safetensors_file_are_refused(tmp_path):
    finish(tmp_path)
    path = tmp_path / "manifest.json"
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    manifest = json.loads(path.read_bytes())
    manifest["files"] |= durable.manifest_of({"model.safetensors": b"\xff" * 64})["files"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        checkpoint.load_run(tmp_path)


def test_killed_while_the_model_is_written_the_run_is_unfinished_and_can_be_finished(tmp_path, monkeypatch):
    outcomes = []
    for count in range(30):
        path = tmp_path / str(count)
        finish(path, value=0.25)  # an earlier best is there already

        def save_and_die(path=path, count=count):
            with begin(path, resume=True) as run:
                killed_at(count, monkeypatch)
                run.save_model({"weight": torch.ones(5, 3), "bias": torch.arange(3)}, {"vocab.txt": "the\n"})

        ended = in_a_child(save_and_die)
        try:
            outcomes.append(checkpoint.load_run(path).tensors["weight"][0, 0].item())
        except CheckpointError as failure:
            assert "has not finished" in str(failure)
            outcomes.append(None)
        if not ended:
            break
    assert outcomes[0] is None and outcomes[-1] == 1.0 and set(outcomes) <= {None, 1.0}


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    with begin(tmp_path) as run, pytest.raises(NumericsError, match="first in head.bias"):
        run.save_model({"weight": torch.ones(2), "head.bias": torch.tensor([1.0, float("nan")])}, {})
    assert not (tmp_path / "model.safetensors").exists()


def test_weights_that_fit_are_copied(tmp_path):
    module, other = nn.LSTM(3, 5), nn.LSTM(3, 5)
    checkpoint.load_weights(module, other.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


def test_all_misfits_are_named_at_once_and_nothing_is_copied():
    module = nn.Linear(3, 2)
    before = module.weight.detach().clone()
    tensors = {"weight": torch.zeros(2, 4), "scale": torch.zeros(1)}
    with pytest.raises(CheckpointError) as told:
        checkpoint.load_weights(module, tensors)
    assert "missing: bias; not expected: scale; of another shape: weight (2, 4) instead of (2, 3)" in str(told.value)
    with pytest.raises(CheckpointError):
        checkpoint.load_weights(module, {"weight": torch.zeros(2, 3)})
    assert torch.equal(module.weight, before)


def test_many_misfits_are_counted_and_not_all_listed():
    with pytest.raises(CheckpointError, match="t04 and 95 more"):
        checkpoint.load_weights(nn.Linear(3, 2), {f"t{i:02d}": torch.zeros(1) for i in range(100)})
