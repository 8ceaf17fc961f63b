"""Claims about BERT: it is the formula, every token sees every other one, and padding never matters."""

import json
import math
from dataclasses import asdict

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
    generator,
    layers_by_loops,
    logits_by_loops,
    make_model,
    mask_of,
    some_labels,
    some_tokens,
    weights_of,
)

from minitransfer.bert.encoder import (
    Bert,
    BertConfig,
    MaskedLM,
    attention,
    dropout,
    sinusoids,
)
from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.bert.softmax import cross_entropy_sum


@pytest.fixture
def model() -> MaskedLM:
    return make_model()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_every_layer_is_the_formula_worked_out_number_by_number(model, dtype, tolerance):
    token_ids, mask = some_tokens(B, T), mask_of(LENGTHS)
    with torch.no_grad():
        hidden_states = model.to(dtype).bert(token_ids, mask)
    assert hidden_states.shape == (L + 1, B, T, D) and hidden_states.dtype == dtype
    for b, length in enumerate(LENGTHS):
        expected = torch.tensor(layers_by_loops(model.bert, token_ids[b, :length].tolist()), dtype=dtype)
        assert torch.allclose(hidden_states[:, b, :length], expected, atol=tolerance)


def test_the_loss_is_the_mean_minus_log_probability_of_the_masked_tokens_alone(model):
    token_ids, mask = some_tokens(B, T), mask_of(LENGTHS)
    asked = [(0, 6), (0, 1), (1, 3), (2, 0)]
    labels, total = some_labels(token_ids, *asked), 0.0
    for b, t in asked:
        layers = layers_by_loops(model.bert, token_ids[b, : LENGTHS[b]].tolist())
        scores = [math.exp(logit) for logit in logits_by_loops(model, layers[-1][t])]
        total -= math.log(scores[labels[b, t]] / sum(scores))
    assert model.loss(token_ids, labels, mask).item() == pytest.approx(total / len(asked))


def test_decoding_few_tokens_gives_what_decoding_all_gives_and_teaches_the_same(model):
    token_ids, mask = some_tokens(B, T), mask_of(LENGTHS)
    labels = some_labels(token_ids, (0, 6), (1, 0), (1, 3))
    few, targets = model.decode(token_ids, labels, mask)
    everything = model(token_ids, mask)
    assert everything.shape == (B, T, V) and targets.tolist() == labels[labels != IGNORE_INDEX].tolist()
    assert torch.allclose(few, everything[labels != IGNORE_INDEX], atol=1e-12)
    found = torch.autograd.grad(model.loss(token_ids, labels, mask), list(model.parameters()))
    all_decoded = torch.nn.functional.cross_entropy(everything.flatten(0, 1), labels.flatten(),
                                                    ignore_index=IGNORE_INDEX)
    expected = torch.autograd.grad(all_decoded, list(model.parameters()))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected))


def test_where_nothing_is_masked_the_loss_is_zero_and_teaches_nothing(model):
    token_ids = some_tokens(B, T)
    loss = model.loss(token_ids, some_labels(token_ids))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_attention_is_a_mean_of_values_weighted_by_softmax_written_out_or_fused(masked, fused):
    d, S = 5, 4
    q, k, v = (torch.randn(B, H, n, d, generator=generator(n), dtype=torch.float64) for n in (T, S, S))
    seen = mask_of((4, 2, 1), S) if masked else mask_of((4, 4, 4), S)
    attention_bias = (~seen)[:, None, None].double() * -1e9 if masked else None
    found = attention(q, k, v, attention_bias, fused)
    assert found.shape == (B, H, T, d)
    for b in range(B):
        for h in range(H):
            keys, values = k[b, h][seen[b]].tolist(), v[b, h][seen[b]].tolist()
            for t in range(T):
                share = weights_of(q[b, h, t].tolist(), keys)
                expected = [sum(w * value[i] for w, value in zip(share, values)) for i in range(d)]
                assert found[b, h, t].tolist() == pytest.approx(expected)


def test_a_text_reads_the_same_alone_in_any_batch_in_any_order_before_any_padding(model):
    lengths = (4, 7, 1, 5)
    token_ids, mask = some_tokens(4, T), mask_of(lengths)
    together = model.bert(token_ids, mask)
    garbage = torch.where(mask, token_ids, some_tokens(4, T, seed=3))
    assert torch.equal(model.bert(garbage, mask), together)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(model.bert(token_ids[order], mask[order]), together[:, order], atol=1e-12)
    for b, length in enumerate(lengths):
        alone = model.bert(token_ids[b : b + 1, :length])
        assert torch.allclose(alone[:, 0], together[:, b, :length], atol=1e-12)
        assert not together[:, b, length:].any()  # padding gives zeros


