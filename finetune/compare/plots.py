"""Part VI, around the comparison: figures. How does accuracy grow with labels, with epochs and with minutes?

A line has one colour and one marker in all figures. Of more than `MOST` lines those that say most are drawn, and the
legend tells how many more the table has. Where a line passes a number of labels that it was not run with, it is dashed.
Legends stand beside the axes, in the order in which the lines end.

Read next: `finetune.compare.minutes`.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from finetune.compare.tables import Line, Row, accuracies, by_line, mean, minutes, title
from minitransfer.apparatus.figures import BLACK, COLOURS, as_drawn

MARKERS = {"bag": "D", "frozen": "o", "finetune": "s", "gradual": "v", "top": "P", "scratch": "^", "average": "*"}
COLOUR_OF = {"bag": BLACK, **dict(zip(("frozen", "scratch", "top", "finetune", "average"), COLOURS)),
             "gradual": COLOURS[2]}  # the same in each figure, whatever else is drawn
MOST = 7  # lines that can be told apart at a glance, and as many colours
EPOCHS = 3  # that are drawn: later ones are noise around the same height
GAP = "pretrained − from scratch"
DODGE = 0.012  # decades of labels between two lines, so that the bars of one do not hide those of another


def line_styles(rows: Sequence[Row]) -> dict[Line, dict[str, Any]]:
    """How each of the telling lines is drawn: the same in all figures."""
    styles: dict[Line, dict[str, Any]] = {}
    for line in telling_lines(rows):
        taken = [style["color"] for style in styles.values()]
        colour = next(colour for colour in (COLOUR_OF[line[1]], *COLOURS, BLACK) if colour not in taken)
        styles[line] = {"color": colour, "linewidth": 1.5, "marker": MARKERS[line[1]], "markersize": 5}
    return styles


def telling_lines(rows: Sequence[Row]) -> list[Line]:
    """The lines that tell most, at most `MOST`: the best frozen one and its network from scratch, the best fine-tuned
    one, bag and average, the best frozen static vectors and the best of all from scratch; then the best of the others.

    Best is what was run with the most numbers of labels, and of these the most accurate where most lines are.
    """
    lines = by_line(rows)
    labels = _common_labels(lines)[-1] if lines else 0
    ranked = sorted(lines, key=lambda line: (-len(lines[line]), -mean(accuracies(lines[line].get(labels, [])) or [0])))

    def best(mode: str, kind: str | None = None) -> Line | None:
        """The best line of this mode, with an encoder of this kind."""
        return next((line for line in ranked if line[1] == mode and kind in (None, _kind(lines[line]))), None)

    frozen = best("frozen")
    chosen = [frozen, best("scratch", _kind(lines[frozen]) if frozen else None), best("finetune"), best("bag"),
              best("average"), best("frozen", "static"), best("scratch")]
    return [line for line in dict.fromkeys([*chosen, *ranked]) if line][:MOST]


def _kind(of: Mapping[int, Sequence[Row]]) -> Any:
    """The kind of a line's encoder."""
    return next(iter(of.values()))[0].get("encoder_kind")


def drawn_title(line: Line) -> str:
    """A line's title, so that matplotlib neither reads $ as a formula nor hides a name that begins with _."""
    text = as_drawn(title(line))
    return f" {text}" if text.startswith("_") else text


def accuracy(rows: Sequence[Row]) -> Figure:
    """Test accuracy against the number of labels; bars reach from the least to the greatest of the seeds.

    What pretraining is worth is shaded: from the coloured line from scratch up to the coloured frozen one.
    """
    figure, (axes,) = _figure()
    lines, styles = by_line(rows), line_styles(rows)
    counts = _counts(lines)
    for i, line in enumerate(styles):
        of, shift = lines[line], 10 ** (DODGE * (i - (len(styles) - 1) / 2))
        scores = [accuracies(runs) for runs in of.values()]
        middle = [mean(s) for s in scores]
        bars = [[m - min(s) for m, s in zip(middle, scores)], [max(s) - m for m, s in zip(middle, scores)]]
        x = [n * shift for n in of]
        axes.errorbar(x, middle, bars, label=drawn_title(line), elinewidth=0.8, capsize=2, linestyle="none",
                      **styles[line])
        _join(axes, x, middle, list(of), counts, styles[line])
    _shade(axes, lines, list(styles))
    _log_axis(axes, "labelled reviews", counts)
    axes.set_ylabel("test accuracy in %")
    axes.set_title(f"{_data(rows)}: accuracy and labels")
    _legend(figure, axes, lines, list(styles))
    return figure


