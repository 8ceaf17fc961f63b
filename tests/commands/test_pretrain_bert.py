"""Claims about pretraining BERT: stopped anywhere it ends as if never stopped, and it measures what it says."""

import json
import math
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from bert_runs import PRESET, die_at, make_static_pieces, pretrain
from binomial import as_often_as
from pretrain_runs import make_wikitext, rows, signal_at, skip_without_bfloat16

from minitransfer.apparatus import optim, runtime
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.runtime import generator
from minitransfer.bert import evaluation
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.text.corpora import Corpus
from minitransfer.text.wordpiece import CLS_ID, SEP_ID, WordPiece
from pretrain.bert import run as bert
from pretrain.bert import start as starting
from pretrain.bert import text as packed
from pretrain.bert.settings import SIZES, Settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_wikitext(tmp_path_factory.mktemp("data"), words=2_000)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert pretrain(data, out) == 0
    return out


def weights(path):
    return load_run(path).tensors


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def losses(path) -> list[dict]:
    return [row for row in rows(path) if "loss" in row]


def measured(path) -> list[dict]:
    return [row for row in rows(path) if "held_out_loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--whole-words", "--mask-probability", "0.3"), ("--precision", "bf16")])
def test_stopped_then_killed_and_resumed_in_new_processes_a_run_ends_with_the_same_bits(data, tmp_path, more):
    skip_without_bfloat16(more)
    assert pretrain(data, tmp_path / "whole", *more) == 0
    first = die_at(9, "SIGTERM", data, tmp_path / "cut", *more)
    assert first.returncode == 143 and "to go on: python -m pretrain.bert" in first.stderr
    assert "--resume" in first.stderr.splitlines()[-1]
    second = die_at(31, "SIGKILL", data, tmp_path / "cut", *more, "--save-every", "1e-9", "--resume")
    assert second.returncode == -signal.SIGKILL
    assert pretrain(data, tmp_path / "cut", *more, "--resume") == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    steps = [row["step"] for row in losses(tmp_path / "cut")]
    assert steps == list(range(1, len(steps) + 1))


@pytest.mark.parametrize("where", ["first step", "a measurement", "end of an epoch", "last step"])
def test_stopped_at_an_edge_a_run_ends_with_the_same_bits(data, whole, tmp_path, monkeypatch, where):
    total = losses(whole)[-1]["step"]
    step = {"first step": 1, "a measurement": measured(whole)[1]["step"], "end of an epoch": total // 2,
            "last step": total}[where]
    with monkeypatch.context() as patched:
        signal_at("bert", step, signal.SIGTERM, patched.setattr)
        assert pretrain(data, tmp_path / "cut") == 143
    assert not (tmp_path / "cut" / "model.safetensors").exists() and losses(tmp_path / "cut")[-1]["step"] == step
    assert pretrain(data, tmp_path / "cut", "--resume") == 0
    assert same(weights(whole), weights(tmp_path / "cut")) and rows(whole) == rows(tmp_path / "cut")


@pytest.mark.parametrize("more", [
    ("--optimizer", "muon", "--weight-decay", "0.3"), ("--average-weights", "0.2", "--dropout", "0"),
    ("--masks", "static"), ("--mask-probability", "0.4", "--mask-probability-end", "0.2")])
