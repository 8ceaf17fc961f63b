"""Claims about the scalar mix: it is the lecture's sum, its weights sum to one, and it commutes with the mean."""

import pytest
import torch
from elmo_by_loops import mixed_by_loops

from minitransfer.elmo.mix import ScalarMix

LAYERS, B, T, D = 4, 3, 7, 5


@pytest.fixture
def mix() -> ScalarMix:
    mix = ScalarMix(LAYERS)
    with torch.no_grad():
        mix.w.copy_(torch.tensor([0.5, -1.0, 2.0, 0.0]))
        mix.gamma.fill_(-1.7)
    return mix


def some_layers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_each_vector_is_gamma_times_the_weighted_sum_of_the_layers(mix):
    h, mixed = some_layers(LAYERS, B, T, D), mix(some_layers(LAYERS, B, T, D))
    assert mixed.shape == (B, T, D)
    for b in range(B):
        for t in range(T):
            expected = mixed_by_loops(h[:, b, t].tolist(), mix.w.tolist(), mix.gamma.item())
            assert mixed[b, t].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_weights_sum_to_one_and_begin_equal(mix):
    assert mix.weights().sum().item() == pytest.approx(1)
    assert ScalarMix(3).weights().tolist() == pytest.approx([1 / 3] * 3) and ScalarMix(3).gamma.item() == 1


def test_the_mean_of_a_mix_is_the_mix_of_the_means(mix):
    """Why frozen features can be pooled once and stored, while the mix goes on learning."""
    h = some_layers(LAYERS, B, T, D)
    assert torch.allclose(mix(h).mean(dim=1), mix(h.mean(dim=2)), atol=1e-6)


@pytest.mark.parametrize("found", [1, 3, 5])
def test_another_number_of_layers_is_refused_with_both_numbers(mix, found):
    with pytest.raises(ValueError, match=f"expected 4 layers, got {found}"):
        mix(some_layers(found, B, T, D))


def test_layer_weights_and_gamma_both_learn(mix):
    mix(some_layers(LAYERS, B, T, D)).square().sum().backward()
    assert mix.w.grad.abs().min() > 0 and mix.gamma.grad != 0
    assert mix.w.grad.sum().item() == pytest.approx(0, abs=1e-3)  # what one layer gains the others lose
