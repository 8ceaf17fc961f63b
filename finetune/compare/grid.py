"""Part VI, around the comparison: the grid. Which runs is the lecture's experiment made of, and which are done?

A cell is one run of `finetune.imdb` or `finetune.bag`: a model, a mode, a number of labels and a seed. It is nothing
but its command, and has a run directory of its own, so that whatever is true of those commands is true of it.

Read next: `finetune.compare.running`.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finetune.bag import __main__ as bag
from finetune.compare.settings import Settings
from finetune.imdb import __main__ as imdb
from finetune.imdb.settings import MODES
from finetune.reports import fingerprints
from finetune.settings import COLUMNS
from minitransfer.apparatus.checkpoint import COMPLETE, load_run
from minitransfer.apparatus.durable import MANIFEST, read_json, read_verified
from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.apparatus.metrics import METRICS, parse_row, read_rows
from minitransfer.apparatus.options import shell_line
from minitransfer.apparatus.saved import read_config
from minitransfer.apparatus.settings import flag_name
from minitransfer.text.corpora import Reviews
from minitransfer.transfer.encoders import default_max_tokens
from minitransfer.transfer.loading import load_encoder

COMMANDS = {"finetune.imdb": imdb, "finetune.bag": bag}
BAG, AVERAGE, RESULTS, LINES = "bag", "average", "results.json", "results.jsonl"  # of a run, of a comparison
NUMBERS = ("test_accuracy", "seconds", "seconds_encoding", "seconds_training", "epochs")  # that tables are made of
SHARED = (*COLUMNS, "data_dir", "device", "threads")  # flags that are handed on if they are not the default
OF_NETWORKS = ("epochs", "precision", "save_every", "log_every")  # and those that a bag has not
EITHER_WAY = ("no_cache", "measure_forgetting")  # of a config; a cell is done whatever it says of these


@dataclass(frozen=True)
class Cell:
    """One run of the grid: `module` with `flags`, which writes to `out`. `model` is an encoder's name, or bag."""

    model: str
    mode: str
    labels: int
    seed: int
    module: str
    flags: tuple[str, ...]
    out: Path

    @property
    def name(self) -> str:
        """The name of its run directory."""
        return self.out.name

    @property
    def command(self) -> str:
        """What a reader would type to have this run."""
        return f"python -m {self.module} {shell_line(self.flags)}"


def encoder_names(paths: Sequence[str]) -> dict[str, str]:
    """The encoders' paths by the names of their directories. Raises: UsageError if two have the same name."""
    names: dict[str, str] = {}
    distinct: dict[str, str] = {}
    for path in paths:
        distinct.setdefault(os.path.abspath(path), path)
    for path in distinct.values():
        name = os.path.basename(os.path.abspath(path))
        if name in names:
            raise UsageError(f"--encoders {names[name]} and {path} would both be called {name!r} in the table",
                             "rename one of the two directories")
        names[name] = path
    return names


def modes_of(kind: str, modes: Sequence[str], baselines: bool) -> list[str]:
    """The modes in which an encoder of this kind is run: those asked for, and those it is to be compared with.

    Every encoder has itself from random weights for its control; static vectors, frozen, are the lecture's starting
    point, and from scratch they are its randomly initialised embeddings (5.1).
    """
    controls = (["frozen"] if kind == "static" else []) + ["scratch"]
    return list(dict.fromkeys([*modes, *controls] if baselines else modes))


def grid(kinds: Mapping[str, str], paths: Mapping[str, str], data: Sequence[str], labels: Sequence[int],
         settings: Settings) -> list[Cell]:
    """All cells, few labels first, so that the whole picture is there early, if coarse.

    kinds and paths: of each encoder by its name; data: what --data says in each cell.
    """
    lines = [] if settings.no_baselines else [(BAG, BAG)]
    lines += [(name, mode) for name, kind in kinds.items()
              for mode in modes_of(kind, settings.modes, not settings.no_baselines)]
    shared = ["--data", *data, *(["--offline"] if settings.offline else []), *_handed_on(settings, SHARED)]
    networks = _handed_on(settings, OF_NETWORKS)
    cells = []
    for n in dict.fromkeys(labels):
        for seed in dict.fromkeys(settings.seeds):
            for model, mode in lines:
                out = Path(settings.out) / "-".join([*dict.fromkeys((model, mode)), str(n), str(seed)])
                own = [] if mode == BAG else [*_which(paths[model], kinds[model], mode), *networks]
                flags = [*own, "--labels", str(n), "--seed", str(seed), *shared, "--out", str(out)]
                module = "finetune.bag" if mode == BAG else "finetune.imdb"
                cells.append(Cell(model, mode, n, seed, module, tuple(flags), out))
    return cells


