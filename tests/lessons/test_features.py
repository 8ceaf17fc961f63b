"""Claims about features: exactly what the tokens would give, whatever the batch."""

import math

import numpy as np
import pytest
import torch
from encoder_runs import make_bilm

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.elmo.mix import ScalarMix
from minitransfer.transfer import tokens
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.features import (
    Standardise,
    frozen_pass,
    pool_tokens,
)
from minitransfer.transfer.loading import load_encoder
from minitransfer.transfer.tokens import tokenise_words

CPU = torch.device("cpu")
POOLS = ["mean", "mean-max", "concat"]
TEXTS = ["The film, alas, isn't good.", "", "Fine.", "A b c d e f g h i j k l m n o!\nAnd a second line.", "the the"]


@pytest.fixture
def encoder(tmp_path):
    return load_encoder(load_run(make_bilm(tmp_path / "bilm")), CPU)


def tokens_of(encoder, texts, i):
    """The layers of one text, read alone: (L + 1, T, D)."""
    words = [texts.tokens[t] for t in texts.token_ids[i]]
    x = encoder.token_table(words)
    return encoder.encode(x[None], torch.ones(1, len(words), dtype=torch.bool))[:, 0]


@pytest.mark.parametrize("pool", POOLS)
def test_features_are_the_pooled_layers_of_each_text_read_alone(encoder, pool):
    texts = tokenise_words(TEXTS, 99)
    features = frozen_pass(encoder, texts, pool, device=CPU)
    for i in (0, 2, 3, 4):
        for k, layer in enumerate(tokens_of(encoder, texts, i).tolist()):
            columns = list(zip(*layer))
            mean = [sum(c) / len(c) for c in columns]
            most, half = [max(c) for c in columns], encoder.hidden_size // 2
            expected = {"mean": mean, "mean-max": mean + most,
                        "concat": layer[-1][:half] + layer[0][half:] + most + mean}
            assert torch.allclose(features[i, k], torch.tensor(expected[pool]), atol=1e-5)


