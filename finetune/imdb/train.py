"""Part V, the command: transfer. How much does a pretrained encoder know about a task it was never trained for?

    python -m finetune.imdb --mode frozen                                  # on runs/bilm: the lecture's recipe
    python -m finetune.imdb --mode frozen --encoder runs/static --labels 500 --out runs/static-500
    python -m finetune.imdb --mode scratch --labels 500 --out runs/scratch-500    # the control: no pretraining
    python -m finetune.imdb --data sample --encoder runs/bilm-tiny --out runs/sample    # seconds, offline
    torchrun --nproc-per-node 2 -m finetune.imdb --mode finetune --out runs/finetuned   # two processes, one model

Reviews in, positive or negative out (lecture 5). The labelled reviews are chosen, a slice of them held out; a frozen
encoder reads each review once, or the model reads them again in every epoch; the loop below trains, as much of the
encoder as the mode says; and only then is the test half scored, once.

Around this file: `settings`, `model`, `data`. Read next: `finetune.reports`.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from finetune.imdb.data import read_halves, score
from finetune.imdb.forgetting import HeldOut, hold_out
from finetune.imdb.model import build, fit_to_encoder, let_learn, parameter_groups
from finetune.imdb.settings import Settings
from finetune.reports import banner, fingerprints, report, summary
from minitransfer.apparatus import checkpoint, optim
from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory, check_free
from minitransfer.apparatus.distributed import (
    agree,
    average_gradients,
    check_batch_size,
    is_first,
    open_run,
    rank_seed,
    stop_together,
)
from minitransfer.apparatus.durable import to_json
from minitransfer.apparatus.progress import Progress, say
from minitransfer.apparatus.runtime import (
    Stop,
    choose_device,
    choose_precision,
    derived_seed,
    environment,
    generator,
    interruptible,
    set_threads,
)
from minitransfer.text import corpora
from minitransfer.text.corpora import Reviews, find_data_dir
from minitransfer.transfer import examples as chapter
from minitransfer.transfer import heads
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.examples import Examples, minibatches
from minitransfer.transfer.labels import choose_labelled, set_aside, split_validation
from minitransfer.transfer.stopping import Training, loss_and_accuracy

MAX_GRAD_NORM = 1.0
WARMUP = 0.05  # of all steps
STANDARDISED_BY = 500  # training texts at most, by which the pooled layers of an encoder that learns are standardised


def train(model: Classifier, examples: Examples, split: tuple[np.ndarray, np.ndarray], settings: Settings,
          run: RunDirectory, stop: Stop) -> Training | None:
    """Train what learns in `model`; it is left with the weights of its lowest validation loss, or its last ones.

    split: the rows of `examples` to learn from, and those to choose by. Order and dropout follow from seed, epoch and
    step alone, so a run that goes on from a saved state ends as if it had never been stopped. Of several processes
    each reads its share of a batch, and all have the logits, and so the loss, of the whole of it.
    Returns how training went, or None if `stop` was requested: then a state has been saved.
    """
    learn, choose = split
    optimizer = optim.adamw(parameter_groups(model, settings))
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}  # in one epoch or another
    changing = learning | dict(model.named_buffers())
    at = Training.restore(run.load_state(), changing, optimizer)
    run.truncate_metrics(at.logged)
    guard, saved, clock = optim.FiniteGuard(), time.monotonic(), time.monotonic() - at.seconds
    total = settings.epochs * math.ceil(len(learn) / settings.batch_size)
    with Progress(total, "steps", description="training", log_every=settings.log_every, done=at.step) as progress:
        while at.epoch < settings.epochs and at.stale < max(1, settings.patience):
            model.train()
            let_learn(model.encoder, settings, at.epoch)
            order = generator(settings.seed, "order", at.epoch)
            for rows in minibatches(learn, examples.lengths, settings.batch_size, order)[at.batch :]:
                torch.manual_seed(derived_seed(settings.seed, "dropout", at.step, *rank_seed()))
                optim.set_learning_rate(optimizer, optim.warmup_linear(at.step, total, math.ceil(WARMUP * total)))
                loss = heads.cross_entropy(examples.logits(rows), examples.labels[torch.from_numpy(rows)])
                optimizer.zero_grad()
                loss.backward()
                average_gradients(learning.values())
                if guard.ok(loss.item(), optim.clip_gradients(learning.values(), MAX_GRAD_NORM)):
                    optimizer.step()
                    at.loss_sum, at.learnt = at.loss_sum + loss.item() * len(rows), at.learnt + len(rows)
                else:
                    at.skipped += 1
                at.step, at.batch, at.seconds = at.step + 1, at.batch + 1, time.monotonic() - clock
                shown = {"validation": at.best_loss} if at.best_epoch else {}
                progress.advance(loss=loss.item(), **shown)
                stopping, _ = agree(stop)
                if stopping or time.monotonic() - saved > settings.save_every:
                    run.save_state(at.step, at.state(changing, optimizer))
                    saved = time.monotonic()
                if stopping:
                    return None
            model.eval()
            examples.fit_standardise(learn[:: math.ceil(len(learn) / STANDARDISED_BY)])
            logits = chapter.classify(examples, choose, keep_on=lambda: not agree(stop)[0])
            if logits is None:
                run.save_state(at.step, at.state(changing, optimizer))
                return None
            told = {"loss": at.loss_sum / max(1, at.learnt), "skipped": at.skipped, "seconds": at.seconds,
                    "learning_rate": optimizer.param_groups[0]["lr"]}
            loss, accuracy = loss_and_accuracy(logits, examples.labels[torch.from_numpy(choose)].cpu())
            at.end_epoch(loss, accuracy, changing, keep_last=settings.patience == 0)
            run.log_metrics({"step": at.step, "epoch": at.epoch, "validation_loss": loss,
                             "validation_accuracy": accuracy, **told})
    run.save_state(at.step, at.state(changing, optimizer))
    at.take_best(changing)
    model.eval()
    return at


def main(settings: Settings, reviews: Reviews | None = None) -> int:
    """Load, train, score once, and write down what came of it. `reviews`: those of --data, where they are known."""
    check_batch_size(settings.batch_size)
    if not settings.resume:
        check_free(Path(settings.out))  # now, and not after a download
    device = choose_device(settings.device)
    set_threads(settings.threads)
    encoder_run = checkpoint.load_run(settings.encoder)
    torch.manual_seed(settings.seed)  # initial weights are drawn from it
    model = build(encoder_run, settings).to(device)
    precision = model.encoder.precision = choose_precision(settings.precision, device, model.encoder.hidden_size)
    settings = replace(fit_to_encoder(settings, model.encoder), precision=precision)
    measures = settings.measure_forgetting and is_first()
    held_out = hold_out(encoder_run, model.encoder, settings.data_dir, settings.offline) if measures else None
    if reviews is None:
        data_dir = find_data_dir(settings.data_dir)
        reviews = corpora.load_reviews(settings.data, data_dir, offline=settings.offline, say=say)
    reviews = set_aside(reviews, settings.trial)
    chosen = choose_labelled(reviews.train_labels, settings.labels, settings.seed)
    settings = settings.with_epochs(len(chosen))
    let_learn(model.encoder, settings, settings.epochs - 1)  # all that will learn in one epoch or another
    split = split_validation(chosen, reviews.train_labels, settings.seed)
    config = {**settings.config(), "data": fingerprints(reviews), "encoder_fingerprint": encoder_run.fingerprint,
              "encoder": encoder_run.config, "environment": environment()}
    with open_run(settings.out, config, resume=settings.resume) as run:
        if run.completed is not None:
            if is_first():
                print(f"already complete (step {run.completed['step']}): see {run.path / 'results.json'}")
            return 0
        banner(model, encoder_run, reviews, split, settings)
        return learn_and_score(model, encoder_run, reviews, chosen, split, settings, run, held_out)


def learn_and_score(model: Classifier, encoder_run: LoadedRun, reviews: Reviews, chosen: np.ndarray,
                    split: tuple[np.ndarray, np.ndarray], settings: Settings, run: RunDirectory,
                    held_out: HeldOut | None = None) -> int:
    """Read both halves, train on the one, score the other once, and save everything; returns the exit code.

    What the encoder forgets of `held_out` is measured around the training: its weights are still those of its run
    when it begins, since a saved state is taken up only in `train`. Of several processes the first measures it, and
    writes.
    """
    before = held_out.measure() if held_out is not None else None
    started = time.monotonic()
    with interruptible():
        examples, test, features = read_halves(model, encoder_run, reviews, chosen, settings)
    encoding = time.monotonic() - started
    learn, choose = (np.searchsorted(chosen, rows) for rows in split)  # their rows among the chosen
    if features is not None and settings.head == "mean":
        model.standardise.fit(features[learn].to(model.device))
    with Stop() as stop:
        at = train(model, examples, (learn, choose), settings, run, stop)
        after = logits = None
        if at is not None:
            if held_out is not None:
                after = held_out.measure(keep_on=lambda: not stop.requested)
            logits = score(test, stop, settings.log_every)  # None as well if the measurement was cut short
    stop_together(stop)
    if not is_first():
        return 0
    test_accuracy = loss_and_accuracy(logits, test.labels.cpu())[1]
    results = summary(model, encoder_run, reviews, len(chosen), at, test_accuracy, encoding, settings)
    results["forgetting"] = held_out.summary(before, after) if held_out is not None else None
    files = {**encoder_run.files, "results.json": to_json(results)}
    run.save_model(model.state_dict(), files)
    run.mark_complete(at.step, results)
    report(results, run.path)
    return 0