def convergence(rows: Sequence[Row]) -> Figure:
    """Validation accuracy after each of the first epochs, these beside each other: a row for each line, a mark for each
    seed.

    At the middle one of the numbers of labels that most lines have. A bag has no epochs, and is left out, as is a run
    of which no accuracies but the last were kept.
    """
    styles = line_styles(rows)
    lines = by_line(row for row in rows if row["mode"] != "bag" and row["validation_accuracies"])
    lines = {line: of for line, of in lines.items() if line in styles}
    common = _common_labels(lines)
    labels = common[len(common) // 2] if common else 0
    drawn = [line for line in lines if labels in lines[line]]
    longest = max((len(row["validation_accuracies"]) for line in drawn for row in lines[line][labels]), default=1)
    figure, panels = _figure(min(EPOCHS, longest), height=1.2 + 0.28 * max(1, len(drawn)))
    for epoch, axes in enumerate(panels, start=1):
        for place, line in enumerate(drawn):
            curves = [row["validation_accuracies"] for row in lines[line][labels]]
            scores = [100 * curve[epoch - 1] for curve in curves if len(curve) >= epoch]
            axes.plot(scores, [place] * len(scores), **styles[line] | {"alpha": 0.8, "linewidth": 1})
        axes.set_title(f"epoch {epoch}")
        axes.set_yticks(range(len(drawn)), [drawn_title(line) for line in drawn])
        axes.grid(alpha=0.25)
    if drawn:
        panels[0].set_ylim(len(drawn) - 0.5, -0.5)
    panels[len(panels) // 2].set_xlabel("validation accuracy in %, each seed a mark")
    figure.suptitle(f"{_data(rows)}, {labels:,} labels: the first epochs")
    return figure


def cost(rows: Sequence[Row]) -> Figure:
    """Test accuracy against minutes, means over seeds; along a line the labels grow, and so do its markers.

    The minutes include those of pretraining, where the rows have them (`seconds_pretraining`).
    """
    figure, (axes,) = _figure()
    lines, styles = by_line(rows), line_styles(rows)
    counts = _counts(lines)
    for line, style in styles.items():
        of = lines[line]
        before = [max(run.get("seconds_pretraining", 0) for run in runs) / 60 for runs in of.values()]
        x = [max(minutes(runs, of.values()) + m, 1e-4) for runs, m in zip(of.values(), before)]
        y = [mean(accuracies(runs)) for runs in of.values()]
        axes.plot(x, y, label=drawn_title(line), linestyle="none", **style)
        _join(axes, x, y, list(of), counts, style | {"linewidth": 0.8})
        sizes = [20 + 60 * counts.index(n) / max(1, len(counts) - 1) for n in of]
        axes.scatter(x, y, sizes, style["color"], marker=style["marker"], zorder=3)
    known = any("seconds_pretraining" in row for row in rows)
    counted = "pretraining, encoding and training" if known else "encoding and training"
    _log_axis(axes, f"minutes of {counted}; larger marks: more labels", None)
    axes.set_ylabel("test accuracy in %")
    axes.set_title(f"{_data(rows)}: cost and accuracy, {counts[0]:,} to {counts[-1]:,} labels")
    _legend(figure, axes, lines, list(styles))
    return figure


def _join(axes: Axes, x: Sequence[float], y: Sequence[float], labels: Sequence[int], counts: Sequence[int],
          style: Mapping[str, Any]) -> None:
    """Join points: dashed where one of `counts` lies between the labels of two, which the line was not run with."""
    for (a, b), (n, m), ends in zip(*map(itertools.pairwise, (x, labels, y))):
        dashed = any(n < count < m for count in counts)
        axes.plot([a, b], ends, **dict(style) | {"linestyle": "--" if dashed else "-", "marker": ""})


def _shade(axes: Axes, lines: Mapping[Line, Mapping[int, Sequence[Row]]], chosen: Sequence[Line]) -> None:
    """Fill what lies between the first frozen line and that from scratch of the same kind, if both are there."""
    frozen = next((lines[line] for line in chosen if line[1] == "frozen"), {})
    scratch = next((lines[line] for line in chosen if line[1] == "scratch" and frozen
                    and _kind(lines[line]) == _kind(frozen)), {})
    labels = [n for n in frozen if n in scratch]
    if labels:
        upper, lower = ([mean(accuracies(of[n])) for n in labels] for of in (frozen, scratch))
        axes.fill_between(labels, lower, upper, color=COLOURS[5], alpha=0.18, linewidth=0, label=GAP, zorder=1)


def _figure(panels: int = 1, height: float = 4.5) -> tuple[Figure, Any]:
    """A figure and its axes, side by side if there are several, with the same ranges."""
    figure = Figure(figsize=(7.0 if panels == 1 else 2.5 + 2.5 * panels, height), layout="constrained")
    return figure, figure.subplots(1, panels, sharex=True, sharey=True, squeeze=False).ravel()


def _log_axis(axes: Axes, name: str, ticks: Sequence[float] | None) -> None:
    """A logarithmic axis of this name, marked in plain numbers: at `ticks`, or where matplotlib thinks best."""
    axes.set_xscale("log")
    if ticks:
        axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
        axes.tick_params(axis="x", labelsize="small")  # so that 10,000 and 25,000 stand apart
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axes.set_xlabel(name)
    axes.grid(alpha=0.25)


def _legend(figure: Figure, axes: Axes, lines: Mapping[Line, Mapping[int, Sequence[Row]]],
            chosen: Sequence[Line]) -> None:
    """A legend beside the axes: the line that ends highest first, what is shaded, and how many more there are."""
    ends = {drawn_title(line): mean(accuracies(lines[line][max(lines[line])])) for line in chosen}
    handles, names = axes.get_legend_handles_labels()
    entries = dict(zip(names, handles))
    listed = {name: entries[name] for name in sorted(ends, key=lambda name: -ends[name])}
    listed |= {GAP: entries[GAP]} if GAP in entries else {}
    if more := len(lines) - len(chosen):
        listed[f"{more} more, in table.md"] = Line2D([], [], linestyle="none")
    figure.legend(listed.values(), listed, loc="outside right upper", frameon=False, fontsize=9, handlelength=3)


def _counts(lines: Mapping[Line, Mapping[int, Sequence[Row]]]) -> list[int]:
    """All numbers of labels, rising."""
    return sorted({n for of in lines.values() for n in of})


def _common_labels(lines: Mapping[Line, Mapping[int, Sequence[Row]]]) -> list[int]:
    """The numbers of labels that most lines have, rising."""
    having = {n: sum(n in of for of in lines.values()) for n in _counts(lines)}
    return [n for n, count in having.items() if count == max(having.values())]


def _data(rows: Sequence[Row]) -> str:
    """The name of the reviews, as a title begins."""
    return {"imdb": "IMDB", "sample": "Built-in sample"}.get(rows[0]["data"], rows[0]["data"])
