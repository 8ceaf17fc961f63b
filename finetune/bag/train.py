"""Part VI, the baseline's command: a bag of words and pairs of words. What has pretraining to beat?

    python -m finetune.bag                                          # all labels of IMDB: a minute
    python -m finetune.bag --labels 500 --out runs/bag-500
    python -m finetune.bag --ngrams 3 --out runs/bag-3              # rows of three words, too
    python -m finetune.bag --data sample --out runs/bag-sample      # seconds, offline

The same labelled reviews as in `finetune.imdb`, the same slice of them held out, the same words; the test half is
scored once. The held-out slice chooses the L2 penalty. Reviews are counted whole, since that costs nothing; encoders
take 512 tokens of each, or as many as they were pretrained on.

Read next: `minitransfer.transfer.prompts`.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finetune.bag.settings import Settings
from finetune.labelled import LabelledReviews, labelled_reviews
from finetune.reports import LOGITS, Results, fingerprints, logits_file, report, say_already_complete
from minitransfer.apparatus import checkpoint
from minitransfer.apparatus.checkpoint import RunDirectory, check_free
from minitransfer.apparatus.durable import to_json
from minitransfer.apparatus.errors import NumericsError
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import Stop, environment, interruptible, set_up
from minitransfer.text.corpora import Reviews
from minitransfer.transfer.baselines import LabelledBags, class_ratios, count_ngrams, fit_classes
from minitransfer.transfer.stopping import Outcome, loss_and_accuracy, scores_of

SHOWN = 6  # n-grams that speak most for each class


def main(settings: Settings, reviews: Reviews | None = None) -> dict[str, Any]:
    """Load, train, score once, and write down what came of it. `reviews`: those of --data, where they are known."""
    if not settings.resume:
        check_free(Path(settings.out))  # now, and not after a download
    device = set_up(settings.device, settings.threads)
    data = labelled_reviews(settings, reviews)
    config = {**settings.config(), "data": fingerprints(data.reviews), "classes": data.reviews.classes,
              "environment": environment()}
    with RunDirectory.create(settings.out, config, resume=settings.resume) as run:
        if run.completed is None:
            data.tell()
            learn_and_score(data, settings, run, device)
        else:
            say_already_complete(run)
    return checkpoint.results(settings.out)


def learn_and_score(data: LabelledReviews, settings: Settings, run: RunDirectory, device: torch.device) -> None:
    """Count, train, score once, and save. Raises: NumericsError if no validation loss is a number; Stopped."""
    reviews, started = data.reviews, time.monotonic()
    parts = [([reviews.train_texts[i] for i in rows], reviews.train_labels[rows])
             for rows in (data.train_rows, data.validation_rows)]
    parts.append((reviews.test_texts, reviews.test_labels))
    with interruptible():
        names, (train_bags, validation_bags, test_bags) = count_ngrams(*parts, device=device, longest=settings.ngrams)
    encoding = time.monotonic() - started
    say(f"{len(names):,} n-grams of up to {settings.ngrams} words are seen at least twice in the reviews to train on")
    best, strength, outcome = train(train_bags, validation_bags, reviews.classes, len(names), settings.strengths, run)
    if not best:
        what = f"with none of the L2 penalties {list(settings.strengths)} is the loss on the held-out reviews a number"
        raise NumericsError(what, "try smaller --strengths, in another --out")
    validation, logits = (bags.texts.logits(best["weights"], best["b"]) for bags in (validation_bags, test_bags))
    scores = scores_of(logits, test_bags.labels)
    record = Results.of(outcome, scores, reviews.classes, encoding, mode="bag", head="linear", pool="ngrams",
                        seed=settings.seed, trial=settings.trial, data=reviews.name, labels=len(data.rows))
    results = asdict(record) | {"strength": strength, "ngrams": settings.ngrams}
    files: dict[str, bytes | str] = {"ngrams.txt": "\n".join(names) + "\n", "results.json": to_json(results),
                                     LOGITS: logits_file(validation, validation_bags.labels, logits, test_bags.labels)}
    run.save_model(best, files)
    run.mark_complete(outcome.step, results)
    show(names, best["weights"], reviews.classes)
    report(results, run.path)


def train(train_bags: LabelledBags, validation_bags: LabelledBags, classes: Sequence[str], num_ngrams: int,
          strengths: Sequence[float], run: RunDirectory) -> tuple[dict[str, Tensor], float | None, Outcome]:
    """Try each strength; returns the weights of the lowest validation loss, that strength, and how it went.

    An epoch is here one pass over the reviews to learn from, a step one strength. It is all over in a minute, so a
    run that is stopped or killed begins again. Raises: Stopped if asked to stop.
    """
    best, chosen, outcome = {}, None, Outcome()
    epochs, started = 0, time.monotonic()
    run.truncate_metrics(0)
    with Stop() as stop:
        ratios = class_ratios(train_bags, len(classes), num_ngrams)
        for step, strength in enumerate(strengths, start=1):
            weights, b, passes = fit_classes(train_bags, len(classes), ratios, strength, lambda: stop.check("stopped"))
            loss, accuracy = loss_and_accuracy(validation_bags.texts.logits(weights, b), validation_bags.labels)
            epochs, seconds = epochs + passes, time.monotonic() - started
            if loss < outcome.best_loss:
                best, chosen = {"weights": weights.float(), "b": b.float()}, strength
                outcome = replace(outcome, best_epoch=passes, best_loss=loss, best_accuracy=accuracy)
            outcome = replace(outcome, step=step, epochs_run=epochs, seconds=seconds)
            run.log_metrics({"step": step, "epoch": epochs, "strength": strength, "validation_loss": loss,
                             "validation_accuracy": accuracy, "passes": passes, "seconds": seconds})
        stop.check("stopped")
    return best, chosen, outcome


def show(names: Sequence[str], weights: Tensor, classes: Sequence[str]) -> None:
    """Print the n-grams that speak most for each class. Shapes: weights (V,) of two classes, (Y, V) of more."""
    for name, of_class in zip(classes, torch.stack([-weights, weights]) if weights.dim() == 1 else weights):
        ranked = of_class.argsort(descending=True, stable=True)[:SHOWN].tolist()
        print(f"most {name}: {', '.join(names[i] for i in ranked)}")
