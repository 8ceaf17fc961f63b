"""Part V, the lecture's experiment. Where does pretraining pay, by how many points, and what does it cost?

    python -m finetune.compare                                            # runs/static and runs/bilm, on IMDB
    python -m finetune.compare --encoders runs/static runs/bilm runs/bert --labels 500 2000 --seeds 0 1 2
    python -m finetune.compare --data sample --encoders runs/static-tiny runs/bilm-tiny --out runs/compare-sample
    python -m finetune.compare --draw docs/experiment/results.jsonl --out runs/recorded   # tables, figures: no runs

Encoders, modes, numbers of labels and seeds make a grid (lecture 5.1 and 5.3). Each of its cells is a run of
`finetune.imdb`, or of `finetune.bag`, with a directory of its own; so a comparison that was stopped goes on cell by
cell, and each number in its table has a command that gives it again.

Read next: `finetune.compare.grid`.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.compare import tables
from finetune.compare.grid import (
    Cell,
    encoder_names,
    grid,
    known_settings,
    look_at,
    recorded,
    results_of,
    row_of,
)
from finetune.compare.running import run_all
from finetune.imdb.settings import MODES
from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.apparatus.figures import INSTALL, can_draw, png
from minitransfer.apparatus.options import (
    Parser,
    add_precision,
    add_shared,
    directory_name,
    non_negative_int,
    positive_int,
)
from minitransfer.text import REVIEWS

if TYPE_CHECKING:  # torch takes seconds to import: a mistyped flag should not have to wait for it
    from minitransfer.text.corpora import Reviews

ENCODERS, USUAL, SEEDS = ("runs/static", "runs/bilm"), ("frozen", "finetune"), (0, 1, 2)
GRID = ("encoders", "modes", "labels", "seeds", "epochs", "resume", "show")  # flags that say which cells there are
LABELS = {"imdb": (100, 500, 2_000, 10_000, 25_000), "sample": (20, 100, 400)}
RESULTS, TABLE = "results.jsonl", "table.md"

DESCRIPTION = """Compare encoders, modes of transfer and baselines over numbers of labels and seeds.

examples:
  python -m finetune.compare
  python -m finetune.compare --encoders runs/static runs/bilm runs/bert --labels 500 2000 --seeds 0 1 2
  python -m finetune.compare --data sample --encoders runs/static-tiny runs/bilm-tiny --out runs/compare-sample
  python -m finetune.compare --draw docs/experiment/results.jsonl --out runs/recorded

