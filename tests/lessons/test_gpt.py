"""Claims about GPT: it computes its formulas, no place of it ever sees a later one, and what it writes is drawn from
what it predicts.
"""

import math

import pytest
import torch
from bert_by_loops import (
    CONFIG,
    LENGTHS,
    B,
    D,
    L,
    T,
    V,
    generator,
    layers_by_loops,
    logits_by_loops,
    make_model,
    mask_of,
    some_tokens,
)

from minitransfer.apparatus.errors import NumericsError
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.gpt.causal import CausalLM, next_pieces
from minitransfer.gpt.evaluation import next_piece_loss
from minitransfer.gpt.writing import NEVER, write
from minitransfer.text.packing import pack
from minitransfer.text.wordpiece import CLS_ID, SEP_ID


@pytest.fixture
def model() -> CausalLM:
    return make_model(CausalLM)


def trained(text: list[int], steps: int = 120) -> CausalLM:
    """A small GPT that has read one text over and over, as every row of its batches, for a second or two."""
    torch.manual_seed(0)
    model = CausalLM(BertConfig(V, hidden_size=24, num_layers=2, num_heads=3, intermediate_size=40, max_positions=17))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs, labels = next_pieces(torch.tensor([[CLS_ID, *text, SEP_ID]] * 3))
    for step in range(steps):
        optimizer.zero_grad()
        model.loss(inputs, labels, generator=generator(step)).backward()
        optimizer.step()
    return model


TEXT = [9, 14, 9, 20, 7, 9, 11, 22, SEP_ID, 17, 9, 14]  # what follows 9 takes more than one look back


@pytest.fixture(scope="module")
def reader() -> CausalLM:
    return trained(TEXT)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_every_layer_is_the_formula_worked_out_number_by_number(model, dtype, tolerance):
    token_ids, mask = some_tokens(B, T), mask_of(LENGTHS)
    with torch.no_grad():
        hidden_states = model.to(dtype).bert(token_ids, mask)
    assert hidden_states.shape == (L + 1, B, T, D) and hidden_states.dtype == dtype
    for b, length in enumerate(LENGTHS):
        layers = layers_by_loops(model.bert, token_ids[b, :length].tolist(), causal=True)
        assert torch.allclose(hidden_states[:, b, :length], torch.tensor(layers, dtype=dtype), atol=tolerance)
        assert not hidden_states[:, b, length:].any()


def test_the_loss_is_the_mean_minus_log_probability_of_each_next_piece(model):
    rows, total = some_tokens(2, T), 0.0
    inputs, labels = next_pieces(rows)
    for row in rows.tolist():
        for t, y in enumerate(layers_by_loops(model.bert, row[:-2], causal=True)[-1]):
            scores = [math.exp(logit) for logit in logits_by_loops(model, y)]
            total -= math.log(scores[row[t + 1]] / sum(scores))
    assert model.loss(inputs, labels).item() == pytest.approx(total / (2 * (T - 2)))


def test_each_piece_of_a_text_is_predicted_once_and_the_end_of_a_row_never():
    documents = [torch.arange(5, 12).numpy(), torch.arange(12, 19).numpy()]
    rows = torch.from_numpy(pack(documents, 7))
    inputs, labels = next_pieces(rows)
    assert labels.flatten().tolist() == [*range(5, 12), SEP_ID, *range(12, 19)]
    assert inputs[:, 0].tolist() == [CLS_ID] * 3 and torch.equal(inputs[:, 1:], labels[:, :-1])


@pytest.mark.parametrize("kind", ["of random weights", "trained for seconds"])
def test_no_place_of_any_layer_sees_a_later_one_by_value_and_by_gradient(model, reader, kind):
    model = model if kind == "of random weights" else reader
    token_ids = torch.tensor([[CLS_ID, *TEXT]])[:, :9]
    places = token_ids.shape[1]
    for t in range(places):
        other = token_ids.clone()
        other[0, t] = (other[0, t] + 1) % V
        moved = (model.bert(token_ids) != model.bert(other)).any(-1)[:, 0]  # (L + 1, places)
        assert moved[0].tolist() == [s == t for s in range(places)]
        assert all(layer.tolist() == [s >= t for s in range(places)] for layer in moved[1:])
        x = model.bert.embeddings.tokens(token_ids).detach().requires_grad_()
        for layer in model.bert.layers_above(x)[1:]:
            [gradient] = torch.autograd.grad(layer[0, t].square().sum(), x, retain_graph=True)
            assert (gradient[0] != 0).any(-1).tolist() == [s <= t for s in range(places)]


