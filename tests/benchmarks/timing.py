"""Benchmarks: timing. How can two ways be compared on a machine that is never quite the same speed?

By taking turns. A laptop slows down as it warms, and other programs come and go: seconds taken a minute apart compare
the minutes. So every round runs each job once, A B C A B C …, a ratio is taken within each round, and the median of
these ratios is reported. The rate of a large matrix product is one more such job: what the machine could do then.

Next: synthetic.py, the text that the benchmarks read.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from minitransfer.apparatus.options import Parser, positive_int
from minitransfer.apparatus.settings import PRECISIONS

Times = dict[str, list[float]]  # of each job its seconds, one per round
MATRIX = "matrix product"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def flags(prog: str, description: str, network: bool = True, repeats: bool = True) -> Parser:
    """The flags that all benchmarks share, those of a `network` that may multiply in one precision or another, and of
    what `repeats` its jobs.
    """
    p = Parser(prog=f"python -m {prog}", description=description)
    p.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, and measures nothing")
    if repeats:
        p.add_argument("--rounds", type=positive_int, metavar="N", default=5,
                       help="how often each job is timed (default: %(default)s)")
    p.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads (default: all cores)")
    if network:
        p.add_argument("--precision", choices=PRECISIONS, default="auto",
                       help="numbers to multiply matrices in (default: %(default)s)")
    return p


def take_turns(jobs: dict[str, Callable[[], object]], rounds: int) -> Times:
    """The seconds of each job in each round. One untimed round comes first, in which torch plans and allocates."""
    times: Times = {name: [] for name in jobs}
    for i in range(rounds + 1):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            if i > 0:
                times[name].append(time.perf_counter() - started)
    return times


def seconds(times: Times, name: str) -> float:
    """The median over rounds of what a job took."""
    return statistics.median(times[name])


def speed_up(times: Times, name: str, other: str) -> float:
    """How many times as fast as another job one is: the median of the ratios within each round."""
    return statistics.median(b / a for a, b in zip(times[name], times[other], strict=True))


def matrix_product(size: int, precision: str = "fp32") -> tuple[Callable[[], object], float]:
    """A job that multiplies two square matrices in this precision, and its FLOP: 2 · size³."""
    a, b = (torch.rand(size, size).to(DTYPES[precision]) for _ in range(2))
    return lambda: a @ b, 2.0 * size**3


def share_of_matrix_rate(times: Times, name: str, flop: float, matrix_flop: float) -> float:
    """What part of the matrix product's FLOP per second a job of `flop` FLOP reached: the median over rounds."""
    return flop / matrix_flop * speed_up(times, name, MATRIX)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header on stdout, in columns, the first one flush left."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:]))]))
