"""Parts II to V, around inspecting: runs side by side. In what do they differ, and what came of it?

A table with a column for each run. Above stand the settings that are not the same in all of them, below the results,
and the minutes. Of a run that has not finished, there is the last step it has logged.

Read next: `pretrain.inspect.showing`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minitransfer.apparatus.checkpoint import flat, read_completion, read_config
from minitransfer.apparatus.metrics import METRICS, read_rows
from minitransfer.apparatus.options import one_line

NO_SETTINGS = ("environment.", "encoder.")  # of a config: the machine, and what an encoder's own run was told
WIDEST = 26  # characters of a value
NOTHING = "-"


def compare_runs(paths: Sequence[str]) -> dict[str, list[Any]]:
    """The rows of the table: "run", settings, results, a value for each run. Raises: CheckpointError if one is none."""
    settings, results = zip(*(settings_and_results(Path(path)) for path in paths))
    differing = {name: row for name, row in rows_of(settings) if any(value != row[0] for value in row)}
    return {"run": list(paths), **differing, **dict(rows_of(results))}


def rows_of(columns: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """A row for each name that one of the columns has."""
    for name in dict.fromkeys(name for column in columns for name in column):
        yield name, [column.get(name) for column in columns]


def settings_and_results(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run was told, and the numbers that it came to; of results that repeat a setting, the setting."""
    config = {name: value for name, value in flat(read_config(path)).items() if not name.startswith(NO_SETTINGS)}
    completion = read_completion(path)
    if completion is None:
        logged = read_rows(path / METRICS)
        return config, {"step": logged[-1].get("step") if logged else 0, "finished": "no"}
    numbers: dict[str, Any] = {}
    words: dict[str, Any] = {}
    for name, value in flat(completion).items():
        is_number = isinstance(value, (int, float, list)) and not isinstance(value, bool)
        if name not in config and not name.startswith("seconds"):
            (numbers if is_number else words)[name] = value
    if isinstance(completion.get("seconds"), (int, float)):
        numbers["minutes"] = round(completion["seconds"] / 60, 1)
    return config | words, numbers


def table(rows: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """The lines of the table."""
    cells = [[one_line(name), *map(cell_text, row)] for name, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for name, *row in cells:
        yield f"{name:{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row, widths[1:]))


def cell_text(value: Any) -> str:
    """A value in a few characters: of a fingerprint and of a long name the end."""
    if value is None:
        return NOTHING
    if isinstance(value, list):
        return " ".join(map(cell_text, value))[:WIDEST]
    if isinstance(value, float):
        return f"{value:.4g}"
    text = one_line(str(value))
    return text if len(text) <= WIDEST else f"…{text[1 - WIDEST :]}"
