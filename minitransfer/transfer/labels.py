"""Part V, chapter 4: labels. Which reviews may a run learn from, and which of them only choose?

Labels are what transfer saves (lecture 1), so runs are compared by how many they use. The choice is balanced, the
same for every encoder, and nested: the 500 reviews of a seed are among its 2,000, so that more labels are more of the
same. A slice of the chosen is held out, the **validation set**, to decide when to stop. It counts towards the labels,
since a human had to give those as well. The test half decides nothing: whoever wants to choose flags makes
development runs (`--trial`), in which some reviews of the training half stand in for it.

Read next: `minitransfer.transfer.features`.
"""

import dataclasses
import random

import numpy as np

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.runtime import derived_seed
from minitransfer.text.corpora import Reviews

FEWEST = 4  # one review of each class to learn from, and one to choose by
FEW = 2_000  # up to here a fifth of the labels is held out, so that choosing is not blind; beyond, a tenth will do


def set_aside(reviews: Reviews, n: int | None) -> Reviews:
    """Reviews for a trial: `n` of the training half, the same ones in every trial, stand in for the test half.

    Half of them are of each class; None leaves the halves as they are. Raises: UsageError as `choose_labelled`.
    """
    if n is None:
        return reviews
    aside = choose_labelled(reviews.train_labels, n, seed=0, purpose="trial", flag="--trial")
    rest = np.setdiff1d(np.arange(len(reviews.train_labels)), aside)
    halves = [([reviews.train_texts[i] for i in rows], reviews.train_labels[rows]) for rows in (rest, aside)]
    (train_texts, train_labels), (test_texts, test_labels) = halves
    return dataclasses.replace(reviews, train_texts=train_texts, train_labels=train_labels, test_texts=test_texts,
                               test_labels=test_labels)


def choose_labelled(labels: np.ndarray, n: int | None, seed: int, purpose: str = "labels",
                    flag: str = "--labels") -> np.ndarray:
    """Choose `n` reviews, the same number of each class; all of them for None.

    Shapes: labels (N,) int64 of classes 0 and 1 -> rising positions, (n,) int64. Of one seed a smaller choice is part
    of every larger one; for another purpose it is another choice. Raises: UsageError for an n that is odd, below 4,
    or more than there are.
    """
    if n is None:
        return np.arange(len(labels))
    counts = np.bincount(labels, minlength=2)
    if n % 2 or not FEWEST <= n <= 2 * counts.min():
        what = (f"{flag} {n} cannot be chosen, half of them negative and half positive, "
                f"out of {counts[0]:,} negative and {counts[1]:,} positive reviews")
        raise UsageError(what, f"choose an even number from {FEWEST} to {2 * counts.min():,}")
    of_class = (np.flatnonzero(labels == y) for y in (0, 1))
    return np.sort(np.concatenate([_shuffled(rows, seed, purpose, y)[: n // 2] for y, rows in enumerate(of_class)]))


def split_validation(chosen: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a slice of the chosen reviews, a fifth of up to 2,000, a tenth of more, the same share of each class.

    Shapes: chosen (n,) positions, labels (N,) -> positions to learn from and positions to choose by, both rising.
    Raises: UsageError if a class has fewer than two reviews.
    """
    share = 0.2 if len(chosen) <= FEW else 0.1
    held_out = []
    for y in (0, 1):
        members = chosen[labels[chosen] == y]
        if len(members) < 2:
            raise UsageError(f"{len(members)} {('negative', 'positive')[y]} reviews are left to learn from and choose "
                             "by, and two are needed at least",
                             "put more of them into the training half, or set fewer aside by --trial")
        held_out.append(_shuffled(members, seed, "validation", y)[: max(1, round(share * len(members)))])
    validation = np.sort(np.concatenate(held_out))
    return np.setdiff1d(chosen, validation), validation


def _shuffled(positions: np.ndarray, seed: int, purpose: str, label: int) -> np.ndarray:
    """The positions in an order drawn from the seed; Python's `random()` gives the same one in every version."""
    draw = random.Random(derived_seed(seed, purpose, label))
    return positions[np.argsort([draw.random() for _ in positions], kind="stable")]
