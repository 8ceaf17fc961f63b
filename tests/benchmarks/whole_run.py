"""Benchmarks: whole runs. What does a command of ours come to, and how long does all of it take?

A step can be timed in seconds, but what it teaches shows only at the end of a run: static vectors, training and the
last measurement together. What is then compared with it is given so many times its time.

Next: time_to_loss.py and awd_lstm.py, which compare so.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

from minitransfer.apparatus.calling import call, door
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import Parser, positive_float, positive_int
from minitransfer.apparatus.runtime import set_threads
from tests.benchmarks.timing import flags


def learning_flags(prog: str, description: str, times: list[float]) -> Parser:
    """The flags of a benchmark that compares by what is learned: which text, and for how long."""
    p = flags(prog, description, repeats=False)
    p.add_argument("--corpus", nargs="+", default=["sample"], metavar="NAME",
                   help="text, as for pretraining (default: %(default)s)")
    p.add_argument("--data-dir", metavar="DIR", help="where WikiText and IMDB are")
    p.add_argument("--epochs", type=positive_int, metavar="N", help="of ours (default: by preset)")
    p.add_argument("--times", nargs="+", type=positive_float, metavar="X", default=times,
                   help="how many times as long as ours theirs may learn (default: %(default)s)")
    return p


def need(package: str) -> None:
    """Raises: UsageError if a package is not there, which is asked before a run of ours takes its minutes."""
    if not find_spec(package):
        raise UsageError(f"{package} is not installed", f"pip install {package}")


@contextmanager
def whole_run(command: str, args: Namespace) -> Iterator[SimpleNamespace]:
    """Run a command of pretraining, of which --quick asks little; its directory is gone on leaving.

    Of it there are `results`, `settings`, `run`, `seconds` and `threads`.
    """
    threads, kind = set_threads(args.threads), command.removeprefix("pretrain.")
    given = {"corpus": tuple(args.corpus), "threads": threads, "precision": args.precision, "offline": True}
    given |= {name: value for name in ("data_dir", "epochs") if (value := getattr(args, name))}
    given |= {"epochs": 1, "vocab_size": 400} if args.quick else {}
    with tempfile.TemporaryDirectory() as folder:
        given |= {"out": str(Path(folder) / kind)}
        started = time.perf_counter()
        results = call(command, given)
        seconds = time.perf_counter() - started
        yield SimpleNamespace(results=results, settings=door(command).Settings.of(**given), seconds=seconds,
                              run=load_run(given["out"], kind), threads=threads)
