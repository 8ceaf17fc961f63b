"""Apparatus: calling. How is a command started from Python, and what does it give back?

    minitransfer.run("finetune.imdb", labels=500, out="runs/frozen-500")

It is the command of a shell, by its name, with its flags as arguments. But it returns its results, raises its errors,
and knows no exit codes. Nothing here imports a command, or torch, before one is called.

Next: runtime.py, what a command sets up before its first step.
"""

import difflib
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from minitransfer.apparatus.commands import as_mendable, check_here
from minitransfer.apparatus.errors import Stopped, UsageError

COMMANDS = ("pretrain.static", "pretrain.bilm", "pretrain.bert", "pretrain.inspect", "finetune.imdb",
            "finetune.predict", "finetune.bag", "finetune.prompt", "pretrain.distil", "finetune.average",
            "finetune.compare", "pretrain.gpt")  # in reading order
HUGGINGFACE = "minitransfer.huggingface"  # a command of the shell alone: its flags are of another kind


def door(command: str) -> ModuleType:
    """The module that `python -m COMMAND` runs, with `main` and `Settings`. Raises: UsageError if there is none."""
    if command == HUGGINGFACE:
        raise UsageError(f"{command} is a command of the shell alone",
                         f"from Python, call export_run or import_folder of {command}.exchange")
    if command not in COMMANDS:
        near = difflib.get_close_matches(str(command), COMMANDS, n=1)
        fix = f"did you mean {near[0]}?" if near else f"call one of {', '.join(COMMANDS)}"
        raise UsageError(f"{command!r:.60} is not the name of a command", fix)
    return importlib.import_module(f"{command}.__main__")


def call(command: str, values: Mapping[str, Any]) -> Any:
    """Run a command, and return its results. Raises: what the command does.

    values: its flags, by their names. If the run was stopped after saving, the KeyboardInterrupt's message contains
    the call that resumes it.
    """
    check_here()
    module = door(command)
    settings = module.Settings.from_values(values)
    try:
        return module.main(settings)
    except Stopped as stop:
        flags = [f"{name}={value!r}" for name, value in {**values, "resume": True}.items()]
        stop.args = (f"{stop.message}; to go on: minitransfer.run({', '.join([repr(command), *flags])})",)
        raise
    except (OSError, RuntimeError, MemoryError) as failure:
        if (mendable := as_mendable(failure)) is None:
            raise
        raise mendable from failure
