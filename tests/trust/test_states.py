"""Claims about resume states: a kill or a full disk loses nothing, damage is noticed, and no code is executed."""

import errno
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from faults import (
    begin,
    flip,
    in_a_child,
    killed_at,
    make_state,
    refusing,
    state_names,
    value_of,
)
from torch import nn

from minitransfer.apparatus import checkpoint, durable
from minitransfer.apparatus.errors import CheckpointError, NumericsError, ResourceError


def test_a_saved_state_comes_back_as_it_was(tmp_path):
    tied = nn.Parameter(torch.randn(3, 2, dtype=torch.float64))
    state = {"model": {"a": tied, "b": tied}, "nested": [1, 2.5, "x", None, True, {"t": torch.tensor([7])}, (1, 2)]}
    with begin(tmp_path) as run:
        run.save_state(1234, state)
        loaded = run.load_state()
    assert loaded["step"] == 1234 and loaded["nested"][:5] == [1, 2.5, "x", None, True]
    assert loaded["nested"][5]["t"].item() == 7 and torch.equal(loaded["model"]["b"], tied)
    assert (tmp_path / "state" / "latest").read_text() == "step-00001234\n"


def test_an_optimizer_and_a_module_come_back_bit_for_bit(tmp_path):
    torch.manual_seed(5)
    module = nn.LSTM(3, 5)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, fused=True)
    module(torch.randn(7, 2, 3))[0].square().sum().backward()
    optimizer.step()
    with begin(tmp_path) as run:
        run.save_state(1, {"model": module.state_dict(), "optimizer": optimizer.state_dict()})
        loaded = run.load_state()
    assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in module.state_dict().items())
    for index, moments in optimizer.state_dict()["state"].items():
        assert all(torch.equal(loaded["optimizer"]["state"][index][name], moments[name]) for name in moments)


def test_the_two_newest_states_are_kept(tmp_path):
    with begin(tmp_path) as run:
        for step in (9, 10, 11, 100):
            run.save_state(step, make_state(step))
    assert state_names(tmp_path) == ["latest", "step-00000011", "step-00000100"]


def test_saving_again_at_the_same_step_keeps_the_first_until_the_second_is_whole(tmp_path):
    with begin(tmp_path) as run:
        for value in (1.0, 2.0, 3.0):
            run.save_state(5, make_state(value))
            assert value_of(run.load_state()) == value
    assert len(state_names(tmp_path)) == 3


@pytest.mark.parametrize("cut", [False, True])
def test_killed_at_any_moment_of_a_save_the_run_goes_on_from_the_old_state_or_the_new(tmp_path, monkeypatch, cut):
    seen = []
    for count in range(100):
        path = tmp_path / str(count)
        with begin(path) as run:
            run.save_state(1, make_state(1.0))
            run.save_state(2, make_state(2.0))

        def save_and_die(path=path, count=count):
            with begin(path, resume=True) as run:
                killed_at(count, monkeypatch, cut)
                run.save_state(3, make_state(3.0))

        ended = in_a_child(save_and_die)
        said = []
        with begin(path, resume=True, said=said) as run:
            seen.append(value_of(run.load_state()))
            run.save_state(4, make_state(4.0))
            assert value_of(run.load_state()) == 4.0
        assert said == []  # nothing is damaged, so nothing is warned of
        assert len(state_names(path)) == 3 and not any(name.startswith(".tmp") for name in state_names(path))
        if not ended:
            break
    assert seen == sorted(seen) and set(seen) == {2.0, 3.0} and len(seen) > 8


def test_a_half_written_state_is_ignored_and_cleaned_at_the_next_save(tmp_path):
    with begin(tmp_path) as run:
        run.save_state(1, make_state(1.0))
        for name in (".tmp-step-00000002", "step-00000003"):  # the second lacks its manifest
            (tmp_path / "state" / name).mkdir()
            (tmp_path / "state" / name / "state.pt").write_bytes(b"half")
        assert value_of(run.load_state()) == 1.0
        run.save_state(4, make_state(4.0))
    assert state_names(tmp_path) == ["latest", "step-00000001", "step-00000004"]


