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

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finetune.imdb.data import read_halves, score
from finetune.imdb.forgetting import HeldOut, hold_out
from finetune.imdb.model import build, head_settings, let_learn, parameter_groups
from finetune.imdb.settings import take_epochs
from finetune.reports import banner, fingerprints, report, summary
from minitransfer.apparatus import checkpoint, optim
from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory, check_free
from minitransfer.apparatus.distributed import (
    average_gradients,
    check_batch_size,
    is_first,
    on_first,
    open_run,
    rank_seed,
    stop_together,
)
from minitransfer.apparatus.durable import to_json
from minitransfer.apparatus.keeper import Keeper
from minitransfer.apparatus.progress import say
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
from minitransfer.transfer.examples import Examples, PooledExamples, TokenExamples, fit_standardise, minibatches
from minitransfer.transfer.labels import choose_labelled, set_aside, split_validation
from minitransfer.transfer.stopping import Changing, EarlyStopping, Outcome, loss_and_accuracy

MAX_GRAD_NORM = 1.0
WARMUP = 0.05  # of all steps
STANDARDISED_BY = 500  # training texts at most, by which the pooled layers of an encoder that learns are standardised


def train(model: Classifier, examples: Examples, split: tuple[np.ndarray, np.ndarray], arguments: argparse.Namespace,
          run: RunDirectory, stop: Stop) -> Outcome:
    """Train what learns in `model`; it is left with the weights of its lowest validation loss, or its last ones.

    split: the rows of `examples` to learn from, and those to choose by. Order and dropout follow from seed, epoch and
    step alone, so a run that goes on from a saved state ends as if it had never been stopped. Of several processes
    each reads its share of a batch, and all have the logits, and so the loss, of the whole of it.
    Raises: Stopped if asked to stop.
    """
    learn, choose = split
    optimizer = optim.adamw(parameter_groups(model, arguments))
    learning = [p for p in model.parameters() if p.requires_grad]  # in one epoch or another
    changing = Changing(model)
    stopping = EarlyStopping(changing, arguments.patience)
    total = arguments.epochs * math.ceil(len(learn) / arguments.batch_size)
    with Keeper(run, run.load_state(), stop, steps=total, total=total, unit="steps", description="training",
                save_every=arguments.save_every, log_every=arguments.log_every,
                model=changing, optimizer=optimizer, stopping=stopping) as keeper:
        for epoch in keeper.epochs(arguments.epochs):
            if stopping.is_over:
                break
            model.train()
            let_learn(model.encoder, arguments, epoch)
            order = generator(arguments.seed, "order", epoch)
            for rows in keeper.steps(minibatches(learn, examples.lengths, arguments.batch_size, order)):
                torch.manual_seed(derived_seed(arguments.seed, "dropout", keeper.step, *rank_seed()))
                optim.set_learning_rate(optimizer, optim.warmup_linear(keeper.step, total, math.ceil(WARMUP * total)))
                logits = model(examples.batch(rows))
                loss = heads.cross_entropy(logits, examples.labels[rows].to(logits.device))
                optimizer.zero_grad()
                loss.backward()
                average_gradients(learning)
                norm = optim.clip_gradients(learning, MAX_GRAD_NORM)
                if keeper.may_step(loss.item(), norm):
                    optimizer.step()
                    keeper.add(loss=loss.item() * len(rows), texts=len(rows))
                keeper.done(1, loss=loss.item(), shown=stopping.shown, norm=norm,
                            learning_rate=optimizer.param_groups[0]["lr"])  # the head's
            model.eval()
            if isinstance(examples, TokenExamples):
                fit_standardise(model, examples.texts, learn[:: math.ceil(len(learn) / STANDARDISED_BY)])
            validate(model, examples, choose, stopping, keeper, run, optimizer)
    stopping.take_best()
    model.eval()
    return Outcome(keeper.step, keeper.epoch, keeper.seconds, stopping.best_epoch, stopping.best_loss,
                   stopping.best_accuracy)


def validate(model: Classifier, examples: Examples, choose: np.ndarray, stopping: EarlyStopping, keeper: Keeper,
             run: RunDirectory, optimizer: torch.optim.Optimizer) -> None:
    """Score the rows to choose by, and tell what the epoch has come to. Raises: Stopped if asked to stop."""
    logits = chapter.classify(model, examples, choose, keeper.save_or_stop)
    loss, accuracy = loss_and_accuracy(logits, examples.labels[choose])
    stopping.end_epoch(keeper.epoch + 1, loss, accuracy)
    epoch_loss = keeper.sums.get("loss", 0.0) / max(1, keeper.sums.get("texts", 0))
    row = {"step": keeper.step, "epoch": keeper.epoch + 1, "validation_loss": loss, "validation_accuracy": accuracy,
           "epoch_loss": epoch_loss, "skipped": keeper.skipped, "seconds": keeper.seconds,
           "learning_rate": optimizer.param_groups[0]["lr"]}
    run.log_metrics(row, once=True)  # a run that was killed before its next state comes here twice


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
