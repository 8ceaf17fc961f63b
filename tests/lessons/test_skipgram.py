"""Claims about skip-gram: its gradient is that of the formula, negatives follow count^¾, and meaning is learnt."""

import math

import numpy as np
import pytest
import torch
from skipgram_by_loops import loss_by_loops
from torch import Tensor
from torch.nn.functional import cosine_similarity

from minitransfer.static.skipgram import (
    SkipGram,
    SkipGramConfig,
    nearest_words,
    standardise,
    thin_out,
    window_mask,
)

B, T, D, V = 3, 7, 5, 11
CONFIG = SkipGramConfig(hidden_size=D, negatives=3, shared_negatives=4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_skipgram() -> SkipGram:
    """Both tables drawn at random: as they begin, with contexts of zero, half of the gradient would be zero."""
    skipgram = SkipGram(np.arange(1, V + 1), CONFIG, generator())
    skipgram.vectors = torch.randn(V, D, generator=generator(1))
    skipgram.contexts = torch.randn(V, D, generator=generator(2))
    return skipgram


def a_step() -> tuple[Tensor, Tensor, Tensor]:
    """Blocks and negatives in which words return: within a block, between blocks, and among the negatives."""
    token_ids = torch.tensor([[1, 2, 1, 3, 3, 3, 4], [5, 1, 6, 7, 8, 9, 1], [0, 0, 10, 2, 2, 5, 6]])
    reach = torch.randint(0, 4, (B, T), generator=generator(3))
    return token_ids, reach, torch.tensor([3, 1, 3, 9])


def gradients_by_loops(skipgram: SkipGram, *step: Tensor) -> tuple[float, list[Tensor]]:
    """Mean loss per pair, and autograd's gradients of the summed loss for the two tables, in double precision."""
    tables = [t.double().requires_grad_() for t in (skipgram.vectors, skipgram.contexts)]
    total, pairs = loss_by_loops(*tables, *step, CONFIG.negatives)
    return total.item() / pairs, [g.float() for g in torch.autograd.grad(total, tables)]


def test_a_step_returns_the_loss_of_the_formula_per_pair():
    skipgram, step = a_skipgram(), a_step()
    expected, _ = gradients_by_loops(skipgram, *step)
    assert skipgram.step(*step, 0.1) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_written_by_hand_is_the_gradient_of_the_formula():
    skipgram, step = a_skipgram(), a_step()
    _, (grad_vectors, grad_contexts) = gradients_by_loops(skipgram, *step)
    vectors, contexts = skipgram.vectors.clone(), skipgram.contexts.clone()
    # After so long a past AdaGrad divides every row by 10⁶: with a learning rate of 10⁶ a step is minus the gradient.
    skipgram.squares = {table: torch.full((V,), 1e12) for table in ("vectors", "contexts")}
    skipgram.step(*step, 1e6)
    assert torch.allclose(vectors - skipgram.vectors, grad_vectors, atol=2e-5)
    assert torch.allclose(contexts - skipgram.contexts, grad_contexts, atol=2e-5)
    assert grad_vectors.abs().max() > 0.5 and grad_contexts.abs().max() > 0.5


def test_each_row_has_the_step_size_of_its_own_past_gradients():
    skipgram, step = a_skipgram(), a_step()
    past = torch.zeros(V)
    for learning_rate in (0.1, 0.05):
        _, (grad, _) = gradients_by_loops(skipgram, *step)
        expected = skipgram.vectors.clone()
        for w in range(V):
            past[w] += sum(x * x for x in grad[w].tolist()) / D
            if past[w] > 0:
                expected[w] -= learning_rate * grad[w] / past[w] ** 0.5
        skipgram.step(*step, learning_rate)
        assert torch.allclose(skipgram.vectors, expected, atol=1e-5)


def test_words_that_look_nowhere_cost_nothing_and_learn_nothing():
    skipgram, (token_ids, reach, negatives) = a_skipgram(), a_step()
    before = skipgram.vectors.clone(), skipgram.contexts.clone()
    assert skipgram.step(token_ids, torch.zeros_like(reach), negatives, 0.1) == 0.0
    assert torch.equal(skipgram.vectors, before[0]) and torch.equal(skipgram.contexts, before[1])


def test_neighbours_are_the_other_words_within_reach_in_the_same_block():
    _, reach, _ = a_step()
    near, num_pairs = window_mask(reach, T)
    for b in range(B):
        for t in range(T):
            expected = [float(u != t and abs(u - t) <= int(reach[b, t])) for u in range(T)]
            assert near[b, t].tolist() == expected and num_pairs[b, t] == sum(expected)


def test_negatives_are_drawn_in_proportion_to_count_to_the_three_quarters():
    counts = np.array([0, *range(1, 500, 23)])
    draws, expected = 100_000, counts**0.75 / (counts**0.75).sum()
    skipgram = SkipGram(counts, SkipGramConfig(hidden_size=1, shared_negatives=draws), generator())
    seen = np.bincount(skipgram.draw_negatives(generator(5)).numpy(), minlength=len(counts))
    assert seen[0] == 0  # what never occurs is never drawn
    chi_square = ((seen - draws * expected)[1:] ** 2 / (draws * expected)[1:]).sum()
    assert len(counts) - 2 == 21 and chi_square < 46.8  # exceeded once in a thousand with 21 degrees of freedom
    assert ((seen - draws * counts / counts.sum()) ** 2)[1:].max() > 100 * draws * expected.max()  # the power matters


def test_frequent_words_are_thinned_out_at_the_rate_of_the_formula():
    counts = np.array([0, 40_000, 10_000, 500, 3])
    stream = np.repeat(np.arange(5), counts)
    kept = thin_out(stream, counts, 0.01, generator())
    assert (np.diff(kept) >= 0).all()  # thinned out, not shuffled
    for w in (1, 2, 3, 4):
        f = counts[w] / counts.sum()
        rate = min(1.0, (0.01 / f) ** 0.5 + 0.01 / f)
        spread = (counts[w] * rate * (1 - rate)) ** 0.5
        assert abs((kept == w).sum() - counts[w] * rate) <= 4 * spread
    assert (kept == 4).sum() == 3 and (kept == 1).sum() < 7000


def test_words_of_one_topic_draw_together_and_those_of_two_draw_apart():
    rng, words_per_topic = np.random.default_rng(0), 6
    config = SkipGramConfig(hidden_size=16, shared_negatives=8)
    skipgram = SkipGram(np.ones(2 * words_per_topic), config, generator())
    topic_of = torch.arange(2 * words_per_topic) // words_per_topic
    same = (topic_of.unsqueeze(0) == topic_of.unsqueeze(1)) & ~torch.eye(len(topic_of), dtype=torch.bool)
    other = topic_of.unsqueeze(0) != topic_of.unsqueeze(1)
    losses = []
    for _ in range(60):  # each block is a text about one topic
        topics = rng.integers(0, 2, (16, 1))
        token_ids = torch.from_numpy(rng.integers(0, words_per_topic, (16, 12)) + words_per_topic * topics)
        negatives = skipgram.draw_negatives(generator(len(losses)))
        losses.append(skipgram.step(token_ids, torch.full((16, 12), 3), negatives, 0.05))
    closeness = cosine_similarity(skipgram.vectors.unsqueeze(0), skipgram.vectors.unsqueeze(1), dim=-1)
    assert closeness[same].min() > closeness[other].max() + 0.3
    assert losses[-1] < losses[0] - 0.5


def test_a_step_of_adagrad_is_one_by_loops_with_a_step_size_for_each_row():
    skipgram = SkipGram(np.ones(V), SkipGramConfig(hidden_size=2), generator())
    table, s = skipgram.vectors.tolist(), [0.0] * V
    for ids, grads in (([3, 1, 3], [[1.0, -2], [0.5, 4], [3, 0]]), ([3], [[-1.0, 5]])):
        skipgram._descend("vectors", torch.tensor(ids), torch.tensor(grads), 0.1)
        for r in set(ids):
            G = [sum(grad[d] for i, grad in zip(ids, grads) if i == r) for d in (0, 1)]
            s[r] += (G[0] ** 2 + G[1] ** 2) / 2
            table[r] = [x - 0.1 * g / math.sqrt(s[r]) for x, g in zip(table[r], G)]
    assert skipgram.squares["vectors"].tolist() == pytest.approx(s) and not skipgram.squares["contexts"].any()
    for row, expected in zip(skipgram.vectors.tolist(), table):
        assert row == pytest.approx(expected, abs=1e-6)


def test_the_nearest_words_are_those_of_the_greatest_cosine_and_never_the_word_itself():
    vectors = torch.randn(V, D, generator=generator())
    vectors[5] = vectors[3]  # as near to it as it is itself
    vectors[0] = 0
    for word in (3, 5, 9):
        cosines = {i: (vectors[word] @ vectors[i] / (vectors[word].norm() * vectors[i].norm().clamp(min=1e-9))).item()
                   for i in range(V) if i != word}
        assert nearest_words(vectors, word, 4) == sorted(cosines, key=cosines.get, reverse=True)[:4]


def test_standardised_vectors_have_mean_0_and_variance_1_over_running_text():
    vectors, counts = 3 + 2 * torch.randn(V, D, generator=generator()), torch.arange(1, V + 1)
    running = standardise(vectors, counts.float()).double()[torch.repeat_interleave(torch.arange(V), counts)]
    assert running.mean(dim=0).abs().max() < 1e-6
    assert running.var(dim=0, unbiased=False).mean().item() == pytest.approx(1, abs=1e-6)


def test_standardising_keeps_every_direction_from_word_to_word():
    vectors = torch.randn(V, D, generator=generator())
    moved = standardise(vectors, torch.arange(1.0, V + 1))
    before, after = (x.unsqueeze(0) - x.unsqueeze(1) for x in (vectors, moved))
    scale = after.norm() / before.norm()
    assert torch.allclose(after, scale * before, atol=1e-5)
