"""Parts II to V, around inspecting: pictures. What can be seen at a glance?

The occurrences of a word as points, or its senses; the weights of layers as bars, and those of attention as maps; the
course of runs as lines. Nothing is told by colour alone. All of this needs matplotlib, an optional package, so `look`
imports this file only to draw.

Read next: `pretrain.inspect.filling`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from minitransfer.apparatus.figures import BLACK, COLOURS, GREY, as_drawn
from minitransfer.apparatus.options import one_line

RUN_COLOURS = (*COLOURS, BLACK)
MARKERS = ("o", "^", "s", "D")  # of senses
ABREAST = 3  # panels side by side
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))  # of as many runs as colours


def plain(text: str, most: int = 80) -> str:
    """Text that is drawn as it is: on one line, not too long, with no $ that would begin a formula."""
    text = one_line(text)
    text = text if len(text) <= most else "…" + text[1 - most :]
    return as_drawn(text)


def blank(width: float, height: float, rows: int = 1, **settings: Any) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches, and its axes, without frames at the top and on the right."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, 1, squeeze=False, **settings)[:, 0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def side_by_side(count: int, width: float, height: float, around: float,
                 **settings: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, ABREAST in a row, each of this size in inches; `around`: the height of all else."""
    across, down = min(count, ABREAST), -(-count // ABREAST)
    figure = Figure(figsize=(width * across, around + height * down), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False, **settings).flat)
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def draw_occurrences(points: Sequence[Sequence[float]], shares: Sequence[float], chosen: Sequence[int],
                     contexts: Sequence[str], title: str) -> Figure:
    """Occurrences as points (N, 2); those `chosen` bear numbers, and their `contexts` stand below, where no two
    labels can meet."""
    figure, (ax,) = blank(8, 5 + 0.22 * len(chosen))
    x, y = zip(*points)
    ax.scatter(x, y, s=22, color=COLOURS[0], alpha=0.55, linewidths=0)
    ax.scatter([x[i] for i in chosen], [y[i] for i in chosen], s=210, color="white", edgecolors=COLOURS[1],
               linewidths=1.5, zorder=3)
    for label, i in enumerate(chosen, start=1):
        ax.annotate(str(label), (x[i], y[i]), ha="center", va="center_baseline", fontsize=10, color="black", zorder=4)
    ax.set_title(plain(title))
    first, second = (f"principal component ({share:.0%} of the variance)" for share in shares)
    ax.set(xlabel=f"first {first}", ylabel=f"second {second}")
    ax.margins(0.08)
    lines = [f"{label}  {context}" for label, context in enumerate(contexts, start=1)]
    figure.supxlabel("\n".join(lines), fontsize=8, family="monospace", multialignment="left", parse_math=False)
    return figure


def draw_senses(layers: Sequence[Sequence[Sequence[float]]], senses: Sequence[str], titles: Sequence[str],
                title: str) -> Figure:
    """Uses of a word as points (N, 2), a panel for each layer; a sense has a colour and a marker."""
    figure, panels = side_by_side(len(layers), width=3.3, height=3.2, around=0.7)
    for ax, points, name in zip(panels, layers, titles):
        for sense, colour, marker in zip(dict.fromkeys(senses), COLOURS, MARKERS):
            x, y = zip(*(point for point, own in zip(points, senses) if own == sense))
            ax.scatter(x, y, s=26, color=colour, marker=marker, alpha=0.6, linewidths=0, label=sense)
        if len({tuple(point) for point in points}) == 1:
            ax.annotate(f"all {len(points):,} in one point", (0, 0), (0, 12), textcoords="offset points", ha="center")
        ax.set_title(plain(name.partition("\n")[0]) + "\n" + name.partition("\n")[2], fontsize=10)
        ax.set(xticks=[], yticks=[])
        ax.margins(0.1)
    figure.suptitle(plain(title), fontsize=11)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def draw_attention(maps: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Sequence[float]]]]]) -> Figure:
    """Attention weights as heat maps: a row for each network (its name, its T tokens, weights (H, T, T)), a column for
    each head; the darker a cell, the more its row's token draws on its column's."""
    across, T = max(len(weights) for _, _, weights in maps), max(len(tokens) for _, tokens, _ in maps)
    side = 1.2 + 0.12 * T
    figure = Figure(figsize=(1.0 + side * across, (side + 0.4) * len(maps)), layout="constrained")
    for row, (name, tokens, weights) in zip(figure.subplots(len(maps), across, squeeze=False), maps):
        marks = [plain(token, 12) for token in tokens]
        for head, (ax, of_head) in enumerate(zip(row, weights), start=1):
            ax.imshow(of_head, cmap="Blues", vmin=0, vmax=1)
            ax.set_title(f"head {head}", fontsize=9)
            ax.set_xticks(range(len(marks)), marks, rotation=90, fontsize=7)
            ax.set_yticks(range(len(marks)), marks if head == 1 else [""] * len(marks), fontsize=7)
        row[0].set_ylabel(plain(name, 40), fontsize=9)
        for unused in row[len(weights) :]:
            unused.remove()
    return figure


