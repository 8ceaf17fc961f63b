"""Claims about several processes that train one model: its losses are those of one, and whatever one of them meets,
all end alike."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import bert_runs
import pytest
import torch
from encoder_runs import make_bert, make_bilm, make_gpt, make_static
from faults import state_names
from pretrain_runs import PRESETS, flags, flags_for, make_wikitext, rows, signal_at
from processes import SMALL, Ended, run, together, under_torchrun

from finetune.imdb import __main__ as imdb
from minitransfer.apparatus import cache, distributed, optim
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.distributed import (
    average,
    average_gradients,
    gather_rows,
    joined,
    share_of_rows,
)
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.text import corpora, sample
from minitransfer.text.words import SPECIAL_WORDS
from minitransfer.transfer import tokens
from minitransfer.transfer.encoders import BiLMEncoder
from pretrain.bert import run as bert
from pretrain.bilm import run as bilm
from pretrain.bilm import text as reading
from pretrain.gpt import run as gpt
from pretrain.static import train as static  # noqa: F401  here, not in each process

ROOT = Path(__file__).resolve().parents[2]
W = 3


def work_of(check):
    """What `together` asks for: the check, in a process that has joined the others."""

    def work(rank: int) -> None:
        with joined():
            check(rank)

    return work


def all_well(ended: list[Ended]) -> bool:
    return all(code == 0 for code, told in ended) or pytest.fail(str(ended))


def test_the_process_group_is_gone_once_all_have_left():
    """What still held it would let gloo's threads end after the interpreter, which now and then aborts the process.

    In an interpreter of its own, where nothing is imported yet that the first optimiser of a process imports.
    """
    program = """
import gc, weakref, torch, torch.distributed as dist
from minitransfer.apparatus.distributed import joined
with joined():
    group = weakref.ref(dist.group.WORLD)
    torch.optim.AdamW([torch.ones(1, requires_grad=True)])
    assert group() is not None