def test_padding_is_given_no_gradient_and_a_batch_without_any_needs_no_mask(model):
    token_ids, mask = torch.arange(B * T).view(B, T) % V, mask_of((7, 7, 4))
    model.bert(token_ids, mask).square().sum().backward()
    grad = model.bert.embeddings.tokens.weight.grad
    only_in_padding = set(token_ids[~mask].tolist()) - set(token_ids[mask].tolist())
    assert only_in_padding and not grad[list(only_in_padding)].any() and grad[token_ids[mask]].any(-1).all()
    assert torch.allclose(model.bert(token_ids), model.bert(token_ids, mask_of((7, 7, 7))), atol=1e-12)


def test_a_text_of_padding_alone_gives_zeros_and_spoils_no_other(model):
    token_ids, mask = some_tokens(B, T), mask_of((3, 0, 7))
    hidden_states = model.bert(token_ids, mask)
    assert hidden_states.isfinite().all() and not hidden_states[:, 1].any()
    hidden_states.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("t", range(T))
def test_every_token_sees_every_other_one_but_only_above_layer_0(model, t):
    token_ids = some_tokens(1, T)
    other = token_ids.clone()
    other[0, t] = (other[0, t] + 1) % V
    moved = (model.bert(token_ids) != model.bert(other)).any(-1)[:, 0]  # (L + 1, T)
    assert moved[0].tolist() == [s == t for s in range(T)] and moved[1:].all()


