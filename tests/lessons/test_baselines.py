"""Claims about the bag of n-grams: it holds what plain counting finds, and its regression is where J is least."""

import math

import numpy as np
import pytest
import torch

from minitransfer.apparatus.errors import UsageError
from minitransfer.text.words import SPECIAL_WORDS, Vocabulary, tokenize
from minitransfer.transfer.baselines import (
    Bags,
    LabelledBags,
    bags,
    class_ratios,
    count_ngrams,
    fit,
    fit_classes,
    log_count_ratio,
    ngrams,
    renumber,
    scores,
    seen_often,
)
from minitransfer.transfer.tokens import tokenise_words

TEXTS = ["Not good, not good at all.", "Good film!\nNot bad.", "", "A bad film, a bad plot", "good good good",
         "It is not good.", "at all"]
LABELS = np.array([0, 1, 0, 0, 1, 0, 1])
OTHERS = ["Not unforgettable. good film", "unseen words alone", "", "at unseen all"]


def grams(text, longest=2):
    """Words, pairs of neighbours and longer rows of words, by a plain loop."""
    words = [word for line in text.split("\n") for word in tokenize(line)]
    return [" ".join(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)]


def counted(texts, labels, others=(), longest=2):
    cpu = torch.device("cpu")
    more = [(texts_, np.zeros(len(texts_), np.int64)) for texts_ in others]
    return count_ngrams((texts, labels), *more, device=cpu, longest=longest)


def members(bag, names):
    """The n-grams of each text of a bag."""
    starts = bag.starts.tolist()
    return [[names[j] for j in bag.members[a:b].tolist()] for a, b in zip(starts, starts[1:])]


def dense(bag, num_ngrams):
    x = np.zeros((len(bag.starts) - 1, num_ngrams))
    for i, (a, b) in enumerate(zip(bag.starts.tolist(), bag.starts.tolist()[1:])):
        for j in bag.members[a:b].tolist():
            x[i, j] += 1
    return x


def random_bags(num_texts=23, num_ngrams=11, seed=0):
    """A bag of its own size for each text, one of them empty, and labels."""
    rng = np.random.default_rng(seed)
    x = rng.random((num_texts, num_ngrams)) < rng.random((num_texts, 1))
    x[7] = False
    found = Bags(torch.from_numpy(np.nonzero(x)[1]), torch.from_numpy(np.concatenate([[0], x.sum(1).cumsum()])))
    return found, torch.from_numpy(rng.integers(0, 2, num_texts))


@pytest.mark.parametrize("longest, held", [(1, "good"), (2, "not good"), (3, "is not good")])
def test_a_bag_holds_each_row_of_words_that_was_seen_twice_once(longest, held):
    texts, labels = [*TEXTS, "it is not good at"], np.append(LABELS, 0)
    names, (learn, others) = counted(texts, labels, [OTHERS], longest)
    all_grams = [gram for text in texts for gram in grams(text, longest)]
    expected = {gram for gram in all_grams if all_grams.count(gram) >= 2}
    assert set(names) == expected and len(names) == len(expected) and held in expected
    for texts_, labelled in ((texts, learn), (OTHERS, others)):
        for text, found in zip(texts_, members(labelled.texts, names), strict=True):
            assert sorted(found) == sorted(set(grams(text, longest)) & expected)


def test_pairs_neither_join_two_texts_nor_leap_over_an_unknown_word():
    names, (learn, others) = counted(["at all", "at all", "all at", "all at"], np.array([0, 1, 0, 1]),
                                     [["at unknown all", "all", "at"]])
    assert set(names) == {"at", "all", "at all", "all at"}
    assert [sorted(found) for found in members(others.texts, names)] == [["all", "at"], ["all"], ["at"]]


def test_every_ngram_has_a_number_of_its_own():
    ids = [np.array([v, w]) for v in range(5) for w in range(5)]
    rows, codes = ngrams(ids, 5)
    pairs = [code for row, code in zip(rows, codes) if code >= 5]
    assert len(set(pairs)) == 25 and set(codes) - set(pairs) == set(range(5))
    triples = [np.array([u, *pair]) for u in range(5) for pair in ids]
    assert sorted(set(ngrams(triples, 5, 3)[1])) == list(range(5 + 25 + 125))


def test_ngrams_that_63_bits_cannot_tell_apart_are_refused():
    """The largest number is that of the last word three times: (V + 1) V² + … < 2^63."""
    V = 2_000_000
    last = [np.array([V - 1, V - 1, V - 1])]
    assert max(ngrams(last, V, 3)[1].tolist()) == ((V - 1 + 1) * V + V - 1 + 1) * V + V - 1
    with pytest.raises(UsageError, match="too many to be told apart"):
        ngrams(last, 3_000_000, 3)


def test_other_texts_decide_nothing():
    alone, (learn,) = counted(TEXTS, LABELS)
    beside, (again, _) = counted(TEXTS, LABELS, [OTHERS * 3])
    assert alone == beside and torch.equal(learn.texts.members, again.texts.members)


def test_sums_and_turned_are_products_with_a_matrix_of_zeros_and_ones():
    texts, _ = random_bags()
    x, values, of_text = dense(texts, 11), torch.randn(11), torch.randn(23)
    np.testing.assert_allclose(texts.sums(values), x @ values.numpy(), atol=1e-5)
    np.testing.assert_allclose(texts.transpose(11).sums(of_text), x.T @ of_text.numpy(), atol=1e-5)