def _handed_on(settings: Settings, names: Sequence[str]) -> list[str]:
    """Those of these flags that are not the default, as the words of a command line."""
    fields = {name: Settings.__dataclass_fields__[name] for name in names}
    given = {name: getattr(settings, name) for name in names if getattr(settings, name) != fields[name].default}
    return [word for name, value in given.items() for word in (flag_name(fields[name]), str(value))]


def _which(path: str, kind: str, mode: str) -> list[str]:
    """The flags that name encoder, mode and head: a BERT that learns is classified by [CLS] (lecture 3.4, 5.4), and
    a GPT by its last token."""
    heads = {"bert": "cls", "gpt": "last"}
    head = ["--head", heads[kind]] if kind in heads and mode != "frozen" else []
    return ["--encoder", path, "--mode", mode, *head]


def describe_encoder(path: str) -> tuple[str, str, int]:
    """Kind, fingerprint and number of tokens of an encoder. Raises: CheckpointError, now and not in an hour."""
    run = load_run(path)
    return run.kind, run.fingerprint, default_max_tokens(load_encoder(run, torch.device("cpu")))


def expected_configs(cells: Sequence[Cell], encoders: Mapping[str, tuple[str, str, int]],
                     reviews: Reviews) -> dict[Cell, dict[str, Any]]:
    """What the config of each cell has to say for it to count as done: its flags, these reviews, this encoder.

    encoders: what `describe_encoder` gives of each by its name. The reviews' fingerprint is taken once for all cells.
    """
    data, expected = {"data": fingerprints(reviews), "classes": reviews.classes}, {}
    for cell in cells:
        settings = COMMANDS[cell.module].Settings.parse_args(cell.flags)
        if cell.mode == BAG:
            own = settings.config()
        else:
            _, fingerprint, longest = encoders[cell.model]
            own = with_model_lifted(settings.with_epochs(cell.labels).config())
            own |= {"encoder_fingerprint": fingerprint, "max_tokens": longest}
            for name in EITHER_WAY if settings.precision != "auto" else (*EITHER_WAY, "precision"):
                del own[name]
        expected[cell] = json.loads(json.dumps({**data, **own}))  # tuples are lists in a config
    return expected


