"""Small pretraining runs for tests: a corpus of made-up words, a preset of odd unequal sizes, and processes that die.

As a script it runs a command that sends itself a signal at a certain step:

    python tests/helpers/pretrain_runs.py bilm spelling 1 SIGTERM --out …     # in the first piece of the warm start
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from minitransfer.apparatus import progress, runtime  # noqa: E402
from minitransfer.apparatus.commands import run_command  # noqa: E402
from pretrain.bilm import run as bilm
from pretrain.static import train as static  # noqa: E402

COMMANDS = {"bilm": bilm, "static": static}
PRESETS = {
    "bilm": dict(hidden_size=12, projection_size=6, filters=((1, 5), (3, 11)), vocab_size=301, epochs=2, batch_size=5,
                 window=29, negatives=31, learning_rate=5e-3, dropout=0.2),
    "static": dict(hidden_size=12, window=3, epochs=3, learning_rate=0.1, min_count=2),
}


def make_wikitext(data_dir: Path, words: int = 8_000, seed: int = 0) -> Path:
    """A WikiText-2 folder of ten articles of made-up words, none of them frequent, and a short held-out one."""
    rng = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    known = ["".join(rng.sample(syllables, 3)) for _ in range(2_500)] + ["<unk>"] * 20

    def article(length: int) -> str:
        lines = [" ".join(rng.choices(known, k=17)) for _ in range(length // 17)]
        return "\n".join([" ", f" = {known[0]} = ", " ", *(f" {line} \n" for line in lines)])

    folder = data_dir / "wikitext-2"
    folder.mkdir(parents=True)
    (folder / "wiki.train.tokens").write_text("".join(article(words // 10) + "\n" for _ in range(10)))
    (folder / "wiki.valid.tokens").write_text(article(150) + "\n")
    return data_dir


def use_small_presets() -> None:
    """Let `--preset tiny` mean the sizes above."""
    for name, module in COMMANDS.items():
        module.Settings.presets["tiny"] = PRESETS[name]


def small_presets() -> Iterator[None]:
    """A fixture: `--preset tiny` means the sizes above until the tests of a module are done."""
    with pytest.MonkeyPatch.context() as patched:
        for name, module in COMMANDS.items():
            patched.setitem(module.Settings.presets, "tiny", PRESETS[name])
        yield


def wikitext(tmp_path_factory) -> Path:
    """A fixture: a folder with made-up text."""
    return make_wikitext(tmp_path_factory.mktemp("data"))


def flags(data_dir: Path, out: Path, *more: str) -> list[str]:
    """The flags that all runs here have, before others that may say otherwise; every step is logged."""
    corpus = () if "--corpus" in more else ("--corpus", "wikitext-2")
    return [*corpus, "--offline", "--data-dir", str(data_dir), "--preset", "tiny",
            "--out", str(out), "--log-every", "1e-9", *more]


def cold(argv: list[str]) -> list[str]:
    """The flags of a network that begins by chance, if they do not say what else it is to begin with."""
    return argv if {"--warm-start", "--init-from"} & set(argv) else [*argv, "--warm-start", "none"]


def flags_for(command: str, data_dir: Path, out: Path, *more: str) -> list[str]:
    """The flags of a command, which begins by chance if it is not told otherwise."""
    argv = flags(data_dir, out, *more)
    return argv if command == "static" else cold(argv)


def pretrain(command: str, data_dir: Path, out: Path, *more: str) -> int:
    """Run a command in this process; returns its exit code."""
    module = COMMANDS[command]
    return run_command(module.main, module.Settings, flags_for(command, data_dir, out, *more))


def die_at(command: str, what: str, step: int, name: str, data_dir: Path, out: Path, *more: str):
    """Run a command in a process of its own, which sends itself a signal at the step-th step of `what`."""
    argv = [sys.executable, __file__, command, what, str(step), name, *flags_for(command, data_dir, out, *more)]
    patient = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait do not spin
    return subprocess.run(argv, capture_output=True, text=True, timeout=100, env=patient)


def signal_at(what: str, step: int, number: int, setattr_=setattr, whom: int | None = None) -> None:
    """From now on, send this process, or `whom`, a signal when progress so described has counted so many steps."""
    advance, steps = progress.Progress.advance, []

    def counting(self, n=1, **numbers):
        if self.description == what:
            steps.append(n)
            if len(steps) == step:
                os.kill(whom or os.getpid(), number)
        return advance(self, n, **numbers)

    setattr_(progress.Progress, "advance", counting)


def skip_without_bfloat16(flags: Sequence[str]) -> None:
    """Leave out a test whose flags ask for bfloat16 where the command would refuse it."""
    if "bf16" in flags and not runtime.multiplies_bfloat16(torch.device("cpu")):
        pytest.skip("this machine has no instructions for bfloat16")


def rows(path: Path) -> list[dict]:
    """The metrics of a run."""
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    use_small_presets()
    asked, what_counts, count, signal_name, *rest = sys.argv[1:]  # no name of a module that signal_at looks up
    signal_at(what_counts, int(count), getattr(signal, signal_name))
    sys.exit(run_command(COMMANDS[asked].main, COMMANDS[asked].Settings, rest))
