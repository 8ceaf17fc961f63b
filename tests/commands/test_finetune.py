"""Claims about transfer, end to end on the built-in reviews: frozen stays frozen, stopping loses nothing, test
decides nothing."""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from corpus_files import few_of_sample
from encoder_runs import make_bilm, make_oracle
from pretrain_runs import skip_without_bfloat16

from finetune.imdb import data, train
from finetune.imdb.__main__ import Settings, main
from finetune.imdb.model import build, build_encoder, parameter_groups
from finetune.imdb.settings import DEFAULTS, MODES, Defaults
from minitransfer.apparatus import optim
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import NumericsError
from minitransfer.text import corpora
from minitransfer.transfer import examples, heads, stopping


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    make_bilm(path / "bilm")
    make_oracle(path / "oracle")
    return path


@pytest.fixture(autouse=True)
def reviews_are_read_once(monkeypatch, few_reviews):
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: few_reviews)


@pytest.fixture(scope="module")
def few_reviews(tmp_path_factory):
    """The built-in reviews, of the test half every fifth."""
    return few_of_sample(tmp_path_factory.mktemp("data"), 5)


def run(encoder, out, *flags):
    """The exit code of the command."""
    argv = ["--data", "sample", "--encoder", str(encoder), "--out", str(out), "--log-every", "1000", *flags]
    return run_command(main, Settings, argv)


def results(path):
    return json.loads((path / "results.json").read_text())


def rows(path):
    """The metrics of a run, without the seconds, which differ from run to run."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("seconds")} for line in lines]


def epochs_of(path):
    """The rows that tell of an epoch, not of a step."""
    return [row for row in rows(path) if "validation_loss" in row]


def weights(path):
    return load_run(path).tensors


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_an_encoder_that_knows_the_words_beats_training_from_scratch(encoders, tmp_path):
    flags = ("--labels", "300")
    assert run(encoders / "oracle", tmp_path / "frozen", *flags) == 0
    assert run(encoders / "oracle", tmp_path / "scratch", *flags, "--mode", "scratch", "--epochs", "5") == 0
    assert results(tmp_path / "frozen")["test_accuracy"] > results(tmp_path / "scratch")["test_accuracy"] + 0.15


def test_the_mix_learns_at_a_rate_of_its_own_and_never_decays(encoders):
    settings = Settings.parse_args(["--learning-rate", "0.01", "--weight-decay", "0.5", "--head-size", "5",
                                          "--dropout", "0"])
    model = build(build_encoder(load_run(encoders / "bilm"), settings), settings)
    groups = parameter_groups(model, settings)
    of_mix = [group for group in groups if any(p is model.mix.w for p in group["params"])]
    assert len(of_mix) == 1 and set(of_mix[0]["params"]) == {model.mix.w, model.mix.gamma}
    assert of_mix[0]["initial_lr"] == pytest.approx(0.3) and of_mix[0]["weight_decay"] == 0
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len(set(listed)) == sum(p.requires_grad for p in model.parameters())


def test_results_tell_what_was_done_and_what_came_of_it(encoders, tmp_path, capsys):
    assert run(encoders / "bilm", tmp_path / "run", "--labels", "100", "--epochs", "3", "--seed", "4") == 0
    told = results(tmp_path / "run")
    expected = {"encoder": str(encoders / "bilm"), "encoder_kind": "bilm", "encoder_corpus": "sample",
                "mode": "frozen", "head": "mean", "pool": "mean", "data": "sample", "labels": 100, "seed": 4,
                "max_tokens": 512}
    assert told | expected == told
    assert 0 <= told["test_accuracy"] <= 1 and 0 <= told["validation_accuracy"] <= 1 and told["validation_loss"] > 0
    assert told["epochs"] <= 3
    assert told["seconds"] == pytest.approx(told["seconds_encoding"] + told["seconds_training"])
    assert len(told["mix"]) == 3 and sum(told["mix"]) == pytest.approx(1)
    tensors = weights(tmp_path / "run")
    assert told["gamma"] == tensors["mix.gamma"].item() and {"standardise.mean", "head.W1.weight"} <= tensors.keys()
    out, err = capsys.readouterr()
    assert "γ = " in out and "finetune.predict" in out and str(tmp_path / "run") in out
    assert "80 labelled reviews to train on, 20 for validation" in err and "frozen; device cpu" in err


@pytest.mark.parametrize("head", ["mean", "bilstm"])
def test_frozen_weights_are_bit_for_bit_those_of_the_encoder(encoders, tmp_path, head):
    assert run(encoders / "bilm", tmp_path / "run", "--labels", "60", "--epochs", "2", "--head", head) == 0
    before, after = weights(encoders / "bilm"), weights(tmp_path / "run")
    kept = [name for name in before if not name.startswith("softmax.")]
    assert all(torch.equal(after[f"encoder.bilm.{name}"], before[name]) for name in kept)
    assert sum(name.startswith("encoder.") for name in after) == len(kept)


FILTERS = ("charcnn.chars.", "charcnn.convolutions.")  # never learn from a task


def test_from_scratch_every_weight_is_drawn_anew_and_all_but_the_filters_learn(encoders, tmp_path):
    flags = ("--labels", "60", "--mode", "scratch", "--batch-size", "7")
    assert run(encoders / "bilm", tmp_path / "a", *flags, "--epochs", "1") == 0
    assert run(encoders / "bilm", tmp_path / "b", *flags, "--epochs", "2") == 0
    before, a, b = weights(encoders / "bilm"), weights(tmp_path / "a"), weights(tmp_path / "b")
    for name in (n for n in before if n.endswith("weight") and not n.startswith("softmax.")):
        assert not torch.equal(a[f"encoder.bilm.{name}"], before[name])
        still = name.startswith(FILTERS)
        assert torch.equal(a[f"encoder.bilm.{name}"], b[f"encoder.bilm.{name}"]) == still


def group_of(name):
    """Which group of the tests' biLM a parameter of a transfer run belongs to, counted from the text."""
    if ".charcnn." in name:
        return 0
    return int(name.split(".")[4]) + 1  # encoder.bilm.forward_stack.lstms.K.…


