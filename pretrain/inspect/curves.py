"""Parts II to V, around inspecting: curves. How did a run get where it is?

Every run logs what it measures to metrics.jsonl, one row at a time, while it trains: its loss, now and then what it
can do on text held out, and how large its steps are. Here these rows become lines to be drawn, of one run or of
several together; a run that is still training, or was cut off within a row, has curves as well.

Read next: `pretrain.inspect.side_by_side`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitransfer.apparatus.checkpoint import read_config
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.metrics import METRICS, read_rows

PANELS = {  # what is drawn, from top to bottom: the axis -> the columns of metrics.jsonl, and what to call them
    "loss, nats": {"loss": "training", "epoch_loss": "training, mean of an epoch", "validation_loss": "validation",
                   "held_out_loss": "held out"},
    "perplexity": {"perplexity": "held out", "perplexity_word": "held out, per word"},
    "accuracy": {"validation_accuracy": "validation", "held_out_accuracy": "held out"},
    "learning rate": {"learning_rate": "training"},
}


@dataclass(frozen=True)
class History:
    """The rows of a run, and what to call it."""

    name: str
    kind: str
    rows: list[dict[str, Any]]

    def column(self, name: str) -> list[float]:
        """One column, nan where a row has no finite number there: a gap in the curve."""
        return [number(row.get(name)) for row in self.rows]

    def points(self, name: str, axis: str) -> tuple[list[float], list[float]]:
        """Where a column has numbers, against "steps" or "tokens": x and y."""
        x = self.column("step")
        if axis == "tokens":
            x = tokens_processed(x, self.column("tokens"))
        pairs = [(a, b) for a, b in zip(x, self.column(name)) if not math.isnan(a + b)]
        return [a for a, _ in pairs], [b for _, b in pairs]


def tokens_processed(steps: Sequence[float], tokens: Sequence[float]) -> list[float]:
    """Fill in how many tokens had been processed where a row has only its step, as rows do that measured something.

    Each step takes about as many, so a row has as many per step as the last row with a number; before any, the first.
    """
    rates = [count / step for step, count in zip(steps, tokens) if not math.isnan(count) and step > 0]
    filled, per_step = [], rates[0] if rates else math.nan
    for step, count in zip(steps, tokens):
        if math.isnan(count):
            count = step * per_step
        elif step > 0:
            per_step = count / step
        filled.append(count)
    return filled


def number(value: Any) -> float:
    """A number of a row, or nan for null, text and whatever else a damaged row may hold."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else math.nan


def read_history(path: str) -> History:
    """The metrics of a run, finished or not. Raises: CheckpointError for no run, or one with nothing to draw yet."""
    directory = Path(path)
    kind = read_config(directory, "give the directory of a run, such as runs/bilm")["kind"]
    history = History(path, kind, read_rows(directory / METRICS))
    if not any(drawn([history], "steps").values()):
        what = f"{directory / METRICS} has {len(history.rows)} rows, and in none of them is there anything to draw"
        fix = "wait until the run has logged a step; an average, or a run that was imported, logs none"
        raise CheckpointError(what, fix)
    return history


def common_axis(histories: Sequence[History]) -> str:
    """What all runs can be drawn against: the tokens that they processed, which compares runs, or else their steps."""
    counts_tokens = (not all(map(math.isnan, history.column("tokens"))) for history in histories)
    return "tokens" if all(counts_tokens) else "steps"


def drawn(histories: Sequence[History], axis: str) -> Mapping[str, list[tuple[int, str, list[float], list[float]]]]:
    """What there is to draw in each panel: of which run, what it is called, x and y."""
    panels = {panel: [(i, label, *points) for i, history in enumerate(histories) for name, label in columns.items()
                      if (points := history.points(name, axis))[0]] for panel, columns in PANELS.items()}
    return {panel: lines for panel, lines in panels.items() if lines}
