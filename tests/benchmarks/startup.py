"""Benchmark: how long does a mistyped flag wait for its answer?

    python -m tests.benchmarks.startup

Each command with --help, in a process of its own, beside a Python that does nothing, and one that imports torch: a
command that needed torch to read its flags could be no faster than that.

This is the last benchmark.
"""

import subprocess
import sys

from minitransfer.apparatus.commands import run_command
from tests.benchmarks.timing import flags, print_table, seconds, speed_up, take_turns

NOTHING, TORCH = "python, nothing", "python, torch imported"
COMMANDS = ("pretrain.static", "pretrain.bilm", "pretrain.bert", "pretrain.gpt", "pretrain.distil", "pretrain.inspect",
            "finetune.imdb", "finetune.bag", "finetune.average", "finetune.compare", "finetune.predict",
            "finetune.prompt", "minitransfer.huggingface")


def main(args) -> None:
    """Time each command's --help in turns, and print the table."""
    commands = {NOTHING: ["-c", ""], TORCH: ["-c", "import torch"]}
    commands |= {name: ["-m", name, "--help"] for name in COMMANDS[: 2 if args.quick else None]}
    jobs = {name: lambda flags=flags: subprocess.run([sys.executable, *flags], check=True, capture_output=True)
            for name, flags in commands.items()}
    times = take_turns(jobs, args.rounds)
    print_table(["--help", "seconds", "× nothing"],
                [[name, f"{seconds(times, name):.2f}", f"{1 / speed_up(times, name, NOTHING):.2f}"] for name in jobs])


if __name__ == "__main__":
    sys.exit(run_command(main, flags("tests.benchmarks.startup", __doc__, network=False)))
