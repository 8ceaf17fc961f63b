"""Benchmark: are two processes on one core each faster than one process on two?

    python -m tests.benchmarks.processes
    python -m tests.benchmarks.processes --quick

A step of pretraining, of the preset `small`, on made-up text: by one process with all cores, and by as many processes
as there are cores, each with its share of the same rows, who then send one another their gradients, as `torchrun`
has it. The processes wait without computing while it is not their turn.

Next: startup.py, how long a mistyped flag waits for its answer.
"""

import contextlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.distributed import joined
from minitransfer.apparatus.runtime import SideBySide, choose_precision, set_threads
from tests.benchmarks.growth import Sizes, bert_step, bilm_step
from tests.benchmarks.steps import CPU
from tests.benchmarks.timing import flags, print_table, seconds, speed_up, take_turns


def serve(rank: int, n: int, port: int, kind: str, sizes: Sizes, preset: str, precision: str,
          orders: Connection) -> None:
    """Be one of n processes on one core each: take a step of one's own rows whenever an order comes, until it is no."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port)}
    set_threads(1)
    with joined():
        step = (bilm_step if kind == "biLM" else bert_step)((sizes[0] // n, *sizes[1:]), preset, precision)
        while orders.recv():
            step()
            orders.send(True)


@contextlib.contextmanager
def processes(n: int, *settings) -> Iterator[Callable[[], None]]:
    """A job: one step of n processes, which are there as long as this lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context, pipes = multiprocessing.get_context("spawn"), [multiprocessing.Pipe() for _ in range(n)]
    started = [context.Process(target=serve, args=(rank, n, port, *settings, theirs))
               for rank, (_, theirs) in enumerate(pipes)]
    for process in started:
        process.start()

    def step() -> None:
        for ours, _ in pipes:
            ours.send(True)
        for ours, _ in pipes:
            ours.recv()

    try:
        yield step
    finally:
        for ours, _ in pipes:
            ours.send(False)
        for process in started:
            process.join()


def main(args) -> None:
    """Time both ways in turns, and print the table."""
    threads, table = set_threads(args.threads), []
    n, preset = max(2, threads), "tiny" if args.quick else "small"
    precision = choose_precision(args.precision, CPU, 16 if args.quick else 256)
    sizes = {"biLM": (32, 64, 30_000), "BERT": (16, 128, 16_000)}
    if args.quick:
        sizes = {"biLM": (2 * n, 5, 300), "BERT": (2 * n, 16, 300)}
    one, several = f"one process, {threads} threads", f"{n} processes, 1 thread each"
    for kind, (B, T, V) in sizes.items():
        with SideBySide(2) as both, processes(n, kind, (B, T, V), preset, precision) as shared:
            step = (bilm_step((B, T, V), preset, precision, both) if kind == "biLM"
                    else bert_step((B, T, V), preset, precision))
            times = take_turns({one: step, several: shared}, args.rounds)
        table += [[f"{kind}, {name}", f"{B * T / seconds(times, name):,.0f}", f"{speed_up(times, name, one):.2f}"]
                  for name in (one, several)]
    print_table(["one training step", "tokens/s", "× one process"], table)
    print(f"{precision}; rows, tokens of each, vocabulary: {sizes}")


if __name__ == "__main__":
    sys.exit(run_command(main, flags("tests.benchmarks.processes", __doc__)))
