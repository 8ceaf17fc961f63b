"""Part V, the baseline's command: a bag of words and pairs of words. What has pretraining to beat?

    python -m finetune.bag                                          # all labels of IMDB: a minute
    python -m finetune.bag --labels 500 --out runs/bag-500
    python -m finetune.bag --data sample --out runs/bag-sample      # seconds, offline

The same labelled reviews as in `finetune.imdb`, the same slice of them held out, the same words; the test half is
scored once. The held-out slice chooses the L2 penalty. Reviews are read whole, since counting costs nothing; encoders
read 512 tokens of each, or as many as they were pretrained on.

Read next: `finetune.compare.run`, which sets it beside everything else.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.imdb.settings import check_labels
from finetune.reports import fingerprints, report, summary
from minitransfer.apparatus.errors import NumericsError
from minitransfer.apparatus.options import (
    Parser,
    add_shared,
    positive_float,
    positive_int,
    run_command,
)
from minitransfer.text import REVIEWS

if TYPE_CHECKING:  # torch takes seconds to import: a mistyped flag should not have to wait for it
    import numpy as np
    import torch
    from torch import Tensor

    from minitransfer.apparatus.checkpoint import RunDirectory
    from minitransfer.apparatus.runtime import Stop
    from minitransfer.text.corpora import Reviews
    from minitransfer.transfer.baselines import Half
    from minitransfer.transfer.stopping import Outcome

STRENGTHS = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
SHOWN = 6  # n-grams that speak most for each class

DESCRIPTION = """Train a sentiment classifier that counts words and pairs of words, and knows nothing beforehand.

examples:
  python -m finetune.bag
  python -m finetune.bag --labels 500 --out runs/bag-500
  python -m finetune.bag --data sample --strengths 10 1 --out runs/bag-sample

writes to --out: config.json, model.safetensors (one weight per n-gram), ngrams.txt, metrics.jsonl, results.json
on 2 cores, all of IMDB: about a minute"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m finetune.bag", description=DESCRIPTION)
    parser.add_argument("--data", choices=REVIEWS, default="auto", help="the reviews; auto is imdb if it can be had")
    parser.add_argument("--labels", metavar="N", type=positive_int,
                        help="learn from N labelled reviews, half of each class, validation included (default: all)")
    parser.add_argument("--strengths", metavar="X", type=positive_float, nargs="+",
                        help="L2 penalties λ; the held-out reviews choose one of these "
                             f"(default: {' '.join(f'{strength:g}' for strength in STRENGTHS)})")
    add_shared(parser, out="runs/bag")
    parser.set_defaults(mode="bag", head="linear", pool="ngrams", encoder=None, max_tokens=None, trial=None)
    return parser


def check(arguments: argparse.Namespace) -> None:
    """Fill in the strengths to try, each once. Raises: UsageError for a --labels that no corpus could serve."""
    check_labels(arguments.labels)
    arguments.strengths = list(dict.fromkeys(arguments.strengths or STRENGTHS))


def settings(reviews: Reviews, arguments: argparse.Namespace) -> dict[str, Any]:
    """The run's config: every setting that decides its result."""
    return {"kind": "bag", **{name: getattr(arguments, name) for name in ("mode", "labels", "seed", "strengths")},
            "data": fingerprints(reviews)}


def main(arguments: argparse.Namespace, reviews: Reviews | None = None) -> int:
    """Load, train, score once, and write down what came of it. `reviews`: those of --data, where they are known."""
    check(arguments)

    from minitransfer.apparatus.checkpoint import RunDirectory, check_free
    from minitransfer.apparatus.runtime import (
        choose_device,
        environment,
        say,
        set_threads,
    )
    from minitransfer.text.corpora import find_data_dir, load_reviews
    from minitransfer.transfer.labels import choose_labelled, split_validation

    if not arguments.resume:
        check_free(Path(arguments.out))  # now, and not after a download
    device = choose_device(arguments.device)
    set_threads(arguments.threads)
    if reviews is None:
        reviews = load_reviews(arguments.data, find_data_dir(arguments.data_dir), offline=arguments.offline, say=say)
    chosen = choose_labelled(reviews.train_labels, arguments.labels, arguments.seed)
    split = split_validation(chosen, reviews.train_labels, arguments.seed)
    config = settings(reviews, arguments) | {"environment": environment()}
    with RunDirectory.create(arguments.out, config, resume=arguments.resume) as run:
        if run.completed is not None:
            print(f"already complete (step {run.completed['step']}): see {run.path / 'results.json'}")
            return 0
        say(f"data: {reviews.name} ({reviews.source}): {len(split[0]):,} labelled reviews to learn from, "
            f"{len(split[1]):,} to choose by, {len(reviews.test_labels):,} to be scored once")
        return learn_and_score(reviews, split, arguments, run, device)


