"""Claims about the homework: empty stubs fail, the book's functions and the solutions pass, each mistake is named."""

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import homework_by_the_book
import pytest
from answers_file import load
from markdown_tables import table_rows
from tasks import TASKS
from wrong_homework import WRONG

ROOT = Path(__file__).parents[2]
HOMEWORK, SOLUTIONS = ROOT / "docs" / "course" / "homework", ROOT / "docs" / "course" / "solutions" / "homework.py"
BY_NAME = {task.name: task for task in TASKS}
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def grade(*flags: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """The student's command, in a process of its own."""
    command = [sys.executable, "-m", "pytest", str(HOMEWORK), "-p", "no:cacheprovider", *flags]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@every_task
def test_an_empty_stub_is_told_what_to_compute_how_to_begin_and_what_to_read(task):
    complaint = task.complaint(load(HOMEWORK / "stubs.py"))
    assert complaint.startswith(f"Task {task.number}, {task.name}: not written yet.")
    assert all(part in complaint for part in (task.formula, task.hint, task.chapter, f"{task.points} points"))


@every_task
@pytest.mark.parametrize("path", [Path(homework_by_the_book.__file__), SOLUTIONS], ids=["book", "solutions"])
def test_the_functions_of_the_book_and_the_solutions_pass(task, path):
    assert task.complaint(load(path)) is None


@pytest.mark.parametrize(("name", "function", "message"), [(task, f, message) for task, _, f, message in WRONG],
                         ids=[f"{task}: {mistake}" for task, mistake, *_ in WRONG])
def test_each_mistake_is_found_and_named(name, function, message):
    complaint = BY_NAME[name].complaint(SimpleNamespace(**{name: function}))
    assert complaint and message in complaint and "It stopped with" not in complaint


def test_each_task_is_tried_with_several_mistakes_and_those_that_every_class_makes_are_among_them():
    tried = [task for task, *_ in WRONG]
    assert set(tried) == set(BY_NAME) and min(tried.count(name) for name in BY_NAME) >= 5
    messages = " ".join(message for *_, message in WRONG)
    for mistake in ("The future leaks", "drawn independently", "unscaled", "mean over padding", "mask is ignored"):
        assert mistake in messages


@pytest.mark.parametrize(("function", "message"), [
    (lambda *inputs: 1 / 0, "stopped with ZeroDivisionError: division by zero (line "),
    (lambda *inputs: None, "should be a tensor, and is of type NoneType"),
    (lambda q, k, v, mask: k, "should have the shape (2, 3, 6), and has (2, 5, 4)"),
    (lambda q, k, v, mask: q.new_full((*q.shape[:2], v.shape[2]), float("nan")), "not finite"),
    ("not a function", "there is no function of this name"),
])  # fmt: skip
def test_what_is_no_answer_at_all_is_told_apart_in_a_sentence(function, message):
    assert message in BY_NAME["attention"].complaint(SimpleNamespace(attention=function))


def test_a_grader_is_not_misled_by_an_answer_that_changes_its_inputs():
    def attention(q, k, v, mask):
        result = homework_by_the_book.attention(q, k, v, mask)
        q.zero_(), k.zero_(), v.zero_(), mask.fill_(True)
        return result

    assert BY_NAME["attention"].complaint(SimpleNamespace(attention=attention)) is None


def test_the_command_fails_on_the_stubs_and_gives_no_point():
    done = grade()
    assert done.returncode == 1 and "15 failed" in done.stdout and "points: 0 of 135" in done.stdout
    assert "Traceback" not in done.stdout and "Error" not in done.stdout


def test_a_students_file_is_graded_task_by_task(tmp_path):
    half = (HOMEWORK / "stubs.py").read_text("utf-8").replace("    raise NotImplementedError", "    return None")
    (tmp_path / "mine.py").write_text(half + "\n\ndef layer_rates(G, eta, delta):\n"
                                             "    return [eta * delta ** (G - number) for number in range(1, G + 1)]\n")
    done = grade("--solutions", str(tmp_path / "mine.py"))
    assert done.returncode == 1 and "14 failed, 1 passed" in done.stdout and "points: 5 of 135" in done.stdout


def test_the_points_are_of_those_tasks_that_were_graded():
    done = grade("--solutions", str(SOLUTIONS), "-m", "core")
    assert done.returncode == 0 and "10 passed" in done.stdout and "points: 100 of 100" in done.stdout
    done = grade("-k", "glove or layer_rates")
    assert done.returncode == 1 and "2 failed" in done.stdout and "points: 0 of 10" in done.stdout


def test_the_solutions_have_all_points():
    done = grade("--solutions", str(SOLUTIONS))
    assert done.returncode == 0 and "points: 135 of 135" in done.stdout


@pytest.mark.parametrize(("text", "message"), [
    (None, "there is no such file. Fix: cp "),
    ("def attention(:\n", r"cannot be run: SyntaxError: .* \(line 1\)\. Fix: "),
    ("import torch\ntorch.nowhere\n", "cannot be run: AttributeError: .*nowhere.*Fix: "),
])  # fmt: skip
def test_a_file_that_cannot_be_graded_is_refused_in_one_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(pytest.UsageError, match=message) as refused:
        load(tmp_path / "mine.py")
    assert "\n" not in str(refused.value)


def test_and_the_command_says_so_before_it_grades_anything(tmp_path):
    done = grade("--solutions", str(tmp_path / "mine.py"))
    assert done.returncode == 4 and "there is no such file. Fix: cp " in done.stderr
    assert "Traceback" not in done.stderr and "points" not in done.stdout


def test_the_page_of_the_homework_lists_the_tasks_as_they_are():
    head, *rows = table_rows((HOMEWORK / "README.md").read_text("utf-8"))
    assert head == ["", "function", "what", "lecture", "difficulty", "minutes", "points"]
    assert rows == [[str(t.number), f"`{t.name}`", t.title, t.lecture, t.difficulty, str(t.minutes), str(t.points)]
                    for t in TASKS]
    assert [sum(task.points for task in TASKS if task.core is core) for core in (True, False)] == [100, 35]
    assert [task.number for task in TASKS] == list(range(1, 16))
    assert all((ROOT / task.chapter).is_file() for task in TASKS)


def test_each_stub_has_the_signature_of_its_solution_and_of_the_books_answer():
    paths = (HOMEWORK / "stubs.py", SOLUTIONS, Path(homework_by_the_book.__file__))
    signatures = [{node.name: ast.unparse(node.args) for node in ast.parse(path.read_text("utf-8")).body
                   if isinstance(node, ast.FunctionDef) and node.name in BY_NAME} for path in paths]
    assert list(signatures[0]) == list(BY_NAME) and signatures[1] == signatures[0] == signatures[2]


def test_no_grader_imports_a_test():
    for path in HOMEWORK.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.rpartition(".")[2].startswith("test_")], path.name
