"""A small BERT, and its formulas once more, worked out one number after the other: what the fast one must agree with.

A vector is a list of numbers here, a text a list of vectors. The sizes are odd and unequal, so that swapped axes
cannot pass.
"""

import math

import torch
from torch import Tensor

from minitransfer.bert.encoder import Bert, BertConfig, MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX

B, T, D, H, L, V = 3, 7, 6, 3, 2, 23
CONFIG = BertConfig(V, hidden_size=D, num_layers=L, num_heads=H, intermediate_size=11, max_positions=9, dropout=0.5,
                    layer_norm_eps=1e-3)
LENGTHS = (7, 4, 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_model(kind: type[MaskedLM] = MaskedLM) -> MaskedLM:
    """In double precision, so that equal means equal; in training mode, because dropout must not depend on it.

    No weight is left at 0 or 1, where it could be forgotten unnoticed.
    """
    torch.manual_seed(0)
    model, draw = kind(CONFIG).double(), generator()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.5 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return model


def some_tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, V, shape, generator=generator(seed))


def mask_of(lengths: tuple[int, ...], longest: int = T) -> Tensor:
    return torch.tensor([[t < length for t in range(longest)] for length in lengths])


def some_labels(token_ids: Tensor, *asked: tuple[int, int]) -> Tensor:
    labels = torch.full_like(token_ids, IGNORE_INDEX)
    for b, t in asked:
        labels[b, t] = (token_ids[b, t] + 5) % V
    return labels


def times(linear: torch.nn.Linear, x: list[float]) -> list[float]:
    rows, bias = linear.weight.tolist(), linear.bias.tolist()
    return [sum(w * n for w, n in zip(row, x)) + b for row, b in zip(rows, bias)]


def normalised(norm: torch.nn.LayerNorm, x: list[float]) -> list[float]:
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((n - mean) ** 2 for n in x) / len(x) + CONFIG.layer_norm_eps)
    return [(n - mean) / deviation * w + b for n, w, b in zip(x, norm.weight.tolist(), norm.bias.tolist())]


def gelu(x: list[float]) -> list[float]:
    return [n * 0.5 * (1 + math.erf(n / math.sqrt(2))) for n in x]


def plus(x: list[float], y: list[float]) -> list[float]:
    return [a + b for a, b in zip(x, y)]


def weights_of(q: list[float], keys: list[list[float]]) -> list[float]:
    scores = [math.exp(sum(a * b for a, b in zip(q, k)) / math.sqrt(len(q))) for k in keys]
    return [score / sum(scores) for score in scores]


def attention_by_loops(block, text: list[list[float]], causal: bool = False) -> list[list[float]]:
    """`causal`: each token looks at itself and at those before it, and at no other."""
    d, found = D // H, [[] for _ in text]
    queries, keys, values = ([times(block.qkv, x)[i * D : (i + 1) * D] for x in text] for i in range(3))
    for head in range(H):
        of_head = slice(head * d, (head + 1) * d)
        for t, q in enumerate(queries):
            share = weights_of(q[of_head], [k[of_head] for k in (keys[: t + 1] if causal else keys)])
            found[t] += [sum(w * v[of_head][i] for w, v in zip(share, values)) for i in range(d)]
    return found


def layers_by_loops(bert: Bert, token_ids: list[int], causal: bool = False) -> list[list[list[float]]]:
    """The layers of one text, nothing padded."""
    e = bert.embeddings
    tokens, places, segment = e.tokens.weight.tolist(), e.positions.weight.tolist(), e.segment.weight[0].tolist()
    text = [normalised(e.norm, plus(plus(tokens[i], places[t]), segment)) for t, i in enumerate(token_ids)]
    layers = [text]
    for block in bert.blocks:
        attended = [times(block.output, y) for y in attention_by_loops(block, text, causal)]
        a = [normalised(block.attention_norm, plus(x, y)) for x, y in zip(text, attended)]
        worked = [times(block.contract, gelu(times(block.expand, x))) for x in a]
        text = [normalised(block.norm, plus(x, y)) for x, y in zip(a, worked)]
        layers.append(text)
    return layers


def logits_by_loops(model: MaskedLM, y: list[float]) -> list[float]:
    h = normalised(model.norm, gelu(times(model.dense, y)))
    rows = model.bert.embeddings.tokens.weight.tolist()
    return [sum(a * b for a, b in zip(row, h)) + c for row, c in zip(rows, model.bias.tolist())]