@pytest.mark.parametrize("after", range(7))
def test_a_disk_that_fills_up_during_a_save_leaves_a_good_state_and_no_rubbish(tmp_path, monkeypatch, after):
    """A save flushes seven times: state.pt, directory, manifest, directory, list of states, `latest`, list of states.

    Only the last comes after `latest` names the new state.
    """
    with begin(tmp_path) as run:
        run.save_state(1, make_state(1.0))
        with monkeypatch.context() as patch, pytest.raises(ResourceError, match="No space left on device"):
            refusing(patch, durable.os, "fsync", errno.ENOSPC, after=after)
            run.save_state(2, make_state(2.0))
        assert not list((tmp_path / "state").glob(".tmp-*"))
        assert value_of(run.load_state()) == (2.0 if after == 6 else 1.0)
        run.save_state(3, make_state(3.0))
        assert value_of(run.load_state()) == 3.0


def test_a_full_disk_is_told_with_the_megabytes_needed(tmp_path, monkeypatch):
    with begin(tmp_path) as run:
        refusing(monkeypatch, durable.os, "fsync", errno.ENOSPC)
        with pytest.raises(ResourceError, match=r"\(1\.6 MB needed\)"):  # 130,000 × 3 × 4 bytes
            run.save_state(2, make_state(2.0, size=130_000))


def test_a_state_with_nan_is_never_saved(tmp_path):
    with begin(tmp_path) as run:
        run.save_state(1, make_state(1.0))
        for bad in (float("nan"), float("inf")):
            with pytest.raises(NumericsError, match="weight"):
                run.save_state(2, make_state(bad))
        assert value_of(run.load_state()) == 1.0
    assert not checkpoint.finite({"a": [torch.tensor([1.0, float("nan")])]})
    assert checkpoint.finite({"a": [torch.tensor([1, 2]), "nan", float("nan")]})  # only tensors are weights


def test_what_could_not_be_read_back_is_refused_when_saving(tmp_path):
    import numpy as np

    with begin(tmp_path) as run:
        for value in (np.float64(0.5), np.zeros(3), object(), Path("x")):
            with pytest.raises(TypeError, match=r"state schedule\.best is a "):
                run.save_state(1, {"schedule": {"best": value}})
        assert run.load_state() is None


def damaged(path: Path, name: str, damage) -> tuple[dict | None, list[str]]:
    """Two states, 1.0 and 2.0, of which the newer is damaged; what is loaded, and what is said."""
    with begin(path) as run:
        run.save_state(1, make_state(1.0))
        run.save_state(2, make_state(2.0))
    damage(path / "state" / "step-00000002" / name)
    heard = []
    with begin(path, resume=True, said=heard) as run:
        state = run.load_state()
        run.save_state(2, make_state(2.5))  # the damaged one stands where this one would
        assert value_of(run.load_state()) == 2.5
        assert state_names(path) == ["latest", "step-00000001", "step-00000002.2"]
    return state, heard


@pytest.mark.parametrize("name", ["state.pt", "manifest.json"])
def test_a_file_with_other_content_is_named_and_the_state_before_is_used(tmp_path, name):
    state, heard = damaged(tmp_path, name, lambda path: path.write_bytes(b'{"files": 3}'))
    assert value_of(state) == 1.0
    assert len(heard) == 1 and name in heard[0] and "Going on from step-00000001" in heard[0]


def test_no_single_flipped_bit_in_a_manifest_lets_other_weights_through(tmp_path):
    with begin(tmp_path) as run:
        run.save_state(1, make_state(1.0))
        run.save_state(2, make_state(2.0))
        manifest = tmp_path / "state" / "step-00000002" / "manifest.json"
        whole = manifest.read_bytes()
        loaded = []
        for bit in range(0, 8 * len(whole), 5):  # 5 and 8 share no factor, so all eight bits have their turn
            flip(manifest, bit)
            loaded.append(value_of(run.load_state()))
            manifest.write_bytes(whole)
    assert set(loaded) <= {1.0, 2.0} and loaded.count(1.0) > 0.9 * len(loaded)


def test_a_manifest_from_another_step_is_noticed(tmp_path):
    state, _ = damaged(tmp_path, "", lambda path: (
        shutil.rmtree(path), shutil.copytree(path.with_name("step-00000001"), path)))
    assert value_of(state) == 1.0


