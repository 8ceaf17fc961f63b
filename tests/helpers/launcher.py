"""Commands small enough to be killed a hundred times, and the deaths they may die; `tests.harness` starts them.

    python tests/helpers/launcher.py '{"kind": "end", "calls": 3, "cut": true}' finetune.bag --out …

The commands are the shipped ones, and hold nothing for tests: presets and the built-in sample are made smaller here,
and the system calls that a save depends on are replaced here by ones that end the process, SIGKILL, at a given call.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: its threads and a fork do not agree

from bert_runs import PRESET, PRESETS  # noqa: E402
from faults import killed_at  # noqa: E402
from pretrain_runs import use_small_presets  # noqa: E402

from finetune.bag import __main__ as bag
from finetune.compare import run as compare
from finetune.imdb import __main__ as imdb  # noqa: E402
from minitransfer.apparatus import metrics  # noqa: E402
from minitransfer.apparatus.checkpoint import RunDirectory  # noqa: E402
from minitransfer.apparatus.commands import run_command  # noqa: E402
from minitransfer.text import sample  # noqa: E402
from pretrain.bert import run as bert
from pretrain.bilm import run as bilm
from pretrain.distil import run as distil
from pretrain.gpt import run as gpt
from pretrain.static import train as static  # noqa: E402

COMMANDS = {"pretrain.static": static, "pretrain.bilm": bilm, "pretrain.bert": bert, "pretrain.gpt": gpt,
            "pretrain.distil": distil, "finetune.imdb": imdb, "finetune.bag": bag, "finetune.compare": compare}


def make_small() -> None:
    """Let `--preset tiny` mean still smaller sizes, and the built-in sample be a few of its texts.

    Labels alternate in it, so that only every oddth text keeps both classes.
    """
    use_small_presets()
    bert.Settings.presets["tiny"] = {**PRESET, "epochs": 1}
    gpt.Settings.presets["tiny"] = {**PRESETS["gpt"], "epochs": 1}
    (articles, held_out), (train, test, unlabelled) = sample.articles(), sample.reviews()
    sample.articles = lambda: (articles[::35], held_out[::14])
    sample.reviews = lambda: (train[::5], test[::15], unlabelled[::201])


def arm(fatal: dict) -> None:
    """From now on this process dies at a moment of this kind; an empty one lets it live.

    save: at the `calls`-th system call that a save depends on, counted from now on; end: counted from where the
    trained weights are saved; `cut`, after half of the file. row: amid the `calls`-th row of metrics.
    """
    now = SimpleNamespace(setattr=setattr)
    if fatal.get("kind") == "save":
        killed_at(fatal["calls"], now, fatal["cut"])
    elif fatal.get("kind") == "end":
        save_model = RunDirectory.save_model

        def armed(self, *arguments):
            killed_at(fatal["calls"], now, fatal["cut"])
            save_model(self, *arguments)

        RunDirectory.save_model = armed
    elif fatal.get("kind") == "row":
        die_amid_row(fatal["calls"])


def die_amid_row(count: int) -> None:
    """From now on, die when half of the count-th row has been written."""
    append_row, left = metrics.append_row, [count]

    def torn(path, row):
        left[0] -= 1
        if left[0] < 0:
            with open(path, "ab") as file:
                file.write(json.dumps(row).encode()[:9])
            os.kill(os.getpid(), signal.SIGKILL)
        append_row(path, row)

    metrics.append_row = torn


def launch(name: str, flags: list[str], fatal: dict) -> int:
    """Run a command, which may die of it; returns its exit code."""
    sys.argv[1:] = flags
    arm(fatal)
    return run_command(COMMANDS[name].main, COMMANDS[name].Settings, flags)


if __name__ == "__main__":
    make_small()
    sys.exit(launch(sys.argv[2], sys.argv[3:], json.loads(sys.argv[1])))
