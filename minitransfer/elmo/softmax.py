"""Part III, chapter 3: the softmax over words. How can a model choose among thirty thousand words and still be fast?

**Sampled softmax**: in training the model chooses among the true word and a few drawn at random; in evaluation,
among all of them, because only that is a perplexity. The softmax belongs to pretraining: it is thrown away at
transfer.

Read next: `minitransfer.elmo.spelling`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minitransfer.text.words import PAD_ID

STEP = 64  # numbers of negatives are rounded up to multiples of so many


class WordSoftmax(nn.Module):
    """Predict a word from a hidden state; one softmax serves both directions (Peters et al. 2018, section 3.1)."""

    def __init__(self, vocab_size: int, projection_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, projection_size) * projection_size**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, h: Tensor) -> Tensor:
        """The logits z = W h + b of all words: (N, P) -> (N, V)."""
        return F.linear(h, self.weight, self.bias)

    def full_loss(self, h: Tensor, targets: Tensor, chunk: int = 1024) -> Tensor:
        """**Cross-entropy loss** over the whole vocabulary: the sum of −log p(target | h), in nats.

        The exponential of its mean is the perplexity.
        Shapes: h (N, P), targets (N,) int64 -> scalar. Computed in chunks: without gradients the logits of one
        chunk are in memory at a time; with them all N·V log-probabilities are kept for the way back.
        """
        pieces = zip(h.split(chunk), targets.split(chunk))
        losses = (F.cross_entropy(self(x), t, reduction="sum") for x, t in pieces)
        return sum(losses, h.new_zeros(()))

    def log_partition(self, h: Tensor, rows: int = 256, words: int = 2048) -> Tensor:
        """log Σ_w exp(z_w) over the whole vocabulary: (N, P) -> (N,).

        By blocks of so many rows and words, whose logits fit the processor's cache: most of the time of a softmax over
        a large vocabulary goes into moving logits to memory and back.
        """
        blocks = list(zip(self.weight.split(words), self.bias.split(words)))
        sums = [torch.stack([F.linear(x, W, b).logsumexp(dim=1) for W, b in blocks]) for x in h.split(rows)]
        return torch.cat(sums, dim=1).logsumexp(dim=0)


class CandidateSoftmax:
    """The softmax of one step, cut down to its **candidates**: the words that are its targets or its negatives.

    At first reading, leave it out: it changes how fast a step is, and not what it computes.

    Of 50,000 words two or three thousand are candidates in a step over 2,048. To move gradients of 0 for the others
    through memory took a quarter of its time. Each direction has a copy of its own, for both back-propagate at the same
    time.

    word_ids: of the candidates, (U,) int64, rising; all words for a full softmax.  negatives: their places in word_ids,
    or None.  copies: of the softmax, U words each, with gradients of their own.
    """

    def __init__(self, softmax: WordSoftmax, targets: list[Tensor], negatives: Tensor | None):
        """Cut a softmax down. Shapes: targets (B, T) int64 of each direction, negatives (K,) or None, all word ids."""
        device, V = softmax.weight.device, len(softmax.weight)
        if negatives is None:
            self.word_ids = torch.arange(V, device=device)
        else:
            padding = torch.tensor([PAD_ID])  # the first in any order: so its place is PAD_ID too
            self.word_ids = torch.cat([padding, negatives, *(t.flatten() for t in targets)]).unique().to(device)
        self.negatives = None if negatives is None else self.places(negatives)
        W, b = softmax.weight.detach()[self.word_ids], softmax.bias.detach()[self.word_ids]
        # In torch 2.10 to 2.13, threads that begin graphs at one parameter can deadlock: its lock against Python's.
        with torch.device("meta"):  # shapes without memory, for the weights come from here
            self.copies = [WordSoftmax(*W.shape) for _ in targets]
        for copy in self.copies:
            copy.weight, copy.bias = nn.Parameter(W), nn.Parameter(b)

    def places(self, word_ids: Tensor) -> Tensor:
        """Where in `word_ids` some of the candidates stand: int64 in, int64 of the same shape out."""
        return torch.searchsorted(self.word_ids, word_ids.to(self.word_ids.device).contiguous())

    def parameters(self) -> list[nn.Parameter]:
        """W (U, P) and b (U,), with the gradients of all copies, once these were added up."""
        return list(self.copies[0].parameters())

    def add_gradients(self) -> None:
        """Add up the gradients of the copies, always in the same order."""
        first, *others = (copy.parameters() for copy in self.copies)
        for p, *more in zip(first, *others):
            p.grad = sum((q.grad for q in more), start=p.grad)


def sampled_loss(h: Tensor, W: Tensor, b: Tensor, targets: Tensor, negatives: Tensor, log_q: Tensor) -> Tensor:
    """Average −log p(target | h), in nats, where p is a softmax over the target and the negatives only.

    p(y | h) = exp(z_y − log π(y)) / Σ_{w ∈ S ∪ {y}} exp(z_w − log π(w)),   z_w = W_w · h + b_w

    Each logit is lowered by the logarithm of the chance π(w) = 1 − (1 − q(w))^K that w is in S, the K words drawn
    from q, so that a word seldom drawn counts for more when it is (after Jean et al. 2015, section 3). A negative
    drawn twice counts once, and one that happens to be the target is left out: with more and more draws the loss
    becomes the full one. It is not a perplexity: it is a choice among fewer words.

    Differs: they weigh by q itself; TensorFlow's sampled softmax, which ELMo's program calls, by the chance of being
    among the words drawn, as here. Were a logit lowered by log(K q(w)), which is above 0 for the most frequent words,
    a target such as "the" would be pushed up however well it is predicted already.

    The different negatives are padded to a multiple of 64, and what pads is left out as well: on a CPU each new shape
    of a product in bfloat16 has a kernel made for it, which stays in memory (docs/speed.md).

    Shapes: h (N, P), W (V, P), b (V,), targets (N,) int64, negatives (K,) int64, log_q (V,) float -> scalar.
    """
    log_chance = (-torch.expm1(len(negatives) * torch.log1p(-log_q.exp()))).log()  # (V,): log π(w)
    different = negatives.unique()
    negatives = F.pad(different, (0, -len(different) % STEP), value=PAD_ID)
    # index_select, since threads add up the gradient of W[targets] in any order, and round differently each.
    weight, bias = W.index_select(0, targets), b.index_select(0, targets)
    true = (h * weight).sum(dim=1) + bias - log_chance[targets]  # (N,)
    others = F.linear(h, W[negatives], b[negatives] - log_chance[negatives])  # (N, K or fewer, padded)
    left_out = negatives.unsqueeze(0) == targets.unsqueeze(1)
    left_out[:, len(different):] = True
    others = others.masked_fill(left_out, -torch.inf)
    logits = torch.cat([true.unsqueeze(1), others], dim=1)  # the target stands first in each row
    return F.cross_entropy(logits, torch.zeros_like(targets))


def proposal(counts: Tensor, power: float = 0.75) -> Tensor:
    """Turn word counts into the log-probabilities log q(w), q ∝ (count + 1)^power, of drawing a negative: (V,)."""
    return ((counts.double() + 1).pow(power) / (counts.double() + 1).pow(power).sum()).log().float()


def draw(log_q: Tensor, K: int, generator: torch.Generator) -> Tensor:
    """Draw K word ids from q, with replacement: int64 (K,)."""
    return torch.multinomial(log_q.exp(), K, replacement=True, generator=generator)
