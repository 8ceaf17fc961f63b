"""Claims about optimisation: what decays, Muon, averages, schedules at their corners, clipping, and giving up."""

import copy
import math

import pytest
import torch
from torch import nn

from minitransfer.apparatus import optim
from minitransfer.apparatus.errors import CheckpointError, NumericsError


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


class Layer(nn.Module):
    """A matrix of embeddings, and hidden ones: three in one parameter, one that is wide, one that is tall."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 7)
        self.qkv, self.wide, self.tall = nn.Linear(7, 15), nn.Linear(13, 5), nn.Linear(5, 13, bias=False)


def product(X: list[list[float]], Y: list[list[float]]) -> list[list[float]]:
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*Y)] for row in X]


def by_newton_schulz(X: list[list[float]]) -> list[list[float]]:
    """O(X) of the docstring, with loops; of a tall matrix by its transpose, which has the same singular values."""
    if len(X) > len(X[0]):
        return [list(row) for row in zip(*by_newton_schulz([list(column) for column in zip(*X)]))]
    a, b, c = 3.4445, -4.775, 2.0315
    length = math.sqrt(sum(x * x for row in X for x in row))
    X = [[x / length for x in row] for row in X]
    for _ in range(5):
        A = product(X, [list(column) for column in zip(*X)])
        second = product(A, A)
        B = [[b * A[i][j] + c * second[i][j] for j in range(len(A))] for i in range(len(A))]
        BX = product(B, X)
        X = [[a * x + y for x, y in zip(*rows)] for rows in zip(X, BX)]
    return X


def test_three_steps_of_muon_are_the_formula_for_each_matrix_by_itself_and_adamw_moves_the_rest():
    torch.manual_seed(0)
    module, rate, decay, hidden = Layer(), 0.02, 0.3, {"qkv": 3, "wide": 1, "tall": 1}
    plain = Layer()
    plain.load_state_dict(module.state_dict())
    optimizers = [optim.choose(name, m, rate, decay, hidden) for name, m in (("muon", module), ("adamw", plain))]
    pieces = [(module.qkv.weight, rows) for rows in (range(5), range(5, 10), range(10, 15))]
    pieces += [(module.wide.weight, range(5)), (module.tall.weight, range(13))]
    expected = [[p.tolist()[i] for i in rows] for p, rows in pieces]
    momentum = [[[0.0] * len(W[0]) for _ in W] for W in expected]
    for _ in range(3):
        for p, q in zip(module.parameters(), plain.parameters()):
            p.grad = torch.randn(p.shape)
            q.grad = p.grad.clone()
        for n, (p, rows) in enumerate(pieces):
            G, W, m = [p.grad.tolist()[i] for i in rows], expected[n], momentum[n]
            m[:] = [[0.95 * x + g for x, g in zip(*pair)] for pair in zip(m, G)]
            step = by_newton_schulz([[g + 0.95 * x for x, g in zip(*pair)] for pair in zip(m, G)])
            factor = 0.2 * math.sqrt(max(len(W), len(W[0])))
            W[:] = [[w - rate * (decay * w + factor * s) for w, s in zip(*pair)] for pair in zip(W, step)]
        for optimizer in optimizers:
            optimizer.step()
    for (p, rows), W in zip(pieces, expected):  # the iteration is in bfloat16 there, of three digits
        assert torch.allclose(p.detach()[list(rows)], torch.tensor(W), atol=0.03 * 3 * rate)
    for name in ("embedding.weight", "qkv.bias", "wide.bias"):
        assert torch.equal(module.get_parameter(name), plain.get_parameter(name))
    assert not torch.allclose(module.wide.weight, plain.wide.weight, atol=1e-3)


def test_muon_goes_on_from_its_state_bit_for_bit_and_shares_the_rate():
    torch.manual_seed(0)
    module, hidden = Layer(), {"qkv": 3, "wide": 1, "tall": 1}
    gradients = [[torch.randn(p.shape) for p in module.parameters()] for _ in range(4)]

    def steps(module: Layer, optimizer: optim.Optimizer, some: list) -> None:
        for step in some:
            optimizer.zero_grad()
            assert all(p.grad is None for p in module.parameters())
            for p, gradient in zip(module.parameters(), step):
                p.grad = gradient.clone()
            optimizer.step()

    optimizer = optim.choose("muon", module, 0.02, 0.3, hidden)
    assert optim.set_learning_rate(optimizer, 0.5) == 0.01
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}
    steps(module, optimizer, gradients[:2])
    other = Layer()
    other.load_state_dict(module.state_dict())
    resumed = optim.choose("muon", other, 0.02, 0.3, hidden)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(module, optimizer, gradients[2:])
    steps(other, resumed, gradients[2:])
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), other.parameters()))


def test_a_running_average_is_the_formula_and_nothing_where_no_share_is_given():
    module = nn.Linear(3, 2)
    averaged, none = optim.RunningAverage(module, 0.2, 17), optim.RunningAverage(module, None, 17)
    d, expected = 1 - 1 / (0.2 * 17), None
    for _ in range(6):
        with torch.no_grad():
            module.weight.copy_(torch.randn(2, 3))
        averaged.update()
        none.update()
        now = module.weight.tolist()
        expected = now if expected is None else [
            [d * m + (1 - d) * x for m, x in zip(*rows)] for rows in zip(expected, now)]
    none.take()
    assert module.weight.tolist() == now and not none.kept
    averaged.take()
    assert torch.allclose(module.weight, torch.tensor(expected), atol=1e-6)


def test_an_average_over_less_than_a_step_is_the_last_weights():
    module = nn.Linear(3, 2)
    averaged = optim.RunningAverage(module, 0.01, 17)
    for _ in range(3):
        with torch.no_grad():
            module.weight.copy_(torch.randn(2, 3))
        averaged.update()
    last = module.weight.clone()
    averaged.take()
    assert torch.allclose(module.weight, last)


def table_and_gradients() -> tuple[nn.Linear, list[tuple[torch.Tensor, list[torch.Tensor]]]]:
    """A table of 7 rows, W (7, 3) and b (7,), and what three steps ask of some rows: their numbers and gradients."""
    torch.manual_seed(0)
    steps = [torch.tensor(rows) for rows in ([0, 2, 5], [2], [1, 2, 5, 6])]
    return nn.Linear(3, 7), [(rows, [torch.randn(len(rows), 3), torch.randn(len(rows))]) for rows in steps]


def test_row_adagrad_is_the_formula_for_each_number_and_leaves_other_rows_alone():
    table, steps = table_and_gradients()
    W, sums = [row.tolist() for row in table.weight], [[1e-6] * 3 for _ in range(7)]
    optimizer = optim.RowAdaGrad(table, 0.5)
    for number, (rows, gradients) in enumerate(steps):
        optim.set_learning_rate(optimizer, 1 / (number + 1))
        optimizer.step(rows, gradients)
        for r, row_gradient in zip(rows.tolist(), gradients[0].tolist()):
            for j, g in enumerate(row_gradient):
                sums[r][j] += g * g
                W[r][j] -= 0.5 / (number + 1) * g / math.sqrt(sums[r][j])
    assert torch.allclose(table.weight, torch.tensor(W), atol=1e-6)


def test_adamw_by_rows_is_adamw_with_gradients_of_zero_for_all_other_rows():
    table, steps = table_and_gradients()
    whole = copy.deepcopy(table)
    by_rows, plain = optim.RowAdamW(table, 0.1, 0.3), optim.adamw(optim.weight_decay_groups(whole, 0.1, 0.3))
    for rows, gradients in steps:
        by_rows.step(rows, gradients)
        for p, g in zip(whole.parameters(), gradients):
            p.grad = torch.zeros_like(p)
            p.grad[rows] = g
        plain.step()
    assert torch.equal(table.weight, whole.weight) and torch.equal(table.bias, whole.bias)


@pytest.mark.parametrize("make", [lambda t: optim.RowAdaGrad(t, 0.5), lambda t: optim.RowAdamW(t, 0.5, 0.1)])
def test_an_optimizer_of_rows_goes_on_from_its_state_as_if_never_stopped(make):
    table, steps = table_and_gradients()
    optimizer = make(table)
    optimizer.step(*steps[0])
    other = copy.deepcopy(table)
    going_on = make(other)
    going_on.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in steps[1:]:
        for one in (optimizer, going_on):
            optim.set_learning_rate(one, 0.3)
            one.step(*step)
    assert torch.equal(table.weight, other.weight) and torch.equal(table.bias, other.bias)


def test_sums_of_another_table_are_refused():
    smaller = optim.RowAdaGrad(nn.Linear(3, 6), 0.5).state_dict()
    with pytest.raises(CheckpointError, match="softmax of another size"):
        optim.RowAdaGrad(nn.Linear(3, 7), 0.5).load_state_dict(smaller)
