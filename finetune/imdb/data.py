"""Part V, around the command: the reviews. What becomes of a review before the training loop, and after it?

Of a frozen encoder's reviews the pooled layers are all that is needed, and are kept in a cache; otherwise the tokens
are, and are encoded anew in every epoch.

Read next: `finetune.imdb.train`, the command.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.progress import Progress, say
from minitransfer.text.corpora import Reviews
from minitransfer.transfer import examples as chapter
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.examples import Examples, PooledExamples, TokenExamples, pooled_features


def read(model: Classifier, encoder_run: LoadedRun, texts: list[str], labels: np.ndarray, chosen: np.ndarray,
         arguments: argparse.Namespace) -> Examples:
    """The chosen reviews as examples: as features where these can be known once and for all, otherwise as tokens."""
    if arguments.mode == "frozen" and arguments.head != "bilstm":
        cache = None if arguments.no_cache else Path(arguments.out).absolute().parent / "cache"
        features, shortened = pooled_features(
            model, texts, chosen, max_tokens=arguments.max_tokens, source=encoder_run.fingerprint, cache=cache,
            log_every=arguments.log_every, say=say)
        return PooledExamples(features.to(model.device), labels[chosen], shortened)
    tokenised = model.encoder.tokenise([texts[i] for i in chosen], arguments.max_tokens)
    return TokenExamples(tokenised, labels[chosen])


def read_halves(model: Classifier, encoder_run: LoadedRun, reviews: Reviews, chosen: np.ndarray,
                arguments: argparse.Namespace) -> tuple[Examples, Examples]:
    """The chosen reviews, and all that are to be tested on, as `read` gives them.

    Says how many were shortened, and how much an epoch reads where nothing can be kept.
    """
    every_test = np.arange(len(reviews.test_labels))
    examples = read(model, encoder_run, reviews.train_texts, reviews.train_labels, chosen, arguments)
    test = read(model, encoder_run, reviews.test_texts, reviews.test_labels, every_test, arguments)
    say(f"reviews shortened to {arguments.max_tokens} tokens: {examples.shortened:,} of {len(chosen):,} labelled, "
        f"{test.shortened:,} of {len(every_test):,} to test on")
    if isinstance(examples, TokenExamples):
        say(f"every epoch reads {int(examples.lengths.sum()):,} tokens anew")
    return examples, test


def score(model: Classifier, test: Examples, check: Callable[[], None], log_every: float) -> Tensor:
    """The logits of all reviews to test on, (N, 2). `check`, called before each batch, may raise Stopped."""
    unit = "tokens" if test.lengths.max() > 1 else "reviews"  # a pooled review costs one
    with Progress(int(test.lengths.sum()), unit, description="scoring", log_every=log_every) as progress:
        return chapter.classify(model, test, np.arange(len(test.lengths)), check, progress.advance)
