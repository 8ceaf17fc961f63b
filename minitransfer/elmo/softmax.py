"""Part III, chapter 3: the softmax over words. How can a model choose among thirty thousand words and still be fast?

In training, by choosing among the true word and a few drawn at random; in evaluation, among all of them, because only
that is a perplexity. The softmax belongs to pretraining: it is thrown away at transfer.

Read next: `minitransfer.elmo.spelling`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WordSoftmax(nn.Module):
    """Predict a word from a hidden state; one softmax serves both directions (Peters et al. 2018, eq. 1 and below)."""

    def __init__(self, vocab_size: int, projection_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, projection_size) * projection_size**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def full_loss(self, h: Tensor, targets: Tensor, chunk: int = 1024) -> Tensor:
        """Sum −log p(target | h) over the whole vocabulary, in nats: exp of its mean is the perplexity.

        Shapes: h (N, P), targets (N,) int64 -> scalar. Worked out in chunks, or N·V logits would fill the memory.
        """
        pieces = zip(h.split(chunk), targets.split(chunk))
        return sum((F.cross_entropy(F.linear(x, self.weight, self.bias), t, reduction="sum") for x, t in pieces), h.new_zeros(()))

    def sampled_loss(self, h: Tensor, targets: Tensor, negatives: Tensor, log_q: Tensor) -> Tensor:
        """Average −log p(target | h), in nats, where p is a softmax over the target and the negatives only.

        Each logit is lowered by log(K q(w)), the logarithm of how often w is expected among the K words drawn from q, so
        that the gradient is, in expectation, close to the full one (Jean et al. 2015, eq. 8).  A negative that happens
        to be the target is left out. This loss is not a perplexity: it is a choice among fewer words.

        Shapes: h (N, P), targets (N,) int64, negatives (K,) int64, log_q (V,) float -> scalar.
        """
        K = len(negatives)
        expected = log_q + math.log(K)  # (V,): log(K q(w))
        true = (h * self.weight[targets]).sum(dim=1) + self.bias[targets] - expected[targets]  # (N,)
        others = F.linear(h, self.weight[negatives], self.bias[negatives] - expected[negatives])  # (N, K)
        others = others.masked_fill(negatives.unsqueeze(0) == targets.unsqueeze(1), -torch.inf)
        logits = torch.cat([true.unsqueeze(1), others], dim=1)  # the target stands first in each row
        return F.cross_entropy(logits, torch.zeros_like(targets))


def proposal(counts: Tensor, power: float = 0.75) -> Tensor:
    """Turn word counts into the log-probabilities log q(w), q ∝ (count + 1)^power, that negatives are drawn from: (V,)."""
    return ((counts.double() + 1).pow(power) / (counts.double() + 1).pow(power).sum()).log().float()


def draw(log_q: Tensor, K: int, generator: torch.Generator) -> Tensor:
    """Draw K word ids from q, with replacement: int64 (K,)."""
    return torch.multinomial(log_q.exp(), K, replacement=True, generator=generator)
