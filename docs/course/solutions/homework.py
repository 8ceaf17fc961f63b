"""The homework solved, each in the fewest lines that say what the formula says. Try first."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, gelu, pad

from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_PIECES


def skipgram_gradient(c: Tensor, o: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each pair x = c·o has one slope, g; the product rule hands it on to both vectors."""
    g = torch.sigmoid(c @ o) - 1
    g_n = torch.sigmoid(negatives @ c)  # (N,)
    return g * o + g_n @ negatives, g * c, g_n.unsqueeze(1) * c


def filter_response(F: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """A window of w bytes at each byte, zeros behind the word."""
    width = F.shape[1]
    windows = pad(c, (0, 0, 0, width - 1)).unfold(0, width, 1)  # (C, E, w)
    return (b + torch.einsum("nwe,cew->cn", F, windows).amax(dim=0)).relu()


def lstm_step(x: Tensor, h: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Three gates and what is written."""
    i, f, g, o = (W @ x + U @ h + b).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def reverse_each(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each text within its own length; padding stays where it is."""
    result = x.clone()
    for b, length in enumerate(lengths.tolist()):
        result[b, :length] = x[b, :length].flip(0)
    return result


def both_directions(x: Tensor, lengths: Tensor, ahead: list[Callable], back: list[Callable]) -> Tensor:
    """Two models that never meet before their states are put side by side."""
    forward, backward, layers = x, reverse_each(x, lengths), []
    for one, other in zip(ahead, back):
        forward, backward = one(forward), other(backward)
        layers.append(torch.cat([forward, reverse_each(backward, lengths)], dim=-1))
    real = torch.arange(x.shape[1]) < lengths.unsqueeze(1)
    return torch.stack(layers) * real.unsqueeze(-1)


def elmo_vector(h: Tensor, mask: Tensor, w: Tensor, gamma: Tensor) -> Tensor:
    """Mix, then the mean of real tokens."""
    mixed = gamma * torch.tensordot(w.softmax(dim=0), h, dims=1)  # (B, T, D)
    total = (mixed * mask.unsqueeze(-1)).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1)


def mask_tokens(token_ids: Tensor, generator: torch.Generator, vocab_size: int) -> tuple[Tensor, Tensor]:
    """One draw for whether, one for how."""
    choice, u = (torch.rand(token_ids.shape, generator=generator) for _ in range(2))
    form = (token_ids == PAD_ID) | (token_ids == CLS_ID) | (token_ids == SEP_ID)
    chosen = (choice < 0.15) & ~form
    random_ids = torch.randint(len(SPECIAL_PIECES), vocab_size, token_ids.shape, generator=generator)
    inputs = token_ids.clone()
    inputs[chosen & (u < 0.8)] = MASK_ID
    replaced = chosen & (u >= 0.8) & (u < 0.9)
    inputs[replaced] = random_ids[replaced]
    return inputs, token_ids.where(chosen, IGNORE_INDEX)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Scores, mask, softmax, mean."""
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5  # (B, T, S)
    return scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(dim=-1) @ v


def masked_lm_loss(y: Tensor, labels: Tensor, W: Tensor, b: Tensor, norm: Callable, E: Tensor, c: Tensor) -> Tensor:
    """Only the masked tokens go through the head."""
    masked = labels != IGNORE_INDEX
    logits = norm(gelu(y[masked] @ W.T + b)) @ E.T + c  # (N, V)
    log_p = logits.log_softmax(dim=-1).gather(1, labels[masked].unsqueeze(1))
    return -log_p.sum() / max(len(log_p), 1)


def layer_rates(num_groups: int, learning_rate: float, layer_decay: float) -> list[float]:
    """The uppermost group, l = G, has the full rate."""
    return [learning_rate * layer_decay ** (num_groups - number) for number in range(1, num_groups + 1)]


def forgetting(logits_before: Tensor, logits_after: Tensor, targets: Tensor) -> float:
    """The same text, asked twice."""
    real = targets != 0

    def loss(logits: Tensor) -> Tensor:
        return -logits.log_softmax(dim=-1)[real].gather(1, targets[real].unsqueeze(1)).mean()

    return (loss(logits_after) - loss(logits_before)).item()


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The scores above the diagonal, t > s, become −∞."""
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5  # (B, T, T)
    later = torch.ones(scores.shape[1:], dtype=torch.bool).triu(diagonal=1)
    return scores.masked_fill(later, -torch.inf).softmax(dim=-1) @ v


def next_piece_loss(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Logits without the last place, pieces without the first."""
    return cross_entropy(logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten(), ignore_index=PAD_ID)


def prompt_answers(logits: Tensor, token_ids: Tensor, positive: int, negative: int,
                   unlabelled: Tensor) -> tuple[Tensor, Tensor]:
    """In a difference of log-probabilities the softmax cancels."""
    z = logits[token_ids == MASK_ID]  # (N, V)
    s = z[:, positive] - z[:, negative]
    return s, s > unlabelled.median()


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Σ_w p (log p − log q), the mean over tokens, with a teacher that stands still."""
    log_p = (teacher.detach() / temperature).log_softmax(dim=-1)
    log_q = (student / temperature).log_softmax(dim=-1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean()


def glove_loss(w: Tensor, w_: Tensor, b: Tensor, b_: Tensor, X: Tensor, x_max: float) -> Tensor:
    """Of pairs that were never met there is no logarithm, and their weight is 0."""
    i, j = X.nonzero(as_tuple=True)
    x = X[i, j]
    error = (w[i] * w_[j]).sum(dim=1) + b[i] + b_[j] - x.log()
    return ((x / x_max) ** 0.75).clamp(max=1) @ error**2
