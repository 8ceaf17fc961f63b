"""Part VI, chapter 4: labels. Which reviews may a run learn from, and which of them only choose?

Labels are what transfer saves (lecture 1), so runs are compared by how many they use. The choice has as many reviews
of each class, is the same for every encoder, and nested: the 500 reviews of a seed are among its 2,000, so that more
labels are more of the same. A slice of the chosen is held out, the **validation set**, to decide when to stop. It
counts towards the labels, since a human had to give those as well. The test half decides nothing: whoever wants to
choose flags makes development runs (`--trial`), in which some reviews of the training half stand in for it. An encoder
that was pretrained on IMDB has read them, without labels, where it has read no test review. So accuracies of the two
kinds do not compare, nor do development runs of encoders of reviews with those of others.

Read next: `minitransfer.transfer.features`.
"""

import dataclasses
import random
from collections.abc import Sequence

import numpy as np

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.runtime import derived_seed
from minitransfer.text import CLASSES
from minitransfer.text.corpora import Reviews
from minitransfer.transfer import FEWEST

FEW = 2_000  # up to here a fifth of the labels is held out, so that choosing is not blind; beyond, a tenth will do


def set_aside(reviews: Reviews, n: int | None) -> Reviews:
    """Reviews for a trial: `n` of the training half, the same ones in every trial, stand in for the test half.

    As many of them are of each class; None leaves the halves as they are. Raises: UsageError as `choose_labelled`.
    """
    if n is None:
        return reviews
    aside = choose_labelled(reviews.train_labels, n, seed=0, classes=reviews.classes, purpose="trial", flag="--trial")
    rest = np.setdiff1d(np.arange(len(reviews.train_labels)), aside)
    halves = [([reviews.train_texts[i] for i in rows], reviews.train_labels[rows]) for rows in (rest, aside)]
    (train_texts, train_labels), (test_texts, test_labels) = halves
    return dataclasses.replace(reviews, train_texts=train_texts, train_labels=train_labels, test_texts=test_texts,
                               test_labels=test_labels)


def choose_labelled(labels: np.ndarray, n: int | None, seed: int, classes: Sequence[str] = CLASSES,
                    purpose: str = "labels", flag: str = "--labels") -> np.ndarray:
    """Choose `n` reviews, the same number of each class; all of them for None.

    Shapes: labels (N,) int64, places in `classes` -> rising positions, (n,) int64. Of one seed a smaller choice is part
    of every larger one; for another purpose it is another choice.
    Raises: UsageError for an n that the number of classes does not divide, too small, or more than there are.
    """
    if n is None:
        return np.arange(len(labels))
    counts = np.bincount(labels, minlength=len(classes))
    least, most = FEWEST * len(classes), len(classes) * counts.min()
    if n % len(classes) or not least <= n <= most:
        *there, last = (f"{count:,} {name}" for count, name in zip(counts, classes))
        what = f"{flag} {n} cannot be chosen, as many of each class, out of {', '.join(there)} and {last} reviews"
        number = "an even number" if len(classes) == 2 else f"a multiple of {len(classes)}"
        possible = f"choose {number} from {least} to {most:,}"
        raise UsageError(what, possible if least <= most else "give more reviews, or a smaller --trial")
    each = [_shuffled(np.flatnonzero(labels == y), seed, purpose, y) for y in range(len(classes))]
    return np.sort(np.concatenate([rows[: n // len(classes)] for rows in each]))


def split_validation(chosen: np.ndarray, labels: np.ndarray, seed: int,
                     classes: Sequence[str] = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a slice of the chosen reviews, a fifth of up to 2,000, a tenth of more, the same share of each class.

    Shapes: chosen (n,) int64 positions, labels (N,) int64 -> positions to learn from, positions of the validation set,
    both rising, int64.
    Raises: UsageError if a class has fewer than two reviews.
    """
    share = 0.2 if len(chosen) <= FEW else 0.1
    held_out = []
    for y, name in enumerate(classes):
        members = chosen[labels[chosen] == y]
        if len(members) < FEWEST:
            raise UsageError(f"{len(members)} {name} reviews are left for training and validation, and two are needed "
                             "at least", "put more of them into the training half, or set fewer aside by --trial")
        held_out.append(_shuffled(members, seed, "validation", y)[: max(1, round(share * len(members)))])
    validation = np.sort(np.concatenate(held_out))
    return np.setdiff1d(chosen, validation), validation


def _shuffled(positions: np.ndarray, seed: int, purpose: str, label: int) -> np.ndarray:
    """The positions in an order drawn from the seed; Python's `random()` gives the same one in every version."""
    draw = random.Random(derived_seed(seed, purpose, label))
    return positions[np.argsort([draw.random() for _ in positions], kind="stable")]