def draw_mix(names: Sequence[str], weights: Sequence[float], title: str) -> Figure:
    """The weights of layers as bars, layer 0 at the bottom, where it is in the network."""
    figure, (ax,) = blank(7, 1.4 + 0.5 * len(names))
    bars = ax.barh(range(len(names)), weights, color=COLOURS[0], height=0.6)
    ax.bar_label(bars, [f"{s:.3f}" for s in weights], padding=4)
    ax.axvline(1 / len(names), color=GREY, linestyle="--", linewidth=1)
    ax.annotate(" equal weights", (1 / len(names), len(names) - 0.45), color=GREY, fontsize=9)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlim(0, 1.08)
    ax.set_ylim(-0.6, len(names) - 0.1)
    ax.set_xlabel("weight $s_k$ in the mix")
    ax.set_title(plain(title))
    return figure


def draw_products(runs: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> Figure:
    """Products c·o of pairs of words over their PMI, a panel for each run; the darker, the more pairs are there."""
    figure, panels = side_by_side(len(runs), width=4, height=3.5, around=0.4, sharex=True, sharey=True)
    for ax, (name, of_pmi, products) in zip(panels, runs):
        ax.hexbin(of_pmi, products, gridsize=60, bins="log", mincnt=1, cmap="Blues", linewidths=0)
        ax.axline((0, 0), slope=1, color=GREY, linestyle="--", linewidth=1, label="c·o = PMI")
        ax.set_title(plain(name, 40), fontsize=10)
        ax.set_xlabel("PMI of a pair"), ax.set_ylabel("c·o")
    panels[0].legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def draw_curves(panels: Mapping[str, Sequence[tuple[int, str, Sequence[float], Sequence[float]]]],
                runs: Sequence[str], axis: str) -> Figure:
    """The course of runs: a panel for each quantity, a colour and a dash for each run, points for what was measured
    on text held out."""
    figure, axes = blank(8, 0.6 + 2.4 * len(panels) + 0.2 * len(runs), len(panels), sharex=True)
    for ax, (name, lines) in zip(axes, panels.items()):
        for i, label, x, y in lines:
            training = label == "training"
            marker = "s" if label.startswith("training,") else None if training and len(x) > 1 else "o"
            ax.plot(x, y, color=RUN_COLOURS[i], linestyle=DASHES[i] if training else "none" if len(x) == 1 else ":",
                    marker=marker, markersize=5, linewidth=1.5 if training else 1)
        ax.set_ylabel(name)
        ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        if [len(x) for _, _, x, _ in lines] == [1]:  # a lone point says little on an axis that is made for it
            ax.annotate(f"  {lines[0][3][0]:.4g}", (lines[0][2][0], lines[0][3][0]), va="center")
        labels = dict.fromkeys(label for _, label, _, _ in lines)
        note = "lines: training;  points: held out" if len(labels) > 1 else ", ".join(labels)
        if any(label.startswith("training,") for label in labels):
            note += ";  squares: training, mean of an epoch"
        if name == "perplexity" and len(lines) > 1:  # over two vocabularies it is two questions
            note += ", each run on its own text: comparable for one corpus only"
        ax.set_title(note, loc="right", fontsize=9, color=GREY)
    axes[-1].set_xlabel(axis)
    axes[-1].xaxis.set_major_formatter(EngFormatter())  # 2 M rather than 2,000,000
    figure.align_ylabels()
    handles = [axes[0].plot([], [], color=RUN_COLOURS[i], linestyle=DASHES[i])[0] for i in range(len(runs))]
    figure.legend(handles, [plain(run) for run in runs], loc="outside upper left", frameon=False)
    return figure
