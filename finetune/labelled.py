"""Part VI, around the commands: labelled reviews. Which reviews does a run learn from, and on which is it scored?

They follow from --data, --labels, --trial and --seed alone, so they are the same for every encoder, every mode and the
baseline.

Read next: `finetune.reports`.
"""

from dataclasses import dataclass

import numpy as np

from finetune.settings import LabelSettings
from minitransfer.apparatus.progress import say
from minitransfer.text import corpora
from minitransfer.text.corpora import Reviews, find_data_dir
from minitransfer.transfer.labels import choose_labelled, set_aside, split_validation

COPIES = 0.01  # share of texts that may be met twice without a word: film reviews and short remarks have a few


@dataclass(frozen=True)
class LabelledReviews:
    """Reviews, and which of them are labelled.

    reviews            in a trial some reviews of the training half stand in for the test half
    train_rows         the labelled reviews to learn from: rising positions in the training half, (n,) int64
    validation_rows    the validation set, likewise
    trial              whether it is one
    """

    reviews: Reviews
    train_rows: np.ndarray
    validation_rows: np.ndarray
    trial: bool = False

    @property
    def rows(self) -> np.ndarray:
        """All labelled reviews, those of the validation set included: rising positions, (n,) int64."""
        return np.sort(np.concatenate([self.train_rows, self.validation_rows]))

    def tell(self) -> None:
        """Say how many reviews there are, and what for; warn if many of the validation set are learned from, too."""
        reviews = self.reviews
        say(f"data: {reviews.name} ({reviews.source}): {len(self.train_rows):,} labelled reviews to train on, "
            f"{len(self.validation_rows):,} for validation, {len(reviews.test_labels):,} to test on, once")
        learned = {reviews.train_texts[i] for i in self.train_rows}
        for what, texts in (("validation", [reviews.train_texts[i] for i in self.validation_rows]),
                            ("trial", reviews.test_texts if self.trial else [])):
            copies = len(learned.intersection(texts))
            if copies > COPIES * len(texts):
                say(f"warning: {copies:,} of {len(texts):,} {what} texts are learned from as well, word for word, so "
                    "that their accuracy is too good; leave copies out of your texts")


def labelled_reviews(settings: LabelSettings, reviews: Reviews | None = None) -> LabelledReviews:
    """The reviews of --data, unless they are known, and which are labelled. Raises: UsageError for too few."""
    if reviews is None:
        data_dir = find_data_dir(settings.data_dir)
        reviews = corpora.load_reviews(settings.data, data_dir, offline=settings.offline, **settings.columns())
    reviews = set_aside(reviews, settings.trial)
    chosen = choose_labelled(reviews.train_labels, settings.labels, settings.seed, reviews.classes)
    split = split_validation(chosen, reviews.train_labels, settings.seed, reviews.classes)
    return LabelledReviews(reviews, *split, trial=settings.trial is not None)
