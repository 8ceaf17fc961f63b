"""Apparatus: downloads. How does an archive get here whole and genuine, or not at all?

A file grows in `<name>.part`, is checked there, and only then gets its own name by a rename: whoever sees `<name>`
sees all of it. What a broken connection has brought stays in `<name>.part` for the next one to go on from, also in
another process, another day. `<name>.lock` makes a second process wait its turn.

Next: archives.py, which reads what is inside without trusting it.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from minitransfer.apparatus.errors import NetworkError, ResourceError
from minitransfer.apparatus.mirrors import Archive, Dropped, NotResumed, Refused, ask, by_hand, chunks, first_byte
from minitransfer.apparatus.progress import say

POLL = 0.1  # seconds between two looks at a lock that another process holds


def fetch(archive: Archive, directory: Path, *, timeout: float = 30.0, attempts: int = 3, backoff: float = 1.0,
          wait: float = 1800.0) -> Path:
    """Download an archive into a directory and return its path; a file already under that name is left as it is.

    timeout: seconds without a byte before a connection counts as stalled.  attempts: tries per mirror.
    backoff: seconds before the second try, doubled each time.  wait: seconds to wait for another downloader.
    Raises: NetworkError when every mirror failed; ResourceError when the disk is full, read-only or stays locked.
    """
    target = directory / archive.name
    part = directory / f"{archive.name}.part"
    with _disk(part, archive):
        directory.mkdir(parents=True, exist_ok=True)
    with _turn(directory / f"{archive.name}.lock", archive, wait):
        if target.exists():
            return target
        reasons = []
        for url in archive.urls:
            try:
                _from_mirror(url, part, archive, timeout, attempts, backoff)
            except (Dropped, Refused) as error:
                reasons.append(f"{url} ({error})")
                say(f"{archive.name}: {url} failed: {error}")
                continue
            with _disk(part, archive):
                os.replace(part, target)
            return target
    raise NetworkError(f"could not download {archive.name}; tried {'; '.join(reasons) or 'no mirror'}",
                       f"check the connection and run again, or {by_hand(archive, directory)}")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_mirror(url: str, part: Path, archive: Archive, timeout: float, attempts: int, backoff: float) -> None:
    """Bring `part` to its full, verified content from one mirror. Raises: Dropped or Refused, the last failure."""
    tries = 0
    while True:
        resumed = _size(part) > 0
        try:
            if _size(part) != archive.size:
                _transfer(url, part, archive, timeout)
            return _verify(part, archive)
        except Refused as refusal:
            if isinstance(refusal, NotResumed):
                part.unlink(missing_ok=True)
            if not resumed or part.exists():
                raise
            # The old part was to blame, perhaps alone, and is gone: this mirror deserves to be asked from byte 0.
        except Dropped as error:
            tries += 1
            if tries >= attempts:
                raise
            say(f"{archive.name}: {error}; trying {url} again")
            time.sleep(backoff * 2 ** (tries - 1))


def _transfer(url: str, part: Path, archive: Archive, timeout: float) -> None:
    """Append to `part` what is missing of it, or write it anew where the server cannot resume."""
    have = _size(part)
    with contextlib.closing(ask(url, have, timeout)) as answer:
        have = first_byte(answer, have, archive)
        say(f"{archive.name}: downloading {(archive.size - have) / 1e6:.1f} MB from {url}")
        with _disk(part, archive), open(part, "r+b" if have else "wb") as file:
            _require_space(part, archive.size - have)
            file.seek(have)
            for chunk in _progress(chunks(answer), have, archive):
                have += len(chunk)
                if have > archive.size:
                    break
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    if have > archive.size:
        _discard(part, f"it sent more than the expected {archive.size:,} bytes")
    if have < archive.size:
        raise Dropped(f"the connection closed after {have:,} of {archive.size:,} bytes")


def _progress(answer: Iterator[bytes], have: int, archive: Archive) -> Iterator[bytes]:
    """Pass an answer's bytes on, shown as a bar on a terminal and elsewhere as a line per quarter of the file."""
    started, first, size = time.monotonic(), have, max(archive.size, 1)
    with tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=archive.name, disable=None) as bar:
        for chunk in answer:
            yield chunk
            quarter = 4 * have // size
            have += len(chunk)
            bar.update(len(chunk))
            if bar.disable and 4 * have // size > quarter:
                rate = (have - first) / max(time.monotonic() - started, 1e-3)
                say(f"{archive.name}: {have / 1e6:.1f} of {size / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s, "
                    f"{(size - have) / rate:.0f} s left")


def _verify(part: Path, archive: Archive) -> None:
    """Check the content of a complete `part`. Raises: Refused, and the file is gone, if it is another one."""
    with _disk(part, archive):
        actual = file_sha256(part)
    if actual != archive.sha256:
        _discard(part, f"wrong file: expected sha256 {archive.sha256}, got {actual}")


def _discard(part: Path, reason: str) -> None:
    """Delete what cannot become the archive, and raise Refused with the reason."""
    part.unlink(missing_ok=True)
    raise Refused(reason)


@contextlib.contextmanager
def _turn(lock: Path, archive: Archive, wait: float) -> Iterator[None]:
    """Be the only process that downloads an archive. The lock is the system's: it dies with its holder, not later."""
    mine = FileLock(lock, poll_interval=POLL, fallback_to_soft=False)
    with _disk(lock, archive):
        with contextlib.suppress(Timeout):
            mine.acquire(timeout=0)
        if not mine.is_locked:
            say(f"{archive.name}: another process is downloading it; waiting up to {wait:.0f} s")
            try:
                mine.acquire(timeout=wait)
            except Timeout as error:
                what = f"another process has held {lock} for {wait:.0f} s"
                fix = "wait for its download to end, or end that process; the lock goes with it"
                raise ResourceError(what, fix) from error
    try:
        yield
    finally:
        mine.release()


@contextlib.contextmanager
def _disk(path: Path, archive: Archive) -> Iterator[None]:
    """Turn what the disk refuses into a ResourceError; on a full disk, `path` is removed to give its room back."""
    try:
        yield
    except BrokenPipeError:  # a log that nobody reads: no fault of a disk
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            path.unlink(missing_ok=True)
        raise ResourceError(f"cannot write {path}: {error.strerror or error}",
                            f"make room for {archive.size / 1e6:.0f} MB in a folder you may write to, "
                            "or name another with --data-dir") from error


def _require_space(part: Path, need: int) -> None:
    """Raises: ResourceError if a disk has fewer than `need` bytes free, before they are fetched in vain."""
    free = shutil.disk_usage(part.parent).free
    if free < need:
        raise ResourceError(f"{part.parent} has {free / 1e6:.0f} MB free, {part.stem} needs {need / 1e6:.0f} more",
                            "make room there, or name another folder with --data-dir")


def _size(path: Path) -> int:
    """Return a file's length in bytes, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0
