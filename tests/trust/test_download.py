"""Downloads are whole and genuine or not there: each claim is made against a server that misbehaves."""

import errno
import hashlib
import io
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import mirror_server
import pytest
from hearing import heard
from mirror_server import CONTENT, NAME

from minitransfer.apparatus import download
from minitransfer.apparatus.download import fetch
from minitransfer.apparatus.errors import NetworkError, ResourceError
from minitransfer.apparatus.mirrors import Archive


@pytest.fixture
def mirror(monkeypatch):
    """A running server; `mirror(fault, ...)` is an archive that each named fault has an address for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with mirror_server.running() as archive:
        yield archive


def quick(archive, directory, said=None, **options):
    with heard(said):
        return fetch(archive, directory, **{"timeout": 0.3, "backoff": 0.01} | options)


def left_in(directory):
    return {path.name for path in directory.iterdir()} - {f"{NAME}.lock"}


def test_an_honest_mirror_gives_the_file_and_nothing_else_stays(mirror, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # no terminal, even under pytest -s
    path = quick(mirror("none"), tmp_path / "new" / "folder", said)
    assert path == tmp_path / "new" / "folder" / NAME and path.read_bytes() == CONTENT
    assert left_in(path.parent) == {NAME}
    assert sum("of 0.3 MB" in line for line in said) == 4  # no bar off a terminal, but a line per quarter


def test_we_do_not_call_ourselves_urllib(mirror, tmp_path):
    quick(mirror("agent"), tmp_path)
    (_, _, agent), = mirror.asked
    assert agent.startswith("minitransfer/") and agent.endswith(" (+textbook)")


def test_a_file_that_is_there_is_neither_asked_for_nor_touched(mirror, tmp_path):
    (tmp_path / NAME).write_bytes(b"put here by hand")
    assert quick(mirror("none"), tmp_path).read_bytes() == b"put here by hand"
    assert mirror.asked == []


def test_a_broken_connection_is_resumed_where_it_broke(mirror, tmp_path):
    path = quick(mirror("truncates"), tmp_path, attempts=4)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked, _ in mirror.asked] == [None, "bytes=100001-", "bytes=200002-", "bytes=300003-"]


def test_a_stall_ends_by_the_timeout_and_what_came_is_kept(mirror, tmp_path):
    started = time.monotonic()
    assert quick(mirror("stalls"), tmp_path).read_bytes() == CONTENT
    assert time.monotonic() - started < 3
    assert [asked for _, asked, _ in mirror.asked] == [None, "bytes=77777-"]


@pytest.mark.parametrize("fault", ["noresume", "wrongrange", "unsatisfiable"])
def test_a_server_that_cannot_resume_is_asked_from_the_first_byte(mirror, tmp_path, fault):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1234])
    assert quick(mirror(fault), tmp_path, attempts=1).read_bytes() == CONTENT
    assert mirror.asked[0][1] == "bytes=1234-"


def test_a_server_that_answers_a_range_nobody_asked_for_is_given_up(mirror, tmp_path):
    with pytest.raises(NetworkError, match="another range than asked: 'bytes 1000-"):
        quick(mirror("unasked"), tmp_path)
    assert len(mirror.asked) == 1 and left_in(tmp_path) == set()


def test_a_part_left_from_another_file_costs_no_mirror(mirror, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(b"remains of a version long gone")
    assert quick(mirror("none"), tmp_path, attempts=1).read_bytes() == CONTENT
    assert [asked for _, asked, _ in mirror.asked] == ["bytes=30-", None]


def test_a_part_longer_than_the_archive_is_thrown_away(mirror, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"!")
    assert quick(mirror("unsatisfiable"), tmp_path).read_bytes() == CONTENT


def test_a_complete_part_needs_no_network(tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    nowhere = Archive(NAME, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), ("http://127.0.0.1:9/x",))
    assert quick(nowhere, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["missing", "overloaded", "lies", "html", "size", "endless", "elsewhere",
                                   "nonsense", "digits"])
def test_a_bad_mirror_leaves_the_work_to_the_next(mirror, tmp_path, fault):
    assert quick(mirror(fault, "none"), tmp_path).read_bytes() == CONTENT
    assert left_in(tmp_path) == {NAME}


@pytest.mark.parametrize("fault, reason, tries", [
    ("missing", "HTTP 404 Not Found", 1), ("overloaded", "HTTP 503 Service Unavailable", 3),
    ("html", "web page", 1), ("size", "expected 307466 bytes, got 19", 1), ("endless", "more than the expected", 1)])
def test_only_a_failure_that_may_pass_is_tried_again(mirror, tmp_path, fault, reason, tries):
    with pytest.raises(NetworkError, match=reason):
        quick(mirror(fault), tmp_path)
    assert len(mirror.asked) == tries
    assert left_in(tmp_path) == set()


def test_a_wrong_checksum_is_shown_beside_the_right_one_and_the_file_is_gone(mirror, tmp_path):
    archive = mirror("lies")
    with pytest.raises(NetworkError) as caught:
        quick(archive, tmp_path)
    found = hashlib.sha256(bytes(len(CONTENT))).hexdigest()
    assert f"expected sha256 {archive.sha256}, got {found}" in caught.value.what
    assert left_in(tmp_path) == set()


def test_more_than_the_archive_size_is_never_written(mirror, tmp_path, monkeypatch):
    sizes, discard = [], download._discard

    def note_size(part, reason):
        sizes.append(part.stat().st_size)
        discard(part, reason)

    monkeypatch.setattr(download, "_discard", note_size)
    with pytest.raises(NetworkError):
        quick(mirror("endless"), tmp_path)
    assert len(sizes) == 1 and 0 < sizes[0] <= len(CONTENT)


def test_when_all_fail_the_error_says_what_was_tried_and_how_to_do_it_by_hand(mirror, tmp_path):
    archive = mirror("missing", "html")
    with pytest.raises(NetworkError) as caught:
        quick(archive, tmp_path)
    assert caught.value.exit_code == 7
    assert all(url in caught.value.what for url in archive.urls) and "404" in caught.value.what
    assert str(tmp_path / NAME) in caught.value.fix and archive.sha256 in caught.value.fix
    assert "\n" not in str(caught.value)


def test_no_connection_is_a_network_error(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(NetworkError, match="refused"):
        quick(Archive(NAME, 1, "0" * 64, ("http://127.0.0.1:9/x",)), tmp_path)


@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_only_http_addresses_are_opened(tmp_path, scheme):
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(NetworkError, match="only http and https"):
        quick(Archive(NAME, len(CONTENT), "0" * 64, (f"{scheme}://{secret}",)), tmp_path)


def test_a_folder_that_cannot_be_written_is_a_resource_error(mirror, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError, match="cannot write .*--data-dir") as caught:
        quick(mirror("none"), tmp_path / "file" / "data")
    assert caught.value.exit_code == 6


def test_a_disk_too_small_is_noticed_before_the_download(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(ResourceError, match="0 MB free"):
        quick(mirror("none"), tmp_path)


def test_a_disk_that_fills_up_gets_its_room_back(mirror, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(ResourceError, match="No space left"):
        quick(mirror("none"), tmp_path)
    assert left_in(tmp_path) == set()


def test_two_processes_fetch_one_file_and_nobody_sees_half_of_it(mirror, tmp_path):
    archive = mirror("truncates")
    program = ("import sys; from pathlib import Path; from minitransfer.apparatus.download import *;"
               f"fetch({archive!r}, Path(sys.argv[1]), timeout=2.0, attempts=5, backoff=0.01)")
    runs = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.DEVNULL,
                             cwd=Path(__file__).parents[2]) for _ in range(2)]
    while any(run.poll() is None for run in runs):
        if (tmp_path / NAME).exists():
            assert (tmp_path / NAME).read_bytes() == CONTENT
        time.sleep(0.005)
    assert [run.returncode for run in runs] == [0, 0]
    assert (tmp_path / NAME).read_bytes() == CONTENT and left_in(tmp_path) == {NAME}
    assert len(mirror.asked) == 4  # 307,466 bytes in pieces of 100,001, once


def test_threads_take_turns_too(mirror, tmp_path):
    archive, paths = mirror("none"), []
    threads = [threading.Thread(target=lambda: paths.append(quick(archive, tmp_path))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / NAME] * 5 and len(mirror.asked) == 1


HOLD = ("import fcntl, sys; file = open(sys.argv[1], 'ab'); fcntl.flock(file, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / f"{NAME}.lock")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_waiting_for_another_download_ends_and_names_the_lock(mirror, tmp_path, holder):
    said = []
    with pytest.raises(ResourceError, match=f"{NAME}.lock.*end that process"):
        quick(mirror("none"), tmp_path, said, wait=0.2)
    assert len(said) == 1 and "another process" in said[0] and mirror.asked == []


def test_the_lock_of_a_killed_process_frees_itself(mirror, tmp_path, holder):
    holder.kill()
    holder.wait()
    assert quick(mirror("none"), tmp_path, wait=0.2).read_bytes() == CONTENT
