"""Claims about forgetting: it is measured as pretraining measured, frozen forgets nothing, and fine-tuning does."""

import json
import math
import os
import random
import signal

import bert_runs
import numpy as np
import pretrain_runs
import pytest
import torch
from corpus_files import write
from encoder_runs import make_bilm, make_oracle

from finetune.imdb import __main__ as imdb
from finetune.imdb import forgetting
from finetune.imdb import run as imdb_run
from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import UsageError
from minitransfer.bert.encoder import MaskedLM
from minitransfer.elmo.bilm import BiLM, BiLMConfig
from minitransfer.text import corpora
from minitransfer.text.corpora import fingerprint, load_corpus
from minitransfer.text.words import EOS_ID, UNK_ID, spell_all, token_stream

SEED = "5"  # of pretraining; that of fine-tuning is 0


def made_up_reviews(count, seed):
    """Reviews of 40 words, the first words of the list the commonest."""
    rng, words = random.Random(seed), ["good", "bad", "a", "film", *(f"{a}{b}" for a in "bdfgk" for b in "aeiou")]
    often = [1 / (rank + 1) for rank in range(len(words))]
    return [" ".join(rng.choices(words, often, k=40)) for _ in range(count)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with WikiText-2 and IMDB, both of made-up words; in the reviews the first words are the commonest."""
    folder = pretrain_runs.make_wikitext(tmp_path_factory.mktemp("data"), words=2_000)
    reviews = made_up_reviews(120, seed=1)
    files = {f"train/{kind}/{n}_{rating}.txt": reviews.pop()
             for kind, rating in (("neg", 1), ("pos", 9), ("unsup", 0)) for n in range(40)}
    write(folder / "aclImdb", files)
    return folder


@pytest.fixture(scope="module")
def encoders(data, tmp_path_factory):
    """A biLM of two corpora and a BERT of one, pretrained a little, and static vectors."""
    path = tmp_path_factory.mktemp("encoders")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(pretrain_runs.bilm.Settings.presets, "tiny", pretrain_runs.PRESETS["bilm"])
        more = ("--corpus", "wikitext-2", "imdb", "--seed", SEED, "--vocab-size", "151")
        assert pretrain_runs.pretrain("bilm", data, path / "bilm", *more) == 0
    assert bert_runs.pretrain(data, path / "bert", "--corpus", "imdb", "--seed", SEED, "--whole-words") == 0
    assert bert_runs.pretrain(data, path / "gpt", "--corpus", "imdb", "--seed", SEED, command="gpt") == 0
    make_oracle(path / "static")
    return path


@pytest.fixture(scope="module", autouse=True)
def few_reviews():
    """Other reviews of the words that pretraining met: by strange words little would be forgotten."""
    labels = np.arange(60) % 2
    train, test = (made_up_reviews(60, seed) for seed in (2, 3))
    few = corpora.Reviews("sample", train, labels, test, labels, [], "here")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(corpora, "load_reviews", lambda *a, **k: few)
        yield


def run(data, encoder, out, *flags, measure=True):
    """The exit code of the command, which learns from 32 reviews of 23 tokens."""
    argv = ["--data", "sample", "--data-dir", str(data), "--offline", "--encoder", str(encoder), "--out", str(out),
            "--labels", "40", "--batch-size", "7", "--epochs", "1", "--max-tokens", "23", "--log-every", "1000"]
    return run_command(imdb.main, imdb.Settings, [*argv, *["--measure-forgetting"] * measure, *flags])


FINETUNE = ("--mode", "finetune", "--encoder-rate", "0.3", "--layer-decay", "1", "--patience", "0", "--epochs", "4")


def found(path):
    return json.loads((path / "results.json").read_text())["forgetting"]


def complete(path):
    return json.loads((path / "complete.json").read_text())


@pytest.mark.parametrize("kind", ["bilm", "bert", "gpt"])
def test_before_is_what_pretraining_measured_and_frozen_forgets_nothing(data, encoders, tmp_path, capsys, kind):
    assert run(data, encoders / kind, tmp_path / "run") == 0
    told, then = found(tmp_path / "run"), complete(encoders / kind)
    nats = math.log(then["perplexity"]) if kind == "bilm" else then["held_out_loss"]
    assert told["before"] == pytest.approx(nats, rel=1e-5) and told["after"] == told["before"]
    assert told["corpus"] == {"bilm": "wikitext-2+imdb"}.get(kind, "imdb")
    if kind == "bilm":
        assert told["held_out_tokens"] == then["held_out_tokens"]
    elif kind == "gpt":
        assert told["held_out_tokens"] == then["held_out_pieces"]
    else:  # whole rows of 23 tokens
        assert told["held_out_tokens"] % 23 == 0 and told["held_out_tokens"] > then["held_out_masked"] > 0
    assert f"{told['before']:.3f} nats before, {told['after']:.3f} after (+0.000)" in capsys.readouterr().out


@pytest.mark.parametrize("more, count", [((), 0), (("--lm-weight", "0.5"), 32)])
def test_what_is_learned_as_language_is_left_out_of_the_question(data, encoders, tmp_path, monkeypatch, more, count):
    told = []

    def hold_out(*arguments):
        told.extend(arguments[-1])
        raise UsageError("as asked", "none")

    monkeypatch.setattr(imdb_run, "hold_out", hold_out)
    assert run(data, encoders / "bert", tmp_path / "run", *FINETUNE, *more) == 2
    assert len(set(told)) == count and set(told) <= set(made_up_reviews(60, seed=2))


def test_a_corpus_without_some_texts_has_all_others_held_out(data):
    corpus = load_corpus(["imdb"], data, offline=True)
    first, second = corpus.validation
    assert forgetting.without(corpus, {first, "more"}).validation == [second]
    with pytest.raises(UsageError, match="leave one of the two out"):
        forgetting.without(corpus, {first, second})


@pytest.mark.parametrize("kind", ["bilm", "bert", "gpt"])
def test_finetuning_at_a_large_rate_forgets(data, encoders, tmp_path, kind):
    assert run(data, encoders / kind, tmp_path / "run", *FINETUNE) == 0
    told = found(tmp_path / "run")
    assert told["after"] > told["before"] + 0.1


def test_after_is_the_loss_of_the_weights_that_were_saved(data, encoders, tmp_path):
    """Those of the best epoch, word by word: the first 50 tokens, in 16 rows that each begin with a blank memory."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(forgetting, "MOST_TOKENS", 50)
        assert run(data, encoders / "bilm", tmp_path / "run", "--mode", "finetune", "--encoder-rate", "0.02") == 0
    told, old, new = found(tmp_path / "run"), load_run(encoders / "bilm"), load_run(tmp_path / "run")
    learned = {name.removeprefix("encoder.bilm."): t for name, t in new.tensors.items() if "encoder.bilm." in name}
    assert told["held_out_tokens"] == 50 and len(learned) == len(old.tensors) - 2
    for when, changed in (("before", {}), ("after", learned)):
        model = BiLM(BiLMConfig.from_dict(old.config["model"]))
        model.load_state_dict({**old.tensors, **changed})
        assert told[when] == pytest.approx(loss_by_loops(model, old, data, 50), rel=1e-5)


@torch.no_grad()
def loss_by_loops(model, run, data, tokens):
    """Mean −log p per token of the first tokens of what the run held out, of both directions."""
    corpus = load_corpus(["wikitext-2", "imdb"], data, offline=True)
    words = [w for line in token_stream(corpus.validation, corpus.marks_unknown) for w in line][:tokens]
    ids = {word: i for i, word in enumerate(run.text("vocab.txt").splitlines())}
    assert any(word not in ids for word in words)
    eos, per_row, total = run.text("vocab.txt").splitlines()[EOS_ID], math.ceil(tokens / 16), 0.0
    for stack, stream in zip((model.forward_stack, model.backward_stack), (words, words[::-1])):
        before = [eos, *stream[:-1]]
        for start in range(0, tokens, per_row):
            spelling = torch.from_numpy(spell_all(before[start : start + per_row]))
            layers, _ = stack(model.charcnn(spelling).unsqueeze(0))
            for h, word in zip(layers[-1][0], stream[start : start + per_row]):
                logits = (model.softmax.weight @ h + model.softmax.bias).tolist()
                total += math.log(sum(map(math.exp, logits))) - logits[ids.get(word, UNK_ID)]
    return total / (2 * tokens)


def test_measuring_changes_nothing_that_is_learned_and_without_it_nothing_is_told(data, encoders, tmp_path):
    for name, measure in (("with", True), ("without", False)):
        assert run(data, encoders / "bert", tmp_path / name, *FINETUNE, measure=measure) == 0
    first, second = (load_run(tmp_path / name).tensors for name in ("with", "without"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert found(tmp_path / "with") and found(tmp_path / "without") is None


@pytest.mark.parametrize("where", ["in a step", "in the second measurement"])
def test_stopped_and_resumed_the_numbers_are_the_same(data, encoders, tmp_path, monkeypatch, where):
    """Before is that of the run's own weights, and not of those that a saved state brings."""
    assert run(data, encoders / "bilm", tmp_path / "whole", *FINETUNE) == 0
    with monkeypatch.context() as patched:
        owner, name = (optim, "clip_gradients") if where == "in a step" else (forgetting.HeldOut, "measure")
        original, calls = getattr(owner, name), []

        def instead(*arguments, **settings):
            calls.append(name)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(*arguments, **settings)

        patched.setattr(owner, name, instead)
        assert run(data, encoders / "bilm", tmp_path / "cut", *FINETUNE) == 143
    assert not (tmp_path / "cut" / "results.json").exists()
    if where != "in a step":  # training is over
        monkeypatch.setattr(optim, "clip_gradients", lambda *a: 1 / 0)
    assert run(data, encoders / "bilm", tmp_path / "cut", *FINETUNE, "--resume") == 0
    assert found(tmp_path / "cut") == found(tmp_path / "whole")


def refused(capsys, code, told, *arguments, **settings):
    assert run(*arguments, **settings) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and told in line and "Fix: " in line
    assert not arguments[2].exists()


def test_who_has_nothing_to_forget_is_refused_before_any_text_is_read(data, encoders, tmp_path, monkeypatch, capsys):
    for name in ("load_corpus", "load_reviews"):
        monkeypatch.setattr(corpora, name, lambda *a, **k: 1 / 0)
    monkeypatch.setattr(forgetting, "load_corpus", lambda *a, **k: 1 / 0)
    refused(capsys, 2, "has nothing to forget", data, "/nowhere", tmp_path / "run", "--mode", "scratch")
    refused(capsys, 2, "never predicted a text", data, encoders / "static", tmp_path / "run")


def test_a_corpus_that_is_absent_or_another_one_now_is_refused_before_training(data, encoders, tmp_path, capsys):
    refused(capsys, 7, "wikitext-2 is not in", tmp_path / "nothing", encoders / "bilm", tmp_path / "run")
    other = pretrain_runs.make_wikitext(tmp_path / "other", words=2_000, seed=1)
    write(other / "aclImdb", {path.relative_to(data / "aclImdb").as_posix(): path.read_bytes()
                              for path in (data / "aclImdb").rglob("*.txt")})
    refused(capsys, 3, "is not the text that", other, encoders / "bilm", tmp_path / "run")


@pytest.mark.parametrize("changes, told", [
    ({"corpus": {"name": "by hand", "fingerprint": "ab"}}, "'by hand', which is no corpus known here"),
    ({"corpus": {"name": "auto", "fingerprint": "ab"}}, "'auto', which is no corpus known here"),
    ({"corpus": {"name": "sample+sample", "fingerprint": "ab"}}, "which is no corpus known here"),
    ({"corpus": None}, "needs to know corpus.name"),
    ({"corpus": {"name": "sample"}}, "needs to know corpus.fingerprint"),
])  # fmt: skip
def test_a_run_that_does_not_tell_how_it_was_pretrained_is_refused(data, tmp_path, capsys, changes, told):
    make_bilm(tmp_path / "bilm", **changes)
    refused(capsys, 4, told, data, tmp_path / "bilm", tmp_path / "run")


def test_a_run_without_its_head_is_refused(data, encoders, tmp_path, capsys, monkeypatch):
    corpus = load_corpus(["sample"], data, offline=True)
    make_bilm(tmp_path / "bilm", corpus={"name": "sample", "fingerprint": fingerprint(corpus.train)})
    without = load_run(tmp_path / "bilm")
    del without.tensors["softmax.bias"]
    monkeypatch.setattr("minitransfer.apparatus.checkpoint.load_run", lambda path: without)
    refused(capsys, 4, "describes a network of", data, tmp_path / "bilm", tmp_path / "run")


@pytest.mark.parametrize("changes, told", [({"seed": True}, "needs to know seed"),
                                           ({"training": {"seq_length": 32, "batch_size": 7}}, "rows of 32 tokens")])
def test_a_bert_that_cannot_be_asked_as_its_pretraining_did_is_refused(
        data, encoders, tmp_path, capsys, monkeypatch, changes, told):
    bert = load_run(encoders / "bert")
    bert.config.update(changes)
    monkeypatch.setattr("minitransfer.apparatus.checkpoint.load_run", lambda path: bert)
    refused(capsys, 4, told, data, encoders / "bert", tmp_path / "run")


@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_a_loss_that_is_no_number_is_told_with_the_flag_that_this_command_has(
        data, encoders, tmp_path, capsys, monkeypatch, kind):
    logits = MaskedLM.logits
    monkeypatch.setattr(MaskedLM, "logits", lambda *given: logits(*given) * math.nan)
    assert run(data, encoders / kind, tmp_path / "run", *FINETUNE) == 5
    assert "begin again with a smaller --encoder-rate" in capsys.readouterr().err


def test_what_is_held_out_does_not_hang_on_the_seed_of_pretraining(data, encoders, tmp_path):
    """Else a run that goes on from another, with another seed, would learn what that one was to be asked about."""
    other = ("--corpus", "imdb", "--seed", SEED + "1", "--whole-words")
    assert bert_runs.pretrain(data, tmp_path / "bert", *other) == 0
    first, second = (load_run(path / "bert").config["corpus"] for path in (encoders, tmp_path))
    assert first == second