def learn_and_score(reviews: Reviews, split: tuple[np.ndarray, np.ndarray], arguments: argparse.Namespace,
                    run: RunDirectory, device: torch.device) -> int:
    """Count both halves, train on the one, score the other once, and save everything; returns the exit code."""
    from minitransfer.apparatus.durable import to_json
    from minitransfer.apparatus.runtime import Stop, say
    from minitransfer.transfer.baselines import count_ngrams
    from minitransfer.transfer.stopping import loss_and_accuracy

    started = time.monotonic()
    parts = [([reviews.train_texts[i] for i in rows], reviews.train_labels[rows]) for rows in split]
    names, (learn, choose, test) = count_ngrams(*parts, (reviews.test_texts, reviews.test_labels), device=device)
    encoding = time.monotonic() - started
    say(f"{len(names):,} words and pairs of words are seen at least twice in the reviews to learn from")
    with Stop() as stop:
        best, strength, outcome = train(learn, choose, len(names), arguments, run, stop)
    if not best:
        what = f"with none of the L2 penalties {arguments.strengths} is the loss on the held-out reviews a number"
        raise NumericsError(what, "try smaller --strengths, in another --out")
    test_accuracy = loss_and_accuracy(test.logits(best["weights"], best["b"]), test.labels)[1]
    results = summary(None, None, reviews, sum(map(len, split)), outcome, test_accuracy, encoding, arguments)
    results |= {"forgetting": None, "strength": strength}
    files = {"ngrams.txt": "\n".join(names) + "\n", "results.json": to_json(results)}
    run.save_model(best, files)
    run.mark_complete(outcome.step, results)
    show(names, best["weights"].tolist())
    report(results, run.path)
    return 0


def train(learn: Half, choose: Half, num_ngrams: int, arguments: argparse.Namespace, run: RunDirectory,
          stop: Stop) -> tuple[dict[str, Tensor], float | None, Outcome]:
    """Try each strength; returns the weights of the lowest validation loss, that strength, and how it went.

    An epoch is here one pass over the reviews to learn from, a step one strength. It is all over in a minute, so a
    run that is stopped or killed begins again. Raises: Stopped if asked to stop.
    """
    from minitransfer.transfer.baselines import fit, log_count_ratio
    from minitransfer.transfer.stopping import Outcome, loss_and_accuracy

    best, chosen, outcome = {}, None, Outcome()
    epochs, started = 0, time.monotonic()
    run.truncate_metrics(0)
    r = log_count_ratio(learn.texts, learn.labels, num_ngrams)
    for step, strength in enumerate(arguments.strengths, start=1):
        weights, b, passes = fit(learn.texts, learn.labels, r, strength, lambda: stop.check("stopped"))
        loss, accuracy = loss_and_accuracy(choose.logits(weights, b), choose.labels)
        epochs, seconds = epochs + passes, time.monotonic() - started
        if loss < outcome.best_loss:
            best, chosen = {"weights": weights.float(), "b": b.float()}, strength
            outcome = replace(outcome, best_epoch=passes, best_loss=loss, best_accuracy=accuracy)
        outcome = replace(outcome, step=step, epochs_run=epochs, seconds=seconds)
        run.log_metrics({"step": step, "epoch": epochs, "strength": strength, "validation_loss": loss,
                         "validation_accuracy": accuracy, "passes": passes, "seconds": seconds})
    stop.check("stopped")
    return best, chosen, outcome


def show(names: list[str], weights: list[float]) -> None:
    """Print the n-grams that speak most for either class."""
    ranked = [names[i] for i in sorted(range(len(names)), key=weights.__getitem__)]
    print(f"most negative: {', '.join(ranked[:SHOWN])}")
    print(f"most positive: {', '.join(reversed(ranked[-SHOWN:]))}")


if __name__ == "__main__":
    sys.exit(run_command(main, make_parser()))