gc.collect()
print(group())
"""
    place = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **place}, capture_output=True,
                          text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


@pytest.mark.parametrize("B", [1, 3, 7, 13])
def test_each_row_is_one_process_s_and_all_of_them_make_the_batch(tmp_path, B):
    batch = torch.arange(B * 5.0).view(B, 5) - 7

    def check(rank):
        mine = share_of_rows(batch)
        assert len(mine) in (B // W, B // W + 1)
        assert torch.equal(gather_rows(mine, B), batch)
        assert torch.equal(gather_rows(torch.cat([mine, mine]), B), batch)  # rows beyond the share are left out

    assert all_well(together(W, work_of(check), tmp_path))


def test_averaged_gradients_are_those_of_the_mean_over_all_tokens_by_plain_loops(tmp_path):
    x, target, counted = torch.randn(7, 5), torch.randn(7), torch.tensor([1, 0, 1, 1, 0, 1, 0])  # none for rank 1
    w, b = torch.randn(5), torch.randn(1)
    expected_w, expected_b = torch.zeros(5), 0.0
    for i in range(7):
        slope = 2 * counted[i] * (w @ x[i] + b - target[i]) / counted.sum()
        for j in range(5):
            expected_w[j] += (slope * x[i, j]).item()
        expected_b += slope.item()
    loss = sum(counted[i] * (w @ x[i] + b - target[i]) ** 2 for i in range(7)).item() / counted.sum().item()

    def check(rank):
        learnt, frozen = torch.nn.Parameter(w.clone()), torch.nn.Parameter(w.clone(), requires_grad=False)
        bias = torch.nn.Parameter(b.clone())
        own_x, own_target, own = map(share_of_rows, (x, target, counted))
        mean = (own * (own_x @ learnt + bias - own_target).square()).sum() / own.sum()  # nan for rank 1
        mean.backward()
        [found] = average(int(own.sum()), mean.item())
        average_gradients([learnt, frozen, bias], int(own.sum()))
        assert torch.allclose(learnt.grad, expected_w, atol=1e-6) and abs(bias.grad.item() - expected_b) < 1e-6
        assert frozen.grad is None and math.isclose(found, loss, rel_tol=1e-6)

    assert all_well(together(W, work_of(check), tmp_path))


def test_where_nothing_is_counted_anywhere_gradients_and_losses_are_zero(tmp_path):
    def check(rank):
        p = torch.nn.Parameter(torch.ones(3))
        (p.sum() * math.nan).backward()
        average_gradients([p], 0)
        assert p.grad.tolist() == [0, 0, 0] and average(0, math.nan, math.nan) == [0, 0]

    assert all_well(together(2, work_of(check), tmp_path))


def test_what_each_reads_of_a_batch_that_is_judged_as_a_whole_gets_the_gradient_of_the_whole(tmp_path):
    """As batch normalisation does, the loss depends on all rows at once."""
    x, below, above = torch.randn(7, 5), torch.randn(5, 4), torch.randn(4)

    def loss(h, v):
        return (((h - h.mean(dim=0)) / h.var(dim=0).sqrt()) @ v).tanh().square().mean()

    whole = [t.clone().requires_grad_() for t in (below, above)]
    loss(x @ whole[0], whole[1]).backward()

    def check(rank):
        P, v = (torch.nn.Parameter(t.clone()) for t in (below, above))
        found = loss(gather_rows(share_of_rows(x) @ P, 7), v)
        found.backward()
        average_gradients([P, v])
        assert math.isclose(found.item(), loss(x @ below, above).item(), rel_tol=1e-6)
        for p, expected in zip((P, v), whole):
            assert torch.allclose(p.grad, expected.grad, atol=1e-6)

    assert all_well(together(W, work_of(check), tmp_path))


STILL = ("--dropout", "0")
SLOW = pytest.mark.slow
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_wikitext(tmp_path_factory.mktemp("data"), words=900)


def pretrain(data, out, n: int, *more: str, before=lambda rank: None) -> list[Ended]:
    """Run pretrain.bert in n processes; `before` may change what happens in one of them."""

    def work(rank: int) -> int:
        bert.Settings.presets["tiny"] = SMALL
        before(rank)
        return run(bert, flags_for("bert", data, out, *more))

    return together(n, work, out.with_name(f"{out.name}-log"))


@pytest.mark.parametrize("n", [3, pytest.param(2, marks=SLOW)])
def test_a_gpt_is_learned_by_several_processes_as_by_one_but_for_rounding(data, tmp_path, n):
    def work(out, rank: int) -> int:
        gpt.Settings.presets["tiny"] = {**bert_runs.PRESETS["gpt"], "epochs": 1, "batch_size": 6}
        return run(gpt, flags_for("gpt", data, out, *STILL, "--softmax", "sampled"))

    for several, out in ((1, tmp_path / "alone"), (n, tmp_path / "run")):
        assert all_well(together(several, partial(work, out), out.with_name(f"{out.name}-log")))
    assert nearly_the_same(tmp_path / "alone", tmp_path / "run")


def only(rank: int, do):
    """What happens `before` a run, in one of its processes alone."""
    return lambda found: do() if found == rank else None


def keeping_weights(folder):
    """Before a run: let each process keep the weights that it ends with."""

    def keep(rank: int) -> None:
        train = bert.train

        def watched(model, *arguments):
            step = train(model, *arguments)
            torch.save(model.state_dict(), folder / f"{rank}.pt")
            return step

        bert.train = watched

    return keep


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of two processes that was never stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert all_well(pretrain(data, out, 2, before=keeping_weights(out.parent)))
    return out


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """A run of one process, without dropout."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    assert all_well(pretrain(data, out, 1, *STILL))
    return out


