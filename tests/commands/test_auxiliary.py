"""Claims about --lm-weight: the loss beside the task is the formula, of weight 0 nothing changes, and it holds the
encoder to its language."""

import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from corpus_files import few_of_sample
from encoder_runs import make_bert, make_bilm, make_gpt, make_oracle

from finetune.imdb import __main__ as imdb
from finetune.imdb import auxiliary
from finetune.imdb import run as imdb_run
from finetune.imdb.auxiliary import lm_loss_of
from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.bert.encoder import MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX, mask_tokens
from minitransfer.elmo.bilm import BiLM, BiLMConfig
from minitransfer.gpt.causal import CausalLM
from minitransfer.text import corpora
from minitransfer.text.wordpiece import CLS_ID, SEP_ID
from minitransfer.text.words import UNK_ID, spell_all
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")
TEXTS = ["the film was a marvel , the film", "dull", "the the film , and witty ."]
KINDS = ["bilm", "bert", "gpt"]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    make_bilm(path / "bilm"), make_bert(path / "bert"), make_gpt(path / "gpt"), make_oracle(path / "static")
    return path


@pytest.fixture
def all_asked(monkeypatch):
    """Every token is asked for, and not a share of them."""
    monkeypatch.setattr(auxiliary, "PROBABILITY", 1.0)


def classifier(path):
    """A classifier whose encoder can learn, with the run that it came from, and how it tokenises the texts above."""
    loaded = load_run(path)
    encoder = load_encoder(loaded, CPU, frozen=False)
    model = Classifier(encoder, head="mean", pool="mean", head_size=5, dropout=0.0).eval()
    return loaded, model, encoder.tokenise(TEXTS, 20)


def nats(logits, target):
    return math.log(sum(math.exp(z) for z in logits.tolist())) - logits[target].item()


def test_a_bilm_is_asked_for_the_next_and_the_previous_word_by_the_formula(encoders, all_asked):
    loaded, model, texts = classifier(encoders / "bilm")
    found = lm_loss_of(loaded, model.encoder)(model, texts.batch(np.arange(3))).item()
    bilm = BiLM(BiLMConfig.from_dict(loaded.config["model"]))
    bilm.load_state_dict(loaded.tensors)
    ids = {word: i for i, word in enumerate(loaded.text("vocab.txt").splitlines())}
    losses = [[], []]
    for text in TEXTS:
        for stack, words, into in zip(bilm.stacks(), (text.split(), text.split()[::-1]), losses):
            layers, _ = stack(bilm.charcnn(torch.from_numpy(spell_all(words))).unsqueeze(0))
            into += [nats(bilm.softmax(h), ids.get(word, UNK_ID)) for h, word in zip(layers[-1][0], words[1:])]
    assert len(losses[0]) == 13 and any(word not in ids for word in TEXTS[0].split())
    assert found == pytest.approx((np.mean(losses[0]) + np.mean(losses[1])) / 2, rel=1e-3)  # filters: float16