def test_words_in_another_order_are_another_text(model):
    token_ids = torch.arange(T).unsqueeze(0)
    there, turned = model.bert(token_ids), model.bert(token_ids.flip(1)).flip(2)
    same = torch.isclose(there, turned).all(-1)[:, 0]  # (L + 1, T): of each token, was its place all that mattered?
    assert same[0].tolist() == [t == T // 2 for t in range(T)] and not same[1:].any()


def test_the_decoder_is_the_token_embedding_and_stored_once(model):
    names = dict(model.named_parameters())
    assert model.state_dict().keys() == names.keys()
    assert [name for name, p in names.items() if p.shape == (V, D)] == ["bert.embeddings.tokens.weight"]
    token_ids = torch.zeros(1, 3, dtype=torch.int64)
    model.loss(token_ids, some_labels(token_ids, (0, 1))).backward()
    assert names["bert.embeddings.tokens.weight"].grad.any(-1).all()  # each row is an answer, though only 0 was read


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation_and_drops_the_share_asked_for(p):
    n = 100_000
    y = dropout(torch.ones(100, n // 100), p, generator())
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / (1 - p)])
    assert abs(y.mean().item() - 1) < 5 * (p / (1 - p) / n) ** 0.5  # five standard errors


def test_the_generator_alone_decides_what_is_dropped_and_without_one_nothing_is(model):
    token_ids, x = some_tokens(B, T), torch.ones(3)
    assert model.training and dropout(x, 0.5, None) is x and dropout(x, 0.0, generator()) is x
    quiet = model.bert(token_ids)
    assert torch.equal(model.bert(token_ids), quiet) and torch.equal(model.bert.eval()(token_ids), quiet)
    dropped = model.bert(token_ids, generator=generator())
    assert torch.equal(model.bert.train()(token_ids, generator=generator()), dropped)
    assert all(not torch.equal(dropped[k], quiet[k]) for k in range(L + 1))
    assert not torch.equal(model.bert(token_ids, generator=generator(1)), dropped)


def test_a_new_model_guesses_about_evenly_and_its_biases_are_zero():
    torch.manual_seed(3)
    model = MaskedLM(BertConfig(997, hidden_size=48, num_layers=3, num_heads=4, intermediate_size=95))
    for name, p in model.named_parameters():
        if "norm" in name:
            assert (p == (0 if name.endswith("bias") else 1)).all(), name
        elif name.endswith("bias"):
            assert not p.any(), name
        elif "positions" not in name and "qkv" not in name:
            assert abs(p.std().item() / 0.02 - 1) < 5 / (2 * p.numel()) ** 0.5, name
    token_ids = torch.randint(0, 997, (5, 31), generator=generator())
    assert model.loss(token_ids, token_ids).item() == pytest.approx(math.log(997), rel=0.05)


def test_the_likeness_of_two_positions_is_a_sum_of_cosines_of_their_distance_worked_out_one_by_one():
    T, D = 9, 6
    p = sinusoids(T, D)
    for s in range(T):
        for t in range(T):
            assert (p[s] @ p[t]).item() == pytest.approx(
                sum(math.cos((s - t) / 10000 ** (2 * i / D)) for i in range(D // 2)), abs=1e-5)
    assert sinusoids(4, 5).shape == (4, 5)


def test_a_token_of_a_new_model_looks_most_at_itself_and_less_the_farther_another_one_is():
    torch.manual_seed(4)
    config = BertConfig(997, hidden_size=48, num_layers=2, num_heads=3, intermediate_size=95, max_positions=40)
    bert = Bert(config)
    x = bert.embeddings(bert.embeddings.tokens(torch.randint(0, 997, (400, 40), generator=generator())))
    for block in bert.blocks:
        q, k, _ = (part.view(400, 40, 3, 16).transpose(1, 2) for part in block.qkv(x).split(48, dim=-1))
        scores = (q @ k.transpose(-2, -1) / 4).mean(dim=(0, 1))  # (T, T)
        by_distance = [scores.diagonal(n).mean().item() for n in (0, 1, 4, 12)]
        assert by_distance[0] == pytest.approx(5, rel=0.15)
        assert all(near > far + 0.1 for near, far in zip(by_distance, by_distance[1:]))


def test_a_few_sentences_can_be_learnt_by_heart():
    torch.manual_seed(0)
    model = MaskedLM(BertConfig(V, hidden_size=24, num_layers=2, num_heads=3, intermediate_size=40, max_positions=T))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    token_ids = some_tokens(5, T)
    labels = torch.full_like(token_ids, IGNORE_INDEX)
    labels[torch.arange(5), torch.tensor([0, 2, 3, 6, 1])] = token_ids[torch.arange(5), torch.tensor([0, 2, 3, 6, 1])]
    hidden = torch.where(labels == IGNORE_INDEX, token_ids, 0)
    for step in range(150):
        optimizer.zero_grad()
        loss = model.loss(hidden, labels, generator=generator(step))
        loss.backward()
        optimizer.step()
    logits, targets = model.decode(hidden, labels)
    assert logits.argmax(-1).tolist() == targets.tolist()


def test_a_configuration_survives_json():
    assert BertConfig.from_dict(json.loads(json.dumps(asdict(CONFIG)))) == CONFIG
    assert BertConfig.from_dict(asdict(BertConfig(99))) == BertConfig(99) != CONFIG


@pytest.mark.parametrize(("change", "told"), [
    ({"num_heads": 5}, "5 heads cannot share a width of 6"), ({"num_heads": 0}, "num_heads is 0"),
    ({"num_layers": -1}, "num_layers is -1"), ({"dropout": 1.0}, "dropout is 1.0"),
    ({"layer_norm_eps": 0.0}, "layer_norm_eps is 0.0"),
])
def test_a_shape_that_cannot_be_is_refused_with_its_numbers(change, told):
    with pytest.raises(ValueError, match=told):
        BertConfig.from_dict({**asdict(CONFIG), **change})


def test_more_tokens_than_positions_are_refused_with_both_numbers(model):
    assert model.bert(some_tokens(1, 9)).shape == (L + 1, 1, 9, D)
    with pytest.raises(ValueError, match="10 tokens, but there are only 9 positions"):
        model.bert(some_tokens(1, 10))


def test_the_loss_of_pieces_and_its_gradient_by_plain_loops():
    z, w = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), [3, 0, 6, 3, 1]
    loss, gradient = 0.0, []
    for scores, right in zip(z.tolist(), w):
        total = sum(math.exp(score) for score in scores)
        loss -= math.log(math.exp(scores[right]) / total)
        gradient.append([math.exp(score) / total - (v == right) for v, score in enumerate(scores)])
    z.requires_grad_()
    found = cross_entropy_sum(z, torch.tensor(w))
    (3 * found).backward()
    assert found.item() == pytest.approx(loss)
    assert torch.allclose(z.grad, 3 * torch.tensor(gradient, dtype=torch.float64))


def test_the_gradient_of_pieces_is_asked_for_once():
    loss = cross_entropy_sum(torch.zeros(2, 3, requires_grad=True) * 1, torch.tensor([0, 2]))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_in_bfloat16_the_loss_of_pieces_is_the_one_of_the_same_logits_in_float32():
    z = (4 * torch.randn(31, 501, generator=torch.Generator().manual_seed(1))).bfloat16()
    w = torch.randint(501, (31,), generator=torch.Generator().manual_seed(2))
    expected = cross_entropy_sum(z.float(), w)
    assert cross_entropy_sum(z, w).dtype == torch.float32
    assert cross_entropy_sum(z, w).item() == pytest.approx(expected.item(), rel=2e-3)  # a probability has 8 bits


def test_a_piece_that_was_held_for_impossible_costs_many_nats_and_no_infinity():
    z = torch.tensor([[0.0, 500.0]], requires_grad=True)
    loss = cross_entropy_sum(z, torch.tensor([0]))
    loss.backward()
    assert 80 < loss.item() < 90 and z.grad.tolist() == [[-1.0, 1.0]]
    assert cross_entropy_sum(z[:0], torch.tensor([], dtype=torch.int64)).item() == 0.0
