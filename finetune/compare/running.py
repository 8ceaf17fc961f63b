"""Part VI, around the comparison: running. How does a grid of runs get done, whatever happens on the way?

The cells are run in this process, one after the other, each by the very command that stands in the table. A cell that
is done is not run again, one that was begun goes on where it was, and one that fails takes no other with it.

Read next: `finetune.compare.tables`.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetune.compare.grid import COMMANDS, Cell, results_of, seconds_left
from minitransfer.apparatus.commands import report_failure
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.progress import Aside, say
from minitransfer.apparatus.saved import CONFIG
from minitransfer.text.corpora import Reviews


def run_all(cells: Sequence[Cell], expected: Mapping[Cell, Mapping[str, Any]], reviews: Reviews,
            record: Callable[[], object]) -> Exception | None:
    """Run each cell that is not done, one after the other; returns the first failure, if there was one.

    expected: the config of each cell, by `expected_configs`.  record: called after each, to write down what is done.
    What fails is reported, and the others go on.
    Raises: Stopped by a signal, once the cell that runs has saved its state.
    """
    costs = {cell: results["seconds"] for cell in cells if (results := results_of(cell, expected[cell]))}
    failed: dict[str, Exception] = {}
    say(f"{len(cells)} cells, of which {len(costs)} are done")
    record()
    for i, cell in enumerate(cells, start=1):
        if cell in costs:
            continue
        left = time_left([other for other in cells[i - 1 :] if other not in costs], costs)
        say(f"\ncell {i} of {len(cells)}: {cell.name}{left}")
        say(cell.command)
        started = time.monotonic()
        try:
            run_cell(cell, reviews)
            if not results_of(cell, expected[cell]):
                raise CheckpointError(f"the results in {cell.out} are damaged or missing, though its run is complete",
                                      f"delete {cell.out}, and the cell is run again")
        except Exception as failure:
            say(f"cell {cell.name} failed with exit code {report_failure(failure)}; the others go on")
            failed[cell.name] = failure
            setattr(failure, "reported", True)
        else:
            costs[cell] = time.monotonic() - started
            record()
    if failed:
        say(f"{len(failed)} of {len(cells)} cells failed: {', '.join(failed)}")
    return next(iter(failed.values()), None)


def time_left(cells: Sequence[Cell], costs: dict[Cell, float]) -> str:
    """How long the cells will still take, as far as is known."""
    seconds, unknown = seconds_left(cells, costs)
    some = f"about {seconds / 60:.1f} min left" if unknown < len(cells) else ""
    more = f"{unknown} cells of a kind that has not run yet" if unknown else ""
    left = ", and ".join(text for text in (some, more) if text)
    return f" ({left})" if left else ""


def run_cell(cell: Cell, reviews: Reviews) -> None:
    """Run the command of a cell in this process, and go on where it was if it had been begun.

    The reviews are handed in: to read and check all of IMDB takes longer than many a cell.
    """
    module = COMMANDS[cell.module]
    flags = [*cell.flags, *(["--resume"] if (cell.out / CONFIG).is_file() else [])]
    with contextlib.redirect_stdout(Aside()):  # stdout is for the comparison's own results
        module.main(module.Settings.parse_args(flags), reviews)