def test_with_each_switch_of_the_recipe_too(data, tmp_path, more):
    assert pretrain(data, tmp_path / "whole", *more) == 0
    for step, on in ((9, ()), (31, ("--resume",))):
        with pytest.MonkeyPatch.context() as patched:
            signal_at("bert", step, signal.SIGTERM, patched.setattr)
            assert pretrain(data, tmp_path / "cut", *more, *on) == 143
    assert pretrain(data, tmp_path / "cut", *more, "--resume") == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_a_run_begun_before_there_were_switches_goes_on(data, whole, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patched:
        signal_at("bert", 9, signal.SIGTERM, patched.setattr)
        assert pretrain(data, tmp_path / "cut") == 143
    path = tmp_path / "cut" / "config.json"
    config, switches = json.loads(path.read_text()), {
        "optimizer": "adamw", "weight_decay": 0.01, "average_weights": None, "masks": "dynamic",
        "mask_probability_end": None}
    assert switches.items() <= config.items()
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in switches}))
    assert pretrain(data, tmp_path / "cut", "--resume", "--weight-decay", "0.1") == 4
    assert pretrain(data, tmp_path / "cut", "--resume") == 0
    assert same(weights(whole), weights(tmp_path / "cut"))
    capsys.readouterr()
    assert pretrain(data, tmp_path / "cut", "--resume") == 0
    assert "already complete (step " in capsys.readouterr().err


def test_stopped_while_all_held_out_text_is_measured_nothing_is_trained_twice(data, whole, tmp_path, monkeypatch):
    measure = packed.measure

    def interrupted(*arguments, **settings):
        if "check" in settings:
            os.kill(os.getpid(), signal.SIGTERM)
        return measure(*arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(bert, "measure", interrupted)
        assert pretrain(data, tmp_path / "run") == 143
    monkeypatch.setattr(MaskedLM, "loss", lambda *arguments, **settings: 1 / 0)
    assert pretrain(data, tmp_path / "run", "--resume") == 0
    assert rows(tmp_path / "run") == rows(whole)


def test_a_run_leaves_all_that_is_needed_to_use_it(whole):
    run = load_run(whole)
    tokenizer = WordPiece.from_json(run.text("tokenizer.json"))
    shape = BertConfig.from_dict(run.config["model"])
    assert run.kind == "bert" and shape.vocab_size == tokenizer.vocab_size == PRESET["vocab_size"]
    assert all(getattr(shape, name) == PRESET[name] for name in ("hidden_size", "num_layers", "max_positions"))
    assert run.config["masking"] == {"probability": 0.15, "whole_words": False} and run.config["origin"] is None
    assert run.config["corpus"]["name"] == "wikitext-2" and len(run.config["tokenizer"]) == 64
    MaskedLM(shape).load_state_dict(run.tensors)


def test_held_out_text_is_measured_nine_times_on_the_same_masked_pieces(whole):
    total = losses(whole)[-1]["step"]
    every = math.ceil(total / 9)
    found = measured(whole)
    assert [row["step"] for row in found] == [*range(every, total, every), total]
    for name in ("held_out_masked", "frequency_loss", "unigram_entropy"):
        assert len({row[name] for row in found}) == 1
    assert len({row["held_out_loss"] for row in found}) == len(found)
    assert all(row["tokens"] > 0 and row["learning_rate"] > 0 for row in losses(whole))


def test_text_in_which_nothing_can_be_learned_is_called_guessing_after_a_third_and_at_the_end(data, tmp_path, capsys):
    """Its words are drawn independently of one another, so nothing that stands around a word tells what it is."""
    assert pretrain(data, tmp_path / "run", "--epochs", "1", "--learning-rate", "1e-4") == 0
    plain, last = "the loss is still that of guessing by frequency:", measured(tmp_path / "run")[-1]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("held-out text after", plain))]
    guessing = [i for i, line in enumerate(said) if line.startswith(plain)]
    assert guessing == [len(said) - 1 - 7, len(said) - 1]  # with six measurements between
    assert f"{last['held_out_loss']:.3f} nats against {last['frequency_loss']:.3f}" in said[-1]


LETTERS = "abcdefghijkl"


