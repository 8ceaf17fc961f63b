"""Claims about docs/faults.md: every fault in its tables is tried by a test that there is."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "faults.md"
LEAST_ROWS = 60


def rows() -> list[list[str]]:
    """The cells of every row of every table, without head and rule."""
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in split if row[0] != "fault" and not set(row[0]) <= set("-")]


def names_of_tests(file: Path) -> set[str]:
    """The test functions of a file, read and not imported."""
    return {node.name for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_in_the_table_of_faults_exists():
    named = [row[3].split("::") for row in rows()]
    absent = [f"{file}::{name}" for file, name in named
              if not (TESTS / file).is_file() or name not in names_of_tests(TESTS / file)]
    assert not absent


def test_each_row_of_the_table_of_faults_is_whole_and_there_once():
    found = rows()
    assert len(found) >= LEAST_ROWS and all(len(row) == 4 and all(row) for row in found)
    assert len({(fault, test) for fault, _, _, test in found}) == len(found)
    codes = {0, 1, 2, 3, 4, 5, 6, 7, 129, 130, 137, 141, 143}
    assert all({int(code) for code in re.findall(r"\d+", row[2])} <= codes for row in found)
