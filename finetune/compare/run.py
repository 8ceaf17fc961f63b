"""Part VI, the lecture's experiment. Where does pretraining pay, by how many points, and what does it cost?

    python -m finetune.compare                                            # runs/static and runs/bilm, on IMDB
    python -m finetune.compare --encoders runs/static runs/bilm runs/bert --labels 500 2000 --seeds 0 1 2
    python -m finetune.compare --data sample --encoders runs/static-tiny runs/bilm-tiny --out runs/compare-sample
    python -m finetune.compare --draw docs/experiment/results.jsonl --out runs/recorded   # tables, figures: no runs

Encoders, modes, numbers of labels and seeds make a grid (lecture 5.1 and 5.3). Each of its cells is a run of
`finetune.imdb`, or of `finetune.bag`, with a directory of its own; so a comparison that was stopped goes on cell by
cell, and each number in its table has a command that gives it again.

Read next: `finetune.compare.grid`.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune.compare import grid, minutes, tables
from finetune.compare.running import run_all
from finetune.compare.settings import Settings
from minitransfer.apparatus.checkpoint import check_free
from minitransfer.apparatus.durable import disk_errors, sign_lock, take_lock, write_file
from minitransfer.apparatus.errors import CheckpointError, Stopped, UsageError
from minitransfer.apparatus.figures import INSTALL, can_draw, png
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import interruptible
from minitransfer.text import corpora
from minitransfer.text.corpora import Reviews, find_data_dir
from minitransfer.transfer.labels import choose_labelled

LABELS = {"imdb": (100, 500, 2_000, 10_000, 25_000), "sample": (20, 100, 400)}
TABLE = "table.md"


def main(settings: Settings) -> list[dict[str, Any]]:
    """Do what the flags ask for: a grid of runs, or tables and figures of recorded ones; returns its rows."""
    if settings.minutes:
        return minutes.main(Path(settings.out).parent)
    if settings.draw:
        check_free(Path(settings.out), fix="choose another --out for what is drawn")
    else:
        check_out(Path(settings.out), settings.resume or settings.show)
    with_plots = can_plot(settings.plots)
    if settings.draw:
        return draw_recorded(settings.draw, Path(settings.out), with_plots)
    return run_grid(settings, with_plots)


def run_grid(settings: Settings, with_plots: bool) -> list[dict[str, Any]]:
    """Check everything that can be checked beforehand, run what is not yet done, and draw up the results.

    Raises: once these are drawn up, what the first cell that failed did, or Stopped if a signal has ended it all.
    """
    paths = grid.encoder_names(settings.encoders)

    encoders = {name: grid.describe_encoder(path) for name, path in paths.items()}
    data_dir = find_data_dir(settings.data_dir)
    reviews = corpora.load_reviews(settings.data, data_dir, offline=settings.offline, **settings.columns())
    counts = settings.labels or LABELS.get(reviews.name) or usual_counts(reviews)
    for n in counts:
        choose_labelled(reviews.train_labels, n, seed=0, classes=reviews.classes)  # raises where there are fewer
    kinds = {name: kind for name, (kind, *_) in encoders.items()}
    cells = grid.grid(kinds, paths, settings.data if settings.is_own else [reviews.name], counts, settings)
    expected, out = grid.expected_configs(cells, encoders, reviews), Path(settings.out)
    record = functools.partial(write_results, cells, expected, reviews, out)
    if settings.show and not any(grid.results_of(cell, expected[cell]) for cell in cells):
        raise CheckpointError(f"nothing of this grid is done in {out}", "leave out --show to run it")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with take_lock(out) as lock:
        sign_lock(lock)
        failure: BaseException | None
        try:
            with interruptible():
                failure = None if settings.show else run_all(cells, expected, reviews, record)
        except Stopped as stop:
            failure = stop
        rows = record()
        if rows:
            draw_up(rows, out, with_plots)
    if failure is not None:
        raise failure
    return rows


def usual_counts(reviews: Reviews) -> list[int]:
    """The numbers of labels tried on IMDB that there are here, as multiples of the classes; else the most there are."""
    Y = len(reviews.classes)
    most = Y * int(np.bincount(reviews.train_labels, minlength=Y).min())
    return [n - n % Y for n in LABELS["imdb"] if 2 * Y <= n - n % Y <= most] or [most]


def draw_recorded(files: Sequence[str], out: Path, with_plots: bool) -> list[dict[str, Any]]:
    """Table and figures from lines that were recorded before, here or elsewhere; nothing is run, and no review read."""
    rows = grid.recorded(files)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_rows(rows, out)
    draw_up(rows, out, with_plots)
    return rows


def check_out(out: Path, resume: bool) -> None:
    """Raises: UsageError if --out holds something, and CheckpointError if --resume finds nothing to go on with."""
    if resume:
        if not (out / grid.LINES).is_file():
            raise CheckpointError(f"no comparison at {str(out)[:300]}: there is no {grid.LINES}",
                                  "leave out --resume and --show to begin one there")
    else:
        check_free(out, "comparison")


def can_plot(wanted: bool | None) -> bool:
    """Whether figures will be drawn; None is for where matplotlib is. Raises: UsageError if wanted and impossible."""
    if wanted is False:
        return False
    if can_draw():
        return True
    if wanted:
        raise UsageError("--plots needs matplotlib, which is not installed", f"{INSTALL}, or use --no-plots")
    say(f"no figures will be drawn: matplotlib is not installed ({INSTALL})")
    return False


def write_results(cells: Sequence[grid.Cell], expected: Mapping[grid.Cell, Mapping[str, Any]], reviews: Reviews,
                  out: Path) -> list[dict[str, Any]]:
    """Write results.jsonl and table.md anew from the run directories of the cells that are done; returns the rows."""
    done = ((cell, grid.results_of(cell, expected[cell])) for cell in cells)
    num_reviews = len(reviews.train_texts) + len(reviews.test_texts)
    rows = [grid.row_of(cell, results, num_reviews) for cell, results in done if results]
    write_rows(rows, out)
    return rows


def write_rows(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write results.jsonl and, if there is something to tell, table.md."""
    write_file(out / grid.LINES, "".join(json.dumps(row) + "\n" for row in rows).encode())
    if rows:
        write_file(out / TABLE, tables.table(rows).encode())


def draw_up(rows: Sequence[Mapping[str, Any]], out: Path, with_plots: bool) -> None:
    """Show the table of accuracies, draw the figures if they are wanted, and tell what is where."""
    print(tables.accuracy_table(rows), end="")
    figures = {}
    if with_plots:
        from finetune.compare import plots  # needs matplotlib, which is optional

        figures = {"accuracy.png": plots.accuracy, "convergence.png": plots.convergence, "cost.png": plots.cost}
    for name, draw in figures.items():
        write_file(out / name, png(draw(rows), bbox_inches="tight"))
    print(f"saved in {out}: {', '.join([grid.LINES, TABLE, *figures])}")