def test_what_is_predicted_of_a_text_is_the_same_whatever_comes_after_and_beside_it(model, reader):
    token_ids = some_tokens(B, T)
    for each in (model.float(), reader):
        whole = each(token_ids)
        for t in range(1, T + 1):
            assert torch.allclose(each(token_ids[:1, :t])[0], whole[0, :t], atol=1e-5)


def test_a_gpt_that_sees_only_the_first_token_twice_differs_from_bert_by_the_mask_alone(model):
    """With one token there is nothing to hide; with more, BERT of the same weights sees what comes after."""
    bert = MaskedLM(CONFIG).double()
    bert.load_state_dict(model.state_dict())
    token_ids = some_tokens(B, T)
    assert torch.equal(model(token_ids[:, :1]), bert(token_ids[:, :1]))
    assert torch.allclose(model.bert.layers(token_ids)[1][:, -1], bert.bert.layers(token_ids)[1][:, -1], atol=1e-12)
    assert (model.bert.layers(token_ids)[1] != bert.bert.layers(token_ids)[1]).any(-1)[:, :-1].all()


def test_drawn_among_all_pieces_the_sampled_loss_is_the_full_one(model):
    """Where the chance to be drawn is 1 for each piece, no logit is lowered, and none is missing."""
    inputs, labels = next_pieces(some_tokens(2, T))
    negatives, log_q = torch.arange(V).repeat(400), torch.full((V,), 1 / V).log()
    full, sampled = model.loss(inputs, labels), model.sampled_loss(inputs, labels, negatives, log_q)
    assert sampled.item() == pytest.approx(full.item(), rel=1e-6)


def test_perplexity_per_word_spreads_what_the_pieces_cost_over_the_words_they_spell(model):
    rows = some_tokens(5, T)
    found = next_piece_loss(model, rows, 1.7, batch_size=2)
    nats = sum(model.loss(*next_pieces(row)).item() for row in rows.split(1)) / 5
    assert found["held_out_loss"] == pytest.approx(nats) and found["held_out_pieces"] == 5 * (T - 2)
    W = 5 * (T - 2) / 1.7
    assert found["perplexity_piece"] == pytest.approx(math.exp(nats))
    assert found["perplexity_word"] == pytest.approx(math.exp(nats * 5 * (T - 2) / W))
    with torch.no_grad():
        model.bias[3] = torch.nan
    with pytest.raises(NumericsError, match="held-out text is nan nats per piece"):
        next_piece_loss(model, rows, 1.7, batch_size=2)


def test_a_text_learnt_by_heart_is_written_to_its_end(reader):
    end = TEXT.index(SEP_ID)
    for begun in (1, 4):
        found = write(reader, [CLS_ID, *TEXT[:begun]], 12, temperature=0, top_k=V, generator=generator())
        assert found == TEXT[begun:end]
    assert write(reader, [CLS_ID, TEXT[0]], 3, 0, V, generator()) == TEXT[1:4]


def test_a_piece_is_drawn_as_temperature_and_top_k_say(model):
    text, k, temperature, n = [CLS_ID, 9, 14], 3, 1.5, 4_000
    logits = dict(enumerate(logits_by_loops(model, layers_by_loops(model.bert, text, causal=True)[-1][-1])))
    best = sorted((w for w in logits if w not in NEVER), key=lambda w: -logits[w])[:k]
    scores = {w: math.exp(logits[w] / temperature) for w in best}
    draw, counts = generator(5), dict.fromkeys([*best, None], 0)
    for _ in range(n):
        [piece] = write(model, text, 1, temperature, k, draw) or [SEP_ID]
        counts[piece] += 1
    for w in best:
        p = scores[w] / sum(scores.values())
        assert abs(counts[w] / n - p) < 4 * math.sqrt(p * (1 - p) / n)
    assert write(model, text, 4, 0.9, 5, generator(2)) == write(model, text, 4, 0.9, 5, generator(2))