@pytest.mark.parametrize("content", [None, b"", b"step-99999999", b"\xff\xff", b"../../etc/passwd"])
def test_a_lost_or_damaged_pointer_to_the_latest_state_does_no_harm(tmp_path, content):
    with begin(tmp_path) as run:
        run.save_state(1, make_state(1.0))
        run.save_state(20, make_state(2.0))
        latest = tmp_path / "state" / "latest"
        latest.unlink() if content is None else latest.write_bytes(content)
        assert value_of(run.load_state()) == 2.0


def test_a_state_that_the_system_does_not_let_read_is_passed_over_too(tmp_path, monkeypatch):
    said, read = [], Path.read_bytes

    def refused(path):
        if path.parent.name == "step-00000002" and path.name == "state.pt":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    with begin(tmp_path, said=said) as run:
        for step in (1, 2):
            run.save_state(step, make_state(step))
        monkeypatch.setattr(Path, "read_bytes", refused)
        assert value_of(run.load_state()) == 1
    assert "cannot read" in said[0] and "Input/output error" in said[0]


def test_if_every_state_is_damaged_the_files_are_named_and_kept(tmp_path):
    with begin(tmp_path) as run:
        for step in (1, 2):
            run.save_state(step, make_state(step))
            (tmp_path / "state" / f"step-0000000{step}" / "state.pt").write_bytes(b"")
        before = state_names(tmp_path)
        with pytest.raises(CheckpointError, match="step-00000002/state.pt.*step-00000001/state.pt"):
            run.load_state()
        assert state_names(tmp_path) == before


class Canary:
    """Writes a file if it is ever unpickled by a loader that executes."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def with_manifest(directory: Path, content: bytes, step: int = 2) -> None:
    """A forged state whose manifest is right."""
    directory.mkdir(exist_ok=True)
    (directory / "state.pt").write_bytes(content)
    (directory / "manifest.json").write_bytes(durable.to_json(durable.manifest_of({"state.pt": content}, step=step)))


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_code_in_a_state_is_refused_and_not_executed(tmp_path, form):
    canary, forged = tmp_path / "canary", tmp_path / "forged"
    state = {**make_state(2.0), "step": 2, "x": Canary(canary)}
    torch.save(state, forged) if form == "torch" else forged.write_bytes(pickle.dumps(state))
    with begin(tmp_path / "run") as run:
        run.save_state(1, make_state(1.0))
        with_manifest(tmp_path / "run" / "state" / "step-00000002", forged.read_bytes())
        (tmp_path / "run" / "state" / "latest").write_text("step-00000002")
        assert value_of(run.load_state()) == 1.0
        shutil.rmtree(tmp_path / "run" / "state" / "step-00000001")
        with pytest.raises(CheckpointError, match="something else than tensors"):
            run.load_state()
    assert not canary.exists()
    torch.load(forged, weights_only=False) if form == "torch" else pickle.loads(forged.read_bytes())
    assert canary.exists()  # so the canary does sing


def test_links_are_not_followed_for_states(tmp_path):
    with begin(tmp_path / "other") as run:
        run.save_state(7, make_state(7.0))
    with begin(tmp_path / "run") as run:
        run.save_state(1, make_state(1.0))
        ours, theirs = tmp_path / "run" / "state", tmp_path / "other" / "state"
        (ours / "step-00000007").symlink_to(theirs / "step-00000007")
        assert value_of(run.load_state()) == 1.0
        run.save_state(8, make_state(8.0))
        with_manifest(ours / "step-00000009", b"")
        (ours / "step-00000009" / "state.pt").unlink()
        (ours / "step-00000009" / "state.pt").symlink_to(theirs / "step-00000007" / "state.pt")
        assert value_of(run.load_state()) == 8.0
        shutil.rmtree(ours)
        ours.symlink_to(theirs)
        for attempt in (run.load_state, lambda: run.save_state(9, make_state(9.0))):
            with pytest.raises(CheckpointError, match="is a link"):
                attempt()
    assert state_names(tmp_path / "other") == ["latest", "step-00000007"]
