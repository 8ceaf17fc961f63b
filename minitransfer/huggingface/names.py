"""Part IV, aside: names. What are the same weights called in the `transformers` library?

Most BERTs that can be downloaded were saved by that library. What `minitransfer.bert.encoder` computes is what is
computed there, so between the two stand only names: one table below, read from left to right or from right to left.
Query, key and value are three matrices there and one here, and there may be a second segment, which no task here
uses.

Read next: `minitransfer.huggingface.weights`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from minitransfer.apparatus.saved import misfits
from minitransfer.bert.encoder import INITIAL_STD, BertConfig, MaskedLM

EMBEDDINGS = {"tokens.weight": "word_embeddings.weight", "positions.weight": "position_embeddings.weight",
              "segment.weight": "token_type_embeddings.weight", "norm.weight": "LayerNorm.weight",
              "norm.bias": "LayerNorm.bias"}
BLOCK = {"output": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
         "expand": "intermediate.dense", "contract": "output.dense", "norm": "output.LayerNorm"}
HEAD = {"dense.weight": "transform.dense.weight", "dense.bias": "transform.dense.bias",
        "norm.weight": "transform.LayerNorm.weight", "norm.bias": "transform.LayerNorm.bias", "bias": "bias"}

SIZES = {"vocab_size": "vocab_size", "hidden_size": "hidden_size", "num_layers": "num_hidden_layers",
         "num_heads": "num_attention_heads", "intermediate_size": "intermediate_size",
         "max_positions": "max_position_embeddings"}
RATES = {"dropout": "hidden_dropout_prob", "layer_norm_eps": "layer_norm_eps"}
COMPUTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False,
            "add_cross_attention": False, "tie_word_embeddings": True}  # all that could be otherwise, and is not here
SMALL = 12  # tanh z is z in float32 for |z| ≤ 2⁻¹²: what is missing, z³/3, is less than half of its last bit


def table(num_layers: int) -> dict[str, tuple[str, ...]]:
    """Each tensor of a `MaskedLM`, and the tensors there that it is made of, one below the other; mostly one."""
    names: dict[str, tuple[str, ...]] = {
        f"bert.embeddings.{ours}": (f"bert.embeddings.{theirs}",) for ours, theirs in EMBEDDINGS.items()}
    for k in range(num_layers):
        here, there = f"bert.blocks.{k}", f"bert.encoder.layer.{k}"
        for kind in ("weight", "bias"):
            qkv = (f"{there}.attention.self.{name}.{kind}" for name in ("query", "key", "value"))
            names[f"{here}.qkv.{kind}"] = tuple(qkv)
            names |= {f"{here}.{ours}.{kind}": (f"{there}.{theirs}.{kind}",) for ours, theirs in BLOCK.items()}
    return names | {ours: (f"cls.predictions.{theirs}",) for ours, theirs in HEAD.items()}


def shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a `MaskedLM`. Raises: ValueError for sizes that no memory could hold."""
    try:
        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in MaskedLM(config).state_dict().items()}
    except (RuntimeError, TypeError, OverflowError) as failure:
        raise ValueError(f"there can be no tensors of such sizes: {config}") from failure


def to_theirs(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `Bert` or `MaskedLM`, each tensor under its name, or cut in three under its names, there."""
    names = table(sum(name.endswith(".qkv.weight") for name in tensors))
    return {there: part for ours, tensor in tensors.items()
            for there, part in zip(names[ours], tensor.chunk(len(names[ours])))}


def compare(actual: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]) -> None:
    """Raises: ValueError naming which tensors are missing, not expected, or of another shape than needed."""
    if problems := misfits(actual, needed):
        raise ValueError(f"its weights are not those of this BERT: {problems}")


def from_theirs(read: Callable[[str], Tensor], num_layers: int, has_head: bool) -> dict[str, Tensor]:
    """Our tensors, float32, from what `read` returns for a name there; without a head, only those of the encoder."""
    names = table(num_layers)
    wanted = [name for name in names if has_head or name not in HEAD]
    tensors = {name: torch.cat([read(part).float() for part in names[name]]) for name in wanted}
    tensors["bert.embeddings.segment.weight"] = tensors["bert.embeddings.segment.weight"][:1].clone()
    return tensors


def linear_through_tanh(W: Tensor, b: Tensor, gamma: Tensor, beta: Tensor) -> dict[str, Tensor]:
    """A pooler and a classifier as they are there that give W h + b, although a tanh stands between them.

    W h + b = (2ᵏ W) tanh(2⁻ᵏ h) + b

    Near zero tanh is a straight line, and multiplying by a power of two changes no digit. Since h comes out of a
    LayerNorm, |h_i| ≤ √D |γ_i| + |β_i|: k is such that no state can ever leave the part where float32 knows no
    difference between tanh z and z. It is a model to be used, not to be trained further: an optimiser that moves each
    weight equally far would tear such unequal ones apart.

    Shapes: W (N, D), b (N,), γ and β (D,) of the last LayerNorm.
    """
    D = W.shape[1]
    largest = (math.sqrt(D) * gamma.double().abs() + beta.double().abs()).max().item()
    k = SMALL + math.frexp(largest)[1]  # frexp: the power of two just above it
    return {"bert.pooler.dense.weight": torch.eye(D) * 2.0**-k, "bert.pooler.dense.bias": torch.zeros(D),
            "classifier.weight": W * 2.0**k, "classifier.bias": b}


def to_their_config(config: BertConfig) -> dict[str, Any]:
    """The sizes of a BERT under their names there, with all else that decides what is computed."""
    sizes = {there: getattr(config, ours) for ours, there in {**SIZES, **RATES}.items()}
    return {**COMPUTED, **sizes, "attention_probs_dropout_prob": 0.0, "type_vocab_size": 1,
            "initializer_range": INITIAL_STD, "pad_token_id": 0}
