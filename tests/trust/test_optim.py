"""Claims about optimisation: which parameters decay, schedules at their corners, clipping, and giving up."""

import math

import pytest
import torch
from torch import nn

from minitransfer.apparatus import optim
from minitransfer.apparatus.errors import NumericsError


class Tied(nn.Module):
    """An embedding whose matrix is also the decoder's, with a norm, biases, and a scalar mix: some of each kind."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(13, 7)
        self.norm = nn.LayerNorm(7)
        self.lstm = nn.LSTM(7, 5)
        self.mix = nn.Parameter(torch.zeros(3))
        self.gamma = nn.Parameter(torch.ones(()))
        self.decoder = nn.Linear(7, 13)
        self.decoder.weight = self.embedding.weight


def names_in(module: nn.Module, group: dict) -> set[str]:
    chosen = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in module.named_parameters() if id(parameter) in chosen}


def test_matrices_decay_and_biases_norms_and_mixes_do_not():
    module = Tied()
    decaying, others = optim.weight_decay_groups(module, 3e-4, 0.01)
    assert (decaying["lr"], decaying["weight_decay"], others["lr"], others["weight_decay"]) == (3e-4, 0.01, 3e-4, 0.0)
    assert names_in(module, decaying) == {"embedding.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0"}
    assert names_in(module, others) == {
        "norm.weight", "norm.bias", "lstm.bias_ih_l0", "lstm.bias_hh_l0", "mix", "gamma", "decoder.bias"}


def test_a_tied_parameter_is_listed_once_and_a_frozen_one_not_at_all():
    module = Tied()
    module.lstm.requires_grad_(False)
    listed = [id(p) for group in optim.weight_decay_groups(module, 0.1, 0.1) for p in group["params"]]
    assert len(listed) == len(set(listed)) == 6
    assert not {id(p) for p in module.lstm.parameters()} & set(listed)


def test_groups_without_parameters_are_left_out():
    assert [g["weight_decay"] for g in optim.weight_decay_groups(nn.LayerNorm(7), 0.1, 0.1)] == [0.0]


def test_one_adamw_step_is_the_formula_with_and_without_decay():
    module = nn.Linear(3, 2)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = optim.adamw(optim.weight_decay_groups(module, 0.1, 0.5))
    for p in module.parameters():
        p.grad = torch.full_like(p, -2.0)
    optimizer.step()
    # After one step the corrected moments are g and g², so the update is the rate times the sign of the gradient.
    assert torch.allclose(module.weight, before["weight"] * (1 - 0.1 * 0.5) + 0.1)
    assert torch.allclose(module.bias, before["bias"] + 0.1)


def test_the_rate_of_each_group_follows_the_factor_from_its_own_start():
    module = nn.Linear(3, 2)
    groups = optim.weight_decay_groups(module, 0.2, 0.0)
    groups[1] |= {"lr": 0.1, "initial_lr": 0.1}
    optimizer = optim.adamw(groups)
    assert optim.set_learning_rate(optimizer, 0.5) == 0.1
    assert optim.set_learning_rate(optimizer, 0.5) == 0.1  # twice the same: factors do not pile up
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05]


def test_linear_warm_up_and_decay_at_the_corners():
    factors = [optim.warmup_linear(step, 10, 4) for step in range(12)]
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0]
    assert factors == pytest.approx(expected)


@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 1), (3, 7), (5, 5), (0, 0), (97, 13)])
def test_every_step_taken_has_a_rate_above_0_and_at_most_1(total, warmup):
    assert all(0 < optim.warmup_linear(step, total, warmup) <= 1 for step in range(total))


def test_clipping_scales_all_gradients_by_one_factor_and_returns_the_norm_before():
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(5))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor(4.0)  # norm 5; the third has none
    assert optim.clip_gradients(iter(parameters), 2.5) == pytest.approx(5.0)
    assert torch.allclose(parameters[0].grad, torch.tensor([1.5, 0.0])) and parameters[1].grad == pytest.approx(2.0)
    assert optim.clip_gradients(parameters, 2.6) == pytest.approx(2.5)
    assert parameters[1].grad == pytest.approx(2.0)  # below the limit nothing changes


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_reported_as_it_is(bad):
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, bad])
    assert not math.isfinite(optim.clip_gradients([parameter], 1.0))


def test_bad_steps_are_skipped_and_five_in_a_row_end_the_run():
    guard = optim.FiniteGuard(limit=5)
    assert guard.ok(2.5, 1.0)
    bad_steps = [(math.nan, 1), (1, math.inf), (math.inf, 1), (1, math.nan)]
    assert not any(guard.ok(loss, norm) for loss, norm in bad_steps)
    assert guard.in_a_row == 4 and guard.ok(2.5, 1.0) and guard.in_a_row == 0
    for _ in range(4):
        assert not guard.ok(math.nan, 1.0)
    with pytest.raises(NumericsError, match="5 steps in a row.*Fix: .*--learning-rate"):
        guard.ok(math.nan, 1.0)
