"""Claims about the biLM: no direction ever sees what it must predict, and nothing but the text decides its states."""

import json
from dataclasses import asdict

import pytest
import torch
from elmo_by_loops import layers_by_loops, minus_log_p
from torch import Tensor

from minitransfer.elmo.bilm import (
    BiLM,
    BiLMConfig,
    locked_dropout,
    reverse_each,
)
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.elmo.softmax import sampled_loss

B, T, H, P, L = 3, 7, 6, 5, 3
D = 2 * P
CHARS = CharCNNConfig(output_size=D, char_size=3, filters=((1, 2), (3, 4)))
CONFIG = BiLMConfig(vocab_size=23, hidden_size=H, projection_size=P, num_layers=L, dropout=0.5, charcnn=CHARS)
LENGTHS = (7, 4, 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def bilm() -> BiLM:
    """In double precision, so that equal means equal; in training mode, because dropout must not depend on it."""
    torch.manual_seed(0)
    return BiLM(CONFIG).double()


def some_words(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, D, generator=generator(seed), dtype=torch.float64)


def mask_of(lengths: tuple[int, ...]) -> Tensor:
    return torch.tensor([[t < length for t in range(max(lengths))] for length in lengths])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_every_layer_is_the_recurrence_worked_out_gate_by_gate(bilm, dtype, tolerance):
    """Layer 0 the words, then the forward half left and the backward half right of it, each review read by itself."""
    x, mask = some_words(B, T).to(dtype), mask_of(LENGTHS)
    with torch.no_grad():
        layers = bilm.to(dtype)(x, mask)
        assert layers.shape == (L + 1, B, T, D) and layers.dtype == dtype
        for b, length in enumerate(LENGTHS):
            assert torch.equal(layers[0, b, :length], x[b, :length])
            ahead = layers_by_loops(bilm.forward_stack, x[b, :length])
            back = layers_by_loops(bilm.backward_stack, x[b, :length].flip(0))
            for k in range(L):
                assert torch.allclose(layers[k + 1, b, :length, :P], ahead[k], atol=tolerance)
                assert torch.allclose(layers[k + 1, b, :length, P:], back[k].flip(0), atol=tolerance)


@pytest.mark.parametrize("t", range(T - 1))
def test_no_layer_of_the_forward_half_sees_a_later_word(bilm, t):
    x, mask = some_words(B, T), mask_of((T, T, T))
    other = torch.cat([x[:, : t + 1], some_words(B, T - t - 1, seed=2)], dim=1)
    before, after = bilm(x, mask), bilm(other, mask)
    for k in range(1, L + 1):
        assert torch.equal(after[k, :, : t + 1, :P], before[k, :, : t + 1, :P])
        assert (after[k, :, t + 1 :, :P] != before[k, :, t + 1 :, :P]).any(-1).all()  # but every later state moves


@pytest.mark.parametrize("t", range(1, T))
def test_no_layer_of_the_backward_half_sees_an_earlier_word(bilm, t):
    x, mask = some_words(B, T), mask_of((T, T, T))
    other = torch.cat([some_words(B, t, seed=2), x[:, t:]], dim=1)
    before, after = bilm(x, mask), bilm(other, mask)
    for k in range(1, L + 1):
        assert torch.equal(after[k, :, t:, P:], before[k, :, t:, P:])
        assert (after[k, :, :t, P:] != before[k, :, :t, P:]).any(-1).all()


def test_a_review_reads_the_same_alone_in_any_batch_in_any_order_behind_any_padding(bilm):
    lengths = (4, 7, 1, 5)
    x, mask = some_words(4, T), mask_of(lengths)
    together = bilm(x, mask)
    garbage = torch.where(mask.unsqueeze(-1), x, 1e3 * some_words(4, T, seed=3))
    assert torch.allclose(bilm(garbage, mask), together, atol=1e-12)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(bilm(x[order], mask[order]), together[:, order], atol=1e-12)
    for b, length in enumerate(lengths):
        alone = bilm(x[b : b + 1, :length], mask[b : b + 1, :length])
        assert torch.allclose(alone[:, 0], together[:, b, :length], atol=1e-12)


def test_padding_and_an_empty_review_give_zeros(bilm):
    mask = mask_of((3, 7, 0))
    layers = bilm(some_words(B, T), mask)
    assert layers.isfinite().all()
    for b, length in enumerate((3, 7, 0)):
        assert not layers[:, b, length:].any() and layers[:, b, :length].any(-1).all()


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_a_window_read_in_two_parts_with_the_state_carried_is_the_window_read_in_one(bilm, cut):
    x = some_words(B, T)
    for stack in bilm.stacks():
        whole, last = stack(x)
        first, state = stack(x[:, :cut])
        second, end = stack(x[:, cut:], state)
        for k in range(L):
            assert torch.allclose(torch.cat([first[k], second[k]], dim=1), whole[k], atol=1e-12)
            for part, expected in zip(end[k], last[k]):
                assert part.shape == (1, B, H) and torch.allclose(part, expected, atol=1e-12)
        assert not torch.allclose(stack(x[:, cut:])[0][0], second[0])  # without the state it would not be


def test_reading_leaves_no_state_behind(bilm):
    x, mask = some_words(B, T), mask_of(LENGTHS)
    first = bilm(x, mask)
    bilm(some_words(B, T, seed=4), mask)
    assert torch.equal(bilm(x, mask), first)


@pytest.mark.parametrize("d", [0, 1])
def test_a_directions_loss_is_its_mean_minus_log_probability_of_the_real_targets(bilm, d):
    x, targets = some_words(B, T), torch.randint(1, 23, (B, T), generator=generator(5))
    targets[2, 3:] = 0  # padding is not counted
    with torch.no_grad():
        loss, _ = bilm.direction_loss(d, x, targets)
        total, tokens = 0.0, 0
        for b in range(B):
            for h, target in zip(layers_by_loops(bilm.stacks()[d], x[b])[-1], targets[b].tolist()):
                if target != 0:
                    logits = (bilm.softmax.weight @ h + bilm.softmax.bias).tolist()
                    total, tokens = total + minus_log_p(logits, target), tokens + 1
    assert tokens == 17 and loss.item() == pytest.approx(total / tokens, rel=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_with_negatives_the_loss_is_the_sampled_one_of_the_last_layer(bilm, padded):
    x, targets = some_words(B, T), torch.randint(1, 23, (B, T), generator=generator(5))
    targets[2, 3:] = 0 if padded else 1
    negatives, log_q = torch.tensor([3, 9, 9, 22]), torch.full((23,), 1 / 23, dtype=torch.float64).log()
    loss, _ = bilm.direction_loss(0, x, targets, negatives=negatives, log_q=log_q)
    h = bilm.forward_stack(x)[0][-1]
    expected = sampled_loss(h[targets != 0], *bilm.softmax.parameters(), targets[targets != 0], negatives, log_q)
    assert loss.item() == pytest.approx(expected.item()) and loss.requires_grad


def test_the_next_window_goes_on_from_the_state_but_does_not_learn_through_it(bilm):
    x, targets = some_words(B, T).requires_grad_(), torch.ones(B, T, dtype=torch.int64)
    _, state = bilm.direction_loss(0, x[:, :4], targets[:, :4])
    going_on, _ = bilm.direction_loss(0, x[:, 4:], targets[:, 4:], state)
    anew, _ = bilm.direction_loss(0, x[:, 4:], targets[:, 4:])
    (gradient,) = torch.autograd.grad(going_on, x)
    assert not gradient[:, :4].any() and gradient[:, 4:].any(-1).all()
    assert going_on.item() != anew.item() and not any(part.requires_grad for pair in state for part in pair)


def test_each_row_is_reversed_within_its_own_length():
    x, lengths = some_words(4, T), (7, 4, 1, 0)
    reversed_x = reverse_each(x, torch.tensor(lengths))
    for b, length in enumerate(lengths):
        for t in range(T):
            source = length - 1 - t if t < length else t
            assert torch.equal(reversed_x[b, t], x[b, source])
    assert torch.equal(reverse_each(reversed_x, torch.tensor(lengths)), x)


def test_dropout_drops_the_same_units_at_every_token_and_others_in_every_text():
    x = torch.ones(B, T, 50)
    y = locked_dropout(x, 0.25, generator())
    assert all(torch.equal(y[:, t], y[:, 0]) for t in range(T))
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / 0.75])
    assert not torch.equal(y[0], y[1])
    assert torch.equal(locked_dropout(x, 0.25, generator()), y)
    assert not torch.equal(locked_dropout(x, 0.25, generator(1)), y)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation(p):
    rows, width = 200, 500
    mean = locked_dropout(torch.ones(rows, 1, width), p, generator()).mean().item()
    assert abs(mean - 1) < 5 * (p / (1 - p) / (rows * width)) ** 0.5  # five standard errors