def same_bits(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def nearly_the_same(first, second) -> bool:
    """Whether two runs have gone the same way but for rounding: losses to 1e-5, weights to 1e-5 of their size.

    What is added to all keys alike moves no attention, so nothing but rounding moves it: its slope is 0, and what
    AdamW makes of the rounding of 0 is as large a step as any.
    """
    a, b = load_run(first).tensors, load_run(second).tensors
    for name in a:
        if name.endswith("qkv.bias"):
            D = len(a[name]) // 3
            a[name][D : 2 * D] = b[name][D : 2 * D] = 0
        assert (a[name] - b[name]).norm() < 1e-5 * a[name].norm(), name
    for one, other in zip(rows(first), rows(second), strict=True):
        assert one.keys() == other.keys() and one["step"] == other["step"]
        assert one == pytest.approx(other, rel=1e-5)
    return True


def make_vectors(path):
    """Static vectors of a few words, for a warm start."""
    words = [*SPECIAL_WORDS, *"abcdefghi"]
    vectors = torch.rand(len(words), 12, generator=torch.Generator().manual_seed(1))
    return make_static(path, words, vectors)


def errors(ended: list[Ended]) -> list[str]:
    """The lines with an error, of all processes."""
    return [line for _, told in ended for line in told.splitlines() if "error:" in line]


@pytest.mark.parametrize("n", [pytest.param(2, marks=SLOW), 3])
def test_several_processes_learn_what_one_does_but_for_rounding(data, alone, tmp_path, n):
    assert all_well(pretrain(data, tmp_path / "run", n, *STILL))
    assert nearly_the_same(alone, tmp_path / "run")


def test_all_processes_end_with_the_same_bits_and_the_first_alone_speaks(whole):
    weights = [torch.load(whole.parent / f"{rank}.pt") for rank in (0, 1)]
    assert same_bits(*weights) and same_bits(weights[0], load_run(whole).tensors)
    said = [(whole.with_name("whole-log") / f"rank-{rank}.txt").read_text() for rank in (0, 1)]
    assert "1 thread in each of 2 processes" in said[0] and said[1] == ""


@pytest.mark.parametrize("rank", [0, 1])
def test_whichever_process_is_asked_to_stop_all_stop_at_one_step_and_the_run_ends_with_the_same_bits(
        data, whole, tmp_path, rank):
    out = tmp_path / "cut"
    stopped = pretrain(data, out, 2, before=only(rank, lambda: signal_at("bert", 9, signal.SIGTERM)))
    assert [code for code, _ in stopped] == [143, 143] and rows(out)[-1]["step"] == 9
    assert state_names(out) == ["latest", "step-00000009"]
    assert stopped[0].told.count("to go on: torchrun --nproc-per-node 2 -m pretrain.bert --corpus") == 1
    assert stopped[0].told.splitlines()[-1].endswith("--resume") and stopped[1].told == ""
    assert all_well(pretrain(data, out, 2, "--resume"))
    assert same_bits(load_run(whole).tensors, load_run(out).tensors) and rows(whole) == rows(out)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 3)])
def test_what_some_processes_began_any_other_number_may_end(data, alone, tmp_path, first, then):
    out = tmp_path / "run"
    stopped = pretrain(data, out, first, *STILL, before=only(0, lambda: signal_at("bert", 17, signal.SIGINT)))
    assert [code for code, _ in stopped] == [130] * first
    ended = pretrain(data, out, then, *STILL, "--resume")
    assert all_well(ended) and f"environment.processes: {first} there, {then} now" in ended[0].told
    assert nearly_the_same(alone, out)


