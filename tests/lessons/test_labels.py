"""Claims about labels: choices are balanced and nested, the held-out slice is disjoint, and impossible ones are
refused."""

import random

import numpy as np
import pytest

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.runtime import derived_seed
from minitransfer.text.corpora import Reviews
from minitransfer.transfer.labels import choose_labelled, set_aside, split_validation

LABELS = np.array([0] * 1300 + [1] * 1200)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_smaller_choice_of_a_seed_is_part_of_every_larger_one(seed):
    chosen = [set(choose_labelled(LABELS, n, seed)) for n in (4, 100, 500, 2000, 2400)]
    assert all(smaller < larger for smaller, larger in zip(chosen, chosen[1:]))


@pytest.mark.parametrize("n", [4, 38, 2400])
def test_each_class_is_chosen_equally_often_and_nothing_twice(n):
    chosen = choose_labelled(LABELS, n, 3)
    assert len(set(chosen)) == n and np.bincount(LABELS[chosen]).tolist() == [n // 2, n // 2]
    assert (np.diff(chosen) > 0).all()


def test_without_a_number_all_reviews_are_taken():
    assert choose_labelled(LABELS, None, 0).tolist() == list(range(2500))


def test_seeds_choose_differently_and_the_same_seed_alike():
    assert choose_labelled(LABELS, 100, 0).tolist() == choose_labelled(LABELS, 100, 0).tolist()
    assert len(set(choose_labelled(LABELS, 100, 0)) & set(choose_labelled(LABELS, 100, 1))) < 20


def test_reviews_set_aside_for_trials_are_balanced_always_the_same_and_no_longer_to_be_learned_from():
    texts = [f"review {i}" for i in range(2500)]
    whole = Reviews("mine", texts, LABELS, ["the test"], np.array([1]), [], "folder")
    trial = set_aside(whole, 300)
    assert len(trial.test_texts) == 300 and np.bincount(trial.test_labels).tolist() == [150, 150]
    assert sorted(trial.train_texts + trial.test_texts) == sorted(texts)
    label = dict(zip(texts, LABELS))
    assert all(label[text] == y for text, y in zip(trial.train_texts, trial.train_labels))
    assert all(label[text] == y for text, y in zip(trial.test_texts, trial.test_labels))
    assert set_aside(whole, 300).test_texts == trial.test_texts
    assert set(trial.test_texts) < set(set_aside(whole, 500).test_texts)
    assert set_aside(whole, None) is whole


@pytest.mark.parametrize("n", [1, 2, 101, 2402, 25000])
def test_an_impossible_number_is_refused_with_what_there_is(n):
    with pytest.raises(UsageError, match=f"--labels {n} .*1,300 negative and 1,200 positive.*from 4 to 2,400"):
        choose_labelled(LABELS, n, 0)


@pytest.mark.parametrize("n, held_out", [(4, 2), (100, 20), (2000, 400), (2400, 240)])
def test_a_fifth_of_few_and_a_tenth_of_many_is_held_out_balanced(n, held_out):
    chosen = choose_labelled(LABELS, n, 5)
    learn, validation = split_validation(chosen, LABELS, 5)
    assert sorted([*learn, *validation]) == chosen.tolist()
    assert np.bincount(LABELS[validation]).tolist() == [held_out // 2, held_out // 2]


def test_unequal_classes_are_held_out_in_their_proportion():
    learn, validation = split_validation(choose_labelled(LABELS, None, 0), LABELS, 0)
    assert np.bincount(LABELS[validation]).tolist() == [130, 120] and len(learn) == 2250


def test_a_class_with_one_review_cannot_be_split():
    with pytest.raises(UsageError, match="1 positive reviews are left"):
        split_validation(np.arange(5), np.array([0, 0, 0, 0, 1]), 0)


THREE, NAMES = np.array([0] * 30 + [2] * 12 + [1] * 21), ("a", "b", "c")


def test_of_three_classes_each_has_a_third_of_a_choice_and_its_share_of_what_is_held_out():
    for n in (6, 21, 36):
        chosen = choose_labelled(THREE, n, 2, NAMES)
        assert np.bincount(THREE[chosen]).tolist() == [n // 3] * 3
    learn, validation = split_validation(choose_labelled(THREE, None, 2, NAMES), THREE, 2, NAMES)
    assert np.bincount(THREE[validation]).tolist() == [6, 4, 2] and len(learn) == 51
    whole = Reviews("mine", [str(i) for i in range(63)], THREE, [], np.array([]), [], "folder", NAMES)
    assert np.bincount(set_aside(whole, 15).test_labels).tolist() == [5, 5, 5]


@pytest.mark.parametrize("n", [3, 10, 39])
def test_a_number_that_three_does_not_divide_is_refused_with_the_divisor(n):
    with pytest.raises(UsageError, match="30 a, 21 b and 12 c reviews. Fix: choose a multiple of 3 from 6 to 36"):
        choose_labelled(THREE, n, 0, NAMES)


def test_two_classes_are_chosen_as_they_were_before_there_were_more():
    """By the same draws: earlier runs are of the same reviews."""
    draw = random.Random(derived_seed(5, "labels", 1))
    order = sorted(range(1300, 2500), key=lambda _: draw.random())
    assert sorted(order[:30]) == [i for i in choose_labelled(LABELS, 60, 5) if i >= 1300]
