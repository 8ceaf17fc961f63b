"""Part I, text into integers: downloads. How does an archive get here whole and genuine, or not at all?

An archive is pinned by its size and its sha256, so it does not matter which mirror sent it, over how many
connections, or how honest the network between was. It grows in `<name>.part`, is checked there, and only then gets
its own name by a rename: whoever sees `<name>` sees all of it. `<name>.lock` makes a second process wait its turn.

Next: `minitransfer/text/archives.py`, which reads what is inside without trusting it.
"""

import contextlib
import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from minitransfer.apparatus.errors import NetworkError, ResourceError

try:
    import fcntl
except ImportError:  # Windows: no lock there; two downloads at once would fail the checksum, never pass a mixed file.
    fcntl = None

CHUNK = 1 << 16  # bytes asked of a connection, or of a file, at once
POLL = 0.1  # seconds between two looks at a lock that another process holds
NETWORK_FAILURES = (OSError, http.client.HTTPException, ValueError)  # the last for addresses sent in redirects
BUSY = {408, 425, 429}  # the only answers of the 4xx family after which the same question may be answered


@dataclass(frozen=True)
class Archive:
    """A file of known content: its name, its size in bytes, its sha256 in hex, and where it may be had."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


ARCHIVES = {
    "wikitext-2": Archive(
        "wikitext-2-v1.zip", 4_475_746,
        "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
        ("https://wikitext.smerity.com/wikitext-2-v1.zip",)),
    "wikitext-2-raw": Archive(
        "wikitext-2-raw-v1.zip", 4_721_645,
        "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
        ("https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
         "https://huggingface.co/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip")),
    "wikitext-103": Archive(
        "wikitext-103-v1.zip", 190_229_076,
        "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
        ("https://wikitext.smerity.com/wikitext-103-v1.zip",)),
    "wikitext-103-raw": Archive(
        "wikitext-103-raw-v1.zip", 191_984_949,
        "91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794",
        ("https://wikitext.smerity.com/wikitext-103-raw-v1.zip",
         "https://huggingface.co/datasets/mattdangerw/wikitext-103-raw/resolve/main/wikitext-103-raw-v1.zip")),
    "imdb": Archive(
        "aclImdb_v1.tar.gz", 84_125_825,
        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
         "http://d2l-data.s3-accelerate.amazonaws.com/aclImdb_v1.tar.gz")),
}


class _Dropped(Exception):
    """The connection failed in a way that another try may mend."""


class _Refused(Exception):
    """This mirror does not give out the right file: another try would end the same way."""


def fetch(archive: Archive, directory: Path, *, say: Callable[[str], None], timeout: float = 30.0,
          attempts: int = 3, backoff: float = 1.0, wait: float = 1800.0) -> Path:
    """Download an archive into a directory and return its path; a file already under that name is left as it is.

    timeout: seconds without a byte before a connection counts as stalled.  attempts: tries per mirror.
    backoff: seconds before the second try, doubled each time.  wait: seconds to wait for another downloader.
    Raises: NetworkError when every mirror failed; ResourceError when the disk is full, read-only or stays locked.
    """
    target = directory / archive.name
    part = directory / f"{archive.name}.part"
    with _disk(part, archive):
        directory.mkdir(parents=True, exist_ok=True)
    with _turn(directory / f"{archive.name}.lock", archive, wait, say):
        if target.exists():
            return target
        reasons = []
        for url in archive.urls:
            try:
                _from_mirror(url, part, archive, say, timeout, attempts, backoff)
            except (_Dropped, _Refused) as error:
                reasons.append(f"{url} ({error})")
                say(f"{archive.name}: {url} failed: {error}")
                continue
            with _disk(part, archive):
                os.replace(part, target)
            return target
    raise NetworkError(f"could not download {archive.name}; tried {'; '.join(reasons) or 'no mirror'}",
                       f"check the connection and run again, or {by_hand(archive, directory)}")


def by_hand(archive: Archive, directory: Path) -> str:
    """Say in half a sentence where a file fetched by other means belongs, and how to know the right one."""
    return (f"put the file by hand at {directory / archive.name} (from {' or '.join(archive.urls)}; "
            f"{archive.size:,} bytes, sha256 {archive.sha256})")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _from_mirror(url: str, part: Path, archive: Archive, say: Callable[[str], None], timeout: float,
                 attempts: int, backoff: float) -> None:
    """Bring `part` to its full, verified content from one mirror. Raises: _Dropped or _Refused, the last failure."""
    tries = 0
    while True:
        resumed = _size(part) > 0
        try:
            if _size(part) != archive.size:
                _transfer(url, part, archive, say, timeout)
            return _verify(part, archive)
        except _Refused:
            if not resumed or part.exists():
                raise
            # The old part was to blame, perhaps alone, and is gone: this mirror deserves to be asked from byte 0.
        except _Dropped as error:
            tries += 1
            if tries >= attempts:
                raise
            say(f"{archive.name}: {error}; trying {url} again")
            time.sleep(backoff * 2 ** (tries - 1))


def _transfer(url: str, part: Path, archive: Archive, say: Callable[[str], None], timeout: float) -> None:
    """Append to `part` what is missing of it, or write it anew where the server cannot resume."""
    with contextlib.closing(_ask(url, part, timeout)) as answer:
        have = _first_byte(answer, part, archive)
        say(f"{archive.name}: downloading {(archive.size - have) / 1e6:.1f} MB from {url}")
        with _disk(part, archive), open(part, "r+b" if have else "wb") as file:
            _require_space(part, archive.size - have)
            file.seek(have)
            for chunk in _progress(_chunks(answer), have, archive, say):
                have += len(chunk)
                if have > archive.size:
                    break
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    if have > archive.size:
        _discard(part, f"it sent more than the expected {archive.size:,} bytes")
    if have < archive.size:
        raise _Dropped(f"the connection closed after {have:,} of {archive.size:,} bytes")


def _ask(url: str, part: Path, timeout: float) -> http.client.HTTPResponse:
    """Ask for what `part` lacks. Only http and https are spoken, also after a redirect: no file:, no ftp:."""
    have = _size(part)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise _Refused("only http and https addresses are opened")
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
                    urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler,
                    urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler):
        opener.add_handler(handler())
    headers = {"User-Agent": _user_agent()} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:  # an HTTPError holds the connection open until it is closed
            if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
            raise _status_failure(error.code) from error
    except NETWORK_FAILURES as error:
        raise _Dropped(_one_line(error)) from error


def _status_failure(status: int) -> Exception:
    """Return a _Dropped for a status that another try may change, a _Refused for any other."""
    kind = _Dropped if status >= 500 or status in BUSY else _Refused
    return kind(f"HTTP {status} {http.client.responses.get(status, '')}".strip())


def _first_byte(answer: http.client.HTTPResponse, part: Path, archive: Archive) -> int:
    """Return where in the file the answer's bytes belong: 0, or the length of `part` if the server resumes it."""
    have, start, rest = _size(part), 0, answer.headers.get("Content-Length")
    if answer.status == 206:
        found = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)", answer.headers.get("Content-Range", "").strip())
        if not found or found[1] != str(have) or found[2] not in ("*", str(archive.size)):
            _discard(part, f"it answered another range than asked: {answer.headers.get('Content-Range')!r}")
        start = have
    if answer.headers.get_content_type() == "text/html":
        raise _Refused("it sent a web page (text/html: a sign-in or error page?), not the archive")
    if rest is not None and rest != str(archive.size - start):  # compared as text: a server may send any nonsense
        raise _Refused(f"wrong size: expected {archive.size - start} bytes, got {rest[:20]}")
    return start


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield an answer's bytes as they come in. Raises: _Dropped on a stall or a broken connection."""
    try:
        while chunk := answer.read1(CHUNK):
            yield chunk
    except NETWORK_FAILURES as error:
        raise _Dropped(_one_line(error)) from error


