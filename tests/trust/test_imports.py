"""Claims about the house: imports go one way and stand at the top, models know nothing of commands, settings stay as
they were given, and a typo is answered without torch.

Read from the source by its syntax tree, so that an import inside a function counts like any other.
"""

import ast
import dataclasses
import graphlib
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from minitransfer.apparatus.settings import CommandSettings

ROOT = Path(__file__).resolve().parents[2]
OURS = ("minitransfer", "pretrain", "finetune")

# A part may import itself, the apparatus, and any part that stands lower.
HEIGHT = {
    "minitransfer.text": 0,
    "minitransfer.static": 1,
    "minitransfer.elmo": 2,
    "minitransfer.bert": 2,
    "minitransfer.gpt": 3,
    "minitransfer.transfer": 4,
    "minitransfer.huggingface": 5,
    "pretrain": 6,
    "finetune": 6,
    "tests": 7,
}
APPARATUS = "minitransfer.apparatus"
MODELS = ("minitransfer.elmo", "minitransfer.bert", "minitransfer.gpt", "minitransfer.transfer.heads")
NOT_FOR_MODELS = ("argparse", "tokenizers", "minitransfer.text.corpora", "minitransfer.text.wikitext",
                  "minitransfer.text.imdb")
PRETRAINING = ("pretrain.static", "pretrain.bilm", "pretrain.bert", "pretrain.gpt", "pretrain.distil",
               "pretrain.shared")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TORCH_FREE = ("errors", "options", "settings", "commands")
OPTIONAL = ("matplotlib", "transformers", "pyarrow", "sklearn")
FRONT = "minitransfer.__init__"  # what `import minitransfer` loads
OFFERED = ("minitransfer.apparatus.calling.call", "minitransfer.transfer.api.load")  # there, once they are called
LATE = {  # imported inside functions, though neither by a door nor of something optional; and why
    ("minitransfer.apparatus.commands", "minitransfer.apparatus.distributed.joined"): "torch; for several processes",
    ("minitransfer.apparatus.progress", "tqdm.tqdm"): "a door that needs tqdm could not say that it is missing",
    (FRONT, "minitransfer.transfer.api.load"): "torch; `import minitransfer` takes a moment, and --help begins with it",
    (FRONT, "minitransfer.apparatus.calling.call"): "so that a Python which is too old is told so first",
    (FRONT, "minitransfer.apparatus.errors.UsageError"): "the same",
    ("finetune.compare.run", "finetune.compare.plots"): "has matplotlib, which is optional, at its top",
    ("pretrain.inspect.look", "pretrain.inspect.pictures"): "the same",
}
MOST_LATE = 15  # statements inside functions, those of doors and of optional packages included


def modules(*tops: str) -> dict[str, Path]:
    """Every module of the project by its full name, or those of some top folders."""
    paths = [path for top in tops or (*OURS, "tests") for path in (ROOT / top).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def imported(tree: ast.AST) -> Iterator[str]:
    """The full name of everything a module imports: `from a import b` gives a.b, whether b is a module or a name."""
    for node in ast.walk(tree):
        yield from names(node)


def names(node: ast.AST) -> list[str]:
    """The full names that a single statement or call imports; none if it does something else."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + f"{node.module or ''}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__", "deferred"):
        return [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    return []


def late(tree: ast.AST) -> list[list[str]]:
    """The names of each import inside a function, those of functions within functions once."""
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    nodes = dict.fromkeys(node for function in functions for node in ast.walk(function))
    return [imports for node in nodes if (imports := names(node))]


def is_door(module: str) -> bool:
    return module.endswith(".__main__")


def out_of_place(module: str, source: str) -> set[str]:
    """What a module imports inside functions without being a door, but for optional packages."""
    return {name for imports in late(ast.parse(source)) for name in imports
            if not is_door(module) and not any(inside(name, package) for package in OPTIONAL)}


def takers_of_a_namespace(tree: ast.AST) -> list[str]:
    """The functions that have a parameter annotated as an argparse.Namespace, alone or as part of a type."""
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    return [f.name for f in functions for a in ast.walk(f.args)
            if isinstance(a, ast.arg) and a.annotation and "Namespace" in ast.unparse(a.annotation)]


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def part_of(name: str) -> str | None:
    """The part of the house that a name belongs to; None for other people's libraries."""
    return next((part for part in (*HEIGHT, APPARATUS) if inside(name, part)), None)


def allowed(importer: str, name: str) -> bool:
    """Whether a module may import a name."""
    if name.startswith("."):
        return False  # full names only: a reader sees where each comes from
    if any(part.startswith("test_") for part in name.split(".")):
        return False  # what tests share stands in tests/helpers
    if any(inside(importer, model) for model in MODELS) and any(inside(name, other) for other in NOT_FOR_MODELS):
        return False
    if any(inside(importer, earlier) for earlier in PRETRAINING) and inside(name, "minitransfer.transfer"):
        return False
    if importer == FRONT and name in OFFERED:
        return True
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
        ("tests.trust.test_states", "from test_damage import make_bag"),
        ("tests.trust.test_states", "import tests.trust.test_damage"),
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


def test_no_module_imports_itself_by_way_of_others():
    """Late imports count, too: one inside a function may hide a circle, but does not take it away."""
    paths = modules(*OURS)
    graph = {module: {part for name in imported(ast.parse(path.read_text("utf-8")))
                      for part in (name, name.rpartition(".")[0]) if part in paths} for module, path in paths.items()}
    assert "minitransfer.apparatus.options" in graph["minitransfer.apparatus.settings"]
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(paths)  # raises for a circle


def test_imports_stand_at_the_top_but_for_those_of_doors_and_of_what_is_optional():
    found = {(module, name) for module, path in modules(*OURS).items()
             for name in out_of_place(module, path.read_text("utf-8"))}
    assert found == LATE.keys()  # one that is gone leaves the table, too
    statements = [imports for path in modules(*OURS).values() for imports in late(ast.parse(path.read_text("utf-8")))]
    assert len(statements) <= MOST_LATE


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("minitransfer.elmo.mix", "def f():\n    import torch", {"torch"}),
        ("minitransfer.elmo.mix", "class A:\n    async def f(self):\n        from torch import nn", {"torch.nn"}),
        ("minitransfer.elmo.mix", "def f():\n    def g():\n        import a, b", {"a", "b"}),
        ("minitransfer.elmo.mix", "def f():\n    importlib.import_module('torch')", {"torch"}),
        ("minitransfer.elmo.mix", "try:\n    import torch\nexcept ImportError:\n    torch = None", set()),
        ("minitransfer.elmo.mix", "def f():\n    from matplotlib.figure import Figure", set()),
        ("finetune.imdb.__main__", "def f():\n    from finetune.imdb import run", set()),
    ],
)
def test_an_import_inside_a_function_would_be_noticed(module, source, expected):
    assert out_of_place(module, source) == expected


