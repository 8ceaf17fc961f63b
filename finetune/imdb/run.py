"""Part V, around the command: the run. What happens before the training loop, and what after it?

Model and reviews are put together, and the run directory is opened; the loop trains; the test half is scored, once,
and what came of it is written down.

Read next: `finetune.imdb.train`, the command.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finetune.imdb.auxiliary import LMLoss, lm_loss_of
from finetune.imdb.data import prepare_halves, score
from finetune.imdb.forgetting import HeldOut, hold_out
from finetune.imdb.model import build, build_encoder, fit_to_encoder, let_learn
from finetune.imdb.settings import Settings
from finetune.imdb.train import train
from finetune.reports import LOGITS, banner, fingerprints, logits_file, report, summary
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
from minitransfer.transfer.examples import PooledExamples, classify
from minitransfer.transfer.labels import choose_labelled, set_aside, split_validation
from minitransfer.transfer.stopping import scores_of


def main(settings: Settings, reviews: Reviews | None = None) -> dict[str, Any]:
    """Load, train, score once, and write down what came of it. `reviews`: those of --data, where they are known."""
    check_batch_size(settings.batch_size)
    if not settings.resume:
        check_free(Path(settings.out))  # now, and not after a download
    device = choose_device(settings.device)
    set_threads(settings.threads)
    encoder_run = checkpoint.load_run(settings.encoder)
    torch.manual_seed(settings.seed)  # initial weights are drawn from it
    encoder = build_encoder(encoder_run, settings).to(device)
    precision = encoder.precision = choose_precision(settings.precision, device, encoder.hidden_size)
    settings = replace(fit_to_encoder(settings, encoder), precision=precision)
    measures = settings.measure_forgetting and is_first()
    with torch.random.fork_rng(devices=[]):  # so that the head begins as it does in a run without either
        held_out = hold_out(encoder_run, encoder, settings.data_dir, settings.offline) if measures else None
        lm_loss = lm_loss_of(encoder_run, encoder) if settings.lm_weight else None
    if reviews is None:
        data_dir = find_data_dir(settings.data_dir)
        reviews = corpora.load_reviews(settings.data, data_dir, offline=settings.offline, say=say, **settings.columns())
    model = build(encoder, settings, reviews.classes).to(device)
    reviews = set_aside(reviews, settings.trial)
    chosen = choose_labelled(reviews.train_labels, settings.labels, settings.seed, reviews.classes)
    settings = settings.with_epochs(len(chosen))
    let_learn(model.encoder, settings, settings.epochs - 1)  # all that will learn in one epoch or another
    split = split_validation(chosen, reviews.train_labels, settings.seed, reviews.classes)
    config = {**settings.config(), "data": fingerprints(reviews), "classes": reviews.classes,
              "encoder_fingerprint": encoder_run.fingerprint, "encoder": encoder_run.config,
              "environment": environment()}
    with open_run(settings.out, config, resume=settings.resume) as run:
        if run.completed is not None:
            if is_first():
                print(f"already complete (step {run.completed['step']}): see {run.path / 'results.json'}")
            return checkpoint.results(run.path)
        banner(model, encoder_run, reviews, split, settings)
        learn_and_score(model, encoder_run, reviews, chosen, split, settings, run, held_out, lm_loss)
    return checkpoint.results(settings.out)


def learn_and_score(model: Classifier, encoder_run: LoadedRun, reviews: Reviews, chosen: np.ndarray,
                    split: tuple[np.ndarray, np.ndarray], settings: Settings, run: RunDirectory,
                    held_out: HeldOut | None = None, lm_loss: LMLoss | None = None) -> None:
    """Encode both halves, train on the one, score the other once, and save everything.

    What the encoder forgets of `held_out` is measured around the training: its weights are still those of its run
    when it begins, since a saved state is taken up only in `train`. Of several processes the first measures it, and
    writes.
    """
    before = held_out.measure() if held_out is not None else None
    started = time.monotonic()
    with interruptible():
        examples, test = prepare_halves(model, encoder_run, reviews, chosen, settings)
    told = (row.get("seconds_encoding") for row in run.read_metrics())  # before a stop; now it is found in the cache
    encoding = time.monotonic() - started + sum(seconds for seconds in told if type(seconds) is float)
    if is_first():
        run.log_metrics({"step": 0, "seconds_encoding": encoding}, once=True)
    train_rows, validation_rows = (np.searchsorted(chosen, rows) for rows in split)  # among the chosen
    if isinstance(examples, PooledExamples) and settings.head == "mean":
        model.standardise.fit(examples.batch(train_rows))
    with Stop() as stop:
        outcome = train(model, examples, (train_rows, validation_rows), settings, run, stop, lm_loss)
        after = on_first(stop, lambda: held_out.measure(stop.check)) if settings.measure_forgetting else None
        validation = classify(model, examples, validation_rows, lambda: stop_together(stop))
        logits = score(model, test, lambda: stop_together(stop), settings.log_every)
        stop_together(stop)
    if not is_first():
        return
    scores = scores_of(logits, test.labels)
    results = summary(model, encoder_run, reviews, len(chosen), outcome, scores, encoding, settings)
    results["forgetting"] = held_out.summary(before, after) if held_out is not None else None
    files = {**encoder_run.files, "results.json": to_json(results),
             LOGITS: logits_file(validation, examples.labels[validation_rows], logits, test.labels)}
    run.save_model(model.state_dict(), files)
    run.mark_complete(outcome.step, results)
    report(results, run.path)