def some_text(**changes) -> tuple[packed.Text, Settings]:
    """Words of one letter or two, the first letters the commonest, as three documents and a held-out one."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.multinomial(torch.arange(12, 0, -1.0), 400, replacement=True, generator=draw).tolist()
    said = " ".join(LETTERS[i] + "xyz"[n % 3] * (n % 2) for n, i in enumerate(ids))
    corpus = Corpus("by hand", [said[:111], said[111:130], said[130:]], [said[50:350]], True, "by hand")
    settings = replace(Settings.of(**{**PRESET, "seed": 3, "seq_length": 11, **changes}), vocab_size=29)
    return packed.read_text(corpus, settings, 3, None), settings


def test_held_out_text_is_masked_alike_whenever_the_seed_is_the_same():
    (text, _), (again, _), (other, _) = some_text(), some_text(), some_text(seed=4)
    for first, second, third in zip(text.held_out, again.held_out, other.held_out):
        assert torch.equal(first, second) and not torch.equal(first, third)
    drawn = [text.mask(text.rows.long(), generator(3, "masks", step))[0] for step in (0, 1, 0)]
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


def test_neighbours_in_a_row_are_documents_that_chance_brought_together():
    """A corpus that is sorted by label, as reviews are, is not packed so: rows of it hold both kinds."""
    sorted_by_label = ["bad bad bad"] * 60 + ["good good good"] * 60
    corpus = Corpus("sorted", sorted_by_label, ["a bad and a good film"] * 9, False, "by hand")
    settings = Settings.of(**{**PRESET, "seed": 3, "seq_length": 17, "vocab_size": 100})
    text = packed.read_text(corpus, settings, 3, None)
    held = [{text.tokenizer.pieces[i] for i in row} for row in text.rows.tolist()]
    assert sum({"bad", "good"} <= pieces for pieces in held) > len(held) / 2
    again = packed.read_text(corpus, settings, 4, None)
    assert not torch.equal(text.rows, again.rows) and torch.equal(text.held_out[0], again.held_out[0])


@pytest.mark.parametrize("whole_words", [False, True])
def test_asked_for_whole_words_all_pieces_of_one_are_masked_or_none(whole_words):
    text, _ = some_text(whole_words=whole_words, mask_probability=0.4)
    asked = text.mask(text.rows.long(), generator(0))[1] != IGNORE_INDEX
    parted = [
        asked[row, t] != asked[row, t - 1]
        for row, pieces in enumerate(text.rows.tolist()) for t, piece in enumerate(pieces)
        if text.tokenizer.continues[piece] and pieces[t - 1] not in (CLS_ID, SEP_ID)]
    assert len(parted) > 50 and any(parted) != whole_words


def test_pieces_are_counted_without_those_that_are_never_masked():
    text, _ = some_text()
    pieces = [i for row in text.rows.tolist() for i in row if i not in (CLS_ID, SEP_ID)]
    assert text.counts.tolist() == [pieces.count(i) for i in range(text.tokenizer.vocab_size)]
    entropy = -sum(n / len(pieces) * math.log(n / len(pieces)) for n in text.counts.tolist() if n)
    assert text.entropy == pytest.approx(entropy)
    assert text.log_frequency.exp().sum().item() == pytest.approx(1)


@torch.no_grad()
def test_what_is_measured_is_worked_out_piece_by_piece():
    text, settings = some_text()
    model = starting.build(settings, text, None)
    inputs, labels = text.held_out
    total, right, asked, by_frequency = 0.0, 0, 0, 0.0
    for row, answers in zip(inputs, labels):
        for logits, answer in zip(model(row.unsqueeze(0))[0].tolist(), answers.tolist()):
            if answer != IGNORE_INDEX:
                total -= logits[answer] - math.log(sum(math.exp(logit) for logit in logits))
                by_frequency -= math.log((text.counts[answer] + 1) / (text.counts + 1).sum())
                right, asked = right + (logits.index(max(logits)) == answer), asked + 1
    found = packed.measure(model, text, batch_size=4)
    assert found["held_out_masked"] == asked > 10
    assert found["held_out_loss"] == pytest.approx(total / asked, rel=1e-5)
    assert found["frequency_loss"] == pytest.approx(by_frequency / asked, rel=1e-5)
    assert found["held_out_accuracy"] == right / asked
    first = packed.measure(model, text, batch_size=4, most_rows=3)
    assert first["held_out_masked"] == (labels[:3] != IGNORE_INDEX).sum() < asked


def test_a_new_model_begins_by_guessing_by_frequency():
    text, settings = some_text()
    found = packed.measure(starting.build(settings, text, None), text, batch_size=4)
    assert found["held_out_loss"] == pytest.approx(found["frequency_loss"], abs=0.05)


def test_each_row_is_read_once_an_epoch_in_a_new_order_under_new_masks(data, tmp_path, monkeypatch):
    read, mask_tokens = [], evaluation.mask_tokens

    def noting(token_ids, draw, **settings):
        inputs, labels = mask_tokens(token_ids, draw, **settings)
        read.extend(zip(map(tuple, token_ids.tolist()), map(tuple, inputs.tolist())))
        return inputs, labels

    monkeypatch.setattr(evaluation, "mask_tokens", noting)
    assert pretrain(data, tmp_path / "run") == 0
    per_epoch = losses(tmp_path / "run")[-1]["tokens"] // PRESET["seq_length"] // 2
    first, second = read[-2 * per_epoch : -per_epoch], read[-per_epoch:]  # and before these what is held out
    assert per_epoch > 200 and sorted(row for row, _ in first) == sorted(row for row, _ in second)
    assert [row for row, _ in first] != [row for row, _ in second]
    masked = dict(first)
    assert sum(masked[row] == inputs for row, inputs in second) < 0.2 * len(second)


def test_static_masks_are_those_of_the_row_in_each_epoch(data, tmp_path, monkeypatch):
    read, masked = [], packed.Text.masked

    def noting(*arguments):
        inputs, labels = masked(*arguments)
        read.extend(zip(arguments[1].tolist(), inputs.tolist(), labels.tolist()))
        return inputs, labels

    monkeypatch.setattr(packed.Text, "masked", noting)
    assert pretrain(data, tmp_path / "run", "--masks", "static") == 0
    first, second = read[: len(read) // 2], read[len(read) // 2 :]
    assert len(first) > 200 and [n for n, *_ in first] != [n for n, *_ in second] and sorted(first) == sorted(second)
    text, _ = some_text()
    batch = torch.tensor([2, 0, 5])
    inputs, labels = text.masked(batch, 0.3, "static", 3, 0)
    alone = [text.masked(batch[i : i + 1], 0.3, "static", 3, 7) for i in range(3)]
    assert torch.equal(inputs, torch.cat([one for one, _ in alone]))
    assert torch.equal(text.rows[batch].long().where(labels == IGNORE_INDEX, labels), text.rows[batch].long())
    assert not torch.equal(inputs, text.masked(batch, 0.3, "static", 4, 0)[0])
    assert not torch.equal(inputs, text.masked(batch, 0.3, "dynamic", 3, 0)[0])


def test_the_share_that_is_masked_goes_in_a_straight_line_from_one_to_the_other(data, tmp_path, monkeypatch):
    found, masked = [], packed.Text.masked

    def noting(*arguments):
        inputs, labels = masked(*arguments)
        found.append((arguments[2], (labels != IGNORE_INDEX).double().mean().item()))
        return inputs, labels

    monkeypatch.setattr(packed.Text, "masked", noting)
    assert pretrain(data, tmp_path / "run", "--mask-probability", "0.9", "--mask-probability-end", "0.1") == 0
    steps, form = len(found), 2 / PRESET["seq_length"]  # about so many tokens are [CLS] or [SEP]
    assert [share for share, _ in found] == pytest.approx([0.9 - 0.8 * t / steps for t in range(steps)])
    for part, share in ((found[: steps // 4], 0.8), (found[-steps // 4 :], 0.2)):
        assert sum(n for _, n in part) / len(part) == pytest.approx(share * (1 - form), abs=0.03)


def test_held_out_text_is_asked_about_by_the_same_masks_whatever_the_training_masks():
    (text, _), *others = [some_text(**changes) for changes in (
        {}, {"mask_probability": 0.4}, {"mask_probability": 0.3, "mask_probability_end": 0.9}, {"masks": "static"},
        {"whole_words": True})]
    for other, _ in others:
        assert all(torch.equal(a, b) for a, b in zip(text.held_out, other.held_out))
    some = torch.randint(5, 29, (401, 113), generator=torch.Generator().manual_seed(1))
    _, labels = evaluation.mask_once(some, evaluation.masker(text.tokenizer), 3)
    assert as_often_as(0.15, int((labels != IGNORE_INDEX).sum()), of=labels.numel())


def test_what_is_saved_and_measured_at_the_end_is_the_average(data, tmp_path, monkeypatch):
    seen, update = [], optim.RunningAverage.update

    def noting(self):
        seen.append({name: t.double().clone() for name, t in self._module.state_dict().items()})
        update(self)

    monkeypatch.setattr(optim.RunningAverage, "update", noting)
    assert pretrain(data, tmp_path / "plain") == 0
    assert all(torch.equal(t, seen[-1][name].float()) for name, t in weights(tmp_path / "plain").items())
    seen.clear()
    assert pretrain(data, tmp_path / "run", "--average-weights", "0.3") == 0
    d, m = 1 - 1 / (0.3 * len(seen)), seen[0]
    for now in seen[1:]:
        m = {name: d * m[name] + (1 - d) * now[name] for name in m}
    for name, tensor in weights(tmp_path / "run").items():
        assert torch.allclose(tensor.double(), m[name], rtol=1e-4, atol=1e-6) and not torch.equal(m[name], now[name])
    assert losses(tmp_path / "run") == losses(tmp_path / "plain")
    assert measured(tmp_path / "run")[-1]["held_out_loss"] != measured(tmp_path / "plain")[-1]["held_out_loss"]


def test_more_weight_decay_leaves_smaller_matrices_and_muon_other_ones(data, whole, tmp_path):
    for name, more in (("decayed", ("--weight-decay", "3")), ("muon", ("--optimizer", "muon"))):
        assert pretrain(data, tmp_path / name, *more) == 0
    plain, decayed, muon = map(weights, (whole, tmp_path / "decayed", tmp_path / "muon"))
    matrices = [name for name, tensor in plain.items() if tensor.ndim == 2]
    assert all(decayed[name].norm() < 0.95 * plain[name].norm() for name in matrices)
    assert not any(torch.allclose(muon[name], plain[name], atol=1e-3) for name in matrices if "blocks" in name)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return make_static_pieces(tmp_path_factory.mktemp("runs") / "pieces")


STILL = ("--learning-rate", "1e-30", "--epochs", "1")


def test_a_warm_start_takes_over_the_pieces_and_what_they_mean(data, pieces, tmp_path):
    assert pretrain(data, tmp_path / "warm", *STILL, "--warm-start", str(pieces)) == 0
    run, origin = load_run(tmp_path / "warm"), load_run(pieces)
    assert run.text("tokenizer.json") == origin.text("tokenizer.json")
    assert run.config["origin"]["kind"] == "static" and run.config["origin"]["fingerprint"] == origin.fingerprint
    embeddings, counts = run.tensors["bert.embeddings.tokens.weight"].double(), origin.tensors["counts"].tolist()
    vectors = origin.tensors["vectors"].double()
    mean = sum(n * v for n, v in zip(counts, vectors)) / sum(counts)
    variance = sum(n * ((v - mean) ** 2).mean() for n, v in zip(counts, vectors)) / sum(counts)
    for n, v, embedding in zip(counts, vectors, embeddings):
        taken = torch.allclose(embedding, 0.05 * (v - mean) / variance.sqrt(), rtol=1e-4, atol=1e-6)
        assert taken == (n > 0)
    new = embeddings[torch.tensor(counts) == 0]
    assert len(new) > 5 and new.std().item() == pytest.approx(0.02, rel=0.3)


def test_a_warm_started_run_is_resumed_like_any_other(data, pieces, tmp_path):
    warm = ("--warm-start", str(pieces))
    assert pretrain(data, tmp_path / "whole", *warm) == 0
    with pytest.MonkeyPatch.context() as patched:
        signal_at("bert", 5, signal.SIGTERM, patched.setattr)
        assert pretrain(data, tmp_path / "cut", *warm) == 143
    assert pretrain(data, tmp_path / "cut", *warm, "--resume") == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_going_on_with_other_text_takes_over_everything(whole, tmp_path):
    other = make_wikitext(tmp_path, words=2_000, seed=5)
    more = ("--init-from", str(whole), "--dropout", "0.3", "--seq-length", "31")
    assert pretrain(other, tmp_path / "second", *STILL, *more) == 0
    first, second = load_run(whole), load_run(tmp_path / "second")
    assert first.text("tokenizer.json") == second.text("tokenizer.json")
    assert second.config["model"] == {**first.config["model"], "dropout": 0.3}
    assert second.config["training"].keys() == first.config["training"].keys() - set(SIZES)
    assert second.config["origin"]["fingerprint"] == first.fingerprint
    assert first.config["corpus"]["fingerprint"] != second.config["corpus"]["fingerprint"]
    for name, tensor in first.tensors.items():
        assert torch.allclose(second.tensors[name], tensor, rtol=0, atol=1e-20), name


def test_going_on_with_the_same_text_is_no_second_look_at_the_same_rows_and_masks(whole, data, tmp_path, monkeypatch):
    drawn, derived_seed = [], runtime.derived_seed
    monkeypatch.setattr(runtime, "derived_seed", lambda *parts: drawn.append(parts) or derived_seed(*parts))
    uses = {}
    for name, more in (("again", ()), ("on", ("--init-from", str(whole)))):
        drawn.clear()
        assert pretrain(data, tmp_path / name, "--epochs", "1", *more) == 0
        uses[name] = {parts for parts in drawn if parts[1] in ("documents", "order", "masks", "dropout")}
    assert {parts[1] for parts in uses["on"]} == {"documents", "order", "masks", "dropout"}
    assert len(uses["on"]) == len(uses["again"]) and uses["on"].isdisjoint(uses["again"])


def test_more_pieces_asked_for_than_the_text_has_are_what_there_is(data, tmp_path, capsys):
    assert pretrain(data, tmp_path / "run", *STILL, "--vocab-size", "999999") == 0
    size = load_run(tmp_path / "run").config["model"]["vocab_size"]
    assert PRESET["vocab_size"] < size < 10_000
    assert f"{size:,} pieces (all there are)" in capsys.readouterr().err


def test_a_finished_run_is_only_looked_at_and_its_corpus_not_read(data, whole, tmp_path, monkeypatch, capsys):
    out = shutil.copytree(whole, tmp_path / "run")
    monkeypatch.setattr("pretrain.shared.load_corpus", lambda *_, **__: 1 / 0)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert pretrain(data, out, "--resume") == 0
    assert "already complete (step " in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


@pytest.mark.slow
def test_the_built_in_sample_teaches_more_than_frequencies(tmp_path, capsys):
    argv = ["--corpus", "sample", "--offline", "--preset", "tiny", "--out", str(tmp_path / "run")]
    assert run_command(bert.main, bert.Settings, argv) == 0
    last = measured(tmp_path / "run")[-1]
    assert last["held_out_loss"] < 0.9 * last["frequency_loss"]
    assert "guessing by frequency:" not in capsys.readouterr().err
