"""What the pretraining commands share around their loops: settings, the corpus, clocks, and how to go on.

Read next: `pretrain.static`.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path


def settings(args: argparse.Namespace, presets: Mapping[str, Mapping]) -> dict:
    """Take each setting from its flag where one was given, and from the preset elsewhere."""
    flags = vars(args)
    return {name: value if flags.get(name) is None else flags[name] for name, value in presets[args.preset].items()}


def check_out(args: argparse.Namespace) -> None:
    """Refuse an --out that holds a run already, or has none to resume, before minutes go into reading text.

    RunDirectory.create checks again, under its lock; this is only sooner. Raises: UsageError.
    """
    from minitransfer.apparatus.errors import UsageError

    out = Path(args.out)
    if not args.resume and out.is_dir() and any(out.glob("config.json")):
        raise UsageError(f"{out} holds a run already", "add --resume to go on with it, or choose another --out")


def read_corpus(args: argparse.Namespace):
    """Load the corpora that the flags name; returns the corpus, and the facts about it that a run directory keeps."""
    from minitransfer.apparatus.runtime import say
    from minitransfer.text.corpora import find_data_dir, fingerprint, load_corpus

    corpus = load_corpus(args.corpus, find_data_dir(args.data_dir), offline=args.offline, seed=args.seed, say=say)
    return corpus, {"name": corpus.name, "fingerprint": fingerprint(corpus.train)}


def resume_command(module: str) -> str:
    """The command that goes on with this process's run."""
    flags = sys.argv[1:] if "--resume" in sys.argv else [*sys.argv[1:], "--resume"]
    return f"python -m {module} {shlex.join(flags)}"


class Clock:
    """Tells every so many seconds that something is due."""

    def __init__(self, seconds: float):
        self.seconds, self.last = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether the time has come; if so, the next one is counted from now."""
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True
