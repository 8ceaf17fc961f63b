"""A student's file as a module."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

STUBS = Path(__file__).with_name("stubs.py")


def load(path: Path) -> ModuleType:
    """Run a file and return it as a module. Raises: UsageError, in one line, if there is none or it cannot be run."""
    if not path.is_file():
        raise pytest.UsageError(f"--solutions {path}: there is no such file. Fix: cp {STUBS} {path}")
    spec = importlib.util.spec_from_file_location("solutions_to_grade", path)
    if spec is None or spec.loader is None:
        raise pytest.UsageError(f"--solutions {path} is not a Python file. Fix: give it a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        place = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        what = str(error).splitlines()[0] if str(error) else "-"
        raise pytest.UsageError(f"--solutions {path} cannot be run: {type(error).__name__}: {what}{place}. "
                                "Fix: mend it until python runs the file by itself") from None
    return module
