"""Apparatus: optimisation. Which weights decay, how does the learning rate move, and what if a step goes wrong?

Three training loops share these functions and keep the loop itself to themselves:

    factor = warmup_linear(step, total_steps, warmup_steps)
    set_learning_rate(optimizer, factor)
    loss.backward()
    grad_norm = clip_gradients(model.parameters(), max_grad_norm)
    if guard.ok(loss.item(), grad_norm):
        optimizer.step()

Next: distributed.py, when several processes take these steps together.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from minitransfer.apparatus.errors import NumericsError


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


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set each group's rate to `factor` times its first, and return the largest, for the log.

    Raises: KeyError for a group without "initial_lr", that is, one not from `weight_decay_groups`.
    """
    for group in optimizer.param_groups:
        group["lr"] = factor * group["initial_lr"]
    return max(group["lr"] for group in optimizer.param_groups)


def warmup_linear(step: int, total_steps: int, warmup_steps: int) -> float:
    """The factor on the learning rate at `step`, counted from 0: a straight rise to 1, then a straight fall.

    f(t) = (t + 1) / W             t < W        W warm-up steps of T in all
           (T - t) / (T - W)       W ≤ t < T
           0                       t ≥ T

    A run of no more than W steps never reaches 1.

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

    def __init__(self, limit: int = 5):
        """Count from nothing; the `limit`-th refusal in a row will stop the run."""
        self.limit, self.in_a_row = limit, 0

    def ok(self, loss: float, grad_norm: float) -> bool:
        """Whether both are finite. Raises: NumericsError at the `limit`-th refusal in a row."""
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.in_a_row = 0
            return True
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            what = f"{self.in_a_row} steps in a row gave loss {loss:.4g} and gradient norm {grad_norm:.4g}"
            raise NumericsError(what, "begin again with a smaller --learning-rate and another --out")
        return False
