"""The option --solutions, and the points at the end."""

from pathlib import Path
from types import ModuleType

import pytest
from answers_file import STUBS, load
from tasks import TASKS

ANSWERS = pytest.StashKey[ModuleType]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--solutions", metavar="FILE", help="the Python file to grade; without it, the empty stubs.py")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is collected, so that a file that cannot be run is refused in one line."""
    config.stash[ANSWERS] = load(Path(config.getoption("solutions", None) or STUBS))


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> ModuleType:
    """The file that is graded."""
    return request.config.stash[ANSWERS]


def pytest_terminal_summary(terminalreporter) -> None:
    reports = terminalreporter.stats.get("passed", [])
    points = sum(value for report in reports for name, value in report.user_properties if name == "points")
    terminalreporter.write_line(f"points: {points} of {sum(task.points for task in TASKS)}")
