"""Claims about docs/glossary.md: each entry is whole, leads to a file, and no term of the lecture is missing."""

import re
from pathlib import Path

import pytest
from markdown_tables import table_rows

DOCS = Path(__file__).parents[2] / "docs"
HEAD = ["term", "日本語", "in one sentence", "where"]
FEWEST_ENTRIES = 70
MOST_WORDS = 30
LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")

NAMES = ["Word2Vec", "GloVe", "ELMo", "BERT", "GPT", "RoBERTa", "DistilBERT", "T5", "GPT-3", "ChatGPT"]
NOT_IMPLEMENTED = ["RoBERTa", "T5", "GPT-3", "ChatGPT"]
TERMS = [
    "pretraining", "transfer learning", "fine-tuning", "feature-based transfer", "domain adaptation",
    "catastrophic forgetting", "discriminative learning rates", "gradual unfreezing", "self-attention",
    "multi-head attention", "static vector", "contextual vector", "bidirectional language model", "LSTM",
    "character CNN", "scalar mix", "masked language model", "[CLS]", "softmax", "cross-entropy loss", "nat",
    "perplexity", "mean pooling", "head", "forward pass", "validation set", "early stopping", "overfitting",
    "dropout", "learning rate", "hyperparameter", "ablation", "sentiment analysis", "accuracy",
]


def text() -> str:
    return (DOCS / "glossary.md").read_text(encoding="utf-8")


def entries() -> list[list[str]]:
    """The cells of every entry, heads left out."""
    return [row for row in table_rows(text()) if row != HEAD]


def name(term: str) -> str:
    """A term without what stands in round brackets behind it."""
    return term.partition(" (")[0]


def test_each_entry_has_a_term_a_japanese_term_a_sentence_and_a_place():
    assert len(entries()) >= FEWEST_ENTRIES
    assert not [row for row in entries() if len(row) != 4 or not all(row)]


def test_each_term_stands_once():
    terms = [name(row[0]).lower() for row in entries()]
    assert sorted(set(terms)) == sorted(terms)


def test_each_entry_leads_to_a_file_that_exists():
    links = {row[0]: LINK.findall(row[3]) for row in entries()}
    assert not [term for term, paths in links.items() if not paths]
    assert not [path for paths in links.values() for path in paths if not (DOCS / path).is_file()]


def test_what_a_place_names_in_backticks_is_defined_in_its_file():
    for term, _, _, where in entries():
        source = (DOCS / LINK.findall(where)[0]).read_text(encoding="utf-8")
        for defined in re.findall(r"`(\w+)`", where):
            assert re.search(rf"\b(def|class) {defined}\b|^[\w, ]*\b{defined}\b[\w, ]* = ", source, re.M), term


def test_each_entry_is_one_sentence_of_at_most_thirty_words():
    for term, _, sentence, _ in entries():
        assert sentence.endswith(".") and not re.search(r"\. [A-Z]", sentence), term
        assert len(sentence.split()) <= MOST_WORDS, term


def test_each_term_has_japanese_characters_unless_it_is_a_proper_name():
    latin = [row[0] for row in entries() if not JAPANESE.search(row[1])]
    assert not set(latin) - {*NAMES, "Transformer"}


@pytest.mark.parametrize("term", NAMES + TERMS)
def test_each_method_model_and_main_term_of_the_lecture_has_an_entry(term):
    assert term in {name(row[0]) for row in entries()}


@pytest.mark.parametrize("term", NOT_IMPLEMENTED)
def test_what_the_book_does_not_implement_is_said_to_be_not_implemented(term):
    assert [row[3].startswith("not implemented") for row in entries() if row[0] == term] == [True]


def test_the_two_meanings_of_transfer_learning_are_explained_before_the_first_table():
    opening = " ".join(text().partition("\n|")[0].split())
    assert "lecture uses *transfer learning* (転移学習) only for a frozen" in opening and "for both" in opening
