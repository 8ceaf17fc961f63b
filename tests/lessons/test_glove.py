"""Claims about GloVe: its counts are those of skip-gram's windows, its gradient that of the formula, and meaning is
learnt."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from minitransfer.static.glove import GloVe, Pairs, count_pairs, draw_pairs, pair_weight
from minitransfer.static.skipgram import window_mask
from pretrain.inspect.pmi import fitted, pmi, products

V, D = 11, 5
BLOCKS = np.random.default_rng(0).integers(0, V, (13, 7))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counts_by_loops(blocks, window):
    """X_ij for each pair that is met, exactly."""
    X = Counter()
    for block in blocks.tolist():
        for s, w in enumerate(block):
            for t, v in enumerate(block):
                if s != t and abs(s - t) <= window:
                    X[w, v] += 1 - Fraction(abs(s - t) - 1, window)
    return X


def as_dict(pairs):
    """X_ij for each pair, which must be there once."""
    keys = list(zip(pairs.i.tolist(), pairs.j.tolist()))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, pairs.x.tolist()))


@pytest.mark.parametrize("window", [1, 3, 6, 50])
def test_counts_are_those_of_plain_loops_within_blocks_however_many_are_counted_in_one_go(window):
    expected = {pair: float(np.float32(float(x))) for pair, x in counts_by_loops(BLOCKS, window).items()}
    for at_once in (1, 7 * window * 3, 10**6):  # one block at a time, three, and all of them: 13 is no multiple of 3
        assert as_dict(count_pairs(BLOCKS, V, window, at_once=at_once)) == pytest.approx(expected, rel=1e-6)
    whole, by_one = (count_pairs(BLOCKS, V, window, at_once=n) for n in (10**6, 1))
    assert all(torch.equal(getattr(whole, name), getattr(by_one, name)) for name in "ijx")


def test_a_pair_counts_as_often_as_skip_gram_may_expect_to_meet_it():
    window, expected = 4, Counter()
    for reach in range(1, window + 1):  # each is drawn equally often
        near, _ = window_mask(torch.full(BLOCKS.shape, reach), BLOCKS.shape[1])
        for n, s, t in near.nonzero().tolist():
            expected[int(BLOCKS[n, s]), int(BLOCKS[n, t])] += 1 / window
    assert as_dict(count_pairs(BLOCKS, V, window)) == pytest.approx(dict(expected), rel=1e-6)


def test_when_there_are_more_pairs_than_are_kept_the_frequent_ones_stay_and_none_counts_too_much():
    rng = np.random.default_rng(1)
    words = np.minimum(rng.geometric(0.08, (400, 9)) - 1, 99)  # few frequent ones, and many rare
    exact, most = counts_by_loops(words, 3), 300
    kept = as_dict(count_pairs(words, 100, 3, most=most, at_once=9 * 3 * 40))
    assert most < len(kept) <= 2 * most < len(exact)
    assert all(x <= float(exact[pair]) + 1e-4 for pair, x in kept.items())
    ranked = [pair for pair, _ in exact.most_common(100)]
    assert all(kept[pair] == pytest.approx(float(exact[pair]), rel=0.05) for pair in ranked)
    assert as_dict(count_pairs(words, 100, 3, most=len(exact))) == pytest.approx(
        {pair: float(x) for pair, x in exact.items()}, rel=1e-6)


def test_a_weight_grows_to_one_and_a_short_text_has_pairs_of_full_weight_too():
    x = torch.tensor([0.5, 3, 10, 40])
    assert pair_weight(x, 10).tolist() == pytest.approx([(0.5 / 10) ** 0.75, (3 / 10) ** 0.75, 1, 1])
    assert pair_weight(x[:2], 10).tolist() == pytest.approx([(0.5 / 3) ** 0.75, 1])


def test_a_pair_is_drawn_with_the_probability_of_its_weight():
    f, passes = torch.tensor([0.02, 0.3, 1.0, 0.7]), 4_000
    met = torch.cat([draw_pairs(f, generator(seed)) for seed in range(passes)])
    seen = torch.bincount(met, minlength=4)
    assert seen[2] == passes and not torch.equal(draw_pairs(torch.ones(9), generator()), torch.arange(9))
    assert ((seen - passes * f).abs() <= 4 * (passes * f * (1 - f)).sqrt()).all()


def a_glove() -> GloVe:
    """All tables drawn at random."""
    glove = GloVe(count_pairs(BLOCKS, V, 3), V, D, generator())
    for seed, table in enumerate(glove.TABLES):
        setattr(glove, table, torch.randn(getattr(glove, table).shape, generator=generator(seed)))
    return glove


def a_batch():
    """Pairs in which words return, on both sides and as pairs with themselves."""
    i, j = torch.tensor([1, 2, 1, 1, 5, 0, 3]), torch.tensor([2, 1, 7, 2, 5, 10, 1])
    return i, j, torch.tensor([3.0, 3, 0.5, 3, 1, 25, 0.125])


def gradients_by_loops(glove, i, j, x):
    """Mean squared error, and autograd's gradients of the summed one for the four tables, in double precision."""
    w, w_, b, b_ = tables = [getattr(glove, table).double().requires_grad_() for table in glove.TABLES]
    total = sum((sum(w[m, k] * w_[n, k] for k in range(D)) + b[m, 0] + b_[n, 0] - math.log(count)) ** 2
                for m, n, count in zip(i.tolist(), j.tolist(), x.tolist()))
    return total.item() / len(i), [g.float() for g in torch.autograd.grad(total, tables)]


