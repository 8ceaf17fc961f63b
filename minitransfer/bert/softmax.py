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
