"""The option --solutions, and the points at the end."""

from pathlib import Path
from types import ModuleType

import pytest
from answers_file import STUBS, load

ANSWERS = pytest.StashKey[ModuleType]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--solutions", metavar="FILE", help="the Python file to grade; without it, the empty stubs.py")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is collected, so that a file that cannot be run is refused in one line."""
    config.addinivalue_line("markers", "core: tasks 1 to 10, the core of the homework; select them with -m core")
    config.stash[ANSWERS] = load(Path(config.getoption("solutions", None) or STUBS))


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> ModuleType:
    """The file that is graded."""
    return request.config.stash[ANSWERS]


def pytest_terminal_summary(terminalreporter) -> None:
    """Of the tasks that were graded: all of them, the core, or those that -k selects."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    points, most = (sum(value for report in reports for name, value in report.user_properties if name == kind)
                    for kind in ("points", "most"))
    if reports:
        terminalreporter.write_line(f"points: {points} of {most}")