def test_a_step_returns_the_error_of_the_formula_and_goes_down_its_gradient():
    glove, batch = a_glove(), a_batch()
    before = [getattr(glove, table).clone() for table in glove.TABLES]
    expected, gradients = gradients_by_loops(glove, *batch)
    # After so long a past AdaGrad divides every row by 10⁶: with a learning rate of 10⁶ a step is minus the gradient.
    glove.squares = {table: torch.full((V,), 1e12) for table in glove.TABLES}
    assert glove.step(*batch, 1e6) == pytest.approx(expected, rel=1e-5)
    for table, old, gradient in zip(glove.TABLES, before, gradients):
        assert torch.allclose(old - getattr(glove, table), gradient, atol=2e-4) and gradient.abs().max() > 0.5


def test_each_row_of_each_table_has_the_step_size_of_its_own_past_gradients():
    glove, batch = a_glove(), a_batch()
    past = {table: [0.0] * V for table in glove.TABLES}
    for learning_rate in (0.1, 0.05):
        _, gradients = gradients_by_loops(glove, *batch)
        expected = {table: getattr(glove, table).clone() for table in glove.TABLES}
        for table, gradient in zip(glove.TABLES, gradients):
            for word in range(V):
                past[table][word] += sum(g * g for g in gradient[word].tolist()) / gradient.shape[1]
                if past[table][word] > 0:
                    expected[table][word] -= learning_rate * gradient[word] / past[table][word] ** 0.5
        glove.step(*batch, learning_rate)
        assert all(torch.allclose(getattr(glove, table), expected[table], atol=1e-5) for table in glove.TABLES)


def test_biases_begin_where_words_meet_by_chance_and_at_zero_for_those_that_meet_none():
    X, pairs = counts_by_loops(BLOCKS, 3), count_pairs(BLOCKS, V + 2, 3)
    of_word = Counter()
    for (w, _), x in X.items():
        of_word[w] += float(x)
    glove, total = GloVe(pairs, V + 2, D, generator()), sum(of_word.values())
    found = glove.bias + glove.context_bias.T
    for w in range(V):
        for v in range(V):
            assert found[w, v].item() == pytest.approx(math.log(of_word[w] * of_word[v] / total), abs=1e-5)
    assert not glove.bias[V:].any() and torch.equal(glove.bias, glove.context_bias)


def learned(pairs: Pairs, vocab_size: int, passes: int, hidden_size: int = 12) -> GloVe:
    """GloVe after so many passes over counts."""
    glove = GloVe(pairs, vocab_size, hidden_size, generator())
    f = pair_weight(pairs.x, 10)
    for n in range(passes):
        met = draw_pairs(f, generator(n))
        glove.step(pairs.i[met].long(), pairs.j[met].long(), pairs.x[met], 0.1 * (1 - n / passes))
    return glove


def test_words_of_like_neighbours_draw_together_though_they_never_meet():
    """Words 0 and 1 stand among 4 to 9, words 2 and 3 among 10 to 15, and no two of the four in one block."""
    rng, blocks = np.random.default_rng(0), []
    for n in range(400):
        word, block = n % 4, rng.integers(0, 6, 8) + (4 if n % 4 < 2 else 10)
        block[rng.integers(0, 8, 2)] = word
        blocks.append(block)
    pairs = count_pairs(np.array(blocks), 16, 4)
    assert (0, 1) not in as_dict(pairs)
    vectors = learned(pairs, 16, 150).vectors
    closeness = cosine_similarity(vectors[:4].unsqueeze(0), vectors[:4].unsqueeze(1), dim=-1)
    assert min(closeness[0, 1], closeness[2, 3]) > closeness[:2, 2:].max() + 0.3


def test_with_width_enough_products_and_biases_come_to_the_logarithm_of_the_counts_and_products_follow_pmi():
    pairs = count_pairs(BLOCKS, V, 4)
    glove = learned(pairs, V, 1_500)
    tensors = glove.tensors(np.ones(V))
    co = products(tensors, pairs)
    moved, asked = fitted(tensors, pairs, co)
    assert torch.corrcoef(torch.stack([moved, asked]))[0, 1] > 0.97
    assert torch.corrcoef(torch.stack([co, pmi(pairs)]))[0, 1] > 0.8


def test_pmi_and_what_each_loss_asks_for_by_plain_loops():
    pairs, counts = count_pairs(BLOCKS, V, 3), np.arange(3, V + 3)
    X, glove = as_dict(pairs), a_glove()
    of_word = {w: sum(x for (first, _), x in X.items() if first == w) for w in range(V)}
    total, mass = sum(of_word.values()), sum(c**0.75 for c in counts.tolist())
    tensors = glove.tensors(counts)
    co, expected = products(tensors, pairs), pmi(pairs)
    skipgram = {name: tensors[name] for name in ("vectors", "contexts", "counts")}
    for n, ((w, v), x) in enumerate(X.items()):
        assert co[n].item() == pytest.approx(sum(a * b for a, b in zip(glove.vectors[w].tolist(),
                                                                       glove.contexts[v].tolist())), abs=1e-5)
        assert expected[n].item() == pytest.approx(math.log((x / total) / (of_word[w] / total * of_word[v] / total)))
        moved, asked = fitted(skipgram, pairs, co)
        assert (moved[n], asked[n].item()) == (co[n], pytest.approx(
            math.log(x / (of_word[w] * counts[v].item() ** 0.75 / mass)) - math.log(5)))
        moved, asked = fitted(tensors, pairs, co)
        assert moved[n].item() == pytest.approx((co[n] + glove.bias[w, 0] + glove.context_bias[v, 0]).item(), abs=1e-5)
        assert asked[n].item() == pytest.approx(math.log(x))
