"""Part VI, around the command: the reviews. What becomes of a review before the training loop, and after it?

Of a frozen encoder's reviews the pooled layers are all that is needed, and are kept in a cache; otherwise the tokens
are, and are encoded anew in every epoch.

Read next: `finetune.imdb.train`, the command.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from finetune.imdb.settings import Settings
from finetune.labelled import LabelledReviews
from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.progress import Progress, say
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.examples import Examples, PooledExamples, TokenExamples, classify, pooled_features


@dataclass(frozen=True)
class LabelledExamples:
    """The labelled reviews as examples, and what each is for.

    train_rows         rows of `examples` to learn from, rising, (n,) int64
    validation_rows    rows of the validation set, likewise
    """

    examples: Examples
    train_rows: np.ndarray
    validation_rows: np.ndarray


def encode_or_tokenise(model: Classifier, encoder_run: LoadedRun, texts: list[str], labels: np.ndarray,
                       chosen: np.ndarray, settings: Settings) -> Examples:
    """The chosen reviews as examples: as features where these never change, otherwise as tokens.

    Shapes: labels (N,) int64; chosen (n,) int64, positions among the N texts.
    """
    if settings.mode == "frozen" and settings.head != "bilstm":
        cache = None if settings.no_cache else Path(settings.out).absolute().parent / "cache"
        features, shortened = pooled_features(
            model, texts, chosen, max_tokens=settings.max_tokens, source=encoder_run.fingerprint, cache=cache,
            log_every=settings.log_every)
        return PooledExamples(features.to(model.device), labels[chosen], shortened)
    tokenised = model.encoder.tokenise([texts[i] for i in chosen], settings.max_tokens)
    return TokenExamples(tokenised, labels[chosen])


def prepare_halves(model: Classifier, encoder_run: LoadedRun, data: LabelledReviews,
                   settings: Settings) -> tuple[LabelledExamples, Examples]:
    """The labelled reviews, and all that are to be tested on, as `encode_or_tokenise` gives them.

    Says how many were shortened, and how much an epoch encodes where nothing can be kept.
    """
    reviews, chosen = data.reviews, data.rows
    every_test = np.arange(len(reviews.test_labels))
    examples = encode_or_tokenise(model, encoder_run, reviews.train_texts, reviews.train_labels, chosen, settings)
    test = encode_or_tokenise(model, encoder_run, reviews.test_texts, reviews.test_labels, every_test, settings)
    say(f"reviews shortened to {settings.max_tokens} tokens: {examples.shortened:,} of {len(chosen):,} labelled, "
        f"{test.shortened:,} of {len(every_test):,} to test on")
    if isinstance(examples, TokenExamples):
        say(f"every epoch encodes {int(examples.lengths.sum()):,} tokens anew")
    train_rows, validation_rows = (np.searchsorted(chosen, rows) for rows in (data.train_rows, data.validation_rows))
    return LabelledExamples(examples, train_rows, validation_rows), test


def score(model: Classifier, test: Examples, check: Callable[[], None], log_every: float) -> Tensor:
    """The logits of all reviews to test on, (N, Y). `check`, called before each batch, may raise Stopped."""
    unit = "tokens" if isinstance(test, TokenExamples) else "reviews"
    with Progress(int(test.lengths.sum()), unit, description="scoring", log_every=log_every) as progress:
        return classify(model, test, np.arange(len(test.lengths)), check, progress.advance)