def test_a_batch_that_cannot_be_divided_among_the_processes_is_refused_once(data, tmp_path):
    ended = pretrain(data, tmp_path / "run", 4)
    assert [code for code, _ in ended] == [2] * 4 and not (tmp_path / "run").exists()
    assert len(errors(ended)) == 1 and "--batch-size 6 cannot be divided evenly among 4 processes" in errors(ended)[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_others_with_one_line_and_the_run_goes_on(data, whole, tmp_path, rank):
    out, often = tmp_path / "run", ("--save-every", "1e-9")
    ended = pretrain(data, out, 2, *often, before=only(rank, lambda: signal_at("bert", 9, signal.SIGKILL)))
    assert (ended[rank].code, ended[1 - rank].code) == (KILLED, 6)
    assert len(errors(ended)) == 1 and "another process of this run has ended" in errors(ended)[0]
    assert "Traceback" not in ended[1 - rank].told
    assert all_well(pretrain(data, out, 2, "--resume"))
    assert same_bits(load_run(whole).tensors, load_run(out).tensors)


@pytest.mark.parametrize(("failure", "code", "told"), [(ZeroDivisionError, 1, "this is a bug"),
                                                       (MemoryError, 6, "memory ran out")])
def test_the_process_that_fails_tells_the_cause_and_the_others_end_without_a_word(
        data, tmp_path, failure, code, told):
    def failing(*arguments):
        raise failure

    ended = pretrain(data, tmp_path / "run", 2, before=only(1, lambda: setattr(optim, "clip_gradients", failing)))
    assert [c for c, _ in ended] == [6, code]
    assert len(errors(ended)) == 1 and told in ended[1].told


@pytest.mark.parametrize(("more", "code", "told"), [
    (("--batch-sise", "6"), 2, "did you mean --batch-size?"),
    (("--out", "{taken}"), 2, "is not empty"),
    (("--corpus", "imdb"), 7, "imdb"),
    (("--init-from", "{taken}"), 4, "no run at"),
    (("--batch-size", "999999"), 3, "999,999"),
    (("--learning-rate", "1e38"), 5, "begin again with a smaller --learning-rate")])
def test_an_error_that_all_processes_meet_is_told_once(data, tmp_path, more, code, told):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "photograph").touch()
    ended = pretrain(data, tmp_path / "run", 3, *(word.format(taken=tmp_path / "taken") for word in more))
    assert code in {c for c, _ in ended} <= {code, 6}
    assert len(errors(ended)) == 1 and told in errors(ended)[0]


def test_a_process_that_was_begun_with_other_settings_is_refused(data, tmp_path):
    def work(rank: int) -> int:
        bert.Settings.presets["tiny"] = SMALL
        return run(bert, flags_for("bert", data, tmp_path / "run", "--seed", str(rank)))

    ended = together(2, work, tmp_path / "log")
    assert [code for code, _ in ended] == [6, 4]
    assert len(errors(ended)) == 1 and "seed: 0 there, 1 now" in errors(ended)[0]


def test_help_is_shown_once(data, tmp_path):
    ended = pretrain(data, tmp_path / "run", 2, "--help")
    assert [code for code, _ in ended] == [0, 0] and "usage:" in ended[0].told and ended[1].told == ""


def test_a_command_that_cannot_be_shared_says_so_once(data, tmp_path):
    def work(rank: int) -> int:
        return run_command(static.main, static.Settings, flags(data, tmp_path / "run"))

    ended = together(2, work, tmp_path / "log")
    assert [code for code, _ in ended] == [2, 2] and not (tmp_path / "run").exists()
    assert len(errors(ended)) == 1 and "is the work of one process, and torchrun has started 2" in errors(ended)[0]


@pytest.mark.parametrize("lacking", ["RANK", "MASTER_ADDR"])
def test_an_environment_that_tells_half_of_it_is_a_usage_error(data, tmp_path, monkeypatch, capsys, lacking):
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(lacking)
    assert run(bert, flags_for("bert", data, tmp_path / "run")) == 2
    assert "unset WORLD_SIZE to run one process" in capsys.readouterr().err


def test_nobody_waits_for_ever_for_a_process_that_does_not_come(data, tmp_path):
    def work(rank: int) -> int:
        distributed.MEETING = timedelta(seconds=1)
        return run(bert, flags_for("bert", data, tmp_path / "run")) if rank == 0 else 0

    ended = together(2, work, tmp_path / "log")
    assert [code for code, _ in ended] == [6, 0]
    assert len(errors(ended)) == 1 and "the 2 processes of this run have not found one another" in errors(ended)[0]


