"""Claims about pretraining a GPT: stopped anywhere it ends as if never stopped, it begins with what it is given, and it
measures what it says. What it shares with BERT is tested in test_pretrain_bert.py.
"""

import math
import signal
from dataclasses import replace

import pytest
import torch
from bert_runs import PRESETS, die_at, make_static_pieces, pretrain
from pretrain_runs import make_wikitext, rows, signal_at

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.bert.encoder import BertConfig
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.corpora import Corpus
from minitransfer.text.packing import pack
from minitransfer.text.wordpiece import WordPiece
from minitransfer.text.words import tokenize
from pretrain.bert import start as starting
from pretrain.gpt import text as packed
from pretrain.gpt.settings import Settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_wikitext(tmp_path_factory.mktemp("data"), words=2_000)


def run(data, out, *more) -> int:
    return pretrain(data, out, *more, command="gpt")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run(data, out, "--softmax", "sampled") == 0
    return out


def weights(path):
    return load_run(path).tensors


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_stopped_then_killed_and_resumed_in_new_processes_a_run_ends_with_the_same_bits(data, whole, tmp_path):
    more, cut = ("--softmax", "sampled"), tmp_path / "cut"
    first = die_at(9, "SIGTERM", data, cut, *more, command="gpt")
    assert first.returncode == 143 and "to go on: python -m pretrain.gpt" in first.stderr
    second = die_at(20, "SIGKILL", data, cut, *more, "--save-every", "1e-9", "--resume", command="gpt")
    assert second.returncode == -signal.SIGKILL
    assert run(data, cut, *more, "--resume") == 0
    assert same(weights(whole), weights(cut)) and rows(cut) == rows(whole)
    steps = [row["step"] for row in rows(cut) if "loss" in row]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("more", [("--optimizer", "muon", "--weight-decay", "0.3"), ("--average-weights", "0.2")])
def test_with_each_switch_of_the_recipe_too(data, whole, tmp_path, more):
    more = ("--softmax", "sampled", *more)
    assert run(data, tmp_path / "whole", *more) == 0
    with pytest.MonkeyPatch.context() as patched:
        signal_at("gpt", 17, signal.SIGTERM, patched.setattr)
        assert run(data, tmp_path / "cut", *more) == 143
    assert run(data, tmp_path / "cut", *more, "--resume") == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert not same(weights(tmp_path / "whole"), weights(whole))


def test_a_run_leaves_all_that_is_needed_to_use_it(whole):
    run = load_run(whole)
    tokenizer, preset = WordPiece.from_json(run.text("tokenizer.json")), PRESETS["gpt"]
    shape = BertConfig.from_dict(run.config["model"])
    assert run.kind == "gpt" and shape.vocab_size == tokenizer.vocab_size == preset["vocab_size"]
    assert run.config["softmax"] == "sampled" and "masking" not in run.config
    CausalLM(shape).load_state_dict(run.tensors)
    last = rows(whole)[-1]
    assert last["perplexity_piece"] == pytest.approx(math.exp(last["held_out_loss"]))


@pytest.mark.parametrize("softmax", ["sampled", "full"])
def test_a_warm_started_run_begins_with_the_vectors_of_its_pieces(data, tmp_path, softmax):
    pieces = make_static_pieces(tmp_path / "pieces")
    assert run(data, tmp_path / "run", "--warm-start", str(pieces), "--epochs", "1", "--softmax", softmax) == 0
    assert load_run(tmp_path / "run").config["origin"]["kind"] == "static"


def test_going_on_with_other_text_takes_over_everything_but_not_from_a_bert(whole, data, tmp_path, capsys):
    other = make_wikitext(tmp_path / "data", words=900, seed=5)
    assert run(other, tmp_path / "run", "--init-from", str(whole), "--epochs", "1") == 0
    config = load_run(tmp_path / "run").config
    assert config["origin"]["kind"] == "gpt" and config["tokenizer"] == load_run(whole).config["tokenizer"]
    assert pretrain(data, tmp_path / "bert", "--init-from", str(whole)) == 4
    assert "holds a run of kind 'gpt', but one of kind 'bert' is needed" in capsys.readouterr().err


def some_text() -> tuple[packed.Text, Settings]:
    documents = ["ab abc b a ab don't stop abc ab " * 9, "abc a b abc ab c " * 8, "b b abc\nab c b abc a " * 8]
    corpus = Corpus("letters", documents, ["abc b don't a ab.\n\nabc", "ab c b abc a " * 6], False, "made up")
    settings = replace(Settings.of(preset="tiny", seq_length=7, batch_size=3, seed=3), vocab_size=20)
    return packed.read_text(corpus, settings, 3, None), settings


def test_each_piece_that_fills_a_row_is_counted_and_asked_for_once():
    text, _ = some_text()
    assert text.rows.shape[1] == text.held_out.shape[1] == 7 + 2
    asked = [piece for row in text.rows.tolist() for piece in row[1:-1]]
    assert text.counts.tolist() == [asked.count(piece) for piece in range(text.tokenizer.vocab_size)]
    documents = ["abc b don't a ab.\n\nabc", "ab c b abc a " * 6]
    pieces = text.tokenizer.encode(documents)
    words = [word for document in documents for line in document.split("\n") for word in tokenize(line)]
    P = sum(map(len, pieces)) + len(pieces) - 1  # with a [SEP] between documents
    assert "'t" in words and text.pieces_per_word == pytest.approx(P / len(words))
    assert sorted(map(tuple, text.held_out.tolist())) == sorted(map(tuple, pack(pieces, 9).tolist()))


def test_what_is_measured_is_worked_out_piece_by_piece():
    text, settings = some_text()
    model = starting.build(settings, text, None, CausalLM)
    found = packed.measure(model, text, batch_size=2)
    nats, by_frequency, right, n = 0.0, 0.0, 0, 0
    for row in text.held_out.tolist():
        p = model(torch.tensor([row[:-2]])).detach()[0].softmax(-1)
        for t, piece in enumerate(row[1:-1]):
            nats, n, right = nats - math.log(p[t, piece]), n + 1, right + (p[t].argmax() == piece).item()
            by_frequency -= math.log((text.counts[piece] + 1) / (text.counts + 1).sum())
    assert found["held_out_loss"] == pytest.approx(nats / n, rel=1e-5) and found["held_out_pieces"] == n
    assert found["held_out_accuracy"] == pytest.approx(right / n)
    assert found["frequency_loss"] == pytest.approx(by_frequency / n, rel=1e-5)
    assert found["perplexity_word"] == pytest.approx(math.exp(nats / n * text.pieces_per_word), rel=1e-4)
    assert found["held_out_loss"] == pytest.approx(found["frequency_loss"], rel=0.05)  # a new one guesses by frequency
