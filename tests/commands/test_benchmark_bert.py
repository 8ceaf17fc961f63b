"""Claims about BERT's benchmark: its ways ask the same and learn the same, and what it divides by is right.

How fast any of them is, is not a claim of these tests: a busy machine would refute it.
"""

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bert_by_loops import CONFIG, B, T, make_model, some_labels, some_tokens
from torch.utils.flop_counter import FlopCounterMode

from minitransfer.bert import encoder
from minitransfer.bert.masking import IGNORE_INDEX

ROOT = Path(__file__).resolve().parents[2]
LABELS = ((0, 6), (0, 1), (1, 3), (2, 0))


@pytest.fixture
def ways(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from tests.benchmarks import bert

    return bert


@pytest.mark.slow
def test_the_benchmark_needs_no_transformers_and_says_how_to_get_it():
    hidden = "import sys; sys.modules['transformers'] = None; from tests.benchmarks import bert as b; "
    call = "sys.exit(b.run_command(b.main, b.flags('b', ''), ['--quick', '--rounds', '1', '--threads', '1']))"
    done = subprocess.run([sys.executable, "-c", hidden + call], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    header, *table = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()[:5]]
    assert header == ["one training step", "tokens/s", "× every token", "MFLOP/token", "of matrix rate"]
    assert [row[0] for row in table] == ["ours", "torch's cross-entropy", "and the last layer in full",
                                       "and every token decoded"]
    assert table[3][2] == "1.00" and all(len(row) == 5 and float(row[2]) > 0 for row in table)
    assert "pip install transformers" in done.stdout


def test_the_ways_ask_the_same_and_learn_the_same(ways):
    model, token_ids = make_model(), some_tokens(B, T)
    labels, found = some_labels(token_ids, *LABELS), []
    others = [make(model) for make in (ways.loss_by_torch, ways.loss_with_last_layer_in_full,
                                       ways.loss_of_everything_decoded)]
    for loss in (model.loss, *others):
        value = loss(token_ids, labels, None)
        found.append([value, *torch.autograd.grad(value, list(model.parameters()))])
    for first, *rest in zip(*found):
        assert all(torch.allclose(first, other, atol=1e-12) for other in rest)


@pytest.mark.parametrize("way", ["ours", "last layer in full", "everything decoded"])
def test_the_flop_formula_counts_what_torch_counts(ways, monkeypatch, way):
    """torch's own counter, on one way forward; with attention written out, for it cannot look into the fused one."""
    model, token_ids = make_model(), some_tokens(B, T)
    labels = some_labels(token_ids, *LABELS)
    share = (labels != IGNORE_INDEX).double().mean().item()
    loss, shares = {
        "ours": (model.loss, (share, share)),
        "last layer in full": (ways.loss_with_last_layer_in_full(model), (1, share)),
        "everything decoded": (ways.loss_of_everything_decoded(model), (1, 1)),
    }[way]
    attention = encoder.attention
    monkeypatch.setattr(encoder, "attention", lambda q, k, v, bias: attention(q, k, v, bias, fused=False))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        loss(token_ids, labels, None)
    assert counter.get_total_flops() == pytest.approx(ways.training_flop(CONFIG, T, *shares) / 3 * B * T)


def test_their_loss_is_asked_of_masked_held_out_pieces_alone(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from tests.benchmarks.time_to_loss import held_out_loss

    N, V = 19, 7  # more rows than a batch holds
    drawn = torch.Generator().manual_seed(0)
    inputs, labels = torch.randint(V, (N, T), generator=drawn), torch.full((N, T), IGNORE_INDEX)
    logits = torch.randn(V, V, generator=drawn)  # of a network that looks at each piece alone
    places = [(0, 1), (3, 2), (16, 0), (18, T - 1)]
    for n, t in places:
        labels[n, t] = (n + t) % V
    network = SimpleNamespace(eval=lambda: lambda input_ids: SimpleNamespace(logits=logits[input_ids]))
    by_loops = sum(-logits[inputs[n, t]].log_softmax(0)[labels[n, t]] for n, t in places) / len(places)
    text = SimpleNamespace(held_out=(inputs, labels))
    assert held_out_loss(network, text) == pytest.approx(by_loops.item(), abs=1e-6)


def test_each_row_comes_once_in_a_pass(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from tests.benchmarks.time_to_loss import batches

    passes = list(islice(batches(7, 3), 6))
    assert [len(rows) for rows in passes] == [3, 3, 1] * 2
    first, second = (torch.cat(passes[i : i + 3]).tolist() for i in (0, 3))
    assert sorted(first) == sorted(second) == list(range(7)) and first != second


def test_made_up_rows_hold_no_special_piece(ways):
    rows = ways.make_rows(300, 4, 33)
    assert rows.shape == (4, 33) and rows.min() == 5 and rows.max() < 300
