"""Apparatus: metrics.jsonl, one line of JSON per logged step. What is kept of it when a run is cut off or goes on?

A row is appended whole, in one write, so a run that is killed leaves at most its last line torn; reading forgives
that. A resumed run repeats the steps after its last state, so it first drops their rows: each step is there once.

Next: states.py, what a run goes on from.
"""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minitransfer.apparatus.durable import disk_errors, plain_number, write_file
from minitransfer.apparatus.progress import say

METRICS = "metrics.jsonl"  # as a run directory calls it


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a row whole or not at all; nan and infinity become null. Raises: ResourceError for a full disk."""
    line = _line(row)
    with disk_errors(path, len(line)), open(path, "a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) not in (b"", b"\n"):  # a line torn by a kill must not swallow this one, nor stay amid others
            lines, _, torn = path.read_bytes().rpartition(b"\n")
            if parse_row(torn) is None:
                size = file.truncate(len(lines) + 1 if lines else 0)
            else:
                line = b"\n" + line  # only its end is missing
        if file.write(line) < len(line):  # the disk took part of it: take that back
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows at `path`, oldest first, without the lines that cannot be read; none if there is no such file."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = [parse_row(line) for line in lines]
    unreadable = sum(row is None and line.strip() != b"" for row, line in zip(rows[:-1], lines[:-1], strict=True))
    if unreadable:  # the last line is not counted: torn by a kill, it is nothing to worry about
        say(f"warning: {unreadable} damaged lines of {path} are left out")
    return [row for row in rows if row is not None]


def keep_rows_up_to(path: Path, step: int) -> None:
    """Drop the rows of steps after `step`, and every unreadable line; the file is replaced whole or not at all."""
    if path.is_file():
        rows = [row for row in read_rows(path) if not (isinstance(row.get("step"), int) and row["step"] > step)]
        write_file(path, b"".join(_line(row) for row in rows))


def _line(row: Mapping[str, Any]) -> bytes:
    """A row as one line of JSON."""
    plain = {name: plain_number(value) if hasattr(value, "ndim") else value for name, value in row.items()}
    finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value
              for name, value in plain.items()}
    return (json.dumps(finite) + "\n").encode()


def parse_row(line: bytes | str) -> dict[str, Any] | None:
    """The row of a line, or None if it is torn, damaged or empty."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
