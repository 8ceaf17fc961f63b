"""Apparatus: files that are whole or absent. How does a file survive a power cut, and how is a flipped bit noticed?

A file is written beside its place, flushed to the disk, and renamed into its place: whoever looks sees the old file
or the new one, never half of either. A manifest holds the size and sha256 of each file, because neither torch nor
safetensors notices a damaged number by itself. A lock of the operating system keeps two runs out of one directory,
and frees itself when its process dies, however it dies.

Next: saved.py, reading what such files hold.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, BaseFileLock, FileLock, Timeout

from minitransfer.apparatus.errors import NAME_ERRORS, CheckpointError, ResourceError, UsageError

MANIFEST = "manifest.json"
LOCK = "lock"
TEMPORARY = ".tmp-"  # what carries this prefix is nobody's property once the process that wrote it is gone
MAX_JSON_BYTES = 2**20  # ours are a few kB; a larger one is not ours, and not worth the memory


@contextlib.contextmanager
def disk_errors(path: Path, size: int = 0) -> Iterator[None]:
    """Turn what the operating system says about writing `size` bytes at `path` into an error with a remedy.

    Raises: UsageError for a path that cannot exist; ResourceError for a disk that is full, read-only or failing.
    """
    try:
        yield
    except OSError as failure:
        if failure.errno in NAME_ERRORS:
            raise UsageError(f"{str(path)[:300]}: {failure.strerror}", "choose another, shorter path") from failure
        needed = f" ({size / 1e6:.1f} MB needed)" if size else ""
        what = f"cannot write {path}{needed}: {failure.strerror or failure}"
        raise ResourceError(what, "free space there, or choose an --out you may write to") from failure


def sync_directory(directory: Path) -> None:
    """Flush a directory's list of names to the disk: without it a rename may be undone by a power cut.

    Windows opens no directories, and has nothing to flush them by: there it does nothing.
    """
    as_directory = getattr(os, "O_DIRECTORY", None)
    if as_directory is None:
        return
    descriptor = os.open(directory, os.O_RDONLY | as_directory)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file so that it is there whole, on the disk, or not at all. Raises: see `disk_errors`.

    Several processes may write one file: the last to be done leaves its own.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    with disk_errors(path, len(data)):
        try:
            _clear_away(path)
            with open(temporary, "xb") as file:  # x refuses to follow a link that somebody left under this name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_directory(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _clear_away(path: Path) -> None:
    """Delete what earlier tries to write `path` have left, unless the process that tries is still at it."""
    of_process = re.compile(rf"{re.escape(TEMPORARY)}(\d{{1,9}})-{re.escape(path.name)}")
    for entry in path.parent.iterdir():
        if (found := of_process.fullmatch(entry.name)) and not _is_at_work(int(found[1])):
            with contextlib.suppress(OSError):  # as Windows refuses to delete what a process has open
                entry.unlink()


def _is_at_work(process: int) -> bool:
    """Whether another process of this machine has this number. Windows cannot be asked."""
    if process == os.getpid() or os.name == "nt":
        return False
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def probe(directory: Path, size: int = 2**20) -> None:
    """Write `size` bytes and remove them, so that a full or read-only disk is found before any work is done."""
    path = directory / f"{TEMPORARY}probe"
    write_file(path, bytes(size))
    path.unlink(missing_ok=True)  # another process may have looked at the same moment


def to_json(value: Any) -> bytes:
    """The bytes of a JSON file, indented for readers. Raises: ValueError for nan and infinity, which JSON lacks."""
    return (json.dumps(value, indent=2, default=plain_number, allow_nan=False) + "\n").encode()


def plain_number(value: Any) -> int | float:
    """The Python number in a numpy or torch scalar, which json asks for. Raises: TypeError for anything else."""
    if getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises: CheckpointError if it is absent, absurdly large, or holds no object."""
    fix = "restore the file from a copy, or give the directory of another run"
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise CheckpointError(f"{path} is larger than {MAX_JSON_BYTES:,} bytes, so it is not one of ours", fix)
        value = json.loads(data)
    except OSError as failure:
        raise CheckpointError(f"cannot read {path}: {failure.strerror}", fix) from failure
    except (ValueError, RecursionError) as failure:  # not UTF-8, not JSON, or brackets nested without end
        raise CheckpointError(f"{path} is damaged: it is not JSON", fix) from failure
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object, but a {type(value).__name__}", fix)
    return value


def entry(value: Any, name: str) -> Any:
    """What stands under a dotted name in nested objects, as "corpus.name"; None if nothing does."""
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def manifest_of(files: Mapping[str, bytes | memoryview], **more: Any) -> dict[str, Any]:
    """The manifest of files given by name and content: sizes, sha256, and whatever `more` there is to note."""
    entries = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    return {**more, "files": entries}


def read_verified(directory: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that a manifest lists, each read once and compared with its size and sha256 before anybody uses it.

    Raises: CheckpointError naming the first file that is absent, changed, or outside the directory.
    """
    fix = "restore the file from a copy"
    files = {}
    entries = manifest.get("files")
    for name, entry in (entries if isinstance(entries, dict) else {}).items():
        path = directory / name
        try:
            if path.parent != directory or path.is_symlink() or not path.is_file() or not isinstance(entry, dict):
                raise CheckpointError(f"{path} is not there as a plain file, though {MANIFEST} lists it", fix)
            if path.stat().st_size != entry.get("size"):
                raise CheckpointError(f"{path} has {path.stat().st_size} bytes instead of {entry.get('size')}", fix)
            files[name] = path.read_bytes()
        except OSError as failure:
            raise CheckpointError(f"cannot read {path}: {failure.strerror}", fix) from failure
        if hashlib.sha256(files[name]).hexdigest() != entry.get("sha256"):
            raise CheckpointError(f"{path} is damaged: its sha256 is not the one in {MANIFEST}", fix)
    return files


def take_lock(directory: Path) -> AcquireReturnProxy:
    """Lock a directory for this process until the returned context is left, its `.lock` released, or the process ends.

    Nothing is written, so that looking at a foreign directory leaves it as it was; `sign_lock` does so afterwards.
    Raises: UsageError naming the process id and machine that hold it; ResourceError where the disk knows no locks.
    """
    path = directory / LOCK
    # Without locks filelock would fall back to files that outlive a killed process; we rather say so.
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    with disk_errors(path):
        try:
            return lock.acquire()
        except Timeout as failure:
            what = f"{directory} is in use by {_owner(path)}"
            raise UsageError(what, "wait for it, stop it, or choose another --out") from failure


def sign_lock(lock: BaseFileLock) -> None:
    """Write into a lock that we hold whose it is, for whoever finds it taken.

    From the second byte on: Windows lets nobody touch the byte that is locked, the first one.
    """
    path = Path(lock.lock_file)
    with disk_errors(path), open(path, "r+b") as file:
        file.seek(1)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        file.truncate()


def _owner(path: Path) -> str:
    """What the holder of a lock wrote into it, if that can be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(1)
        return file.read(200).decode(errors="replace").strip() or "another process"
    return "another process"
