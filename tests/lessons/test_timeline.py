"""Claims about docs/timeline.md: each model of the lecture is there, in order, with sources and a place in the book."""

import re
from pathlib import Path

import pytest
from markdown_tables import table_rows

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "timeline.md").read_text("utf-8")
NAMES = ["Word2Vec", "GloVe", "ELMo", "ULMFiT", "GPT", "BERT", "RoBERTa", "DistilBERT", "T5", "GPT-3", "ChatGPT"]
LINK = re.compile(r"\]\(([\w/.-]+)\)")


def sections() -> dict[str, str]:
    """What stands under each heading that begins with a year."""
    parts = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)[1:]
    return {head: body for head, body in zip(parts[::2], parts[1::2]) if head[:4].isdigit()}


@pytest.mark.parametrize("name", NAMES)
def test_each_model_that_the_lecture_names_has_a_section_that_opens_with_its_name(name):
    (body,) = [body for head, body in sections().items() if head.partition(": ")[2] == name]
    assert body.strip().startswith(f"**{name}**")


def test_the_years_never_fall():
    years = [int(head[:4]) for head in sections()]
    assert years == sorted(years) and years[0] == 2013 and years[-1] >= 2022


@pytest.mark.parametrize("head", [*sections(), "Today"])
def test_each_section_says_where_the_book_has_it_what_it_leaves_out_and_from_where_it_is_known(head):
    body = " ".join(PAGE.partition(f"## {head}\n")[2].partition("\n## ")[0].split())
    assert body.index("**Here:**") < body.index("**Left out:**") < max(body.find("*Source:*"), body.find("*Sources:*"))
    sources = re.split(r"\*Sources?:\*", body)[1]
    assert re.search(r"\((20\d\d)\)", sources)
    if head[:4].isdigit():
        assert f"({head[:4]})" in sources
    here = body.partition("**Here:**")[2].partition("**Left out:**")[0]
    assert "not implemented" in here or LINK.findall(here)


def test_every_file_that_the_page_leads_to_exists():
    links = LINK.findall(PAGE)
    assert len(links) > 15 and not [link for link in links if not (DOCS / link).is_file()]


def test_what_the_glossary_calls_not_implemented_the_timeline_does_too():
    glossary = {row[0]: row[3] for row in table_rows((DOCS / "glossary.md").read_text("utf-8")) if len(row) == 4}
    for head, body in sections().items():
        name = head.partition(": ")[2]
        if name in glossary and "**Here:** not implemented" in " ".join(body.split()):
            assert glossary[name].startswith("not implemented"), name