def test_no_function_but_a_door_takes_a_namespace():
    takers = {module for module, path in modules(*OURS).items() if takers_of_a_namespace(ast.parse(path.read_text()))}
    assert takers == {"minitransfer.huggingface.__main__"}


@pytest.mark.parametrize("parameter", ["a: Namespace", "a: argparse.Namespace | None = None", "*a: 'Namespace'",
                                       "*, a: list[Namespace]"])
def test_a_function_that_takes_a_namespace_would_be_noticed(parameter):
    assert takers_of_a_namespace(ast.parse(f"class A:\n    def f(self, b, {parameter}): pass")) == ["f"]
    assert takers_of_a_namespace(ast.parse("def f(a) -> Namespace: pass")) == []


SETTINGS = [name for name in modules(*OURS) if name.endswith(".settings")]


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_never_change(name):
    """Each dataclass of a settings.py is frozen, and none is changed by the way around that."""
    module = importlib.import_module(name)
    classes = [thing for thing in vars(module).values() if isinstance(thing, type) and thing.__module__ == name]
    kinds = [kind for kind in classes if issubclass(kind, CommandSettings)]
    assert kinds and all(kind.__dict__["__dataclass_params__"].frozen for kind in kinds)
    assert not any(way in modules()[name].read_text() for way in ("object.__setattr__", "__dict__.update"))


def test_a_value_cannot_be_written_into_settings():
    settings = importlib.import_module("pretrain.static.settings").Settings.of(preset="tiny")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 7


def loads_torch(names: list[str]) -> bool:
    """Whether torch is loaded once these modules are, in a process of its own."""
    program = f"import sys, importlib; [importlib.import_module(n) for n in {names!r}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout in ("True\n", "False\n") and done.stderr == ""
    return done.stdout == "True\n"


def test_text_and_the_reading_of_flags_never_load_torch():
    """A mistyped flag and `--help` are answered in a moment only because nothing on their way imports torch."""
    doors = [name for name in modules(*OURS) if is_door(name)]
    assert len(SETTINGS) >= 15 and len(doors) == 14
    texts = [name for name in modules() if inside(name, "minitransfer.text")]
    assert not loads_torch([*SETTINGS, *doors, *texts, *(f"{APPARATUS}.{name}" for name in TORCH_FREE)])
    assert loads_torch(["pretrain.static.train"])


def test_an_installed_copy_has_the_tables_that_the_modules_beside_them_read():
    """setuptools installs a file that is no module only if pyproject.toml names it under its package."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    installed = {path for package, patterns in named.items() for pattern in patterns
                 for path in ROOT.joinpath(*package.split(".")).glob(pattern)}
    there = {path for top in ("minitransfer", "pretrain", "finetune") for path in (ROOT / top).rglob("*")
             if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there and there <= installed


@pytest.mark.parametrize("package", ["minitransfer", "pretrain", "finetune"])
def test_a_python_that_is_too_old_is_told_so(package):
    program = f"import sys; sys.version_info = (3, 9, 1); import {package}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: Python 3.11 or newer is needed, and this is 3.9. Fix: ")


@pytest.mark.parametrize("command", ["minitransfer", "pretrain.static", "pretrain.bilm", "pretrain.inspect",
                                     "finetune.imdb"])
def test_without_an_environment_a_command_says_what_is_missing(command):
    """-S: Python as it is without the packages of any environment."""
    done = subprocess.run([sys.executable, "-S", "-m", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: the package numpy is not installed for {sys.executable}. Fix: activate")


def test_nothing_asks_what_time_it_is_so_that_a_clock_set_back_changes_nothing():
    """All waiting and timing is by time.monotonic, or time.perf_counter."""
    for part in ("minitransfer", "pretrain", "finetune"):
        for file in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    assert (node.value.id, node.attr) not in {
                        ("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "today")}, file