@pytest.mark.parametrize("flags, moved", [
    (("--mode", "top"), [False, False, True]),
    (("--mode", "top", "--unfreeze", "2"), [False, True, True]),
    (("--mode", "finetune"), [True, True, True]),
    (("--mode", "gradual", "--epochs", "1"), [False, False, False]),  # first the head alone
    (("--mode", "gradual", "--epochs", "3"), [False, True, True]),
    (("--mode", "gradual", "--epochs", "4"), [True, True, True]),
])  # fmt: skip
def test_a_mode_moves_what_it_says_and_leaves_the_rest_bit_for_bit(encoders, tmp_path, flags, moved):
    before = weights(encoders / "bilm")
    more = ("--labels", "60", "--batch-size", "7", "--epochs", "2", "--patience", "0")
    assert run(encoders / "bilm", tmp_path / "run", *more, *flags) == 0
    after = {name: tensor for name, tensor in weights(tmp_path / "run").items() if name.startswith("encoder.")}
    for name, tensor in after.items():
        own = name.removeprefix("encoder.bilm.")
        learns = moved[group_of(name)] and not own.startswith(FILTERS)
        assert torch.equal(tensor, before[own]) != learns, name


def test_finetuning_moves_lower_layers_less(encoders, tmp_path):
    flags = ("--labels", "60", "--mode", "finetune", "--epochs", "1", "--layer-decay", "0.1", "--weight-decay", "0")
    assert run(encoders / "bilm", tmp_path / "run", *flags) == 0
    before, moved = weights(encoders / "bilm"), [[], [], []]
    for name, tensor in weights(tmp_path / "run").items():
        if name.startswith("encoder.") and "weight_hh" in name or "project.weight" in name:
            moved[group_of(name)].append((tensor - before[name.removeprefix("encoder.bilm.")]).abs().mean())
    bottom, middle, top = (torch.stack(sizes).mean() for sizes in moved)
    assert 3 * bottom < middle and 3 * middle < top  # ten times each, had each gradient the same sign throughout


