"""Apparatus: optimisation. Which weights decay, how does the learning rate move, and what if a step goes wrong?

Five training loops share these functions and keep the loop itself to themselves:

    factor = warmup_linear(step, total_steps, warmup_steps)
    set_learning_rate(optimizer, factor)
    loss.backward()
    grad_norm = clip_gradients(model.parameters(), max_grad_norm)
    if guard.ok(loss.item(), grad_norm):
        optimizer.step()

Next: distributed.py, when several processes take these steps together.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from minitransfer.apparatus.errors import SMALLER_STEPS, CheckpointError, NumericsError

ADAGRAD_RATE = 100.0  # in units of AdamW's rate: see docs/recipe.md


def weight_decay_groups(module: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """The module's learning parameters in two groups for `adamw`: matrices, which decay, and the rest, which do not.

    Decay pulls towards zero. For a matrix that means simpler; for a norm's scale, a bias or a mix of layers it would
    mean wrong. A parameter used in two places is listed once; a frozen one not at all; an empty group is left out.
    """
    learning = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in learning if p.ndim >= 2]
    others = [p for p in learning if p.ndim < 2]
    shared = {"lr": learning_rate, "initial_lr": learning_rate}
    groups = [
        {"params": matrices, "weight_decay": weight_decay, **shared},
        {"params": others, "weight_decay": 0.0, **shared},
    ]
    return [group for group in groups if group["params"]]


def adamw(groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019), each group with its own rate; fused: all parameters in one kernel."""
    return torch.optim.AdamW(groups, fused=True)


class MuonAndAdamW:
    """Muon (Jordan et al. 2024) for the hidden matrices of a network, AdamW for all else: two optimizers as one.

    M ← μ M + G,   W ← W − η λ W − η · 0.2 √max(m, n) · O(G + μ M),   μ = 0.95

    G is the gradient of W (m × n). With the singular value decomposition X = U S Vᵀ, O(X) is nearly U Vᵀ: each
    direction of a step is as long as every other. It is computed without U and V, by five times

    X ← a X + (b A + c A²) X,   A = X Xᵀ,   a, b, c = 3.4445, −4.775, 2.0315,   from X / ‖X‖ on    (Newton–Schulz)

    The factor gives a step the size of AdamW's, so that both share rate and decay (Liu, Su et al. 2025). W is each of
    the matrices that stand one below the other in a parameter: queries, keys and values, or the gates of an LSTM.
    """

    def __init__(self, module: nn.Module, groups: list[dict[str, Any]], hidden: Mapping[str, int]):
        """groups: as `weight_decay_groups` gives them.  hidden: words in the names of the parameters that hold hidden
        matrices, with the number of matrices in each.
        """
        numbers = {p: n for name, p in module.named_parameters() for word, n in hidden.items() if word in name}
        self._module = module
        self._parts = [(p, p.detach().chunk(numbers[p])) for p in groups[0]["params"] if p in numbers]
        matrices = [part for _, parts in self._parts for part in parts]
        self._muon = torch.optim.Muon([{**groups[0], "params": matrices}], adjust_lr_fn="match_rms_adamw")
        rest = [p for p in groups[0]["params"] if p not in numbers]
        self._adamw = adamw([{**groups[0], "params": rest}, *groups[1:]])

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both."""
        return [*self._muon.param_groups, *self._adamw.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        self._module.zero_grad()

    def step(self) -> None:
        """Move all weights by one step."""
        for whole, parts in self._parts:
            for part, gradient in zip(parts, whole.grad.chunk(len(parts))):
                part.grad = gradient
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both, by name."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


Optimizer = torch.optim.Optimizer | MuonAndAdamW


def choose(name: str, module: nn.Module, learning_rate: float, weight_decay: float,
           hidden: Mapping[str, int]) -> Optimizer:
    """The optimizer of --optimizer: adamw, or muon, which needs to know what is `hidden` (see `MuonAndAdamW`)."""
    groups = weight_decay_groups(module, learning_rate, weight_decay)
    return adamw(groups) if name == "adamw" else MuonAndAdamW(module, groups, hidden)


class RowAdaGrad:
    """AdaGrad (Duchi et al. 2011) for a table of which a step moves some rows: a softmax over many words.

    s ← s + g²,   W ← W − η g / √s,   for rows with a gradient g; from s = 1e-6 on

    A row's steps shrink by how often and how far it was moved itself: *the* soon takes small ones, a rare word large
    ones whenever it comes. AdamW, whose means forget, moves rows that are not asked for as well, by what it remembers.
    """

    FIRST = 1e-6

    def __init__(self, table: nn.Module, learning_rate: float):
        self._parameters = list(table.parameters())
        self._sums = [torch.full_like(p, self.FIRST) for p in self._parameters]
        self.param_groups = [{"lr": learning_rate, "initial_lr": learning_rate}]

    def step(self, rows: Tensor, gradients: Iterable[Tensor]) -> None:
        """Move some rows. Shapes: rows (U,) int64, each once; gradients (U, …) of each parameter."""
        with torch.no_grad():
            for p, s, g in zip(self._parameters, self._sums, gradients):
                s.index_add_(0, rows, g * g)
                p.index_add_(0, rows, g / s[rows].sqrt(), alpha=-self.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """The sums of squares."""
        return {"sums": self._sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave. Raises: CheckpointError if that was of another table."""
        if [s.shape for s in self._sums] != [saved.shape for saved in state["sums"]]:
            what = "the saved state has AdaGrad's sums for a softmax of another size"
            raise CheckpointError(what, "begin again in another --out")
        for s, saved in zip(self._sums, state["sums"]):
            s.copy_(saved)


