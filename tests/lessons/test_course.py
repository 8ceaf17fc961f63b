"""Claims about docs/course and docs/figures: the notebooks are whole, were run, and fit the code as it is now.

That they run is checked by `python -m pytest --nbmake docs/course/*.ipynb`, as in .ci/run.
"""

import ast
import importlib.util
import json
import re
import textwrap
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from minitransfer.bert.encoder import BertConfig, MaskedLM

ROOT = Path(__file__).parents[2]
COURSE, FIGURES = ROOT / "docs" / "course", ROOT / "docs" / "figures"
NOTEBOOKS = sorted(COURSE.glob("*.ipynb"))
MOST_CELLS, MOST_CELL_LINES, MOST_BYTES = 30, 50, 400_000
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
SOMEBODYS_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|var|usr|Users|work|opt)/|[A-Z]:\\\\|site-packages")

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem[:2])


def cells(path: Path, kind: str) -> list[dict]:
    """The cells of one kind, each with its source as one string."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [cell | {"source": "".join(cell["source"])} for cell in content["cells"] if cell["cell_type"] == kind]


def code(path: Path) -> ast.Module:
    return ast.parse("\n".join(cell["source"] for cell in cells(path, "code")))


def test_there_are_five_notebooks_in_order():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["00", "01", "02", "03", "04"]


@notebooks
def test_a_notebook_was_run_from_top_to_bottom_without_an_error(path):
    run = cells(path, "code")
    assert [cell["execution_count"] for cell in run] == list(range(1, len(run) + 1))
    outputs = [output for cell in run for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@notebooks
def test_a_notebook_is_short_and_shows_no_path_of_the_machine_it_was_run_on(path):
    assert len(cells(path, "code")) + len(cells(path, "markdown")) <= MOST_CELLS
    assert max(cell["source"].count("\n") + 1 for cell in cells(path, "code")) <= MOST_CELL_LINES
    assert path.stat().st_size <= MOST_BYTES
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
    assert not SOMEBODYS_PATH.search(text)


@notebooks
def test_a_notebook_opens_with_a_question_and_ends_with_two_things_to_change(path):
    first, last = cells(path, "markdown")[0]["source"], cells(path, "markdown")[-1]["source"]
    assert first.startswith(f"# {path.stem[:2]} · ") and "**Question.**" in first and "| time |" in first
    headings = re.findall(r"(?m)^## (.*)$", last)
    assert headings == ["What we saw", "Two things to change and see"]
    things = last.partition("## Two things to change and see")[2]
    assert re.findall(r"(?m)^(\d+)\. ", things) == ["1", "2"]
    assert "**Next:**" in things


@notebooks
def test_sections_are_numbered_one_after_the_other(path):
    numbers = [int(n) for cell in cells(path, "markdown") for n in re.findall(r"(?m)^## (\d+)\. ", cell["source"])]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 5


@notebooks
def test_what_a_notebook_imports_is_there(path):
    for node in ast.walk(code(path)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("minitransfer", "pretrain", "finetune"):
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)  # a name in it, or a part
                        and importlib.util.find_spec(f"{node.module}.{alias.name}") is None], node.module


@notebooks
def test_what_a_notebook_imports_it_uses(path):
    imported = {alias.asname or alias.name.split(".")[0] for node in ast.walk(code(path))
                if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names}
    assert imported <= {node.id for node in ast.walk(code(path)) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("path", [*NOTEBOOKS, COURSE / "README.md", FIGURES / "README.md"],
                         ids=lambda path: f"{path.parent.name}-{path.name[:2]}")
def test_links_and_pictures_lead_to_files(path):
    sources = [cell["source"] for cell in cells(path, "markdown")] if path.suffix == ".ipynb" else [path.read_text()]
    targets = {target for source in sources for target in LINK.findall(source)}
    assert targets and not [target for target in targets if not (path.parent / target).exists()]


def test_the_network_that_a_reader_of_notebook_04_is_to_build_sees_one_token_too_many_and_no_more():
    (path,) = COURSE.glob("04_*.ipynb")
    lines = re.search(r"```python\n(.*?)```", cells(path, "markdown")[-1]["source"], re.DOTALL)[1]
    config = BertConfig(20, hidden_size=8, num_layers=1, num_heads=2, intermediate_size=8, max_positions=8, dropout=0.0)
    names = {"MaskedLM": MaskedLM, "new": lambda network: network(config)}
    torch.manual_seed(0)
    exec(textwrap.dedent(lines), names)
    texts = torch.randint(4, 20, (1, 6)), torch.randint(4, 20, (1, 6))
    texts[1][0, :4] = texts[0][0, :4]  # they differ from the fifth token on
    with torch.no_grad():
        one, other = (names["gpt"].bert(text)[-1][0] for text in texts)
    same = [bool(torch.equal(a, b)) for a, b in zip(one, other)]
    assert same == [True, True, True, False, False, False]  # without the leak the fourth would be the same


def test_every_diagram_is_listed_described_and_readable_on_light_and_dark():
    listed = (FIGURES / "README.md").read_text(encoding="utf-8")
    diagrams = sorted(FIGURES.glob("*.svg"))
    assert diagrams
    for path in diagrams:
        root = ElementTree.parse(path).getroot()
        parts = {child.tag.rpartition("}")[2]: child.text for child in root}
        assert parts["title"].strip() and parts["desc"].strip(), path.name
        assert "prefers-color-scheme: dark" in parts["style"], path.name
        assert f"({path.name})" in listed, path.name


def test_continuous_integration_runs_the_notebooks():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"nbmake", "ipykernel"} <= {re.split(r"[<>=]", need)[0] for need in extras["course"]}
    assert "pytest --nbmake" in (ROOT / ".ci" / "run").read_text()