def test_the_labels_of_the_test_half_decide_nothing_but_its_own_score(encoders, tmp_path, monkeypatch, few_reviews):
    assert run(encoders / "oracle", tmp_path / "a", "--labels", "100", "--epochs", "8") == 0
    other = dataclasses.replace(few_reviews, test_labels=1 - few_reviews.test_labels)
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: other)
    assert run(encoders / "oracle", tmp_path / "b", "--labels", "100", "--epochs", "8") == 0
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert results(tmp_path / "a")["test_accuracy"] == pytest.approx(1 - results(tmp_path / "b")["test_accuracy"])


def test_the_test_half_is_scored_once(encoders, tmp_path, monkeypatch):
    scored, classify = [], examples.classify
    for module in (data, train):
        monkeypatch.setattr(module, "classify", lambda *a, **k: (scored.append(len(a[2])), classify(*a, **k))[1])
    assert run(encoders / "oracle", tmp_path / "run", "--labels", "100", "--epochs", "4") == 0
    assert scored == [20] * 4 + [120]


def test_a_trial_never_looks_at_the_test_half(encoders, tmp_path, monkeypatch, few_reviews, capsys):
    """It ends with the same bits whatever that half holds, and its own reviews are not learned from."""
    flags = ("--labels", "100", "--epochs", "2", "--trial", "150")
    assert run(encoders / "oracle", tmp_path / "a", *flags) == 0
    assert "150 to test on, once" in (told := capsys.readouterr()).err
    assert "on 150 training reviews set aside" in told.out and "test accuracy" not in told.out
    other = dataclasses.replace(few_reviews, test_texts=["nothing"], test_labels=np.array([1]))
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: other)
    assert run(encoders / "oracle", tmp_path / "b", *flags) == 0
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    first, second = results(tmp_path / "a"), results(tmp_path / "b")
    assert first["test_accuracy"] == second["test_accuracy"] and first["trial"] == 150


def test_rows_are_logged_by_steps_and_for_each_epoch(encoders, tmp_path):
    for epochs, every in ((3, 1), (60, 2)):  # of 7 steps each
        run(encoders / "oracle", tmp_path / str(epochs), *MEAN, "--epochs", str(epochs), "--patience", "0")
        steps = [row["step"] for row in rows(tmp_path / str(epochs)) if "loss" in row]
        assert steps == list(range(every, 7 * epochs + 1, every))
        assert [row["step"] for row in epochs_of(tmp_path / str(epochs))] == list(range(7, 7 * epochs + 1, 7))


def test_early_stopping_keeps_the_weights_of_the_best_epoch(encoders, tmp_path):
    flags = ("--labels", "60", "--learning-rate", "0.05", "--patience", "3", "--weight-decay", "0", "--epochs", "60")
    assert run(encoders / "bilm", tmp_path / "long", *flags) == 0
    told, losses = results(tmp_path / "long"), [row["validation_loss"] for row in epochs_of(tmp_path / "long")]
    assert told["epochs"] == 1 + int(np.argmin(losses)) and told["validation_loss"] == min(losses)
    assert len(losses) == told["epochs"] + 3 < 60
    state = torch.load(next((tmp_path / "long" / "state").glob("step-*/state.pt")), weights_only=True)
    assert torch.equal(weights(tmp_path / "long")["head.W1.weight"], state["stopping"]["best"]["head.W1.weight"])
    assert not torch.equal(weights(tmp_path / "long")["head.W1.weight"], state["model"]["head.W1.weight"])


def test_without_patience_all_epochs_run_and_the_last_weights_stay(encoders, tmp_path):
    flags = ("--labels", "60", "--learning-rate", "0.05", "--patience", "0", "--weight-decay", "0", "--epochs", "9")
    assert run(encoders / "bilm", tmp_path / "run", *flags) == 0
    told, losses = results(tmp_path / "run"), [row["validation_loss"] for row in epochs_of(tmp_path / "run")]
    assert told["epochs"] == told["epochs_run"] == len(losses) == 9 and int(np.argmin(losses)) < 8
    assert told["validation_loss"] == losses[-1]