writes to --out: one run directory for each cell of the grid, results.jsonl, table.md, accuracy.png, convergence.png,
cost.png, and cache/ with what frozen encoders said
on 2 cores: all of the sample under 5 minutes; on IMDB a frozen cell takes seconds, once its encoder has read all
reviews, but one that learns reads every token in every epoch: minutes with 500 labels, hours with 25,000"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m finetune.compare", description=DESCRIPTION)
    parser.add_argument("--encoders", metavar="DIR", type=directory_name, nargs="+",
                        help=f"finished runs of pretrain.static, bilm or bert (default: {' '.join(ENCODERS)})")
    parser.add_argument("--modes", metavar="MODE", choices=MODES, nargs="+",
                        help=f"how the encoders are transferred: {', '.join(MODES)} (default: {' '.join(USUAL)})")
    parser.add_argument("--labels", metavar="N", type=positive_int, nargs="+",
                        help="numbers of labels (default: 100 500 2000 10000 25000; of the sample 20 100 400)")
    parser.add_argument("--seeds", metavar="N", type=non_negative_int, nargs="+",
                        help="each decides which reviews are labelled, and how the weights begin (default: 0 1 2)")
    parser.add_argument("--epochs", metavar="N", type=positive_int,
                        help="passes at most in every cell (default: what finetune.imdb has for each mode)")
    parser.add_argument("--no-baselines", action="store_true",
                        help="leave out the bag of n-grams, static vectors frozen, and each encoder from scratch")
    parser.add_argument("--show", action="store_true",
                        help="run nothing: draw up what is done of this grid, of whatever pieces it was run in; "
                             "implies --resume")
    parser.add_argument("--draw", metavar="FILE", nargs="+",
                        help="run nothing, and read neither encoders nor reviews: draw up the lines of these "
                             "results.jsonl, such as pieces of a grid that were run on several machines")
    parser.add_argument("--data", choices=REVIEWS, default="auto", help="the reviews; auto is imdb if it can be had")
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction,
                        help="draw the figures (default: if matplotlib is installed)")
    add_precision(parser)
    add_shared(parser, out="runs/compare")
    parser.set_defaults(seed=None)  # so that a --seed is noticed, which would decide nothing
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Check the flags, and do what they ask for: a grid of runs, or tables and figures of recorded ones."""
    if arguments.seed is not None:
        raise UsageError("--seed is for one run, and a comparison has several", "use --seeds")
    given = [name for name in GRID if arguments.draw and getattr(arguments, name)]
    if given:
        raise UsageError(f"--draw shows every line that it is given, whatever --{given[0]} says",
                         f"leave out --{given[0]}, or take lines out of the file")
    check_out(Path(arguments.out), arguments.resume or arguments.show)
    with_plots = can_plot(arguments.plots)
    return draw_recorded(arguments, with_plots) if arguments.draw else run_grid(arguments, with_plots)


def run_grid(arguments: argparse.Namespace, with_plots: bool) -> int:
    """Check everything that can be known beforehand, run what is not yet done, and draw up the results."""
    for name, value in (("encoders", ENCODERS), ("modes", USUAL), ("seeds", SEEDS)):
        setattr(arguments, name, getattr(arguments, name) or value)
    paths = encoder_names(arguments.encoders)

    from minitransfer.apparatus.durable import disk_errors, sign_lock, take_lock
    from minitransfer.apparatus.runtime import interruptible, say
    from minitransfer.text.corpora import find_data_dir, load_reviews
    from minitransfer.transfer.labels import choose_labelled

    encoders = {name: look_at(path) for name, path in paths.items()}
    reviews = load_reviews(arguments.data, find_data_dir(arguments.data_dir), offline=arguments.offline, say=say)
    counts = arguments.labels or LABELS[reviews.name]
    for n in counts:
        choose_labelled(reviews.train_labels, n, seed=0)  # raises where there are fewer
    kinds = {name: kind for name, (kind, *_) in encoders.items()}
    cells = grid(kinds, paths, reviews.name, counts, arguments, make_parser().parse_args([]))
    known, out = known_settings(cells, encoders, reviews), Path(arguments.out)
    record = functools.partial(write_results, cells, known, reviews, out)
    if arguments.show and not any(results_of(cell, known[cell]) for cell in cells):
        raise CheckpointError(f"nothing of this grid is done in {out}", "leave out --show to run it")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with take_lock(out) as lock:
        sign_lock(lock)
        with interruptible():
            code = 0 if arguments.show else run_all(cells, known, reviews, record)
        rows = record()
        if rows:
            draw_up(rows, out, with_plots)
    return code


def draw_recorded(arguments: argparse.Namespace, with_plots: bool) -> int:
    """Table and figures from lines that were recorded before, here or elsewhere; nothing is run, and no review read."""
    from minitransfer.apparatus.durable import disk_errors

    rows, out = recorded(arguments.draw), Path(arguments.out)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_rows(rows, out)
    draw_up(rows, out, with_plots)
    return 0


def check_out(out: Path, resume: bool) -> None:
    """Raises: UsageError if --out holds something, and CheckpointError if --resume finds nothing to go on with."""
    from minitransfer.apparatus.checkpoint import check_free

    if resume:
        if not (out / RESULTS).is_file():
            raise CheckpointError(f"no comparison at {str(out)[:300]}: there is no {RESULTS}",
                                  "leave out --resume to begin one there")
    else:
        check_free(out, "comparison")


def can_plot(wanted: bool | None) -> bool:
    """Whether figures will be drawn; None is for where matplotlib is. Raises: UsageError if wanted and impossible."""
    from minitransfer.apparatus.progress import say

    if wanted is False:
        return False
    if can_draw():
        return True
    if wanted:
        raise UsageError("--plots needs matplotlib, which is not installed", f"{INSTALL}, or use --no-plots")
    say(f"no figures will be drawn: matplotlib is not installed ({INSTALL})")
    return False


def write_results(cells: Sequence[Cell], known: Mapping[Cell, Mapping[str, Any]], reviews: Reviews,
                  out: Path) -> list[dict[str, Any]]:
    """Write results.jsonl and table.md anew from the run directories of the cells that are done; returns the rows."""
    found = ((cell, results_of(cell, known[cell])) for cell in cells)
    num_reviews = len(reviews.train_texts) + len(reviews.test_texts)
    rows = [row_of(cell, results, num_reviews) for cell, results in found if results]
    write_rows(rows, out)
    return rows


def write_rows(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write results.jsonl and, if there is something to tell, table.md."""
    from minitransfer.apparatus.durable import write_file

    write_file(out / RESULTS, "".join(json.dumps(row) + "\n" for row in rows).encode())
    if rows:
        write_file(out / TABLE, tables.table(rows).encode())


def draw_up(rows: Sequence[Mapping[str, Any]], out: Path, with_plots: bool) -> None:
    """Show the table of accuracies, draw the figures if they are wanted, and tell what is where."""
    print(tables.accuracy_table(rows), end="")
    figures = draw(rows, out) if with_plots else []
    print(f"saved in {out}: {', '.join([RESULTS, TABLE, *figures])}")


def draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[str]:
    """Draw the figures, and return their names."""
    from finetune.compare import plots
    from minitransfer.apparatus.durable import write_file

    figures = {"accuracy.png": plots.accuracy(rows), "convergence.png": plots.convergence(rows),
               "cost.png": plots.cost(rows)}
    for name, figure in figures.items():
        write_file(out / name, png(figure, bbox_inches="tight"))
    return list(figures)
