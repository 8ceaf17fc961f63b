"""Claims about the recorded experiment: what README and docs say of it is what its lines say, and all can be drawn."""

import re
import shlex
from pathlib import Path

import pytest
from markdown_tables import table_rows

from finetune.compare import tables
from finetune.compare.grid import COMMANDS, recorded

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "docs" / "experiment"
LINES = {  # how a row of the README's result table begins -> its model and mode
    "from scratch: the biLM's network": ("bilm", "scratch"),
    "from scratch: BERT's network": ("bert-imdb", "scratch"),
    "from scratch: random word embeddings": ("static", "scratch"),
    "bag of uni- and bigrams": ("bag", "bag"),
    "frozen static vectors": ("static", "frozen"),
    "frozen biLM, WikiText-2": ("bilm", "frozen"),
    "frozen biLM, pretrained further": ("bilm-imdb", "frozen"),
    "frozen biLM, with a second such pass": ("bilm-imdb2", "frozen"),
    "fine-tuned biLM": ("bilm-imdb2", "finetune"),
    "the same, its upper layer alone": ("bilm-imdb2", "top"),
    "the same, gradually unfrozen": ("bilm-imdb2", "gradual"),
    "frozen BERT, WikiText-2": ("bert", "frozen"),
    "frozen BERT, pretrained further": ("bert-imdb", "frozen"),
    "fine-tuned BERT": ("bert-imdb", "finetune"),
}


@pytest.fixture(scope="module")
def rows():
    return recorded([str(EXPERIMENT / "results.jsonl")])


def readme_table() -> list[list[str]]:
    """The rows of the README's table of results, its head first."""
    section = (ROOT / "README.md").read_text().partition("## What pretraining is worth")[2].partition("\n## ")[0]
    return table_rows(section)


def test_the_table_in_docs_is_drawn_from_its_lines(rows):
    assert (EXPERIMENT / "table.md").read_text() == tables.table(rows)


def test_each_number_in_the_readme_is_the_mean_of_its_lines(rows):
    head, *body = readme_table()
    counts = [int(re.sub(r"\D", "", cell)) for cell in head[1:]]
    of = tables.by_line(rows)
    told = {}
    for name, *cells in body:
        line = next(line for begins, line in LINES.items() if name.startswith(begins))
        for n, cell in zip(counts, cells, strict=True):
            if cell != "—":
                told[line, n] = cell
    expected = {(line, n): f"{tables.mean(tables.accuracies(runs)):.1f}"
                for line in LINES.values() for n, runs in of[line].items()}
    assert told == expected


def test_each_line_has_the_command_that_makes_it(rows):
    for row in rows:
        python, m, module, *flags = shlex.split(row["command"])
        asked = COMMANDS[module].Settings.parse_args(flags)
        assert (python, m, asked.labels, asked.seed) == ("python", "-m", row["labels"], row["seed"])
        assert module == "finetune.bag" or (asked.mode, Path(asked.encoder).name) == (row["mode"], row["model"])