def _progress(chunks: Iterator[bytes], have: int, archive: Archive, say: Callable[[str], None]) -> Iterator[bytes]:
    """Pass chunks on, shown as a bar on a terminal and elsewhere as a line per quarter of the file."""
    started, first, size = time.monotonic(), have, max(archive.size, 1)
    with tqdm(total=size, initial=have, unit="B", unit_scale=True, desc=archive.name, disable=None) as bar:
        for chunk in chunks:
            yield chunk
            quarter = 4 * have // size
            have += len(chunk)
            bar.update(len(chunk))
            if bar.disable and 4 * have // size > quarter:
                rate = (have - first) / max(time.monotonic() - started, 1e-3)
                say(f"{archive.name}: {have / 1e6:.1f} of {size / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s, "
                    f"{(size - have) / rate:.0f} s left")


def _verify(part: Path, archive: Archive) -> None:
    """Check the content of a complete `part`. Raises: _Refused, and the file is gone, if it is another one."""
    with _disk(part, archive):
        found = file_sha256(part)
    if found != archive.sha256:
        _discard(part, f"wrong file: expected sha256 {archive.sha256}, got {found}")


def _discard(part: Path, reason: str) -> None:
    """Delete what cannot become the archive, and raise _Refused with the reason."""
    part.unlink(missing_ok=True)
    raise _Refused(reason)


@contextlib.contextmanager
def _turn(lock: Path, archive: Archive, wait: float, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only process that downloads an archive. The lock is the system's: it dies with its holder, not later."""
    with _disk(lock, archive):
        handle = open(lock, "ab")
    with handle:
        deadline, told = time.monotonic() + wait, False
        while not _locked(handle, lock, archive):
            if time.monotonic() >= deadline:
                raise ResourceError(f"another process has held {lock} for {wait:.0f} s",
                                    "wait for its download to end, or end that process; the lock goes with it")
            if not told:
                say(f"{archive.name}: another process is downloading it; waiting up to {wait:.0f} s")
            told = True
            time.sleep(POLL)
        yield


def _locked(handle: BinaryIO, lock: Path, archive: Archive) -> bool:
    """Try once to lock an open file for this process alone."""
    try:
        with _disk(lock, archive):
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _disk(path: Path, archive: Archive) -> Iterator[None]:
    """Turn what the disk refuses into a ResourceError; on a full disk, `path` is removed to give its room back."""
    try:
        yield
    except (BlockingIOError, BrokenPipeError):  # a lock that is taken, a log that nobody reads: no fault of a disk
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


def _user_agent() -> str:
    """Name ourselves: one of the mirrors turns urllib's own name away."""
    from importlib import metadata  # costs more to import than all else here, and only a download needs it

    try:
        version = metadata.version("minitransfer")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        version = "0"
    return f"minitransfer/{version} (+textbook)"


def _one_line(error: Exception) -> str:
    """Return an exception's message on one line; a URLError's own reason says it best."""
    return " ".join(str(getattr(error, "reason", None) or error or type(error).__name__).split())
