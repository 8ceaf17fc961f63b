"""Claims about the front page, in English and in Japanese: it is short, leads to files, and both say the same."""

import re
from pathlib import Path

import pytest
from markdown_tables import table_rows

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ENGLISH, JAPANESE = ROOT / "README.md", DOCS / "README.ja.md"
MOST_LINES = 130
COMMAND = re.compile(r"(?:python3?|pip|torchrun) [^\n`]+")
NUMBER = re.compile(r"\d[\d,.]*\d|\d")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
TERMS = [  # of the glossary, each used on the Japanese page as the glossary has it
    "pretraining", "transfer learning", "fine-tuning", "feature-based transfer", "encoder", "head", "static vector",
    "skip-gram", "language model", "bidirectional language model", "masked language model", "sentiment analysis",
    "accuracy", "test set", "seed", "bag of n-grams", "softmax", "scalar mix",
]


def targets(page: Path) -> set[Path]:
    """The files that a page leads to."""
    return {(page.parent / link).resolve() for link in LINK.findall(page.read_text("utf-8")) if "://" not in link}


def results(page: Path) -> list[list[str]]:
    """The cells of the table of accuracies, without the names of its rows."""
    return [cells for _, *cells in table_rows(page.read_text("utf-8")) if len(cells) == 5][1:]


def test_the_front_page_is_short_and_leads_to_the_course_first():
    text = ENGLISH.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert LINK.search(text)[1] == "docs/course/README.md"
    assert re.findall(r"(?m)^python -m .*", text)[:2] == [
        "python -m pretrain.bilm", "python -m finetune.imdb --mode frozen"]


@pytest.mark.parametrize("page", [ENGLISH, *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_each_link_leads_to_a_file(page):
    assert not [path for path in targets(page) if not path.exists()]


def test_each_page_of_docs_is_reached_from_the_front_page_or_from_one_that_it_leads_to():
    first = {path for path in targets(ENGLISH) if path.suffix == ".md"}
    reached = first.union(*(targets(path) for path in first))
    assert not set(DOCS.glob("*.md")) - reached


def test_each_command_and_number_of_the_japanese_page_stands_in_the_english_one():
    english, japanese = (page.read_text("utf-8") for page in (ENGLISH, JAPANESE))
    assert COMMAND.findall(japanese) == COMMAND.findall(english)
    japanese = re.sub(r"(\d+) 万", lambda tens: f"{int(tens[1]) / 100:g}", japanese)  # 470 万 are 4.7 million
    assert set(NUMBER.findall(japanese)) <= set(NUMBER.findall(english))
    assert re.findall(r"(?s)```.*?```", japanese) == re.findall(r"(?s)```.*?```", english)


def test_the_two_tables_of_results_have_the_same_cells_and_the_pages_the_same_links():
    assert len(results(ENGLISH)) == 6 and results(JAPANESE) == results(ENGLISH)
    assert targets(JAPANESE) - {ENGLISH} == targets(ENGLISH) - {JAPANESE}


@pytest.mark.parametrize("term", TERMS)
def test_the_japanese_page_uses_the_terms_of_the_glossary(term):
    japanese = {row[0].partition(" (")[0]: row[1].partition("（")[0]
                for row in table_rows((DOCS / "glossary.md").read_text("utf-8"))}
    assert japanese[term] in JAPANESE.read_text("utf-8")
