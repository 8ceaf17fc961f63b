"""Claims about README and docs: named tests exist, commands are understood, no chapter is lost, sentences are short."""

import ast
import functools
import re
import shlex
from pathlib import Path

import pytest
from commands import read_flags
from markdown_tables import table_rows

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
LEAST_ROWS = 60


def rows(name: str = "faults.md") -> list[list[str]]:
    """The cells of every row of every table of a file in docs/, without head and rule."""
    found = table_rows((ROOT / "docs" / name).read_text())
    heads = ("fault", "§", "command")
    return [row for row in found if row[0] not in heads and row[-1] != "equal" and not set(row[0]) <= set("-")]


@functools.cache
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


def test_every_section_of_the_lecture_has_code_a_test_and_something_to_look_at():
    sections = set()
    for section, _, code, test, shown in rows("lecture.md"):
        sections |= set(section.split(", "))
        files = re.findall(r"`([\w/]+\.py)`", code)
        file, _, name = test.partition("::")
        assert files and all((ROOT / path).is_file() for path in files) and shown
        assert name in names_of_tests(TESTS / file)
    assert {"1", "2.1", "2.2", "2.3", "2.4", "2.5", "3.1", "3.2", "3.3", "3.4", "3.5", "4.1", "4.2", "5.1", "5.2",
            "5.3", "5.4", "6", "7", "8"} == sections


def table_of_chapters() -> str:
    page = (ROOT / "docs" / "chapters.md").read_text()
    return "\n".join(line for line in page.splitlines() if line.startswith("|"))


def chapters() -> list[str]:
    """The files in the table of chapters, in its order."""
    return re.findall(r"\]\(\.\./([\w/]+\.py)\)", table_of_chapters())


def read_next(path: str) -> str:
    """The file that a chapter names as the next one."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    return re.search(r"Read next: `([\w.]+)`", text)[1].replace(".", "/") + ".py"


def test_whoever_follows_read_next_comes_through_all_chapters_in_the_order_of_their_table():
    listed = chapters()
    path, met = listed[0], []
    while path not in met and not path.startswith("minitransfer/apparatus"):
        met.append(path)
        path = read_next(path)
    assert [path for path in met if path in listed] == listed


def test_each_file_outside_the_apparatus_is_in_the_table_of_chapters():
    paths = [path for top in ("minitransfer", "pretrain", "finetune") for path in (ROOT / top).rglob("*.py")]
    chosen = [path for path in paths if not path.name.startswith("__") and path.parent.name != "apparatus"]
    named = re.findall(r"\b(\w+\.py)\b", table_of_chapters())
    assert sorted({path.name for path in chosen} - set(named)) == [] and len(chosen) > 50


def test_the_number_of_faults_that_is_told_is_what_the_table_holds():
    assert f"lists {len(rows())} faults" in (ROOT / "docs" / "trust.md").read_text()


COMMAND = re.compile(r"python -m ((?:pretrain|finetune|minitransfer)\.\w+)((?:[^\n`|#\\&<>)]|\\\n)*)")
PLACEHOLDER = re.compile(r"…|\b(MODE|RATE|ENCODER|SEED|DATA|DIR|RUN|TEXT|N)\b")


def commands() -> list[tuple[str, list[str]]]:
    """The module and the flags of each command in README and docs, but for those with words to be filled in."""
    found = []
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for module, flags in COMMAND.findall(file.read_text()):
            if not PLACEHOLDER.search(flags):
                found.append((module, shlex.split(flags.replace("\\\n", " "))))
    return found


def test_every_command_in_readme_and_docs_is_understood():
    assert len(commands()) > 50
    for module, flags in commands():
        try:
            read_flags(module, flags)
        except SystemExit as ended:
            assert not ended.code, f"python -m {module} {shlex.join(flags)}"  # 0 after --help


MOST_WORDS = 30  # in a sentence; code counts as one word, and what stands in parentheses is not counted
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.name != "README.ja.md"]
NOT_PROSE = re.compile(r"(?ms)```.*?```|^(?:[|#!>]|    )[^\n]*")
BETWEEN_PARAGRAPHS = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )")
BETWEEN_SENTENCES = re.compile(r"(?<=[.?!:;])\s+(?=[A-Z\"*(\[]|code\b)")


def sentences(page: str) -> list[str]:
    """The sentences of a page's prose, without tables, headings and quotations."""
    found = []
    for paragraph in BETWEEN_PARAGRAPHS.split(NOT_PROSE.sub("", page)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", paragraph))
        found += BETWEEN_SENTENCES.split(re.sub(r"\s*\([^()]*\)", "", plain))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_has_more_words_than_can_be_held_in_mind(page):
    assert [sentence for sentence in sentences(page.read_text("utf-8")) if len(sentence.split()) > MOST_WORDS] == []


def test_a_long_sentence_is_found_and_its_code_and_parentheses_are_not_counted():
    text = "| a | b |\n\nShort. " + "It goes on, " * 10 + f"`{'x ' * 40}` ({'y ' * 40}).\n\n- " + "an item, " * 10
    assert [len(sentence.split()) > MOST_WORDS for sentence in sentences(text)][-3:] == [False, True, False]
