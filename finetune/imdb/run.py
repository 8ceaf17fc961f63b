"""Part V, around the command: the run. What happens before the training loop, and what after it?

Model and reviews are put together, and the run directory is opened; the loop trains; the test half is scored, once,
and what came of it is written down.

Read next: `finetune.imdb.train`, the command.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finetune.imdb.data import read_halves, score
from finetune.imdb.forgetting import HeldOut, hold_out
from finetune.imdb.model import build, head_settings, let_learn
from finetune.imdb.settings import take_epochs
from finetune.imdb.train import train
from finetune.reports import banner, fingerprints, report, summary
from minitransfer.apparatus import checkpoint
from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory, check_free
from minitransfer.apparatus.distributed import check_batch_size, is_first, on_first, open_run, stop_together
from minitransfer.apparatus.durable import to_json
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import (
    Stop,
    choose_device,
    choose_precision,
    environment,
    interruptible,
    set_threads,
)
from minitransfer.text import corpora
from minitransfer.text.corpora import Reviews, find_data_dir
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.examples import PooledExamples
from minitransfer.transfer.labels import choose_labelled, set_aside, split_validation
from minitransfer.transfer.stopping import loss_and_accuracy


def settings(encoder_run: LoadedRun, reviews: Reviews, arguments: argparse.Namespace) -> dict[str, Any]:
    """The run's config: every setting that decides its result, and what a later process needs to build its model."""
    names = ("mode", "unfreeze", "labels", "seed", "epochs", "batch_size", "learning_rate", "encoder_rate",
             "layer_decay", "weight_decay", "encoder_dropout", "patience", "max_tokens", "no_cache", "precision",
             "trial", "measure_forgetting")
    return {"kind": "transfer", **{name: getattr(arguments, name) for name in names},
            "data": fingerprints(reviews), "model": head_settings(arguments),
            "encoder_fingerprint": encoder_run.fingerprint,
            "encoder": encoder_run.config}


def main(arguments: argparse.Namespace, reviews: Reviews | None = None) -> int:
    """Load, train, score once, and write down what came of it. `reviews`: those of --data, where they are known."""
    check_batch_size(arguments.batch_size)
    if not arguments.resume:
        check_free(Path(arguments.out))  # now, and not after a download
    device = choose_device(arguments.device)
    set_threads(arguments.threads)
    encoder_run = checkpoint.load_run(arguments.encoder)
    torch.manual_seed(arguments.seed)  # initial weights are drawn from it
    model = build(encoder_run, arguments).to(device)
    arguments.precision = choose_precision(arguments.precision, device, model.encoder.hidden_size)
    model.encoder.precision = arguments.precision
    measures = arguments.measure_forgetting and is_first()
    held_out = hold_out(encoder_run, model.encoder, arguments) if measures else None
    if reviews is None:
        data_dir = find_data_dir(arguments.data_dir)
        reviews = corpora.load_reviews(arguments.data, data_dir, offline=arguments.offline, say=say)
    reviews = set_aside(reviews, arguments.trial)
    chosen = choose_labelled(reviews.train_labels, arguments.labels, arguments.seed)
    take_epochs(arguments, len(chosen))
    let_learn(model.encoder, arguments, arguments.epochs - 1)  # all that will learn in one epoch or another
    split = split_validation(chosen, reviews.train_labels, arguments.seed)
    config = settings(encoder_run, reviews, arguments) | {"environment": environment()}
    with open_run(arguments.out, config, resume=arguments.resume) as run:
        if run.completed is not None:
            if is_first():
                print(f"already complete (step {run.completed['step']}): see {run.path / 'results.json'}")
            return 0
        banner(model, encoder_run, reviews, split, arguments)
        return learn_and_score(model, encoder_run, reviews, chosen, split, arguments, run, held_out)


def learn_and_score(model: Classifier, encoder_run: LoadedRun, reviews: Reviews, chosen: np.ndarray,
                    split: tuple[np.ndarray, np.ndarray], arguments: argparse.Namespace, run: RunDirectory,
                    held_out: HeldOut | None = None) -> int:
    """Read both halves, train on the one, score the other once, and save everything; returns the exit code.

    What the encoder forgets of `held_out` is measured around the training: its weights are still those of its run
    when it begins, since a saved state is taken up only in `train`. Of several processes the first measures it, and
    writes.
    """
    before = held_out.measure() if held_out is not None else None
    started = time.monotonic()
    with interruptible():
        examples, test = read_halves(model, encoder_run, reviews, chosen, arguments)
    encoding = time.monotonic() - started
    learn, choose = (np.searchsorted(chosen, rows) for rows in split)  # their rows among the chosen
    if isinstance(examples, PooledExamples) and arguments.head == "mean":
        model.standardise.fit(examples.batch(learn))
    with Stop() as stop:
        outcome = train(model, examples, (learn, choose), arguments, run, stop)
        after = on_first(stop, lambda: held_out.measure(stop.check)) if arguments.measure_forgetting else None
        logits = score(model, test, lambda: stop_together(stop), arguments.log_every)
        stop_together(stop)
    if not is_first():
        return 0
    test_accuracy = loss_and_accuracy(logits, test.labels)[1]
    results = summary(model, encoder_run, reviews, len(chosen), outcome, test_accuracy, encoding, arguments)
    results["forgetting"] = held_out.summary(before, after) if held_out is not None else None
    files = {**encoder_run.files, "results.json": to_json(results)}
    run.save_model(model.state_dict(), files)
    run.mark_complete(outcome.step, results)
    report(results, run.path)
    return 0