def with_model_lifted(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with what it says of the model beside all else."""
    config = dict(config)
    model = config.pop("model", None)
    return config | (model if isinstance(model, dict) else {})


def results_of(cell: Cell, expected: Mapping[str, Any]) -> dict[str, Any] | None:
    """What results.json of a cell holds, if the run is complete, whole, and of the `expected` config; None otherwise.

    The results also contain the precision that the run was trained in, since `auto` means another one on another
    machine. Where something else is found, the command of the cell says what. The weights are not read: a table needs
    none.
    """
    if not (cell.out / COMPLETE).is_file():
        return None
    try:
        config, files = read_config(cell.out), read_json(cell.out / MANIFEST).get("files")
        listed = files.get(RESULTS) if isinstance(files, dict) else None
        read_verified(cell.out, {"files": {RESULTS: listed}})
        results = read_json(cell.out / RESULTS)
    except CheckpointError:
        return None
    actual = with_model_lifted(config)
    as_expected = all(actual.get(name, value) == value for name, value in expected.items())
    precision = {name: value for name, value in config.items() if name == "precision"}
    return results | precision if as_expected and _can_be_tabulated(results, cell) else None


def _can_be_tabulated(results: Mapping[str, Any], cell: Cell) -> bool:
    """Whether results are of this cell, and hold what a table is made of: numbers that are not absurd."""
    numbers = [results.get(name) for name in NUMBERS]
    of_cell = all(results.get(name) == getattr(cell, name) for name in ("mode", "labels", "seed"))
    return of_cell and isinstance(results.get("data"), str) and all(map(_is_number, numbers))


def row_of(cell: Cell, results: Mapping[str, Any], num_reviews: int) -> dict[str, Any]:
    """A cell as a line of results.jsonl. num_reviews: of both halves, all of which a frozen encoder encodes."""
    precision = results.get("precision")
    named = f" --precision {precision}" if precision and "--precision" not in cell.flags else ""
    own = {"cell": cell.name, "model": cell.model, "command": cell.command + named, "reviews": num_reviews}
    logged = [at.get("validation_accuracy") for at in read_rows(cell.out / METRICS)]
    curve = {"validation_accuracies": list(filter(_is_number, logged))}
    return own | dict(results) | own | curve  # its own first in order, and not to be overwritten


def recorded(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of several results.jsonl, one after the other: pieces of a comparison, run wherever they were.

    Each is named itself, or by the directory it is in.
    Raises: UsageError if a cell stands there twice, is of a development run, or of other reviews than the rest;
    CheckpointError for what is no such file.
    """
    rows: dict[str, dict[str, Any]] = {}
    for path in map(lines_of, paths):
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}", "name results.jsonl of a comparison")
        for number, line in enumerate(lines, start=1):
            row = parse_row(line)
            if row is None or not _can_be_drawn(row):
                raise CheckpointError(f"line {number} of {path} is not of a comparison: {line[:60]!r}",
                                      "name results.jsonl of a comparison, or take that line out")
            if row.get("trial") is not None:
                raise UsageError(f"{row['cell']} in {path} was scored on training reviews, by --trial {row['trial']}",
                                 "take that line out: the table is of test accuracies")
            if row["cell"] in rows:
                raise UsageError(f"{row['cell']} stands twice in {', '.join(paths)}", "take one of the two lines out")
            rows[row["cell"]] = row
    if not rows:
        raise CheckpointError(f"there are no lines in {', '.join(paths)}", "name results.jsonl of a comparison")
    if len(data := {row["data"] for row in rows.values()}) > 1:
        raise UsageError(f"lines of several reviews, {', '.join(sorted(data))}, cannot share a table",
                         "draw those of each by themselves")
    return list(rows.values())


def lines_of(name: str) -> Path:
    """The results.jsonl that a path names: itself, by its directory, or as results.json, where there is none."""
    path = Path(name)
    if path.is_dir():
        return path / LINES
    return path.with_name(LINES) if path.name == RESULTS and path.with_name(LINES).is_file() else path


def _can_be_drawn(row: Mapping[str, Any]) -> bool:
    """Whether a row of results.jsonl holds what tables and figures are made of, and nothing that they trip over."""
    words = [row.get(name) for name in ("cell", "model", "command", "data")]
    least = {"labels": 1, "seed": 0, "reviews": 1}
    counts = all(type(row.get(name)) is int and n <= row[name] < 2**53 for name, n in least.items())
    curve = row.get("validation_accuracies")
    curved = isinstance(curve, list) and all(map(_is_number, curve))
    printable = all(isinstance(word, str) and word.isprintable() for word in words)  # half a surrogate pair is not
    numbers = all(_is_number(row.get(name)) for name in NUMBERS) and _is_number(row.get("seconds_pretraining", 0))
    return row.get("mode") in (BAG, AVERAGE, *MODES) and printable and counts and curved and numbers


def _is_number(value: Any) -> bool:
    """Whether a table can hold it: neither nan nor absurd."""
    return type(value) in (int, float) and abs(value) < 2**53  # which nan is not


def seconds_left(cells: Sequence[Cell], costs: dict[Cell, float]) -> tuple[float, int]:
    """How long the cells will take, by what like cells took; and how many have none that is like them.

    Like is the same model in the same mode, with as near a number of labels as there is, the latest of these. With
    more labels a cell is taken to cost more in proportion, with fewer no less.
    """
    seconds, unknown = 0.0, 0
    for cell in cells:
        like = [c for c in reversed(costs) if (c.model, c.mode) == (cell.model, cell.mode)]
        if like:
            near = min(like, key=lambda c: abs(math.log(c.labels / cell.labels)))
            seconds += costs[near] * max(1.0, cell.labels / near.labels)
        unknown += not like
    return seconds, unknown