def test_an_epoch_that_is_no_better_leaves_the_best_alone():
    model = torch.nn.ParameterDict({"w": torch.zeros(2)})
    at = stopping.EarlyStopping(stopping.TrainableState(model), patience=3)
    for epoch, loss in enumerate([0.7, 0.5, 0.6, float("nan")], start=1):
        model["w"].data.fill_(epoch)
        at.end_epoch(epoch, loss, 0.5)
    assert (at.best_epoch, at.best_loss, at.stale, at.is_over) == (2, 0.5, 2, False)
    at.end_epoch(5, 0.5, 0.5)
    assert at.is_over
    at.take_best("none is needed")
    assert model["w"].tolist() == [2, 2]


@pytest.mark.parametrize("patience", [0, 2])
def test_where_no_epoch_has_a_loss_that_is_a_number_nothing_is_scored(patience):
    """Weights may all be finite where the loss is not: a run in bfloat16 with --encoder-rate 1e30 ended so."""
    at = stopping.EarlyStopping(stopping.TrainableState(torch.nn.ParameterDict({"w": torch.zeros(2)})), patience)
    for epoch, loss in enumerate([float("inf"), float("nan")], start=1):
        at.end_epoch(epoch, loss, 0.5)
    with pytest.raises(NumericsError, match="no epoch was kept.*Fix: try less"):
        at.take_best("try less")


SCRATCH = ("--mode", "scratch", "--labels", "60", "--batch-size", "7", "--epochs", "3")  # 48 to learn from: 7 steps
GRADUAL = ("--mode", "gradual", "--labels", "60", "--batch-size", "7", "--epochs", "4")
BILSTM = ("--head", "bilstm", "--labels", "60", "--batch-size", "7", "--epochs", "3")
MEAN = ("--labels", "60", "--batch-size", "7", "--epochs", "3")


def signal_at(monkeypatch, module, name, count):
    """Send this process a SIGTERM at the count-th call of a function."""
    original, calls = getattr(module, name), []

    def instead(*arguments, **settings):
        calls.append(name)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **settings)

    monkeypatch.setattr(module, name, instead)


@pytest.mark.parametrize("flags, module, name, count", [
    (SCRATCH, optim, "clip_gradients", 1),  # the first step
    (SCRATCH, optim, "clip_gradients", 10),  # amid the second epoch
    (SCRATCH, optim, "clip_gradients", 14),  # the last step of an epoch
    (SCRATCH, train, "classify", 2),  # while the held-out slice is scored
    (SCRATCH, data, "classify", 1),  # while the test half is scored
    (BILSTM, optim, "clip_gradients", 10),
    (GRADUAL, optim, "clip_gradients", 7),  # the last step before a layer is unfrozen
    (GRADUAL, optim, "clip_gradients", 17),
    (MEAN, optim, "clip_gradients", 10),
    ((*BILSTM, "--precision", "bf16"), optim, "clip_gradients", 10),
    ((*GRADUAL, "--precision", "bf16"), optim, "clip_gradients", 17),
])  # fmt: skip
def test_stopped_at_any_step_and_resumed_a_run_ends_with_the_same_bits(
    encoders, tmp_path, monkeypatch, capsys, flags, module, name, count
):
    skip_without_bfloat16(flags)
    assert run(encoders / "bilm", tmp_path / "whole", *flags) == 0
    with monkeypatch.context() as patched:
        signal_at(patched, module, name, count)
        assert run(encoders / "bilm", tmp_path / "cut", *flags) == 143
    assert "to go on: python -m finetune.imdb" in capsys.readouterr().err
    assert not (tmp_path / "cut" / "results.json").exists()
    assert run(encoders / "bilm", tmp_path / "cut", *flags, "--resume") == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