def test_the_mix_of_the_means_is_the_mean_of_the_mixed_tokens(encoder):
    """mean_t(γ Σ_k s_k h_{t,k}) = γ Σ_k s_k mean_t(h_{t,k})"""
    texts, mix = tokenise_words(TEXTS, 99), ScalarMix(3)
    with torch.no_grad():
        mix.w.copy_(torch.tensor([0.3, -1.1, 0.7]))
        mix.gamma.fill_(1.7)
    mixed = mix(frozen_pass(encoder, texts, "mean", device=CPU).transpose(0, 1))
    for i in (0, 2, 3, 4):
        assert torch.allclose(mixed[i], mix(tokens_of(encoder, texts, i)).mean(dim=0), atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_neither_batch_nor_order_nor_padding_changes_the_features_of_a_text(encoder, pool, monkeypatch):
    together = frozen_pass(encoder, tokenise_words(TEXTS, 99), pool, device=CPU)
    monkeypatch.setattr(tokens, "TOKENS_PER_BATCH", 1)  # each text in a batch of its own
    backwards = frozen_pass(encoder, tokenise_words(TEXTS[::-1], 99), pool, device=CPU)
    assert torch.allclose(together, backwards.flip(0), atol=1e-6)


@pytest.mark.parametrize("pool", POOLS)
def test_a_review_without_words_has_zeros_and_a_word_alone_no_nan_gradient(pool):
    layers = torch.randn(2, 3, 4, 5, requires_grad=True)
    mask = torch.tensor([[False] * 4, [True] + [False] * 3, [True] * 3 + [False]])
    pooled = pool_tokens(layers * mask[None, :, :, None], mask, pool)
    pooled.sum().backward()
    assert torch.equal(pooled[0], torch.zeros_like(pooled[0])) and layers.grad.isfinite().all()


def test_what_stands_in_the_padding_is_never_the_largest():
    layers, mask = torch.full((1, 1, 3, 2), -5.0), torch.tensor([[True, True, False]])
    layers[:, :, 2] = 0.0
    assert torch.equal(pool_tokens(layers, mask, "mean-max")[0, 0, 2:], torch.full((2,), -5.0))


def test_each_half_of_the_ends_has_read_the_whole_text(encoder):
    """What concat pooling takes of the upper layers changes with every word, wherever it stands."""
    words, half = ["a", "long", "film", "of", "no", "worth"], encoder.hidden_size // 2
    changed = [words[:i] + ["ship"] + words[i + 1 :] for i in range(len(words))]
    texts = tokenise_words([" ".join(text) for text in (words, *changed)], 9)
    ends = frozen_pass(encoder, texts, "concat", device=CPU)[:, 1:, : 2 * half]
    for part in (ends[..., :half], ends[..., half:]):
        assert all(not torch.equal(part[0], part[i]) for i in range(1, len(texts.token_ids)))


def test_standardising_shifts_and_scales_each_dimension_by_the_training_texts():
    torch.manual_seed(0)
    features, others = 3 + 5 * torch.randn(17, 2, 4), torch.randn(6, 2, 4)
    module = Standardise(2, 4)
    assert torch.equal(module(others), others)
    module.fit(features)
    column = features[:, 1, 2].tolist()
    mean = sum(column) / 17
    std = math.sqrt(sum((x - mean) ** 2 for x in column) / 17)
    assert torch.allclose(module(others)[:, 1, 2], (others[:, 1, 2] - mean) / std, atol=1e-5)


def test_a_dimension_that_stands_still_in_training_is_not_blown_up():
    features = torch.randn(9, 1, 3)
    features[:, 0, 1] = 2.0
    module = Standardise(1, 3)
    module.fit(features)
    assert module(features + 0.01)[:, 0, 1].abs().max() < 1
    module.fit(torch.zeros(1, 1, 3))
    assert module(torch.zeros(2, 1, 3)).isfinite().all()


def test_above_an_encoder_that_learns_each_batch_is_measured_by_its_own_spread():
    torch.manual_seed(1)
    module, batch = Standardise(2, 3), 5 + torch.randn(7, 2, 3) * 3
    out = module(batch, learning=True)
    assert torch.allclose(out.mean(dim=0), torch.zeros(2, 3), atol=1e-5)
    assert torch.allclose(out.std(dim=0, correction=0), torch.ones(2, 3), atol=1e-5)
    assert torch.equal(module(batch), batch)  # which changes nothing for others
    assert torch.equal(module(batch[:3], learning=True), batch[:3])  # nor for so few, before the end of an epoch


def test_a_lone_text_has_no_spread_and_moves_nothing():
    module = Standardise(1, 3)
    before = module.mean.clone(), module.std.clone()
    x = torch.randn(1, 1, 3, requires_grad=True)
    module(x, learning=True).sum().backward()
    assert x.grad.isfinite().all() and all(map(torch.equal, before, (module.mean, module.std)))


@pytest.mark.parametrize("pool", POOLS)
def test_a_classifier_says_the_same_of_tokens_as_of_their_features(encoder, pool):
    model = Classifier(encoder, head="mean", pool=pool, head_size=5, dropout=0.3).eval()
    texts = tokenise_words(TEXTS, 99)
    features = frozen_pass(encoder, texts, pool, device=CPU)
    model.standardise.fit(features)
    rows = np.array([4, 0, 3])
    with torch.no_grad():
        logits = model(texts.batch(rows))
        assert logits.shape == (3, 2) and torch.allclose(logits, model(features[rows]), atol=1e-5)


def test_the_frozen_pass_gives_the_same_bits_twice(encoder):
    texts = tokenise_words(TEXTS * 3, 99)
    torch.nn.Sequential(encoder).train()
    first, second = (frozen_pass(encoder, texts, "mean", device=CPU) for _ in range(2))
    assert torch.equal(first, second) and first.dtype == torch.float32 and first.shape == (15, 3, 14)
    assert np.isfinite(first.numpy()).all()