def test_a_gpt_is_asked_for_the_next_piece_by_the_formula(encoders, all_asked):
    loaded, model, texts = classifier(encoders / "gpt")
    found = lm_loss_of(loaded, model.encoder)(model, texts.batch(np.arange(3))).item()
    network, losses = CausalLM(model.encoder.bert.config), []
    network.load_state_dict(loaded.tensors)
    for text in texts.token_ids:
        pieces = text.tolist()
        assert (pieces[0], pieces[-1]) == (CLS_ID, SEP_ID)
        for t in range(1, len(pieces) - 1):
            losses.append(nats(network(torch.tensor([pieces[:t]]))[0, -1], pieces[t]))
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_bert_is_asked_for_what_is_masked_of_each_text_by_itself(encoders):
    loaded, model, texts = classifier(encoders / "bert")
    batch, ask = texts.batch(np.arange(3)), lm_loss_of(loaded, model.encoder)
    torch.manual_seed(6)
    found = ask(model, batch).item()
    network, losses = MaskedLM(model.encoder.bert.config), []
    network.load_state_dict(loaded.tensors)
    torch.manual_seed(6)
    inputs, labels = mask_tokens(torch.from_numpy(batch.token_ids), torch.default_generator,
                                 vocab_size=network.config.vocab_size)
    for row, wanted, length in zip(inputs, labels.tolist(), batch.mask.sum(1)):
        logits = network(row[None, :length])[0]
        losses += [nats(z, target) for z, target in zip(logits, wanted) if target != IGNORE_INDEX]
    assert len(losses) > 1 and found == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_many_draws_is_that_over_all_tokens(encoders, kind, monkeypatch):
    """Of the biLM and GPT; of BERT that more draws ask for other pieces."""
    loaded, model, texts = classifier(encoders / kind)
    batch, ask = texts.batch(np.arange(27) % 3), lm_loss_of(loaded, model.encoder)
    torch.manual_seed(0)
    with torch.no_grad():
        several = [ask(model, batch).item() for _ in range(150)]
        assert len(set(several)) > 20
        if kind != "bert":
            monkeypatch.setattr(auxiliary, "PROBABILITY", 1.0)
            assert np.mean(several) == pytest.approx(ask(model, batch).item(), abs=4 * np.std(several) / math.sqrt(150))


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradient_reaches_every_layer_of_the_encoder_and_not_the_head_that_asks(encoders, kind, all_asked):
    loaded, model, texts = classifier(encoders / kind)
    ask = lm_loss_of(loaded, model.encoder)
    torch.manual_seed(6)
    ask(model, texts.batch(np.arange(3))).backward()
    for group in model.encoder.groups():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in group)
    asking = ask.args[0]
    kept = [p for name, p in asking.named_parameters() if not name.startswith("bert.")]
    assert kept and all(p.grad is None and not p.requires_grad for p in kept)
    assert all(p.grad is None for p in model.head.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_one_token_is_asked_for_nothing(encoders, kind, all_asked):
    loaded, model, _ = classifier(encoders / kind)
    texts = model.encoder.tokenise([""] if kind != "bilm" else ["film"], 20)
    assert lm_loss_of(loaded, model.encoder)(model, texts.batch(np.arange(1))).item() == 0


@pytest.fixture(scope="module", autouse=True)
def few_reviews(tmp_path_factory):
    """The built-in reviews, of the test half every twentieth."""
    few = few_of_sample(tmp_path_factory.mktemp("data"), 20)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(corpora, "load_reviews", lambda *a, **k: few)
        yield


def run(encoder, out, *flags):
    argv = ["--data", "sample", "--encoder", str(encoder), "--out", str(out), "--labels", "40", "--batch-size", "7",
            "--epochs", "2", "--max-tokens", "24", "--mode", "finetune", "--patience", "0", *flags]
    return run_command(imdb.main, imdb.Settings, argv)


def weights(path):
    return load_run(path).tensors


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", KINDS)
def test_of_weight_0_a_run_is_what_it_was_and_of_another_it_is_not(encoders, tmp_path, monkeypatch, kind):
    """To the bit; and all that is saved has the same names, so that nothing of the head that asked is left."""
    assert run(encoders / kind, tmp_path / "none") == 0
    with monkeypatch.context() as patched:
        patched.setattr(imdb_run, "lm_loss_of", lambda *a: 1 / 0)
        assert run(encoders / kind, tmp_path / "zero", "--lm-weight", "0") == 0
    assert run(encoders / kind, tmp_path / "half", "--lm-weight", "0.5") == 0
    none, zero, half = (weights(tmp_path / name) for name in ("none", "zero", "half"))
    assert equal(none, zero) and none.keys() == half.keys() and not equal(none, half)
    told = [json.loads((tmp_path / name / "config.json").read_text())["lm_weight"] for name in ("none", "half")]
    assert told == [0.0, 0.5]


def test_all_begins_as_without_it(encoders, tmp_path, monkeypatch):
    """The head's first weights, the order and the dropout of the first step are the same: so is its loss."""
    for name, weight in (("with", "2"), ("without", "0")):
        assert run(encoders / "bilm", tmp_path / name, "--lm-weight", weight) == 0
    first, second = (json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[1])
                     for name in ("with", "without"))
    assert first["step"] == second["step"] == 1 and first["loss"] == second["loss"]
    assert first["norm"] != second["norm"]


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_resumed_it_ends_with_the_same_bits(encoders, tmp_path, monkeypatch, kind):
    flags = ("--lm-weight", "0.5")
    assert run(encoders / kind, tmp_path / "whole", *flags) == 0
    original, calls = optim.clip_gradients, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(optim, "clip_gradients", stopping)
        assert run(encoders / kind, tmp_path / "cut", *flags) == 143
    assert run(encoders / kind, tmp_path / "cut", *flags, "--resume", "--lm-weight", "0.25") == 4
    assert run(encoders / kind, tmp_path / "cut", *flags, "--resume") == 0
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


@pytest.mark.parametrize("mode", ["top", "gradual"])
def test_it_moves_only_what_the_mode_lets_learn(encoders, tmp_path, mode):
    assert run(encoders / "bert", tmp_path / "run", "--mode", mode, "--lm-weight", "0.5") == 0
    before, after = weights(encoders / "bert"), weights(tmp_path / "run")
    moved = [not torch.equal(after[f"encoder.bert.{name}"], before[f"bert.{name}"])
             for name in ("embeddings.tokens.weight", "blocks.0.qkv.weight", "blocks.1.qkv.weight")]
    assert moved == [False, False, True]


@pytest.mark.parametrize("flags, told", [
    (("--lm-weight", "0.5", "--mode", "frozen"), "a frozen encoder does not learn"),
    (("--lm-weight", "0.5", "--mode", "scratch"), "has no language model to go on with"),
    (("--lm-weight", "-0.5"), "--lm-weight"),
    (("--lm-weight", "nan"), "--lm-weight"),
])
def test_a_wrong_use_is_one_line(encoders, tmp_path, capsys, flags, told):
    assert run(encoders / "bert", tmp_path / "run", *flags) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert told in line and "Fix: " in line and not (tmp_path / "run").exists()


def test_static_vectors_and_a_run_without_its_head_are_refused(encoders, tmp_path, capsys, monkeypatch):
    assert run(encoders / "static", tmp_path / "run", "--lm-weight", "0.5") == 2
    assert "static vectors, which never predicted a text" in capsys.readouterr().err
    for kind, part in (("bert", "dense.weight"), ("gpt", "dense.weight"), ("bilm", "softmax.weight")):
        without = load_run(encoders / kind)
        del without.tensors[part]
        with monkeypatch.context() as patched:
            patched.setattr("minitransfer.apparatus.checkpoint.load_run", lambda path: without)
            assert run(encoders / kind, tmp_path / "run", "--lm-weight", "0.5") == 4
        assert "no head that predicts" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