def test_a_frozen_run_that_was_stopped_tells_how_long_it_encoded_before(encoders, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        signal_at(patched, optim, "clip_gradients", 3)
        assert run(encoders / "bilm", tmp_path / "cut", *MEAN) == 143
    [encoded, *others] = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    told = json.loads(encoded)["seconds_encoding"]
    (tmp_path / "cut" / "metrics.jsonl").write_text("\n".join([encoded.replace(str(told), "1000.5"), *others, ""]))
    assert run(encoders / "bilm", tmp_path / "cut", *MEAN, "--resume") == 0
    assert 1000.5 < results(tmp_path / "cut")["seconds_encoding"] < 1100


def test_killed_outright_a_run_goes_on_from_its_last_state(encoders, tmp_path, monkeypatch):
    flags = (*SCRATCH, "--save-every", "1e-9")  # a state after each step
    assert run(encoders / "bilm", tmp_path / "whole", *flags) == 0
    with monkeypatch.context() as patched:
        patched.setattr(stopping.EarlyStopping, "end_epoch", lambda *a: 1 / 0)  # after the first epoch's last state
        assert run(encoders / "bilm", tmp_path / "cut", *flags) == 1
    assert run(encoders / "bilm", tmp_path / "cut", *flags, "--resume") == 0
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


def test_a_finished_run_is_only_looked_at(encoders, tmp_path, capsys):
    run(encoders / "oracle", tmp_path / "run", *MEAN)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert run(encoders / "oracle", tmp_path / "run", *MEAN, "--resume") == 0
    assert "already complete (step 21)" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}


def test_features_are_read_from_the_cache_with_the_same_result(encoders, tmp_path, capsys):
    run(encoders / "bilm", tmp_path / "a", *MEAN)
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2  # one for each half
    capsys.readouterr()
    run(encoders / "bilm", tmp_path / "b", *MEAN)
    assert capsys.readouterr().err.count("features: read from") == 2
    run(encoders / "bilm", tmp_path / "elsewhere" / "c", *MEAN, "--no-cache")
    assert not (tmp_path / "elsewhere" / "cache").exists()
    a, b, c = (weights(tmp_path / name) for name in ("a", "b", "elsewhere/c"))
    assert same(a, b) and all(torch.allclose(a[name], c[name], atol=1e-4) for name in a)


def test_shortened_reviews_are_counted_with_and_without_a_cache(encoders, tmp_path, capsys, few_reviews):
    long = sum(len(words_of(text)) > 50 for text in few_reviews.test_texts)
    for name in ("a", "b"):
        run(encoders / "oracle", tmp_path / name, *MEAN, "--max-tokens", "50")
        assert f"{long} of 120 to test on" in capsys.readouterr().err


def words_of(text):
    from minitransfer.text.words import tokenize

    return [word for line in text.split("\n") for word in tokenize(line)]


@pytest.mark.parametrize("pool, width", [("mean-max", 28), ("concat", 42)])
def test_other_pools_make_a_wider_head(encoders, tmp_path, pool, width):
    assert run(encoders / "bilm", tmp_path / "run", *MEAN, "--pool", pool) == 0
    assert weights(tmp_path / "run")["head.W1.weight"].shape[1] == width