def test_without_a_generator_nothing_is_dropped_even_in_training_mode(bilm):
    x = some_words(B, T)
    assert bilm.training and locked_dropout(x, 0.5, None) is x and locked_dropout(x, 0.0, generator()) is x
    for stack in bilm.stacks():
        quiet = stack(x)[0][-1]
        assert torch.equal(stack(x)[0][-1], quiet) and torch.equal(stack.eval()(x)[0][-1], quiet)
        dropped = stack(x, generator=generator())[0][-1]
        assert not torch.allclose(dropped, quiet)
        assert torch.equal(stack(x, generator=generator())[0][-1], dropped)  # the generator alone decides


def test_the_directions_share_the_character_cnn_and_the_softmax_and_nothing_else(bilm):
    ahead, back = ({p.data_ptr() for p in stack.parameters()} for stack in bilm.stacks())
    below_and_above = {p.data_ptr() for part in (bilm.charcnn, bilm.softmax) for p in part.parameters()}
    everything = [p.data_ptr() for p in bilm.parameters()]
    assert not ahead & back and not (ahead | back) & below_and_above
    assert len(everything) == len(set(everything)) and set(everything) == ahead | back | below_and_above
    assert bilm.stacks() == (bilm.forward_stack, bilm.backward_stack)
    assert bilm.softmax.weight.shape == (23, P)  # as wide as one direction
    assert not torch.equal(bilm.forward_stack.lstms[0].weight_ih_l0, bilm.backward_stack.lstms[0].weight_ih_l0)


def test_a_new_cell_remembers_its_forget_gate_opens_at_bias_one(bilm):
    for stack in bilm.stacks():
        for lstm in stack.lstms:
            i, f, g, o = (lstm.bias_ih_l0 + lstm.bias_hh_l0).view(4, H)
            assert (f == 1).all() and not i.any() and not g.any() and not o.any()


def test_a_configuration_survives_json():
    assert BiLMConfig.from_dict(json.loads(json.dumps(asdict(CONFIG)))) == CONFIG
    default = BiLMConfig(vocab_size=99)
    assert BiLMConfig.from_dict(asdict(default)) == default != CONFIG


def test_a_character_cnn_of_another_width_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="character CNN gives 10, layers are 14 wide"):
        BiLMConfig(vocab_size=23, projection_size=7, charcnn=CHARS)


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_a_model_has_as_many_layers_as_asked_for_and_the_words_below_them(num_layers):
    bilm = BiLM(BiLMConfig(vocab_size=5, hidden_size=H, projection_size=P, num_layers=num_layers, charcnn=CHARS))
    assert bilm(some_words(2, 3).float(), mask_of((3, 2))).shape == (num_layers + 1, 2, 3, D)
