"""The claim that BERT here is BERT there, and GPT its decoder: with equal weights the transformers library gives, and
learns, the same.

Skipped where that library is not installed; nothing else needs it.
"""

import pytest
import torch
from bert_by_loops import (
    CONFIG,
    LENGTHS,
    B,
    D,
    H,
    L,
    T,
    V,
    make_model,
    mask_of,
    some_labels,
    some_tokens,
)
from torch import Tensor

from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.gpt.causal import CausalLM

transformers = pytest.importorskip("transformers")

EMBEDDINGS = {"tokens": "word_embeddings", "positions": "position_embeddings", "segment": "token_type_embeddings"}
BLOCK = {"output": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
         "expand": "intermediate.dense", "contract": "output.dense", "norm": "output.LayerNorm"}
HEAD = {"dense": "transform.dense", "norm": "transform.LayerNorm"}
QKV = ("query", "key", "value")


def as_in_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights, or their gradients, under the names of that library; `qkv` is three matrices there."""
    left = dict(tensors)
    theirs = {"cls.predictions.bias": left.pop("bias")}
    for ours, name in EMBEDDINGS.items():
        theirs[f"bert.embeddings.{name}.weight"] = left.pop(f"bert.embeddings.{ours}.weight")
    for kind in ("weight", "bias"):
        theirs[f"bert.embeddings.LayerNorm.{kind}"] = left.pop(f"bert.embeddings.norm.{kind}")
        theirs |= {f"cls.predictions.{name}.{kind}": left.pop(f"{ours}.{kind}") for ours, name in HEAD.items()}
        for k in range(L):
            here, there = f"bert.blocks.{k}", f"bert.encoder.layer.{k}"
            theirs |= {f"{there}.{name}.{kind}": left.pop(f"{here}.{ours}.{kind}") for ours, name in BLOCK.items()}
            parts = left.pop(f"{here}.qkv.{kind}").chunk(3)
            theirs |= {f"{there}.attention.self.{name}.{kind}": part for name, part in zip(QKV, parts)}
    assert not left
    return theirs


def paired(ours: MaskedLM, kind: str, **more):
    """Two models of the same weights: ours, and the one of that library."""
    shape = transformers.BertConfig(
        vocab_size=V, hidden_size=D, num_hidden_layers=L, num_attention_heads=H, type_vocab_size=1, pad_token_id=None,
        intermediate_size=CONFIG.intermediate_size, max_position_embeddings=CONFIG.max_positions,
        layer_norm_eps=CONFIG.layer_norm_eps, **more)
    theirs = getattr(transformers, kind)(shape).double().eval()
    weights = as_in_transformers(ours.state_dict())
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"]
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"]
    theirs.load_state_dict(weights, strict=False)
    parameters = dict(theirs.named_parameters())
    assert parameters.keys() <= weights.keys() and all(torch.equal(parameters[n], weights[n]) for n in parameters)
    return ours, theirs


@pytest.fixture
def pair():
    return paired(make_model(), "BertForMaskedLM")


def test_logits_layers_and_loss_are_those_of_transformers(pair):
    ours, theirs = pair
    token_ids, mask = some_tokens(B, T), mask_of(LENGTHS)
    labels = some_labels(token_ids, (0, 6), (0, 2), (1, 3), (2, 0))
    with torch.no_grad():
        out = theirs(input_ids=token_ids, attention_mask=mask.long(), labels=labels, output_hidden_states=True)
        assert torch.allclose(ours(token_ids, mask)[mask], out.logits[mask], atol=1e-10)
        for found, expected in zip(ours.bert(token_ids, mask), out.hidden_states, strict=True):
            assert torch.allclose(found[mask], expected[mask], atol=1e-10)
        assert ours.loss(token_ids, labels, mask).item() == pytest.approx(out.loss.item())


def test_gradients_are_those_of_transformers(pair):
    ours, theirs = pair
    token_ids, mask = some_tokens(B, T), mask_of(LENGTHS)
    labels = some_labels(token_ids, (0, 6), (0, 2), (1, 3), (2, 0))
    ours.loss(token_ids, labels, mask).backward()
    theirs(input_ids=token_ids, attention_mask=mask.long(), labels=labels).loss.backward()
    found = as_in_transformers({name: p.grad for name, p in ours.named_parameters()})
    for name, p in theirs.named_parameters():  # tied weights are listed once
        assert torch.allclose(found.pop(name), p.grad, atol=1e-10), name
    assert not found


def test_logits_layers_loss_and_gradients_of_a_gpt_are_those_of_bert_as_a_decoder():
    # "eager", since the causal mask of sdpa there, in version 4.57, is of float32 alone
    ours, theirs = paired(make_model(CausalLM), "BertLMHeadModel", is_decoder=True, attn_implementation="eager")
    token_ids, mask = some_tokens(B, T), mask_of(LENGTHS)
    out = theirs(input_ids=token_ids, attention_mask=mask.long(), output_hidden_states=True)
    assert torch.allclose(ours(token_ids, mask)[mask], out.logits[mask], atol=1e-10)
    for found, expected in zip(ours.bert(token_ids, mask), out.hidden_states, strict=True):
        assert torch.allclose(found[mask], expected[mask], atol=1e-10)
    loss = ours.loss(token_ids[:, :-1], token_ids[:, 1:])
    there = theirs(input_ids=token_ids, labels=token_ids)  # which shifts them by one itself, and rounds to float32
    assert loss.item() == pytest.approx(there.loss.item(), rel=1e-5)
    loss.backward()
    torch.nn.functional.cross_entropy(there.logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten()).backward()
    found = as_in_transformers({name: p.grad for name, p in ours.named_parameters()})
    assert all(torch.allclose(found[name], p.grad, atol=1e-10) for name, p in theirs.named_parameters())


def test_what_size_does_not_decide_is_by_default_as_in_transformers():
    shape = transformers.BertConfig()
    assert (BertConfig(V).layer_norm_eps, BertConfig(V).max_positions, BertConfig(V).dropout) == (
        shape.layer_norm_eps, shape.max_position_embeddings, shape.hidden_dropout_prob)
