"""Claims about the house: imports go one way, models know nothing of commands, and a typo is answered without torch.

Read from the source by its syntax tree, so that an import inside a function counts like any other.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A part may import itself, the apparatus, and any part that stands lower.
HEIGHT = {
    "minitransfer.text": 0,
    "minitransfer.static": 1,
    "minitransfer.elmo": 2,
    "minitransfer.bert": 2,
    "minitransfer.huggingface": 3,
    "minitransfer.transfer": 4,
    "pretrain": 5,
    "finetune": 5,
    "tests": 6,
}
APPARATUS = "minitransfer.apparatus"
MODELS = ("minitransfer.elmo", "minitransfer.bert", "minitransfer.transfer.heads")
NOT_FOR_MODELS = ("argparse", "tokenizers", "minitransfer.text.corpora", "minitransfer.text.wikitext",
                  "minitransfer.text.imdb")
PRETRAINING = ("pretrain.static", "pretrain.bilm", "pretrain.bert", "pretrain.shared")  # Parts II to IV: V comes later
TORCH_FREE = ("errors", "options")


def modules() -> dict[str, Path]:
    """Every module of the project by its full name."""
    paths = [path for top in ("minitransfer", "pretrain", "finetune", "tests") for path in (ROOT / top).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def imported(tree: ast.AST) -> Iterator[str]:
    """The full name of everything a module imports: `from a import b` gives a.b, whether b is a module or a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def part_of(name: str) -> str | None:
    """The part of the house that a name belongs to; None for other people's libraries."""
    return next((part for part in (*HEIGHT, APPARATUS) if inside(name, part)), None)


def allowed(importer: str, name: str) -> bool:
    """Whether a module may import a name."""
    if name.startswith("."):
        return False  # full names only: a reader sees where each comes from
    if any(inside(importer, model) for model in MODELS) and any(inside(name, other) for other in NOT_FOR_MODELS):
        return False
    if any(inside(importer, earlier) for earlier in PRETRAINING) and inside(name, "minitransfer.transfer"):
        return False
    here, there = part_of(importer), part_of(name)
    if there is None or there in (here, APPARATUS):
        return True
    return here not in (None, APPARATUS) and HEIGHT[there] < HEIGHT[here]


def complaints(importer: str, source: str) -> list[str]:
    """What a module does against the rules, one line each."""
    tree = ast.parse(source)
    found = [f"{importer} imports {name}" for name in imported(tree) if not allowed(importer, name)]
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if any(inside(importer, model) for model in MODELS):
        found += [f"{importer} prints" for f in calls if isinstance(f, ast.Name) and f.id == "print"]
    return found


def test_imports_go_one_way_and_models_know_nothing_of_commands():
    assert "minitransfer.elmo.bilm" in modules() and "tests.trust.test_imports" in modules()
    assert [line for name, path in modules().items() for line in complaints(name, path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("minitransfer.text.words", "from minitransfer.static import skipgram"),
        ("minitransfer.text.words", "def f():\n    import minitransfer.elmo.bilm"),
        ("minitransfer.static.skipgram", "from minitransfer.bert.encoder import Encoder"),
        ("minitransfer.elmo.bilm", "from minitransfer import bert"),
        ("minitransfer.elmo.bilm", "from minitransfer.transfer.heads import Head"),
        ("minitransfer.transfer.features", "import pretrain.bilm"),
        ("minitransfer.apparatus.saved", "from minitransfer.text.words import Vocabulary"),
        ("minitransfer", "from minitransfer.text.words import Vocabulary"),
        ("pretrain.bilm", "from finetune import imdb"),
        ("pretrain.bilm.start", "from minitransfer.transfer.loading import load_encoder"),
        ("finetune.imdb", "import pretrain.bilm as b"),
        ("finetune.imdb", "from tests.faults import anything"),
        ("minitransfer.elmo.bilm", "from . import charcnn"),
        ("minitransfer.elmo.bilm", "import argparse"),
        ("minitransfer.bert.encoder", "from tokenizers import Tokenizer"),
        ("minitransfer.transfer.heads", "from minitransfer.text import corpora"),
        ("minitransfer.elmo.bilm", "from minitransfer.text.imdb import LINE_BREAK"),
        ("minitransfer.transfer.heads", "def f(x):\n    print(x)"),
    ],
)
def test_each_forbidden_import_would_be_noticed(importer, source):
    assert len(complaints(importer, source)) == 1


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("minitransfer.elmo.bilm", "import torch\nfrom minitransfer.elmo.charcnn import CharCNN"),
        ("minitransfer.static.skipgram", "from minitransfer.text import words, corpora"),
        ("minitransfer.text.corpora", "from minitransfer.apparatus.errors import DataError"),
        ("minitransfer.transfer.features", "from minitransfer.text import corpora\nprint(corpora)"),
        ("finetune.imdb", "from minitransfer.transfer import heads\nfrom finetune import compare"),
        ("pretrain.inspect.look", "from minitransfer.transfer.loading import load_encoder"),
        ("tests.lessons.test_heads", "import finetune.imdb, pretrain.bilm, minitransfer.apparatus.saved"),
    ],
)
def test_what_the_house_allows_is_not_complained_about(importer, source):
    assert complaints(importer, source) == []


def test_text_and_the_reading_of_flags_never_load_torch():
    """A mistyped flag and `--help` are answered in a moment only because nothing on their way imports torch."""
    names = [name for name in modules() if inside(name, "minitransfer.text")]
    names += [f"{APPARATUS}.{name}" for name in TORCH_FREE]
    program = f"import sys, importlib; [importlib.import_module(n) for n in {names!r}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("package", ["minitransfer", "pretrain", "finetune"])
def test_a_python_that_is_too_old_is_told_so(package):
    program = f"import sys; sys.version_info = (3, 9, 1); import {package}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: Python 3.11 or newer is needed, and this is 3.9. Fix: ")


def test_nothing_asks_what_time_it_is_so_that_a_clock_set_back_changes_nothing():
    """All waiting and timing is by time.monotonic, or time.perf_counter."""
    for part in ("minitransfer", "pretrain", "finetune"):
        for file in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    assert (node.value.id, node.attr) not in {
                        ("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "today")}, file
