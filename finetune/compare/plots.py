"""Part V, around the comparison: figures. How does accuracy grow with labels, with epochs and with minutes?

A colour is a model, a line style and a marker a mode. Legends stand beside the axes, in the order in which the lines
end.

Read next: `finetune.compare.minutes`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from finetune.compare.tables import (
    NAMES,
    Line,
    Row,
    accuracies,
    by_line,
    mean,
    minutes,
    title,
)
from minitransfer.apparatus.figures import BLACK, COLOURS, as_drawn

STYLES: dict[str, tuple[Any, str]] = {  # line style and marker of each mode
    "bag": ("-", "D"), "frozen": ("-", "o"), "finetune": ("--", "s"), "gradual": ("-.", "v"),
    "top": ((0, (4, 1, 1, 1, 1, 1)), "P"), "scratch": (":", "^"), "average": ("-", "*")}
ABREAST = 3  # panels side by side; more begin another row
DODGE = 0.012  # decades of labels between two lines, so that the bars of one do not hide those of another


def line_styles(rows: Sequence[Row]) -> dict[Line, dict[str, Any]]:
    """How each line is drawn: the same in all figures."""
    lines = by_line(rows)
    models = list(dict.fromkeys(model for model, mode in lines if mode != "bag"))
    styles = {}
    for model, mode in lines:
        style, marker = STYLES[mode]
        colour = BLACK if mode == "bag" else COLOURS[models.index(model) % len(COLOURS)]
        styles[model, mode] = {"color": colour, "linestyle": style, "linewidth": 1.5, "marker": marker,
                              "markersize": 5}
    return styles


def shown(line: Line) -> str:
    """A line's title, so that matplotlib neither reads $ as a formula nor hides a name that begins with _."""
    text = as_drawn(title(line))
    return f" {text}" if text.startswith("_") else text


def accuracy(rows: Sequence[Row]) -> Figure:
    """Test accuracy against the number of labels; bars reach from the least to the greatest of the seeds."""
    figure, (axes,) = _figure()
    lines, style = by_line(rows), line_styles(rows)
    for i, (line, of) in enumerate(lines.items()):
        shift = 10 ** (DODGE * (i - (len(lines) - 1) / 2))
        scores = [accuracies(runs) for runs in of.values()]
        middle = [mean(s) for s in scores]
        bars = [[m - min(s) for m, s in zip(middle, scores)], [max(s) - m for m, s in zip(middle, scores)]]
        x = [n * shift for n in of]
        axes.errorbar(x, middle, bars, label=shown(line), elinewidth=0.8, capsize=2, **style[line])
    _log_axis(axes, "labelled reviews", _counts(lines))
    axes.set_ylabel("test accuracy in %")
    axes.set_title(f"{_data(rows)}: accuracy and labels")
    _legend(figure, axes, lines)
    return figure


def convergence(rows: Sequence[Row]) -> Figure:
    """Validation accuracy after each epoch, one panel for each model, three abreast, one thin line for each seed.

    At the largest number of labels that most lines have. A bag has no epochs, and is left out, as is a run of which no
    accuracies but the last were kept.
    """
    neural = [row for row in rows if row["mode"] != "bag" and row["validation_accuracies"]]
    lines, style = by_line(neural), line_styles(rows)
    models = list(dict.fromkeys(model for model, _ in lines))
    figure, panels = _figure(max(1, len(models)))
    labels = _common_labels(lines)
    for axes, model in zip(panels, models):
        for line, of in lines.items():
            for row in of.get(labels, []) if line[0] == model else []:
                curve = [100 * accuracy for accuracy in row["validation_accuracies"]]
                axes.plot(range(1, len(curve) + 1), curve,
                          **style[line] | {"linewidth": 1, "markersize": 2.5, "alpha": 0.8})
        axes.set_title(as_drawn(model))
    for axes in panels:
        _log_axis(axes, "epoch", (1, 2, 5, 10, 20, 50))
    for axes in panels[::ABREAST]:
        axes.set_ylabel("validation accuracy in %")
    grey = {NAMES[mode]: _grey(mode) for mode in dict.fromkeys(mode for _, mode in lines)}
    figure.legend(grey.values(), grey, loc="outside lower center", ncols=5, frameon=False, fontsize=9, handlelength=3)
    figure.suptitle(f"{_data(rows)}, {labels:,} labels: convergence, each seed a line")
    return figure


