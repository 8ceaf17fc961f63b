"""Claims about docs/frozen-or-finetuned.md: each cell is what the recorded runs say, or counted from the network."""

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from markdown_tables import table_rows

from finetune.compare import tables
from finetune.compare.grid import recorded
from minitransfer.bert.encoder import BertConfig
from minitransfer.elmo.bilm import BiLMConfig
from minitransfer.text.words import SPECIAL_WORDS, Vocabulary
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.encoders import BertEncoder, BiLMEncoder, GptEncoder, StaticEncoder
from minitransfer.transfer.freezing import unfreeze_top

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "frozen-or-finetuned.md").read_text("utf-8")
HEAD = ["", "parameters updated", "gradients and Adam, MiB", "100 labels", "500", "2,000", "10,000", "25,000",
        "minutes, 500 labels", "minutes, 25,000", "forgetting, nats"]
COUNTS = (100, 500, 2_000, 10_000, 25_000)
NUM_WORDS, NUM_PIECES = 53_313, 16_000  # of the recorded encoders, as docs/results.md tells
HEAD_SIZE, ADAM_BYTES = 64, 12  # the default of --head-size; gradient and two moments of a parameter, 4 bytes each
ROWS = {  # name of a row -> model and mode in the records, head, and how many groups of the encoder learn at most
    "frozen static vectors": ("static", "frozen", "mean", 0),
    "frozen biLM": ("bilm-imdb2", "frozen", "mean", 0),
    "fine-tuned biLM, upper layer only": ("bilm-imdb2", "top", "mean", 1),
    "fine-tuned biLM, gradually unfrozen": ("bilm-imdb2", "gradual", "mean", 3),
    "fine-tuned biLM": ("bilm-imdb2", "finetune", "mean", 3),
    "biLM's network from scratch": ("bilm", "scratch", "mean", 3),
    "frozen BERT": ("bert-imdb", "frozen", "mean", 0),
    "fine-tuned BERT, [CLS] head": ("bert-imdb", "finetune", "cls", 5),
    "BERT's network from scratch, [CLS] head": ("bert-imdb", "scratch", "cls", 5),
    "frozen GPT": ("gpt-reviews", "frozen", "mean", 0),
    "fine-tuned GPT, last token": ("gpt-reviews", "finetune", "last", 5),
}


@cache
def recorded_lines():
    return tables.by_line(recorded([str(DOCS / "experiment" / "results.jsonl")]))


def encoder_of(model: str):
    """An encoder of the shape of the recorded one, on torch's meta device, where it takes no memory."""
    with torch.device("meta"):
        if model == "static":
            return StaticEncoder(Vocabulary(list(SPECIAL_WORDS)), 256)  # frozen, so its number of words does not count
        if model.startswith("bilm"):
            return BiLMEncoder(BiLMConfig(vocab_size=NUM_WORDS))
        kind = GptEncoder if model.startswith("gpt") else BertEncoder
        return kind(BertConfig(NUM_PIECES), SimpleNamespace(pieces=range(NUM_PIECES)))


def parameters_updated(model: str, head: str, depth: int) -> int:
    with torch.device("meta"):
        classifier = Classifier(encoder_of(model), head=head, pool="mean", head_size=HEAD_SIZE, dropout=0.0)
    unfreeze_top(classifier.encoder, depth)
    return sum(p.numel() for p in classifier.parameters() if p.requires_grad)


def forgetting(mode: str, runs: list) -> str:
    """Frozen weights cannot forget; else what a run measured, if one did."""
    if mode == "frozen":
        return "0"
    measured = [row["forgetting"] for row in runs if row["forgetting"]]
    return f"{measured[0]['after'] - measured[0]['before']:.2f}" if measured else "—"


def expected_row(name: str) -> list[str]:
    model, mode, head, depth = ROWS[name]
    of = recorded_lines()[model, mode]
    updated = parameters_updated(model, head, depth)
    accuracy = [f"{tables.mean(tables.accuracies(of[n])):.1f}" if n in of else "—" for n in COUNTS]
    minutes = [tables.plain(tables.minutes(of[n], of.values())) if n in of else "—" for n in (500, 25_000)]
    return [name, f"{updated:,}", f"{ADAM_BYTES * updated / 2**20:.2g}", *accuracy, *minutes,
            forgetting(mode, of.get(25_000, []))]


def test_the_page_has_one_table_with_a_row_for_each_strategy():
    head, *rows = table_rows(PAGE)
    assert head == HEAD and [row[0].replace("*", "") for row in rows] == list(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_each_cell_is_what_the_records_say_or_what_is_counted(name):
    rows = {row[0]: row for row in ([cell.replace("*", "") for cell in row] for row in table_rows(PAGE))}
    assert rows[name] == expected_row(name)


def test_the_highest_accuracy_of_each_column_and_no_other_is_bold():
    _, *rows = table_rows(PAGE)
    for column in range(3, 8):
        cells = [row[column] for row in rows]
        values = [float(cell.strip("*")) for cell in cells if cell != "—"]
        bold = [float(cell.strip("*")) for cell in cells if cell.startswith("**")]
        assert bold and set(bold) == {max(values)}


def test_the_sizes_that_are_counted_are_those_of_the_recorded_encoders():
    results = (DOCS / "results.md").read_text("utf-8")
    assert f"{NUM_WORDS:,} words of 256 dimensions" in results
    assert f"{NUM_PIECES:,} pieces of 256 dimensions" in results
    heads = {row["head"] for line in recorded_lines().values() for rows in line.values() for row in rows
             if row["mode"] != "average"}
    assert heads == {"linear", "mean", "cls", "last"}
    for model, mode, head, _ in ROWS.values():
        assert {row["head"] for rows in recorded_lines()[model, mode].values() for row in rows} == {head}


def test_each_gain_in_the_text_is_the_difference_of_two_means_taken_before_rounding():
    gains = re.findall(r"([\d.]+) points \(([^()]+) over ([^()]+), ([\d,]+) labels\)", " ".join(PAGE.split()))
    assert len(gains) == PAGE.count(" points (") >= 8
    for points, better, worse, labels in gains:
        means = [tables.mean(tables.accuracies(recorded_lines()[ROWS[name][:2]][int(labels.replace(",", ""))]))
                 for name in (better, worse)]
        assert f"{means[0] - means[1]:.1f}" == points


def test_the_minutes_of_pretraining_are_those_of_the_table_of_results():
    recorded_minutes = {row[3] for row in table_rows((DOCS / "results.md").read_text("utf-8")) if len(row) == 5}
    named = re.search(r"It took (.*?) minutes for the biLM and (.*?) for BERT", " ".join(PAGE.split()))
    minutes = re.findall(r"[\d.]+", " ".join(named.groups()))
    assert len(minutes) == 7 and set(minutes) <= recorded_minutes
