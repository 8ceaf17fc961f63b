"""Claims about the cache: what is read from it is what was kept, and whatever goes wrong with it costs time only."""

import signal

import pytest
import torch
from faults import in_a_child, killed_at
from hearing import heard

from minitransfer.apparatus import durable
from minitransfer.apparatus.cache import cache_key, cached


def keep(directory, value, said):
    calls = []

    def compute():
        calls.append(value)
        return {"features": torch.full((5, 2, 3), value)}

    with heard(said):
        return cached(directory, "features", "k", compute)["features"][0, 0, 0].item(), len(calls)


def test_what_is_kept_is_computed_once_and_read_back_bit_for_bit(tmp_path):
    said = []
    assert keep(tmp_path / "new", 1.0, said) == (1.0, 1)
    assert keep(tmp_path / "new", 2.0, said) == (1.0, 0)
    assert keep(None, 3.0, said) == (3.0, 1)


def damage_bit(data, manifest):
    raw = bytearray(data.read_bytes())
    raw[-7] ^= 4
    data.write_bytes(raw)


@pytest.mark.parametrize("damage", [
    damage_bit,
    lambda data, manifest: data.write_bytes(data.read_bytes()[:-1]),
    lambda data, manifest: data.unlink(),
    lambda data, manifest: manifest.write_text("{"),
    lambda data, manifest: manifest.write_text('{"files": {}}'),
    lambda data, manifest: manifest.write_text(manifest.read_text().replace("features-k", "features-j")),
])  # fmt: skip
def test_a_damaged_or_foreign_cache_file_is_told_of_and_replaced(tmp_path, damage):
    said = []
    keep(tmp_path, 1.0, said)
    damage(tmp_path / "features-k.safetensors", tmp_path / "features-k.json")
    assert keep(tmp_path, 2.0, said) == (2.0, 1)
    assert said[-1].startswith("warning: ") and said[-1].endswith("computed again")
    assert keep(tmp_path, 3.0, said) == (2.0, 0)


def test_tensors_without_their_manifest_count_as_not_there(tmp_path):
    keep(tmp_path, 1.0, [])
    (tmp_path / "features-k.json").unlink()
    assert keep(tmp_path, 2.0, []) == (2.0, 1)


def test_a_disk_that_takes_nothing_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("")
    said = []
    assert keep(tmp_path / "file", 1.0, said) == (1.0, 1)
    assert "not kept" in said[-1]


def test_two_processes_may_keep_the_same_features_at_once(tmp_path, monkeypatch):
    """The second begins and ends while the first has its file written, and not yet renamed."""
    flush, calls, said = durable.os.fsync, [], []

    def in_the_first(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            assert in_a_child(lambda: keep(tmp_path, 1.0, said) == (1.0, 1) and said == [] or 1 / 0) == 0
        flush(descriptor)

    monkeypatch.setattr(durable.os, "fsync", in_the_first)
    assert keep(tmp_path, 1.0, said) == (1.0, 1) and said == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["features-k.json", "features-k.safetensors"]
    assert keep(tmp_path, 2.0, said) == (1.0, 0)


def test_what_a_killed_process_left_half_written_is_deleted_by_the_next(tmp_path, monkeypatch):
    def keep_and_die():
        killed_at(0, monkeypatch, cut=True)
        keep(tmp_path, 1.0, [])

    assert in_a_child(keep_and_die) == signal.SIGKILL
    assert [file.name.partition("-")[0] for file in tmp_path.iterdir()] == [".tmp"]
    assert keep(tmp_path, 2.0, []) == (2.0, 1)
    assert not list(tmp_path.glob(".tmp-*"))


def test_the_key_changes_with_each_part_that_decides():
    one = ("e", "t", 256, "mean", "fp32")
    others = [("f", *one[1:]), ("e", "u", *one[2:]), ("e", "t", 255, *one[3:]), (*one[:3], "mean-max", "fp32"),
              (*one[:4], "bf16")]
    assert len({cache_key(*parts) for parts in [one, *others, one]}) == 6
