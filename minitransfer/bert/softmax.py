"""Part IV, chapter 3: the softmax over pieces. What does a wrong answer teach, piece by piece?

The gradient of the **cross-entropy loss** has a form that can be read: what was answered, less what was right. Each
piece is pushed down by the probability that it got, and the right one up by what it lacked.

It is also how to compute it: over 16,000 pieces most of a step's time would go into logits that are copied to float32
and walked through again and again. The probabilities, worked out once, are nearly the gradient.

Read next: `minitransfer.bert.evaluation`.
"""

from typing import Any

import torch
from torch import Tensor

ROWS = 32  # answers at a time that `kl_divergence_sum` works on: 32 × 16,000 numbers stay near the processor


class _CrossEntropy(torch.autograd.Function):
    """L = −Σ_n log p_n[w_n],   p_n = softmax(z_n);   ∂L/∂z_n = p_n − y_n,   y_n = 1 at w_n and 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, w: Tensor) -> Tensor:
        """Shapes: z (N, V), w (N,) int64 -> scalar. For the way back p − y is kept, (N, V), in the numbers of z."""
        p, n = z.softmax(dim=-1), torch.arange(len(w), device=w.device)
        right = p[n, w].to(torch.promote_types(p.dtype, torch.float32))  # a sum of many numbers needs their digits
        p[n, w] -= 1
        ctx.save_for_backward(p)
        return -right.clamp(min=torch.finfo(right.dtype).tiny).log().sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """∂/∂z of what follows, given its ∂/∂L. In place, and so only once; torch says so if it is asked again."""
        (difference,), (of_loss,) = ctx.saved_tensors, gradients
        return difference.mul_(of_loss.to(difference.dtype)), None


def cross_entropy_sum(z: Tensor, w: Tensor) -> Tensor:
    """The cross-entropy loss of logits, summed over N answers, in nats; its gradient is softmax(z) − y.

    L = −Σ_n log softmax(z_n)[w_n]

    Differs: torch's function of that name goes by log p, which it needs in float32, and through more passes over
    memory; in bfloat16 this takes less than half of its time. A right piece with a probability below float32's least
    number costs what that number does, 87 nats.
    Shapes: z (N, V), w (N,) int64 -> scalar, in float32 where z is bfloat16.
    """
    return _CrossEntropy.apply(z, w)


class _KLDivergence(torch.autograd.Function):
    """L = Σ_n KL(p_n ‖ q_n),   p_n = softmax(s_n / τ),   q_n = softmax(z_n / τ);   ∂L/∂z_n = (q_n − p_n) / τ."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, s: Tensor, τ: float) -> Tensor:
        """KL(p ‖ q) = Σ_v p[v] (s[v] − z[v]) / τ − C_p + C_q,   log p[v] = s[v] / τ − C_p,   log q[v] = z[v] / τ − C_q

        C_p = s[w] / τ − log p[w] for any one piece w, and C_q likewise: so two logarithms are enough, instead of 2 V of
        them. The piece is each time the likeliest, whose logarithm is sure to be a number.
        Shapes: z and s (N, V) -> scalar. For the way back q − p is kept, (N, V), in the numbers of z.
        """
        differences, L = torch.empty_like(z), z.new_zeros((), dtype=torch.promote_types(z.dtype, torch.float32))
        for z_n, s_n, difference in zip(*(rows.split(ROWS) for rows in (z, s, differences))):
            p, q = (s_n / τ).softmax(dim=-1), (z_n / τ).softmax(dim=-1)
            s_w, p_w, z_w, q_w = (rows.amax(dim=-1).to(L.dtype) for rows in (s_n, p, z_n, q))
            C_p, C_q = s_w / τ - p_w.log(), z_w / τ - q_w.log()
            L += (torch.linalg.vecdot(p, s_n - z_n).to(L.dtype) / τ - C_p + C_q).sum()
            torch.sub(q, p, out=difference)
        ctx.save_for_backward(differences)
        ctx.τ = τ
        return L

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """∂/∂z of what follows, given its ∂/∂L. In place, and so only once; torch says so if it is asked again."""
        (differences,), (of_loss,) = ctx.saved_tensors, gradients
        return differences.mul_((of_loss / ctx.τ).to(differences.dtype)), None, None


def kl_divergence_sum(z: Tensor, s: Tensor, τ: float) -> Tensor:
    """How far the answers to N questions are from those that are given, summed, in nats.

    L = Σ_n KL(p_n ‖ q_n) = Σ_n Σ_v p_n[v] log(p_n[v] / q_n[v]),   p = softmax(s / τ),   q = softmax(z / τ)

    z: logits that learn.  s: those that they learn from; no gradient goes there.
    Differs: torch's `kl_div` asks for log p and log q of all pieces in float32, and walks through them again and
    again, which took more of a step than the student's two layers.
    Shapes: z and s (N, V) -> scalar, in float32 where z is bfloat16.
    """
    return _KLDivergence.apply(z, s, τ)
