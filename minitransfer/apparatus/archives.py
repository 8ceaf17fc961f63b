"""Apparatus: archives. How is a file of unknown origin opened without letting it do anything?

A zip or tar file is a list of names with bytes, written by whoever packed it. Its names are compared with a list of
those we want and are never used as paths: nothing is unpacked to disk. Its sizes are claims, so bytes are counted as
they come out.

This is the end of the apparatus. Next: pretrain/static/train.py, the first command that uses it.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from minitransfer.apparatus.errors import DataError

OFFICIAL = "replace it with the official file, or have it downloaded again by moving this one away"
UNPACK: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}  # by ending
MAX_HEADER_BYTES = 1 << 18  # between two tar members: long names and attributes, which tarfile holds in memory


class _Capped(io.RawIOBase):
    """A stream that gives out the first `limit` bytes of another one, and a DataError beyond them."""

    def __init__(self, source: io.BufferedIOBase, limit: int, path: Path):
        self.source, self.limit, self.path, self.total = source, limit, path, 0

    def readable(self) -> bool:
        """It can be read from, as `io.RawIOBase` asks."""
        return True

    def readinto(self, buffer) -> int:
        """Fill a buffer, and return how many bytes came. Raises: DataError beyond the limit."""
        count = self.source.readinto(buffer)
        self.total += count
        if self.total > self.limit:
            raise DataError(f"{self.path} unpacks to more than the {self.limit:,} bytes it may have there", OFFICIAL)
        return count


def tar_members(path: Path, wanted: re.Pattern, known: re.Pattern, *, max_members: int, max_member_bytes: int,
                max_total_bytes: int, skipped: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) for each member of a .tar.gz or .tar.xz whose whole name matches `wanted`.

    Regular members that match neither `wanted` nor `known` are passed over, and their names appended to `skipped`.
    Raises: DataError for a link, a device, an absolute name, a `..`, a name that comes twice, anything past a cap
    (the total counts all unpacked bytes), or a damaged file. Names are compared after one leading `./` is dropped.
    """
    seen: set[str] = set()
    unpack = lzma.open if path.suffix == ".xz" else gzip.open
    with _damage_named(path), unpack(path, "rb") as packed:
        capped = _Capped(packed, MAX_HEADER_BYTES, path)
        stream = io.BufferedReader(capped)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            while (member := tar.next()) is not None:
                # tarfile would keep the header of every member it has passed, in a list that its types do not show
                tar.members = []  # type: ignore[attr-defined]
                name = member.name.removeprefix("./")
                capped.limit = min(max_total_bytes, capped.total + member.size + MAX_HEADER_BYTES)
                kind = ("a link" if member.issym() or member.islnk() else
                        "not a file or folder" if member.issparse() or not (member.isreg() or member.isdir()) else "")
                _refuse_unsafe(path, name, kind, seen)
                seen.add(name)
                if len(seen) > max_members:
                    raise DataError(f"{path} holds more than {max_members:,} members", OFFICIAL)
                if wanted.fullmatch(name):
                    _refuse_large(path, name, member.size, max_member_bytes)
                    yield name, tar.extractfile(member).read()
                elif member.isreg() and not known.fullmatch(name):
                    skipped.append(name)
        capped.limit = max_total_bytes
        while stream.read(1 << 16):  # tarfile stops where the members end: the checksum stands behind that
            pass


def zip_lines(path: Path, member: str, names: Iterable[str], max_bytes: int) -> Iterator[bytes]:
    """Yield the lines of one member of a zip file, each with its line end.

    Entries under other names than `names` are never opened.
    Raises: DataError if any entry has an unsafe name, comes twice, is a link or encrypted; if one of `names` is
    absent, or claims or unpacks to more than `max_bytes`; if the file is damaged.
    """
    with _damage_named(path), zipfile.ZipFile(path) as packed:
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in packed.infolist():
            kind = ("a link" if stat.S_ISLNK(entry.external_attr >> 16) else
                    "encrypted" if entry.flag_bits & 1 else "")
            _refuse_unsafe(path, entry.filename, kind, entries)
            entries[entry.filename] = entry
        for name in names:
            if name not in entries:
                raise DataError(f"{path} holds no {name} (found {', '.join(entries)[:200] or 'nothing'})", OFFICIAL)
            _refuse_large(path, name, entries[name].file_size, max_bytes)
        with packed.open(member) as source:
            yield from io.BufferedReader(_Capped(source, max_bytes, path))  # type: ignore[arg-type]  # is a ZipExtFile


def file_lines(path: Path) -> Iterator[bytes]:
    """The raw lines of a file, unpacked by its ending (see `UNPACK`). Raises: DataError if it cannot be read."""
    try:
        with UNPACK.get(path.suffix, open)(path, "rb") as file:
            yield from file
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"cannot read {path}: {reason}", "restore that file, or name another in its place") from error


def _refuse_unsafe(path: Path, name: str, flaw: str, seen: Container[str]) -> None:
    """Raises: DataError for a member that an honest archive of texts would not have: one with a flaw, one that comes
    twice, or a name that leads out of the folder it would be unpacked to."""
    if name.startswith(("/", "\\")):
        flaw = "an absolute name"
    elif ".." in re.split(r"[/\\]", name):
        flaw = "a name that leads outside"
    elif name in seen and not flaw:
        flaw = "a name that comes twice"
    if flaw:
        raise DataError(f"member {name[:80]!r} of {path} is refused: {flaw}", OFFICIAL)


def _refuse_large(path: Path, name: str, size: int, limit: int) -> None:
    """Raises: DataError for a member that claims more bytes than it may have."""
    if size > limit:
        raise DataError(f"member {name[:80]!r} of {path} claims {size:,} bytes, more than {limit:,}", OFFICIAL)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever a reader of archives makes of damage into a DataError that names the file."""
    try:
        yield
    except (OSError, EOFError, ValueError, OverflowError, NotImplementedError, RuntimeError, zlib.error,
            lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is not a whole, readable archive: {reason}", OFFICIAL) from error
