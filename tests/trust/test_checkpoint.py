"""Claims about run directories: nothing is overwritten, one run at a time, resumed only with the same settings."""

import errno
import json
import os
import signal

import pytest
import torch
from faults import CONFIG, begin, finish, in_a_child, make_state, refusing, value_of

from minitransfer.apparatus import durable, metrics
from minitransfer.apparatus.checkpoint import RunDirectory, check_free, check_state, load_run
from minitransfer.apparatus.errors import CheckpointError, ResourceError, UsageError


def test_a_new_run_writes_its_config_and_a_resumed_one_reads_it_back(tmp_path):
    with begin(tmp_path / "runs" / "näme with spaces") as run:
        written = json.loads((run.path / "config.json").read_bytes())
    assert written == {**CONFIG, "format_version": 1, "widths": [1, 2, 3]}
    with begin(run.path, resume=True) as again:
        assert again.config == written and again.load_state() is None and again.read_metrics() == []


def test_a_directory_that_holds_anything_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "photographs.zip").write_text("precious")
    told = "photographs.zip.*Fix: add --resume .*or choose another --out"
    with pytest.raises(UsageError, match=told), begin(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["photographs.zip"]


def test_a_run_is_never_overwritten_by_another(tmp_path):
    finish(tmp_path)
    before = {entry: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="config.json"), begin(tmp_path):
        pass
    assert {entry: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_a_run_killed_before_its_config_was_written_may_begin_again(tmp_path):
    (tmp_path / "lock").write_text("process 1 on nowhere\n")
    (tmp_path / ".tmp-config.json").write_text("{")
    with begin(tmp_path) as run:
        assert run.load_state() is None


def test_a_file_or_a_link_to_nothing_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for out in ("file", "link", "file/below"):
        with pytest.raises(UsageError, match="Fix: choose another"), begin(tmp_path / out):
            pass


def test_a_linked_directory_is_as_good_as_any(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with begin(tmp_path / "link") as run:
        run.save_state(3, make_state(1.0))
    with begin(tmp_path / "elsewhere", resume=True) as run:
        assert value_of(run.load_state()) == 1.0


def test_a_name_longer_than_the_system_allows_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="shorter path"), begin(tmp_path / ("x" * 300)):
        pass


@pytest.mark.parametrize("harm", ["another number", "deleted"])
def test_a_config_that_is_changed_while_the_run_trains_is_written_again_as_it_was(tmp_path, harm):
    said = []
    with begin(tmp_path / "run", said=said) as run:
        before = (run.path / "config.json").read_bytes()
        if harm == "deleted":
            (run.path / "config.json").unlink()
        else:
            (run.path / "config.json").write_bytes(before.replace(b"3", b"4"))
        run.save_model({"w": torch.ones(2)}, {})
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert load_run(tmp_path / "run").config == json.loads(before)
    assert len(said) == 1 and "was changed while the run trained" in said[0]


def test_a_run_of_another_kind_is_not_resumed(tmp_path):
    with begin(tmp_path / "run"):
        pass
    with pytest.raises(CheckpointError, match="of kind 'bilm', and not one of kind 'bag'"):
        RunDirectory.create(tmp_path / "run", {**CONFIG, "kind": "bag"}, resume=True)


def test_a_run_counts_the_seconds_before_the_state_it_goes_on_from_and_not_the_pause(tmp_path):
    with begin(tmp_path) as run:
        assert 0 <= run.seconds < 100
        run.save_state(3, {**make_state(1.0), "seconds": 7_000.0})
    with begin(tmp_path, resume=True) as again:
        assert again.seconds < 100
        again.load_state()
        assert 7_000 <= again.seconds < 7_100


def test_a_state_of_another_version_is_refused_by_what_it_lacks(tmp_path):
    check_state({"step": 3, "epoch": 1}, ("step", "epoch"), tmp_path)
    with pytest.raises(CheckpointError, match="another version of this program: it has no in_epoch, read"):
        check_state({"step": 3, "epoch": 1}, ("epoch", "in_epoch", "read"), tmp_path)


@pytest.mark.parametrize("found", [None, [], ["notes.txt", "holiday.jpg"]])
def test_resuming_where_no_run_is_says_what_was_looked_for_and_found(tmp_path, found):
    path = tmp_path / "out"
    if found is not None:
        path.mkdir()
        for name in found:
            (path / name).touch()
    expected = "no run at .*Fix: leave out --resume"
    with pytest.raises(CheckpointError, match=expected) as told, begin(path, resume=True):
        pass
    if found is not None:
        assert "config.json" in str(told.value) and all(name in str(told.value) for name in found)
        assert sorted(os.listdir(path)) == sorted(found)


def test_resuming_with_other_settings_lists_each_that_differs(tmp_path):
    with begin(tmp_path):
        pass
    other = {**CONFIG, "hidden_size": 9, "corpus": {"name": "imdb", "sha256": "ab"}, "warm_start": "runs/static"}
    with pytest.raises(CheckpointError) as told, begin(tmp_path, resume=True, config=other):
        pass
    table = 'hidden_size: 7 there, 9 now; corpus.name: "sample" there, "imdb" now; warm_start: absent there'
    assert table in str(told.value)
    assert "sha256" not in str(told.value) and "\n" not in str(told.value)


def test_resuming_in_another_environment_is_only_warned_of(tmp_path):
    with begin(tmp_path):
        pass
    heard = []
    with begin(tmp_path, resume=True, config={**CONFIG, "environment": {"threads": 4}}, said=heard):
        pass
    assert len(heard) == 1 and "environment.threads: 2 there, 4 now" in heard[0] and "bit for bit" in heard[0]


def test_a_finished_run_says_so_and_resuming_it_writes_nothing(tmp_path):
    finish(tmp_path)
    before = {entry: (entry.read_bytes(), entry.stat().st_mtime_ns) for entry in tmp_path.iterdir()}
    with begin(tmp_path, resume=True) as run:
        assert run.completed == {"loss": 1.5, "step": 17}
    assert {entry: (entry.read_bytes(), entry.stat().st_mtime_ns) for entry in tmp_path.iterdir()} == before


def test_a_second_run_in_the_same_directory_is_refused_naming_the_first(tmp_path):
    with begin(tmp_path):
        for resume in (False, True):
            expected = f"in use by process {os.getpid()} on "
            with pytest.raises(UsageError, match=expected), begin(tmp_path, resume=resume):
                pass

        def second_process():
            with pytest.raises(UsageError, match="in use by"), begin(tmp_path, resume=True):
                pass

        assert in_a_child(second_process) == 0
        with pytest.raises(UsageError, match=expected):  # and so before any text is read
            check_free(tmp_path)
    with begin(tmp_path, resume=True):
        pass  # the first has ended


def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    def die_holding_the_lock():
        RunDirectory.create(tmp_path, CONFIG, resume=False)._lock.release()
        with begin(tmp_path / "inner"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(die_holding_the_lock) == signal.SIGKILL
    with begin(tmp_path / "inner", resume=True):
        pass


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EIO])
def test_a_disk_that_takes_nothing_is_found_before_the_first_step(tmp_path, monkeypatch, code):
    refusing(monkeypatch, durable.os, "fsync", code)
    expected = rf"1\.0 MB needed.*{os.strerror(code)}.*Fix: free space"
    with pytest.raises(ResourceError, match=expected), begin(tmp_path):
        pass
    monkeypatch.undo()
    with begin(tmp_path):
        pass  # nothing was left that stands in the way


def test_two_processes_may_try_one_disk_at_once(tmp_path, monkeypatch):
    write = durable.write_file
    monkeypatch.setattr(durable, "write_file", lambda path, data: (write(path, data), path.unlink()))
    durable.probe(tmp_path)  # whose file the other has deleted
    assert not os.listdir(tmp_path)


def test_rows_come_back_in_order_and_a_torn_last_line_is_forgiven(tmp_path, capsys):
    with begin(tmp_path) as run:
        run.log_metrics({"step": 1, "loss": torch.tensor(2.5), "note": "ça"})
        run.log_metrics({"step": 2, "loss": float("nan")})
        with open(tmp_path / "metrics.jsonl", "ab") as file:
            file.write(b'{"step": 3, "lo')
        rows = [{"step": 1, "loss": 2.5, "note": "ça"}, {"step": 2, "loss": None}]
        assert run.read_metrics() == rows
        run.log_metrics({"step": 4})
        assert run.read_metrics() == [*rows, {"step": 4}]
    assert "damaged" not in capsys.readouterr().err  # the next row has taken the torn one's place


@pytest.mark.parametrize(("left", "kept"), [
    (b'{"step": 1}\n{"st', [1]), (b'{"step": 1}', [1]), (b'{"st', []), (b"", []), (b"\n{", []),
])
def test_what_a_kill_has_torn_makes_way_and_what_lacks_its_end_alone_stays(tmp_path, capsys, left, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(left)
    metrics.append_row(path, {"step": 7})
    assert [row["step"] for row in metrics.read_rows(path)] == [*kept, 7]
    assert "damaged" not in capsys.readouterr().err


def test_damaged_lines_within_are_left_out_with_a_warning(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\x00\x00\x00\n\xff\n[3]\n\n{"step": 2}\n')
    assert metrics.read_rows(path) == [{"step": 1}, {"step": 2}]
    assert "3 damaged lines" in capsys.readouterr().err


def test_rows_past_the_state_are_dropped_on_resume(tmp_path):
    with begin(tmp_path) as run:
        run.truncate_metrics(0)  # before the first row: nothing to do
        for step in (2, 4, 6, 8):
            run.log_metrics({"step": step, "loss": 1 / step})
        run.truncate_metrics(5)
        run.log_metrics({"step": 6, "loss": 0.25})
        assert [(row["step"], row["loss"]) for row in run.read_metrics()] == [(2, 0.5), (4, 0.25), (6, 0.25)]
        run.truncate_metrics(0)
        assert run.read_metrics() == []


def test_a_row_that_the_disk_takes_only_half_of_is_taken_back(tmp_path):
    """A limit on the size of files stands in for a full disk: the system writes what fits, and refuses the rest."""
    path = tmp_path / "metrics.jsonl"

    def fill():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        metrics.append_row(path, {"step": 1, "text": "x" * 40})
        with pytest.raises(ResourceError):
            metrics.append_row(path, {"step": 2, "text": "y" * 40})

    assert in_a_child(fill) == 0
    assert path.read_text() == json.dumps({"step": 1, "text": "x" * 40}) + "\n"
