"""Part VI, around the comparison: tables. What is pretraining worth, in points of accuracy and in minutes?

From the rows of results.jsonl, one for each run, come two tables: accuracies side by side, and the same once more
with minutes, epochs and the command that makes each. Means are over seeds, and beside a mean stand the least and the
greatest, since a difference smaller than that is none.

Read next: `finetune.compare.plots`.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean as mean
from typing import Any

NAMES = {"bag": "bag of n-grams", "frozen": "frozen", "top": "upper layers", "finetune": "fine-tuned",
         "gradual": "gradually unfrozen", "scratch": "from scratch", "average": "average"}
NOTE = """Test accuracy in %, each run scored once: the mean over seeds, and in brackets the least and the greatest.
Minutes are those of encoding and training on the labelled reviews, mean over seeds; what it takes to encode and score
the test half is left out everywhere. A frozen encoder encodes all reviews once, in the first run, and what it gave is
kept: each run is charged with the share of that pass that its labelled reviews have. An average is charged with all of
its runs.
Epochs are those until the validation loss was lowest; of a bag, passes over the reviews; of an
average, the weightings that were tried."""

Row = Mapping[str, Any]
Line = tuple[str, str]  # a model and its mode


def title(line: Line) -> str:
    """A line as it is called in tables and figures: "bag of n-grams", "bilm, frozen"."""
    model, mode = line
    return NAMES[mode] if model == mode else f"{model}, {NAMES[mode]}"


def by_line(rows: Iterable[Row]) -> dict[Line, dict[int, list[Row]]]:
    """The rows of each line, and of each of its numbers of labels, which rise."""
    lines: dict[Line, dict[int, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: row["labels"]):
        lines.setdefault((row["model"], row["mode"]), {}).setdefault(row["labels"], []).append(row)
    return lines


def accuracies(rows: Iterable[Row]) -> list[float]:
    """The test accuracies, in %."""
    return [100 * row["test_accuracy"] for row in rows]


def mean_and_range(values: Sequence[float]) -> str:
    """The mean, with the least and the greatest where there are several: "77.2 (76.6–77.5)"."""
    more = f" ({min(values):.1f}–{max(values):.1f})" if len(values) > 1 else ""
    return f"{mean(values):.1f}{more}"


def minutes(rows: Sequence[Row], of_line: Iterable[Sequence[Row]]) -> float:
    """What runs with so many labels take to learn, in minutes, mean; `of_line`: all of their line, with any number.

    A frozen encoder encodes all reviews in the first run of a line, and the others find its layers in the cache. Of
    that one pass, the longest of them all, each run is charged with what its labelled reviews take: no other mode
    is charged with encoding the reviews that it is only tested on. (`finetune.compare.minutes` charges the whole pass:
    there the question is how long one waits, from raw text on.)
    """
    if rows[0]["mode"] == "frozen":
        encoding = max(row["seconds_encoding"] for others in of_line for row in others)
        return mean([encoding * row["labels"] / row["reviews"] + row["seconds_training"] for row in rows]) / 60
    return mean([row["seconds"] for row in rows]) / 60


def plain(number: float) -> str:
    """A number in as many digits as are worth reading: 65, 4.1 or 0.012."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def accuracy_table(rows: Iterable[Row]) -> str:
    """Models and modes downwards, numbers of labels across, in Markdown."""
    lines = by_line(rows)
    counts = sorted({n for line in lines.values() for n in line})
    body = [[title(line), *(mean_and_range(accuracies(of[n])) if n in of else "—" for n in counts)]
            for line, of in lines.items()]
    return markdown(["", *(f"{n:,} labels" for n in counts)], body)


def command_table(rows: Iterable[Row]) -> str:
    """One row for each line and number of labels: accuracy, minutes, epochs, and the command of its first seed."""
    body = []
    for line, of in by_line(rows).items():
        for n, runs in of.items():
            seeds = ", ".join(str(run["seed"]) for run in runs)
            body.append([title(line), f"{n:,}", seeds, mean_and_range(accuracies(runs)),
                         plain(minutes(runs, of.values())), f"{mean([run['epochs'] for run in runs]):.0f}",
                         f"`{runs[0]['command']}`"])
    return markdown(["run", "labels", "seeds", "accuracy", "minutes", "epochs", "command of the first seed"], body)


def table(rows: Sequence[Row]) -> str:
    """All of table.md."""
    data = ", ".join(dict.fromkeys(row["data"] for row in rows))
    return f"# Comparison on {data}\n\n{accuracy_table(rows)}\n{NOTE}\n\n{command_table(rows)}"


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, each row on a line of its own; a | in a cell is escaped, or it would open another."""
    lines = [head, ["---"] * len(head), *body]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