def test_the_same_seed_gives_the_same_bits_and_another_other_ones(encoders, tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        run(encoders / "bilm", tmp_path / name, *MEAN, "--seed", seed)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert same(a, b) and not same(a, c)


def test_losses_that_are_not_finite_stop_the_run_and_no_nan_is_saved(encoders, tmp_path, capsys):
    assert run(encoders / "oracle", tmp_path / "run", *SCRATCH, "--learning-rate", "1e38") == 5
    assert "steps in a row" in capsys.readouterr().err and not (tmp_path / "run" / "model.safetensors").exists()
    few = ("--mode", "finetune", "--adversarial", "1e38", "--labels", "20", "--epochs", "3")
    assert run(encoders / "bilm", tmp_path / "few", *few) == 5
    assert "none of 3 steps had a loss and a gradient that are numbers" in capsys.readouterr().err


def test_the_loss_that_is_logged_is_a_mean_over_the_texts_that_were_learnt_from(encoders, tmp_path, monkeypatch):
    """One batch of four is skipped: its texts are neither in the sum nor in what it is divided by."""
    count, clip, cross_entropy, losses = iter(range(4)), optim.clip_gradients, heads.cross_entropy, []

    def spoilt(*arguments):
        return float("nan") if next(count) == 1 else clip(*arguments)

    def listening(logits, labels):
        loss = cross_entropy(logits, labels)
        losses.append((loss.item(), len(labels)))
        return loss

    with monkeypatch.context() as patched:
        patched.setattr(optim, "clip_gradients", spoilt)
        patched.setattr(heads, "cross_entropy", listening)
        assert run(encoders / "bilm", tmp_path / "run", "--labels", "40", "--batch-size", "9", "--epochs", "1") == 0
    learnt = [losses[i] for i in (0, 2, 3)]
    [row] = epochs_of(tmp_path / "run")
    assert row["skipped"] == 1 and [n for _, n in losses[:4]] == [9, 9, 9, 5]
    assert row["epoch_loss"] == pytest.approx(sum(loss * n for loss, n in learnt) / sum(n for _, n in learnt))
    told = [row["loss"] for row in rows(tmp_path / "run") if "loss" in row]  # and every step's own, skipped or not
    assert told == [loss for loss, _ in losses[:4]]


def test_a_place_that_is_taken_is_refused_before_any_review_is_read(encoders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: pytest.fail("the reviews were read"))
    assert run(encoders / "bilm", encoders / "oracle") == 2 and "is not empty" in capsys.readouterr().err
    assert run(encoders / "bilm", tmp_path / "run", "--labels", "5") == 2 and "even number" in capsys.readouterr().err


def test_a_run_of_another_kind_is_not_resumed(encoders, tmp_path, capsys):
    assert run(encoders / "bilm", encoders / "bilm", "--resume") == 4
    assert "holds a run of kind 'bilm', and not one of kind 'transfer'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_reviews_are_read_says_how_to_go_on(encoders, tmp_path, monkeypatch, capsys, number):
    def interrupted(*arguments, **settings):
        os.kill(os.getpid(), number)
        time.sleep(5)

    with monkeypatch.context() as patched:
        patched.setattr("minitransfer.transfer.examples.frozen_pass", interrupted)
        assert run(encoders / "bilm", tmp_path / "the run", *MEAN) == 128 + number
    to_go_on = capsys.readouterr().err.partition("to go on: ")[2].strip()
    assert to_go_on.startswith("python -m finetune.imdb ") and to_go_on.endswith(" --resume")
    assert f"--out '{tmp_path / 'the run'}'" in to_go_on
    assert run_command(main, Settings, shlex.split(to_go_on)[3:]) == 0


def test_from_scratch_a_run_is_not_said_to_be_pretrained(encoders, tmp_path, capsys):
    assert run(encoders / "bilm", tmp_path / "run", *SCRATCH, "--labels", "20", "--epochs", "1") == 0
    assert "(bilm, random weights of its shape)" in capsys.readouterr().err


@pytest.mark.parametrize("flags, code, told", [
    (["--labels", "101"], 2, "choose an even number from 4"),
    (["--labels", "1002"], 2, "choose an even number from 4 to 1,000"),
    (["--labels", "0"], 2, "--labels: must be"),
    (["--trial", "151"], 2, "--trial 151 cannot be chosen"),
    (["--trial", "998", "--labels", "100"], 2, "give more reviews, or a smaller --trial"),
    (["--trial", "800", "--labels", "202"], 2, "out of 100 negative and 100 positive"),
    (["--head", "bilstm", "--pool", "mean-max"], 2, "--pool mean-max is for the mean head"),
    (["--head", "cls", "--head-size", "5"], 2, "--head-size is for the heads mean and bilstm"),
    (["--mode", "frzen"], 2, "did you mean frozen"),
    (["--unfreeze", "1"], 2, "--unfreeze is for --mode top"),
    (["--encoder-rate", "0.1"], 2, "a frozen one does not"),
    (["--mode", "finetune", "--layer-decay", "1.5"], 2, "--layer-decay: must be"),
    (["--mode", "top", "--unfreeze", "0"], 2, "--unfreeze: must be"),
    (["--mode", "finetune", "--no-cache"], 2, "--no-cache: features are kept of a frozen encoder alone"),
    (["--head", "bilstm", "--no-cache"], 2, "--no-cache: features are kept of a frozen encoder alone"),
    (["--dropout", "1"], 2, "--dropout"),
    (["--learning-rate", "nan"], 2, "--learning-rate"),
    (["--encoder", "/nowhere"], 4, "there is no such directory"),
    (["--encoder", os.devnull], 4, "it is a file"),
    (["--resume"], 4, "no run at"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(encoders, tmp_path, capsys, flags, code, told):
    assert run(encoders / "bilm", tmp_path / "run", *flags) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and told in line and "Fix: " in line
    assert not (tmp_path / "run").exists()


def test_dropout_in_static_vectors_is_refused(encoders, tmp_path, capsys):
    flags = ("--mode", "finetune", "--encoder-dropout", "0.2")
    assert run(encoders / "oracle", tmp_path / "run", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "holds static vectors, which have no units to drop. Fix: " in line and not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten_nor_resumed_with_other_settings(encoders, tmp_path, capsys):
    run(encoders / "oracle", tmp_path / "run", *MEAN)
    assert run(encoders / "oracle", tmp_path / "run", *MEAN) == 2
    assert run(encoders / "oracle", tmp_path / "run", *MEAN, "--dropout", "0.1", "--resume") == 4
    before = DEFAULTS["frozen", "mean"].dropout
    assert f"model.dropout: {before} there, 0.1 now" in capsys.readouterr().err
    assert run(encoders / "bilm", tmp_path / "run", *MEAN, "--resume") == 4


def test_a_transfer_run_is_no_encoder(encoders, tmp_path, capsys):
    run(encoders / "oracle", tmp_path / "run", *MEAN)
    assert run(tmp_path / "run", tmp_path / "other", *MEAN) == 4
    assert "kind 'transfer'" in capsys.readouterr().err


def with_defaults(num_labels, *flags):
    settings = Settings.parse_args(flags)
    return settings.with_epochs(num_labels)


def test_help_answers_without_torch_and_shows_the_defaults_of_each_mode():
    code = "import sys; from finetune.imdb.__main__ import Settings, main, run_command; " \
           "run_command(main, Settings, ['--help']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("False\n")
    first, second, *table, note = out[out.index("defaults by mode and head:\n") :].splitlines()[1:-1]
    words = [flag.split("_") for flag in Defaults._fields]
    assert first.split() == [two[0] for two in words if len(two) == 2] and second.split() == [two[-1] for two in words]
    for line in table:
        mode, head, *values = line.split()
        settings = with_defaults(2000, "--mode", mode, "--head", head)
        shown = [None if v == "-" else float(v) for v in values]
        assert shown == [getattr(settings, flag) for flag in Defaults._fields]
    assert len(table) == len(DEFAULTS)
    epochs = {mode: with_defaults(2002, "--mode", mode).epochs for mode in MODES}
    assert epochs == {"frozen": 20, "top": 3, "finetune": 3, "gradual": 4, "scratch": 12}
    assert note == "epochs of the mean head with more than 2,000 labels: " + ", ".join(
        f"{mode} {n}" for mode, n in epochs.items() if n != DEFAULTS[mode, "mean"][0])
    assert with_defaults(2002, "--mode", "finetune", "--epochs", "7").epochs == 7


def test_minibatches_hold_each_row_once_and_reshuffle_by_the_generator():
    given, lengths = np.arange(5, 108), np.random.default_rng(0).integers(1, 90, 200)
    deal = [examples.minibatches(given, lengths, 7, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert sorted(np.concatenate(deal[0])) == given.tolist() and len(deal[0]) == 15  # ⌈103 / 7⌉
    assert all((a == b).all() for a, b in zip(deal[0], deal[1])) and (deal[0][0] != deal[2][0]).any()
    padding = sum(lengths[batch].max() * len(batch) - lengths[batch].sum() for batch in deal[0])
    assert padding < 0.15 * lengths[given].sum()
