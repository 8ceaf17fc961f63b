"""Claims about bfloat16: it is taken where it is fast, it rounds what is multiplied and nothing else, and it is exact.

Exact in that the same numbers come out each time, so that a run in bfloat16 can be stopped and gone on with like any
other. Where a machine has no instructions for it, torch pieces the products together, slowly but with the same result.
"""

import pytest
import torch
from encoder_runs import make_bert, make_bilm

from finetune.imdb import __main__ as imdb
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.runtime import (
    SideBySide,
    autocast,
    choose_precision,
    multiplies_bfloat16,
)
from minitransfer.transfer.loading import load_encoder
from pretrain.bert import run as bert
from pretrain.bilm import run as bilm

CPU = torch.device("cpu")
HALF_STEP = 2.0**-8  # of a number: bfloat16 keeps 8 binary digits


@pytest.fixture
def machine(monkeypatch):
    """A function that says which instructions the CPU has."""
    return lambda **known: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)


@pytest.mark.parametrize(("known", "width", "expected"), [
    ({"avx512_bf16": True}, 256, "bf16"), ({"amx_bf16": True}, 256, "bf16"), ({"avx512_bf16": True}, 64, "fp32"),
    ({"avx512_bf16": False}, 256, "fp32"), ({}, 1024, "fp32")])
def test_auto_takes_bfloat16_where_there_are_instructions_and_the_network_is_wide(machine, known, width, expected):
    machine(**known)
    assert choose_precision("auto", CPU, width) == expected


def test_what_is_asked_for_is_taken_or_refused(machine):
    machine(avx512_bf16=True)
    assert (choose_precision("fp32", CPU, 999), choose_precision("bf16", CPU, 3)) == ("fp32", "bf16")
    machine()
    with pytest.raises(UsageError, match="no instructions for bfloat16.*--precision fp32"):
        choose_precision("bf16", CPU, 999)


def test_a_torch_that_does_not_tell_is_given_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not multiplies_bfloat16(CPU)


def test_only_factors_and_products_are_rounded_and_weights_stay_as_they_are():
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(37, 5), torch.randn(11, 37)
    before = layer.weight.clone()
    with autocast(CPU, "bf16"):
        y = layer(x)
    with autocast(CPU, "fp32"):
        assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
    exact = x.bfloat16().double() @ layer.weight.bfloat16().double().T + layer.bias.bfloat16().double()
    assert torch.allclose(y.double(), exact, rtol=HALF_STEP, atol=1e-5)
    assert torch.equal(layer.weight, before) and layer.weight.dtype == torch.float32


def test_threads_side_by_side_multiply_as_their_parent_does():
    x = torch.randn(3, 7)
    with SideBySide(2) as side_by_side:
        with autocast(CPU, "bf16"):
            assert [y.dtype for y in side_by_side(lambda: x @ x.T, lambda: x @ x.T)] == [torch.bfloat16] * 2
        assert [y.dtype for y in side_by_side(lambda: x @ x.T, lambda: x @ x.T)] == [torch.float32] * 2


@pytest.mark.parametrize("make", [make_bilm, make_bert])
def test_an_encoder_says_nearly_the_same_in_bfloat16_in_float32_and_whatever_the_padding(tmp_path, make):
    encoder = load_encoder(load_run(make(tmp_path / "run")), CPU)
    torch.manual_seed(1)
    x, mask = torch.randn(3, 13, encoder.hidden_size), torch.ones(3, 13, dtype=torch.bool)
    mask[1, 5:] = False
    exact = encoder.encode(x, mask)
    encoder.precision = "bf16"
    found, alone = encoder.encode(x, mask), encoder.encode(x[1:2, :5], mask[1:2, :5])
    assert found.dtype == torch.float32 and found.shape == exact.shape
    assert not torch.equal(found[-1], exact[-1])
    for layer, other in zip(found, exact):
        assert (layer - other).norm() < 4 * HALF_STEP * other.norm()
    assert torch.allclose(found[:, 1, :5], alone[:, 0], atol=4 * HALF_STEP) and not found[:, 1, 5:].any()


@pytest.mark.parametrize("make", [make_bilm, make_bert])
def test_what_is_learnt_in_bfloat16_points_where_it_does_in_float32(tmp_path, make):
    gradients = []
    for precision in ("fp32", "bf16"):
        encoder = load_encoder(load_run(make(tmp_path / precision)), CPU, frozen=False).train()
        encoder.precision = precision
        torch.manual_seed(2)
        x, mask = torch.randn(5, 9, encoder.hidden_size), torch.ones(5, 9, dtype=torch.bool)
        encoder.encode(x, mask).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]))
    assert gradients[1].dtype == torch.float32
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize("command", [bilm, bert, imdb])
def test_bfloat16_on_a_machine_without_it_is_refused_in_one_line_before_any_text_is_read(
        machine, tmp_path, capsys, command):
    machine()
    encoder = ["--encoder", str(make_bilm(tmp_path / "bilm"))] if command is imdb else ["--preset", "tiny"]
    flags = [*encoder, "--precision", "bf16", "--data-dir", str(tmp_path), "--out", str(tmp_path / "run")]
    assert run_command(command.main, command.Settings, flags) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("error: --precision bf16: this machine has no instructions")
    assert not (tmp_path / "run").exists()
