"""Where a command's `main` and `make_parser` are, by the name that stands behind `python -m`."""

import importlib
import importlib.util
from types import ModuleType


def door(name: str) -> ModuleType:
    """The module that `python -m name` runs: of a package its __main__."""
    package = importlib.util.find_spec(name).submodule_search_locations is not None
    return importlib.import_module(f"{name}.__main__" if package else name)