class RowAdamW:
    """AdamW for such a table: all rows move, those without a gradient by the memory of earlier ones."""

    def __init__(self, table: nn.Module, learning_rate: float, weight_decay: float):
        self._parameters = list(table.parameters())
        self._adamw = adamw(weight_decay_groups(table, learning_rate, weight_decay))
        self.state_dict, self.load_state_dict = self._adamw.state_dict, self._adamw.load_state_dict

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Matrix and bias, each with its rate."""
        return self._adamw.param_groups

    def step(self, rows: Tensor, gradients: Iterable[Tensor]) -> None:
        """As `RowAdaGrad.step`."""
        for p, g in zip(self._parameters, gradients):
            p.grad = torch.zeros_like(p).index_copy_(0, rows, g)
        self._adamw.step()
        self._adamw.zero_grad()


def choose_for_rows(name: str, table: nn.Module, learning_rate: float,
                    weight_decay: float) -> RowAdaGrad | RowAdamW:
    """What moves the rows of a table: adagrad, at ADAGRAD_RATE times AdamW's learning rate, or adamw."""
    if name == "adagrad":
        return RowAdaGrad(table, ADAGRAD_RATE * learning_rate)
    return RowAdamW(table, learning_rate, weight_decay)


class RunningAverage:
    """An exponential moving average of a network's weights θ, if a `share` of the run is given; nothing for None.

    m ← d m + (1 − d) θ after each step, from m = θ after the first on,   d = 1 − 1 / (share · steps)

    So m looks back about `share` of the run. What the last batches did to θ at random cancels out in it (Polyak and
    Juditsky 1992, who weigh all steps alike).

    kept: what a state has to hold of it, by name.
    """

    def __init__(self, module: nn.Module, share: float | None, steps: int):
        self._module, self.kept = module, dict[str, AveragedModel]()
        if share:
            d = max(0.0, 1 - 1 / (share * steps))
            self.kept = {"average": AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(d))}

    def update(self) -> None:
        """Take the weights of a step into the average."""
        for m in self.kept.values():
            m.update_parameters(self._module)

    def take(self) -> None:
        """Put the average in the place of the weights, once the last step is done."""
        for m in self.kept.values():
            self._module.load_state_dict(m.module.state_dict())


def set_learning_rate(optimizer: Optimizer | RowAdaGrad | RowAdamW, factor: float) -> float:
    """Set the rate of each group, from `weight_decay_groups`, to `factor` times its first; returns the largest."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["initial_lr"]
    return max(group["lr"] for group in optimizer.param_groups)


def warmup_linear(step: int, total_steps: int, warmup_steps: int) -> float:
    """The factor on the learning rate at `step`, counted from 0: a straight rise to 1, then a straight fall.

    f(t) = (t + 1) / W             t < W        W warm-up steps of T in all
           (T - t) / (T - W)       W ≤ t < T
           0                       t ≥ T

    A run of fewer than W steps never reaches 1.

    Differs: BERT's schedule starts from f(0) = 0, so that its first step learns nothing; here no step is wasted.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return max(0, total_steps - step) / max(1, total_steps - warmup_steps)


def clip_gradients(parameters: Iterable[nn.Parameter], max_grad_norm: float) -> float:
    """Scale all gradients so that their common norm is at most `max_grad_norm`; returns the norm before, a float.

    A norm of nan or infinity is returned as it is, and has spoilt the gradients: `FiniteGuard` then skips the step.
    """
    return float(nn.utils.clip_grad_norm_(parameters, max_grad_norm))


class FiniteGuard:
    """Decides whether a step may be taken, and stops a run in which too many in a row may not.

    `in_a_row` counts the steps that were refused since the last good one.
    """

    def __init__(self, limit: int = 5, fix: str = SMALLER_STEPS):
        """Count from nothing; the `limit`-th refusal in a row will stop the run, with this advice."""
        self.limit, self.fix, self.in_a_row = limit, fix, 0

    def ok(self, loss: float, grad_norm: float) -> bool:
        """Whether both are finite. Raises: NumericsError at the `limit`-th refusal in a row."""
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.in_a_row = 0
            return True
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            what = f"{self.in_a_row} steps in a row gave loss {loss:.4g} and gradient norm {grad_norm:.4g}"
            raise NumericsError(what, self.fix)
        return False
