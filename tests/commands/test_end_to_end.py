"""The claim that the project is named for: what is learned from unlabelled text, frozen, helps where labels do not.

The built-in reviews are made for it. Opinion words of the test half are in none of the labelled reviews to train on;
what they mean can only have come from the unlabelled text, through static vectors, spelling and language model.
"""

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from finetune.imdb import __main__ as imdb
from minitransfer.apparatus.commands import run_command
from minitransfer.text.corpora import load_corpus
from minitransfer.text.words import token_stream
from pretrain.bilm import run as bilm
from pretrain.static import train as static

pytestmark = pytest.mark.slow
MARGIN = 0.13  # about half of what was found


def run(module, out, *flags) -> None:
    argv = ["--out", str(out), "--threads", "1", "--offline", "--log-every", "1000", *flags]
    assert run_command(module.main, module.Settings, argv) == 0


def accuracy(out) -> float:
    return json.loads((out / "results.json").read_text())["test_accuracy"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Static vectors, then a biLM, on the built-in corpus: what the README's first command does, here in two."""
    path = tmp_path_factory.mktemp("runs")
    run(static, path / "static", "--corpus", "sample", "--preset", "tiny")
    run(bilm, path / "bilm", "--corpus", "sample", "--preset", "tiny", "--warm-start", str(path / "static"))
    return path / "bilm"


def test_a_frozen_encoder_beats_the_same_network_from_scratch_by_far(encoder, tmp_path):
    flags = ("--data", "sample", "--labels", "1000", "--encoder", str(encoder))
    run(imdb, tmp_path / "frozen", *flags, "--mode", "frozen")
    run(imdb, tmp_path / "scratch", *flags, "--mode", "scratch", "--epochs", "4")
    assert accuracy(tmp_path / "frozen") > accuracy(tmp_path / "scratch") + MARGIN


def test_the_language_model_predicts_held_out_text_in_both_directions(encoder):
    """Far better than a model of frequencies alone, which is the best that sees no context."""
    found = json.loads((encoder / "complete.json").read_text())
    assert max(found["perplexity_forward"], found["perplexity_backward"]) < perplexity_of_frequencies() / 10


def perplexity_of_frequencies() -> float:
    """The perplexity of the sample's held-out text if each word is predicted by how often it was read, plus one."""
    corpus = load_corpus(["sample"], Path("nowhere"), offline=True)
    read, held_out = ([word for line in token_stream(texts) for word in line]
                      for texts in (corpus.train, corpus.validation))
    counts = Counter(read)
    nats = [-math.log((counts[word] + 1) / (len(read) + len(counts) + 1)) for word in held_out]
    return math.exp(sum(nats) / len(nats))
