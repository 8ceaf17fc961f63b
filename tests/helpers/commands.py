"""Where a command and its flags are, by the name that stands behind `python -m`."""

import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType


def door(name: str) -> ModuleType:
    """The module that `python -m name` runs: of a package its __main__."""
    package = importlib.util.find_spec(name).submodule_search_locations is not None
    return importlib.import_module(f"{name}.__main__" if package else name)


def read_flags(name: str, flags: Sequence[str]) -> object:
    """What the command makes of its flags. Exits with 2, or raises UsageError, if it does not understand them."""
    module = door(name)
    return (module.Settings if hasattr(module, "Settings") else module.make_parser()).parse_args(flags)


def last_line(capsys) -> str:
    """The line on stderr that says what is wrong, after a check of its form."""
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and ". Fix: " in line and line.endswith((".", "?"))
    return line
