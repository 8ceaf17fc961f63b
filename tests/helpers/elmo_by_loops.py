"""The formulas of ELMo once more, worked out one number after the other: what the fast ones must agree with.

A vector is a list of numbers here, a matrix a list of rows, a text a list of vectors.
"""

import math

import torch
from torch import Tensor

Vector = list[float]


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def product(matrix: list[Vector], vector: Vector) -> Vector:
    return [sum(w * x for w, x in zip(row, vector)) for row in matrix]


def strongest_response(filter_rows: list[Vector], bias: float, letters: list[Vector]) -> float:
    """relu of a filter's largest response: a window begins at each byte, and behind the word there are zeros."""
    responses = []
    for start in range(len(letters)):
        y = bias
        for row, letter in zip(filter_rows, letters[start : start + len(filter_rows)]):
            y += sum(f * x for f, x in zip(row, letter))
        responses.append(y)
    return max(0.0, max(responses))


def lstm_step(x: Vector, h: Vector, c: Vector, W: list[Vector], U: list[Vector], b: Vector) -> tuple[Vector, Vector]:
    """h and c after one token; gates in torch's order i, f, g, o."""
    H = len(h)
    a = [u + v + w for u, v, w in zip(product(W, x), product(U, h), b)]
    i, f, g, o = (a[k * H : (k + 1) * H] for k in range(4))
    c = [sigmoid(f[j]) * c[j] + sigmoid(i[j]) * math.tanh(g[j]) for j in range(H)]
    return [sigmoid(o[j]) * math.tanh(c[j]) for j in range(H)], c


def layers_by_loops(stack, x: Tensor) -> list[Tensor]:
    """An LSTM stack on one text (T, 2P), word by word and gate by gate: the states of each layer, (T, P)."""
    layers = []
    for k, (lstm, projection) in enumerate(zip(stack.lstms, stack.projections)):
        W, U = lstm.weight_ih_l0.tolist(), lstm.weight_hh_l0.tolist()
        b = (lstm.bias_ih_l0 + lstm.bias_hh_l0).tolist()
        h = c = [0.0] * lstm.hidden_size
        states = []
        for word in x:
            h, c = lstm_step(word.tolist(), h, c, W, U, b)
            y = projection.weight @ x.new_tensor(h) + projection.bias
            states.append(y + word if k else y)  # a residual from the second layer on: the first changes the width
        x = torch.stack(states)
        layers.append(x)
    return layers


def mixed_by_loops(layers: list[Vector], w: Vector, gamma: float) -> Vector:
    """γ Σ_k s_k h_k of one token, s = softmax(w); `layers` has its vector of each layer."""
    exps = [math.exp(number) for number in w]
    s = [e / sum(exps) for e in exps]
    return [gamma * sum(s[k] * h[d] for k, h in enumerate(layers)) for d in range(len(layers[0]))]


def minus_log_p(logits: Vector, target: int) -> float:
    """−log softmax(logits)[target], in nats."""
    scores = [math.exp(logit) for logit in logits]
    return -math.log(scores[target] / sum(scores))