def pretrain_bilm(data, out, n: int, *more: str, before=lambda rank: None) -> list[Ended]:
    """Run pretrain.bilm in n processes."""

    def work(rank: int) -> int:
        bilm.Settings.presets["tiny"] = {**PRESETS["bilm"], "batch_size": 6, "epochs": 3}
        before(rank)
        return run(bilm, flags_for("bilm", data, out, *more))

    return together(n, work, out.with_name(f"{out.name}-log"))


@pytest.fixture(scope="module")
def lone_bilm(data, tmp_path_factory):
    """A biLM that one process has made, without dropout."""
    out = tmp_path_factory.mktemp("runs") / "bilm"
    assert all_well(pretrain_bilm(data, out, 1, *STILL))
    return out


def test_several_processes_make_the_bilm_that_one_does_but_for_rounding(data, lone_bilm, tmp_path):
    assert all_well(pretrain_bilm(data, tmp_path / "run", 3, *STILL))
    assert nearly_the_same(lone_bilm, tmp_path / "run")


def test_a_process_that_has_nothing_to_predict_in_a_window_has_no_say_in_it(data, tmp_path):
    """Of three rows the last is the shortest, and has nothing in a window of the last word of each."""
    corpus = corpora.load_corpus(["wikitext-2"], data, offline=True)
    N = reading.read_text(corpus, 999, 1).num_tokens
    assert N % 3
    more = (*STILL, "--batch-size", "3", "--window", str(N // 3), "--charcnn", "fixed", "--softmax", "full")
    for n in (1, 3):
        assert all_well(pretrain_bilm(data, tmp_path / str(n), n, *more))
    assert nearly_the_same(tmp_path / "1", tmp_path / "3")


@pytest.mark.parametrize(("first", "then"), [(2, 1), pytest.param(1, 3, marks=SLOW)])
def test_the_memory_of_all_rows_goes_on_in_any_number_of_processes(data, lone_bilm, tmp_path, first, then):
    out = tmp_path / "run"
    stopped = pretrain_bilm(data, out, first, *STILL, before=only(0, lambda: signal_at("bilm", 9, signal.SIGTERM)))
    assert [code for code, _ in stopped] == [143] * first
    assert all_well(pretrain_bilm(data, out, then, *STILL, "--resume"))
    assert nearly_the_same(lone_bilm, out)


@pytest.fixture(scope="module")
def warm_bilm(data, tmp_path_factory):
    """A biLM that two processes have made, and the flags that it began with."""
    path = tmp_path_factory.mktemp("warm")
    more = ("--warm-start", str(make_vectors(path / "vectors")))
    ended = pretrain_bilm(data, path / "bilm", 2, *more)
    assert all_well(ended) and ended[0].told.count("warm start: solving") == 1 and ended[1].told == ""
    return path / "bilm", more


@pytest.mark.parametrize(("progress", "step"), [
    ("bilm", 9), pytest.param("spelling", 1, marks=SLOW), pytest.param("perplexity", 1, marks=SLOW)])
def test_a_bilm_stopped_through_one_process_and_gone_on_with_ends_with_the_same_bits(
        data, warm_bilm, tmp_path, progress, step):
    (whole, more), cut = warm_bilm, tmp_path / "cut"
    rank = 1 if progress == "bilm" else 0  # the others are done by the first alone
    stopped = pretrain_bilm(data, cut, 2, *more, before=only(rank, lambda: signal_at(progress, step, signal.SIGTERM)))
    assert [code for code, _ in stopped] == [143, 143] and stopped[1].told == ""
    assert stopped[0].told.count("to go on: torchrun --nproc-per-node 2 -m pretrain.bilm") == 1
    assert all_well(pretrain_bilm(data, cut, 2, *more, "--resume"))
    assert same_bits(load_run(whole).tensors, load_run(cut).tensors) and rows(whole) == rows(cut)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    make_bilm(path / "bilm"), make_bert(path / "bert"), make_gpt(path / "gpt")
    return path


@pytest.fixture
def few_reviews(monkeypatch, tmp_path):
    """Let the built-in reviews be a few of them, which need not be read in each process."""
    few = corpora.load_reviews("sample", tmp_path / "data", offline=True)
    few = dataclasses.replace(few, train_texts=few.train_texts[::5], train_labels=few.train_labels[::5],
                              test_texts=few.test_texts[::31], test_labels=few.test_labels[::31])
    monkeypatch.setattr(corpora, "load_reviews", lambda *arguments, **settings: few)


def finetune(encoder, out, n: int, *more: str, before=lambda rank: None) -> list[Ended]:
    """Run finetune.imdb in n processes."""

    def work(rank: int) -> int:
        before(rank)
        return run(imdb, ["--data", "sample", "--labels", "34", "--batch-size", "6", "--epochs", "2", "--log-every",
                          "1e-9", "--encoder", str(encoder), "--out", str(out), *more])

    return together(n, work, out.with_name(f"{out.name}-log"))


def results(path) -> dict:
    """What a run says of itself, but for the time it took."""
    return {name: value for name, value in json.loads((path / "results.json").read_text()).items()
            if not name.startswith("seconds")}


@pytest.mark.parametrize(("encoder", "more"), [
    ("bilm", ("--mode", "frozen")),
    ("bilm", ("--mode", "frozen", "--head", "bilstm", "--dropout", "0", "--labels", "32")),
    ("bilm", ("--mode", "finetune")),
    pytest.param("bilm", ("--mode", "gradual", "--pool", "mean-max"), marks=SLOW),
    ("bert", ("--mode", "finetune", "--head", "cls", "--encoder-dropout", "0", "--labels", "32")),
    pytest.param("gpt", ("--mode", "finetune", "--head", "last", "--encoder-dropout", "0"), marks=SLOW)])
def test_several_processes_make_the_classifier_that_one_does_but_for_rounding(
        encoders, few_reviews, tmp_path, encoder, more):
    """Though the mean head standardises by all texts of a batch; of 32 labels a batch has two: a process has none.

    Only matrices are compared. What a bias adds to all texts alike is standardised away, so that its slope is 0, and
    what AdamW makes of the rounding of 0 is as large a step as any.
    """
    for n in (1, 3):
        assert all_well(finetune(encoders / encoder, tmp_path / str(n) / "run", n, *more))
    one, three = (tmp_path / name / "run" for name in "13")
    told, expected = results(three), results(one)
    measured = ("validation_loss", "validation_accuracy", "test_accuracy", "epochs")
    for name in (*measured, *("mix", "gamma")[: 2 * ({"cls", "last"}.isdisjoint(more))]):
        assert told[name] == pytest.approx(expected[name], rel=1e-5)
    for first, second in zip(rows(one), rows(three), strict=True):
        timeless = {"seconds": 0, "seconds_encoding": 0}
        assert first | timeless == pytest.approx(second | timeless, rel=1e-5)
    a, b = load_run(one).tensors, load_run(three).tensors
    for name in a:
        assert a[name].ndim < 2 or name == "standardise.mean" or (a[name] - b[name]).norm() < 1e-4 * a[name].norm()


def test_features_that_a_process_lacks_are_read_by_all_together_and_kept_once(
        encoders, few_reviews, tmp_path, monkeypatch):
    encode = BiLMEncoder.encode
    monkeypatch.setattr(tokens, "TOKENS_PER_BATCH", 999)
    monkeypatch.setattr(BiLMEncoder, "encode", lambda *given: print(len(given[2])) or encode(*given))
    train, test, _ = sample.reviews()

    def texts_read(name: str, before=lambda rank: None) -> list[int]:
        """How many texts each process reads in several batches."""
        ended = finetune(encoders / "bilm", tmp_path / name, 2, before=before)
        assert all_well(ended) and results(tmp_path / name) == results(tmp_path / "first")
        return [sum(int(line) for line in told.splitlines() if line.isdecimal()) for _, told in ended]

    def lacking(*arguments):
        raise CheckpointError("is not there", "")

    first = texts_read("first")
    assert min(first) > 50 and sum(first) == len(train[::5]) + len(test[::31])
    assert texts_read("second") == [0, 0]
    assert texts_read("third", before=only(1, lambda: setattr(cache, "_read", lacking))) == first


@pytest.mark.parametrize(("progress", "step"), [("training", 7), pytest.param("scoring", 1, marks=SLOW)])
def test_a_classifier_stopped_through_one_process_and_gone_on_with_ends_with_the_same_bits(
        encoders, few_reviews, tmp_path, monkeypatch, progress, step):
    monkeypatch.setattr(tokens, "TOKENS_PER_BATCH", 99)  # so that scoring takes more than one
    more, cut = ("--mode", "finetune", "--encoder-dropout", "0.2", "--lm-weight", "0.5"), tmp_path / "cut"
    assert all_well(finetune(encoders / "bilm", tmp_path / "whole", 2, *more))
    stopped = finetune(encoders / "bilm", cut, 2, *more,
                       before=only(1, lambda: signal_at(progress, step, signal.SIGTERM)))
    assert [code for code, _ in stopped] == [143, 143] and stopped[1].told == ""
    assert stopped[0].told.count("to go on: torchrun --nproc-per-node 2 -m finetune.imdb") == 1
    ended = finetune(encoders / "bilm", cut, 2, *more, "--resume")
    assert all_well(ended) and ended[1].told == "" and ended[0].told.count("test accuracy") == 1
    assert same_bits(load_run(tmp_path / "whole").tensors, load_run(cut).tensors)
    assert results(tmp_path / "whole") == results(cut)


@SLOW
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_torchrun_that_is_asked_to_stop_saves_once_and_says_once_how_to_go_on(data, whole, tmp_path, name):
    out = tmp_path / "run"
    stopped = under_torchrun(2, "0", "9", name, "torchrun", *flags_for("bert", data, out))
    assert stopped.returncode != 0 and len(state_names(out)) == 2
    told = [line for line in stopped.stderr.splitlines() if "to go on: torchrun --nproc-per-node 2 -m" in line]
    assert len(told) == 1 and told[0].endswith("--resume") and errors([Ended(0, stopped.stderr)]) == [], stopped.stderr
    resumed = under_torchrun(2, "0", "999999", name, "itself", *flags_for("bert", data, out, "--resume"))
    assert resumed.returncode == 0 and same_bits(load_run(whole).tensors, load_run(out).tensors)
    assert rows(whole) == rows(out)


@SLOW
def test_torchrun_names_the_process_that_died_as_the_cause(data, tmp_path):
    ended = under_torchrun(2, "1", "9", "SIGKILL", "itself", *flags_for("bert", data, tmp_path / "run"))
    cause = ended.stderr.partition("Root Cause")[2]
    assert ended.returncode == 1 and "rank      : 1" in cause and "SIGKILL" in cause
    assert len(errors([Ended(1, ended.stderr)])) <= 1 and "bug in the program" not in ended.stderr


GROUP = """
import importlib, os, sys, torch
import torch.distributed as dist
importlib.import_module(sys.argv[1])
def threads(): return len(os.listdir("/proc/self/task"))
before = threads()
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
import torch._dynamo  # as an optimiser does
dist.all_reduce(torch.ones(1))
during = threads()
dist.destroy_process_group()
print(during > before, threads() > before, flush=True)
os._exit(0)  # where threads are left, an ordinary end may hang
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux tells of them")
@pytest.mark.parametrize("module, stay", [("torch.distributed", True), ("minitransfer.apparatus.distributed", False)])
def test_no_thread_of_the_group_outlives_it(module, stay):
    """One that does may free its last tensor while the interpreter ends, which then ends with -6, or never, now and
    then.

    torch.distributed.nn, which torch._dynamo imports, keeps the group that there is for ever; `distributed` imports it
    before there is one. Without that the threads stay.
    """
    done = subprocess.run([sys.executable, "-c", GROUP, module], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["True", str(stay)], done.stderr[-2000:]
