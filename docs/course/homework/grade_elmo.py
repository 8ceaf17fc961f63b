"""Graders of tasks 3 to 5: one step of an LSTM, a biLM that sees no future, and ELMo's vector of a text."""

import math
from collections.abc import Callable

import torch
from elmo_by_loops import lstm_step as step_by_loops
from elmo_by_loops import mixed_by_loops
from torch import Tensor
from wrong import ask, close, drawn, require, several, tensor

OPEN, SHUT = 100.0, -100.0  # biases at which a sigmoid is 1 or 0


def gates(function: Callable, i: float, f: float, g: float, o: float, c: float) -> tuple[float, float]:
    """h' and c' of an LSTM of one unit whose gates are set by its biases alone."""
    zeros, b = torch.zeros(4, 1, dtype=torch.float64), torch.tensor([i, f, g, o], dtype=torch.float64)
    x, h = torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    answer = ask(function, x, h, torch.full((1,), c, dtype=torch.float64), zeros, zeros, b)
    return tuple(part.item() for part in several(answer, ((1,), "h'"), ((1,), "c'")))


def lstm_step(function: Callable) -> None:
    h, c = gates(function, SHUT, OPEN, 0.0, OPEN, c=1.5)
    require(abs(c - 1.5) < 1e-4, "With the forget gate open (f = 1) and the input gate shut (i = 0) a cell keeps what "
            f"it has: c' = c = 1.5. Yours is {c:.3f}. Is f the second block of a, and does it multiply the old c?")
    require(abs(h - 1.5) > 1e-4, "You return h' = o ⊙ c'. There is a tanh in between: h' = o ⊙ tanh(c').")
    require(abs(h - 0.5 * math.tanh(1.5)) > 1e-4, "With the output gate open h' should be tanh(c'), and yours is half "
            "of it. The order of the blocks is i, f, g, o: the third is g, the fourth is o.")
    require(abs(h - math.tanh(1.5)) < 1e-4, f"With the output gate open h' should be tanh(c') = {math.tanh(1.5):.3f}, "
            f"and yours is {h:.3f}.")
    h, c = gates(function, OPEN, SHUT, 0.7, OPEN, c=1.5)
    require(abs(c - 1 / (1 + math.exp(-0.7))) > 1e-4, "The new value g goes through tanh, and not through a sigmoid: "
            "i, f and o are gates between 0 and 1, g is what is written, and may be negative.")
    require(abs(c - math.tanh(0.7)) < 1e-4, "With the input gate open and the forget gate shut c' should be g = "
            f"tanh(0.7) = {math.tanh(0.7):.3f}. Yours is {c:.3f}.")
    require(abs(h - math.tanh(1.5)) > 1e-4, "You compute h' from the old cell. It is o ⊙ tanh(c'), with the new one.")
    D, H = 3, 5
    shapes = ((D,), (H,), (H,), (4 * H, D), (4 * H, H), (4 * H,))
    inputs = [drawn(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    found = several(ask(function, *inputs), ((H,), "h'"), ((H,), "c'"))
    expected = [torch.tensor(part, dtype=torch.float64) for part in step_by_loops(*(part.tolist() for part in inputs))]
    require(all(map(close, found, expected)), "With all gates half open the step is not the formula worked out gate by "
            "gate. Is a = W x + U h + b, with the state h of the step before, and is c' = f ⊙ c + i ⊙ g?")


def layer(seed: int, width: int = 3) -> Callable:
    """A recurrent layer from left to right that takes vectors of any width: y_t = tanh(A x_t + ½ y_{t−1})."""

    def encode(x: Tensor) -> Tensor:
        A = drawn(x.shape[-1], width, seed=1000 * seed + x.shape[-1])
        y, states = x.new_zeros(len(x), width), []
        for t in range(x.shape[1]):
            y = torch.tanh(x[:, t] @ A + 0.5 * y)
            states.append(y)
        return torch.stack(states, dim=1)

    return encode


def row_by_row(x: Tensor, lengths: Tensor, ahead: list[Callable], back: list[Callable]) -> Tensor:
    """Each text by itself, without padding, and its own reverse for the backward model."""
    result = torch.zeros(len(ahead), *x.shape[:2], 6, dtype=x.dtype)
    for b, length in enumerate(lengths.tolist()):
        forward, backward = x[b : b + 1, :length], x[b : b + 1, :length].flip(1)
        for k, (one, other) in enumerate(zip(ahead, back)):
            forward, backward = one(forward), other(backward)
            result[k, b, :length] = torch.cat([forward, backward.flip(1)], dim=-1)[0]
    return result


def both_directions(function: Callable) -> None:
    L, B, T, D, P = 2, 3, 7, 6, 3
    lengths = torch.tensor([7, 4, 1])
    ahead, back = [layer(1), layer(2)], [layer(3), layer(4)]
    x = drawn(B, T, D, seed=5)

    def layers(words: Tensor) -> Tensor:
        return tensor(ask(function, words, lengths, ahead, back), (L, B, T, 2 * P), "the layers")

    found, expected = layers(x), row_by_row(x, lengths, ahead, back)
    require(not close(found, torch.cat([expected[..., P:], expected[..., :P]], dim=-1)),
            "The halves are the wrong way round: the forward state stands left, the backward state right of it.")
    other_end, other_start = x.clone(), x.clone()
    other_end[0, -1] += 1
    other_start[0, 0] += 1
    with_end, with_start = layers(other_end), layers(other_start)
    for k in range(L):
        moved = (with_end[k, 0, :-1, :P] - found[k, 0, :-1, :P]).abs().amax(-1) > 1e-9
        require(not moved.any(), f"The future leaks into the forward model: in layer {k + 1} of {L} its state at token "
                f"{int(moved.nonzero()[0]) + 1 if moved.any() else 0} changes when token 7, which comes later, is "
                "another word. So it is shown what it is to predict. Each layer of the forward model may be given the "
                "forward layer below it, and never the backward one.")
        moved = (with_start[k, 0, 1:, P:] - found[k, 0, 1:, P:]).abs().amax(-1) > 1e-9
        require(not moved.any(), f"The past leaks into the backward model: in layer {k + 1} of {L} its state at token "
                f"{int(moved.nonzero()[0]) + 2 if moved.any() else 0} changes when token 1 is another word, which it "
                "is to predict. Reverse the words before the backward layers, reverse their states afterwards, so "
                "that each stands beside its own token, and give them no forward layer.")
    padding = torch.arange(T) >= lengths.unsqueeze(1)
    garbage = torch.where(padding.unsqueeze(-1), 9.0, x)
    require(close(layers(garbage)[:, ~padding], found[:, ~padding]), "What stands in the padding changes the states of "
            "real tokens. Reverse each text within its own length: to reverse the whole row brings its padding to the "
            "front, and the backward model starts there.")
    require(not found[:, padding].any(), "Where there is padding the states should be zeros.")
    require(close(found, expected), "The layers are not those that each text has by itself, without padding. Is each "
            "layer given the one below it, and each backward state put back beside its own token?")


def elmo_vector(function: Callable) -> None:
    L, B, T, D = 2, 3, 7, 5
    w = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    layers = torch.eye(L + 1, dtype=torch.float64).view(L + 1, 1, 1, L + 1)  # so that the mix shows its weights
    s = tensor(ask(function, layers, torch.ones(1, 1, dtype=torch.bool), w, one), (1, L + 1), "the vector of a text")[0]
    require(abs(s.sum().item() - 1) < 1e-4, f"The weights of the three layers should be s = softmax(w), and sum to 1. "
            f"Yours are {[round(number, 3) for number in s.tolist()]}, which sum to {s.sum():.3f}. The softmax is over "
            "the layers: over w alone, along its only dimension.")
    require(close(s, w.softmax(0)), f"The weights of the layers should be softmax(w) = "
            f"{[round(number, 3) for number in w.softmax(0).tolist()]}, and yours are "
            f"{[round(number, 3) for number in s.tolist()]}.")
    h, gamma = drawn(L + 1, B, T, D, seed=2), torch.tensor(-1.7, dtype=torch.float64)
    lengths = [7, 4, 0]
    mask = torch.tensor([[t < length for t in range(T)] for length in lengths])
    h = torch.where(mask.unsqueeze(-1), h, 0)
    found = ask(function, h, mask, w, gamma)
    require(not isinstance(found, Tensor) or found.shape != (B, D) or bool(found[2].isfinite().all()),
            "The third text has no token, and its vector is not finite: 0 / 0. It should be zeros.")
    found = tensor(found, (B, D), "the vectors of the texts")
    tokens = [torch.tensor([mixed_by_loops(h[:, b, t].tolist(), w.tolist(), gamma.item()) for t in range(length)] or
                           [[0.0] * D]).double() for b, length in enumerate(lengths)]
    expected = torch.stack([of_text.mean(dim=0) for of_text in tokens])
    require(not close(found * gamma, expected), "γ is missing: it scales the whole sum.")
    require(close(found[0], expected[0]), "The first text, which has no padding, should have the mean of "
            "γ Σ_k s_k h_{t,k} over its 7 tokens, and has another vector. Does γ scale the sum, not the w?")
    require(not close(found[1] * T, expected[1] * 4), "This is a mean over padding: you divide the sum of the second "
            "text by 7, the length of the row. It has 4 real tokens: divide by those that the mask counts.")
    garbage = torch.where(mask.unsqueeze(-1), h, 9.0)
    require(close(tensor(ask(function, garbage, mask, w, gamma), (B, D), "the vectors of the texts"), found),
            "What stands in the padding changes the vector of a text: this is a mean over padding. Set it to zero, by "
            "the mask, before you sum, and divide by the number of real tokens.")
    require(close(found, expected), "The vectors are not those of the formula worked out token by token. The mean goes "
            "over the real tokens of each text, and a text without tokens has zeros.")