def test_log_count_ratio_by_plain_loops():
    """r = log((p / ‖p‖₁) / (q / ‖q‖₁)), p and q counting the texts of each class that have an n-gram, and one."""
    texts, labels = random_bags()
    p, q = [1.0] * 11, [1.0] * 11
    for row, y in zip(dense(texts, 11), labels.tolist()):
        for j, has in enumerate(row):
            if y == 1:
                p[j] += has
            else:
                q[j] += has
    expected = [math.log((p[j] / sum(p)) / (q[j] / sum(q))) for j in range(11)]
    np.testing.assert_allclose(log_count_ratio(texts, labels, 11), expected, rtol=1e-6)


def slopes(texts, labels, r, strength, w, b):
    """∂J/∂w and ∂J/∂b by plain loops."""
    of_w, of_b = [strength * wj for wj in w], 0.0
    for row, y in zip(dense(texts, len(r)), labels.tolist()):
        s = b + sum(r[j] * w[j] * row[j] for j in range(len(r)))
        error = 1 / (1 + math.exp(-s)) - y
        of_b += error
        for j in range(len(r)):
            of_w[j] += error * r[j] * row[j]
    return of_w, of_b


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_the_regression_ends_where_no_slope_of_J_is_left(strength):
    texts, labels = random_bags()
    r = log_count_ratio(texts, labels, 11)
    weights, b, passes = fit(texts, labels, r, strength)
    of_w, of_b = slopes(texts, labels, r.tolist(), strength, (weights / r).tolist(), b.item())
    steepest = max(map(abs, slopes(texts, labels, r.tolist(), strength, [0.0] * 11, 0.0)[0]))
    assert max(map(abs, of_w)) < 2e-4 * steepest and abs(of_b) < 2e-4 * steepest and 1 < passes < 400


def test_a_stronger_hold_makes_smaller_weights():
    texts, labels = random_bags()
    r = log_count_ratio(texts, labels, 11)
    sizes = [(fit(texts, labels, r, strength)[0] / r).norm().item() for strength in (0.1, 1.0, 10.0, 100.0)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 2 * sizes[-1]


def test_logits_give_the_probability_of_the_regression():
    names, (learn,) = counted(TEXTS, LABELS)
    weights, b = torch.randn(len(names)), torch.tensor([0.3])
    p = learn.texts.logits(weights, b).softmax(dim=1)[:, 1]
    torch.testing.assert_close(p, scores(learn.texts, weights, b).sigmoid())
    for text, found in zip(TEXTS, p.tolist()):
        s = 0.3 + sum(weights[names.index(gram)].item() for gram in set(grams(text)) if gram in names)
        assert found == pytest.approx(1 / (1 + math.exp(-s)), abs=1e-6)


def test_asked_to_stop_it_ends():
    texts, labels = random_bags()
    with pytest.raises(ZeroDivisionError):
        fit(texts, labels, log_count_ratio(texts, labels, 11), 1.0, check=lambda: 1 / 0)


def test_texts_that_share_nothing_leave_the_constant_alone():
    names, (learn, others) = counted(["one", "two", ""], np.array([1, 1, 0]), [["", "one"]])
    r = log_count_ratio(learn.texts, learn.labels, len(names))
    weights, b, _ = fit(learn.texts, learn.labels, r, 1.0)
    assert names == [] and weights.shape == (0,) and b.item() == pytest.approx(math.log(2), abs=1e-3)
    assert others.texts.logits(weights, b).shape == (2, 2)


def test_renumber_says_which_words_are_unknown():
    vocabulary = Vocabulary([*SPECIAL_WORDS, "b", "a"])
    assert [ids.tolist() for ids in renumber(tokenise_words(["a b c", "", "b b"], 9), vocabulary)] == \
        [[4, 3, -1], [], [3, 3]]
    assert seen_often(renumber(tokenise_words(["c c c b b"], 9), vocabulary), 5).tolist() == [3]
    assert bags([np.empty(0, np.int64)], 5, np.array([3])).starts.tolist() == [0, 0]


def test_each_of_three_classes_is_told_from_the_rest_by_a_regression_of_its_own():
    texts, _ = random_bags()
    labels = torch.arange(23) % 3
    labelled = LabelledBags(texts, labels)
    weights, b, passes = fit_classes(labelled, 3, class_ratios(labelled, 3, 11), strength=0.7)
    logits, of_all = texts.logits(weights, b), []
    assert weights.shape == (3, 11) and b.shape == (3,) and logits.shape == (23, 3)
    for n in range(3):
        y = torch.tensor([int(label == n) for label in labels.tolist()])
        w, b_n, passes_n = fit(texts, y, log_count_ratio(texts, y, 11), 0.7)
        assert torch.equal(weights[n], w) and torch.equal(b[n : n + 1], b_n)
        of_all.append([1 / (1 + math.exp(-s)) for s in (dense(texts, 11) @ w.numpy() + b_n.item())])
        passes -= passes_n
    expected = [[p / sum(row) for p in row] for row in zip(*of_all)]
    assert passes == 0 and logits.softmax(dim=1).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_two_classes_are_told_apart_by_one_regression():
    texts, labels = random_bags()
    labelled = LabelledBags(texts, labels)
    weights, b, _ = fit_classes(labelled, 2, class_ratios(labelled, 2, 11), strength=0.7)
    w, b_1, _ = fit(texts, labels, log_count_ratio(texts, labels, 11), 0.7)
    assert torch.equal(weights, w) and torch.equal(b, b_1)
    assert torch.equal(texts.logits(weights, b)[:, 1], scores(texts, w, b_1)) and not texts.logits(w, b_1)[:, 0].any()
