"""Part I, around the reviews: tables. How does a file of rows become texts with labels, and which rows are bad?

CSV (also with semicolons or tabs), TSV, JSON lines or Parquet, told apart by the file's ending; a packed one, such as
x.csv.gz, is unpacked. Two of the columns are needed; where no flag names them, the usual names are looked for. A row
that cannot be understood is named by its line, and none is left out: a file with bad rows is refused.

Read next: `minitransfer.text.own`, which makes a training and a test half of it.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from minitransfer.apparatus.archives import UNPACK, file_lines
from minitransfer.apparatus.errors import DataError, UsageError
from minitransfer.apparatus.metrics import parse_row
from minitransfer.text.cleaning import clean_text, decode, say_normalised

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
USUAL = {"--text-column": ("text", "review", "sentence", "content"),
         "--label-column": ("label", "sentiment", "class", "category")}
LONGEST_FIELD = 2**31 - 1  # characters of a text in CSV, as far as any system lets csv go; it stops at 2**17 by itself
INSTALL = 'pip install -e ".[parquet]"'

Row = tuple[str, list[Any] | str]  # where it stands, and its values in the order of the columns, or what is wrong


def read_pairs(path: Path, text_column: str | None, label_column: str | None) -> list[tuple[str, str]]:
    """The (text, label) pairs of a file, cleaned. Raises: UsageError for columns, DataError for rows that cannot be."""
    tally: Counter[str] = Counter()
    columns, rows = read_table(path, tally)
    text = find_column(columns, text_column, "--text-column", path)
    label = find_column(columns, label_column, "--label-column", path)
    if text == label:
        raise UsageError(f"column {columns[text]!r} of {path} cannot be text and label at once",
                         "name two columns by --text-column and --label-column")
    pairs, bad = [], []
    for where, values in rows:
        flaw = values if isinstance(values, str) else _flaw(values, len(columns), text, label)
        if flaw:
            bad.append(f"{where} {flaw}")
        else:
            pairs.append((clean_text(values[text], tally), as_label(values[label])))
    if bad:
        more = f", the first of {len(bad):,} bad rows" if len(bad) > 1 else ""
        raise DataError(f"{bad[0]}{more}", "mend that row, or take it out")
    if not pairs:
        raise DataError(f"{path} has no rows", "give a file with a text and a label in each row")
    say_normalised(tally, path.name)
    return pairs


def read_table(path: Path, tally: Counter, named: bool = True) -> tuple[list[str], Iterator[Row]]:
    """Return the names of a file's columns, and its rows; the file has one of ENDINGS. tally: as for `clean_text`.

    named: whether numbers of classes become the names that a Parquet file has for them, as `class_names` tells.

    Raises: UsageError for a Parquet file without pyarrow; DataError for a file that is damaged.
    """
    kind = ending(path)
    if kind in (".csv", ".tsv"):
        return _read_csv(path, tally, "\t" if kind == ".tsv" else ",;\t")
    return _read_parquet(path, named) if kind == ".parquet" else _read_json_lines(path, tally)


def ending(path: Path) -> str:
    """Return the ending that tells how a file is read, in lower case; of a packed one, x.csv.gz, the one before."""
    return Path(path.stem if path.suffix in UNPACK else path.name).suffix.lower()


def find_column(columns: Sequence[str], asked: str | None, flag: str, path: Path) -> int:
    """The place of the column that a flag asks for, or has a usual name. Raises: UsageError for none, or several."""
    usual = USUAL[flag]
    found = [i for i, name in enumerate(columns)
             if (name == asked if asked is not None else name.strip().lower() in usual)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(repr(name[:30]) for name in columns[:10]) + (", …" if len(columns) > 10 else "")
    if not found:
        wanted = repr(asked) if asked is not None else f"any of {', '.join(usual)}"
        raise UsageError(f"{path} has no column called {wanted}; it has {listed}",
                         f"name one by {flag}; a first line without names is taken for a row, so give it one")
    both = ", ".join(repr(columns[i]) for i in found)
    raise UsageError(f"{path} has {len(found)} columns that {flag} may mean: {both}",
                     f"name one by {flag}" if asked is None else "give each column a name of its own")


def as_label(value: Any) -> str | None:
    """Return a label as the name of a class, in one line; None for what is missing or can be none.

    Example: " very  good" -> "very good", 3 -> "3", True -> "true"
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value) if isinstance(value, int) or math.isfinite(value) else None
    return " ".join(clean_text(value, Counter()).split()) or None if isinstance(value, str) else None