def cost(rows: Sequence[Row]) -> Figure:
    """Test accuracy against minutes, means over seeds; along a line the labels grow, and so do its markers."""
    figure, (axes,) = _figure()
    lines, style = by_line(rows), line_styles(rows)
    counts = _counts(lines)
    for line, of in lines.items():
        x = [max(minutes(runs, of.values()), 1e-4) for runs in of.values()]
        y = [mean(accuracies(runs)) for runs in of.values()]
        axes.plot(x, y, label=shown(line), **style[line] | {"linewidth": 1})
        sizes = [20 + 60 * counts.index(n) / max(1, len(counts) - 1) for n in of]
        axes.scatter(x, y, sizes, style[line]["color"], marker=style[line]["marker"], zorder=3)
    _log_axis(axes, "minutes of encoding and training; larger marks: more labels", None)
    axes.set_ylabel("test accuracy in %")
    axes.set_title(f"{_data(rows)}: cost and accuracy, {counts[0]:,} to {counts[-1]:,} labels")
    _legend(figure, axes, lines)
    return figure


def _figure(panels: int = 1) -> tuple[Figure, Any]:
    """A figure and its axes, at most `ABREAST` side by side if there are several, with the same range upwards."""
    across, rows = min(panels, ABREAST), math.ceil(panels / ABREAST)
    size = (7.0, 4.5) if panels == 1 else (3.6 * across, 0.8 + 3.2 * rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, across, sharey=True, squeeze=False).ravel()
    for unused in axes[panels:]:
        unused.remove()
    return figure, axes[:panels]


def _grey(mode: str) -> Line2D:
    """What a mode looks like in a legend for models of all colours."""
    style, marker = STYLES[mode]
    return Line2D([], [], color="0.3", linestyle=style, marker=marker, markersize=4, linewidth=1)


def _log_axis(axes: Axes, name: str, ticks: Sequence[float] | None) -> None:
    """A logarithmic axis of this name, marked in plain numbers: at `ticks`, or where matplotlib thinks best."""
    axes.set_xscale("log")
    if ticks:
        axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axes.set_xlabel(name)
    axes.grid(alpha=0.25)


def _legend(figure: Figure, axes: Axes, lines: Mapping[Line, Mapping[int, Sequence[Row]]]) -> None:
    """A legend beside the axes, the line that ends highest first."""
    ends = {shown(line): mean(accuracies(of[max(of)])) for line, of in lines.items()}
    handles, names = axes.get_legend_handles_labels()
    ranked = sorted(zip(handles, names), key=lambda entry: -ends[entry[1]])
    figure.legend(*zip(*ranked), loc="outside right upper", frameon=False, fontsize=9, handlelength=3)


def _counts(lines: Mapping[Line, Mapping[int, Sequence[Row]]]) -> list[int]:
    """All numbers of labels, rising."""
    return sorted({n for of in lines.values() for n in of})


def _common_labels(lines: Mapping[Line, Mapping[int, Sequence[Row]]]) -> int:
    """The number of labels that most lines have, the largest of these; 0 if there are no lines."""
    return max(((sum(n in of for of in lines.values()), n) for n in _counts(lines)), default=(0, 0))[1]


def _data(rows: Sequence[Row]) -> str:
    """The name of the reviews, as a title begins."""
    return {"imdb": "IMDB", "sample": "Built-in sample"}.get(rows[0]["data"], rows[0]["data"])