def _flaw(values: Sequence[Any], num_columns: int, text: int, label: int) -> str:
    """What is wrong with a row, or nothing."""
    if len(values) != num_columns:
        return f"has {len(values)} columns, and the file {num_columns}"
    if not isinstance(values[text], str):
        return "has no text" if values[text] is None else f"has {str(values[text])[:30]!r} for a text"
    return "" if as_label(values[label]) else "has no label"


def _read_csv(path: Path, tally: Counter, delimiters: str) -> tuple[list[str], Iterator[Row]]:
    """The columns and rows of a CSV file, whose delimiter is the most frequent one of its first line."""
    csv.field_size_limit(LONGEST_FIELD)
    lines = _decoded_lines(path, tally)
    first = next(lines, "")
    delimiter = max(delimiters, key=first.count)
    rows = _csv_rows(csv.reader(chain([first], lines), delimiter=delimiter, strict=True), path)
    for _, columns in rows:
        return columns, rows
    raise DataError(f"{path} is empty", "give a file with the names of its columns, and rows")


def _csv_rows(reader: Any, path: Path) -> Iterator[tuple[str, list[str]]]:
    """The rows that are not blank, each with the line that it begins in."""
    start = 1
    try:
        for values in reader:
            if values:
                yield f"line {start:,} of {path}", values
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"the row that begins in line {start:,} of {path} cannot be read: {error}",
                        'put quotes around a text with delimiters, quotes or line ends, and write each " in it twice'
                        ) from error


def _read_json_lines(path: Path, tally: Counter) -> tuple[list[str], Iterator[Row]]:
    """The names that any row has, in the order in which they come, and the rows."""
    rows: list[tuple[str, dict[str, Any] | None]] = []
    for number, line in enumerate(_decoded_lines(path, tally), start=1):
        if line.strip():
            rows.append((f"line {number:,} of {path}", parse_row(line)))
    columns = list(dict.fromkeys(name for _, row in rows if row for name in row))
    if not columns:
        raise DataError(f"{rows[0][0]} is no JSON object, nor is any other" if rows else f"{path} is empty",
                        'write one object a line, such as {"text": "A film.", "label": "good"}')
    return columns, ((where, [row.get(name) for name in columns] if row is not None else "is no JSON object")
                     for where, row in rows)


def _decoded_lines(path: Path, tally: Counter) -> Iterator[str]:
    """The lines of a file as clean text with their line ends. Raises: DataError naming the line that is not UTF-8."""
    for number, raw in enumerate(file_lines(path), start=1):
        yield from decode(raw, f"line {number:,} of {path}", tally).splitlines(keepends=True)


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, dict[int, str]]:
    """Return column -> number -> name of the class, where the schema of a Parquet file has such names.

    The `datasets` library writes them there for columns of its type ClassLabel. The -1 that it has for an unlabelled
    row has no name.
    """
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {column: dict(enumerate(feature["names"])) for column, feature in features.items()
                if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _read_parquet(path: Path, named: bool) -> tuple[list[str], Iterator[Row]]:
    """The columns and rows of a Parquet file."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UsageError(f"{path} is a Parquet file, which pyarrow reads, and that is not installed",
                         f"{INSTALL}, or give a CSV or JSON-lines file") from error
    try:
        table = parquet.ParquetFile(path).read()
        columns = [column.to_pylist() for column in table.columns]
        names = class_names(table.schema.metadata) if named else {}
        for i, name in enumerate(table.column_names):
            if name in names:
                columns[i] = [names[name].get(value) if isinstance(value, int) else value for value in columns[i]]
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is not a whole, readable Parquet file: {' '.join(str(error).split())[:200]}",
                        "download or write it again") from error
    return list(table.column_names), ((f"row {number:,} of {path}", list(values))
                                      for number, values in enumerate(zip(*columns), start=1))
