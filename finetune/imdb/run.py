"""Part VI, around the command: the run. What happens before the training loop, and what after it?

Model and reviews are put together, and the run directory is opened; the loop trains; the test half is scored, once,
and what came of it is written down.

Read next: `finetune.imdb.train`, the command.
"""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from finetune.imdb.auxiliary import LMLoss, lm_loss_of
from finetune.imdb.data import LabelledExamples, prepare_halves, score
from finetune.imdb.forgetting import HeldOut, check_has_predicted, hold_out
from finetune.imdb.model import build, build_encoder, fit_to_encoder, unfreeze
from finetune.imdb.settings import Settings
from finetune.imdb.train import train
from finetune.labelled import LabelledReviews, labelled_reviews
from finetune.reports import LOGITS, Results, banner, corpus_of, fingerprints, logits_file, report, say_already_complete
from minitransfer.apparatus import checkpoint
from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory, check_free
from minitransfer.apparatus.distributed import check_batch_size, is_first, on_first, open_run, stop_together
from minitransfer.apparatus.durable import to_json
from minitransfer.apparatus.runtime import Stop, choose_precision, environment, interruptible, set_up
from minitransfer.text.corpora import Reviews
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.examples import Examples, PooledExamples, classify
from minitransfer.transfer.stopping import Outcome, Scores, scores_of


@dataclass(frozen=True)
class Transfer:
    """What a run is put together from. The settings are complete, with epochs, tokens and precision."""

    settings: Settings
    encoder_run: LoadedRun
    model: Classifier
    data: LabelledReviews
    held_out: HeldOut | None = None  # for --measure-forgetting, in the first process alone
    lm_loss: LMLoss | None = None  # for --lm-weight


def main(settings: Settings, reviews: Reviews | None = None) -> dict[str, Any]:
    """Load, train, score once, and write down what came of it. `reviews`: those of --data, where they are known."""
    check_batch_size(settings.batch_size)
    if not settings.resume:
        check_free(Path(settings.out))  # now, and not after a download
    transfer = assemble(settings, reviews)
    config = {**transfer.settings.config(), "data": fingerprints(transfer.data.reviews),
              "classes": transfer.data.reviews.classes, "encoder_fingerprint": transfer.encoder_run.fingerprint,
              "encoder": transfer.encoder_run.config, "environment": environment()}
    with open_run(settings.out, config, resume=settings.resume) as run:
        if run.completed is None:
            banner(transfer.model, transfer.encoder_run, transfer.data, transfer.settings)
            learn_and_score(transfer, run)
        elif is_first():
            say_already_complete(run)
    return checkpoint.results(settings.out)


def assemble(settings: Settings, reviews: Reviews | None = None) -> Transfer:
    """Load encoder and reviews, and build the model, with all unfrozen that will ever learn. Raises: UsageError."""
    device = set_up(settings.device, settings.threads)
    encoder_run = checkpoint.load_run(settings.encoder)
    torch.manual_seed(settings.seed)  # initial weights are drawn from it
    encoder = build_encoder(encoder_run, settings).to(device)
    precision = encoder.precision = choose_precision(settings.precision, device, encoder.hidden_size)
    settings = replace(fit_to_encoder(settings, encoder), precision=precision)
    measures = settings.measure_forgetting and is_first()
    if measures:
        check_has_predicted(encoder_run, encoder)
    data = labelled_reviews(settings, reviews)
    learned = {data.reviews.train_texts[i] for i in data.train_rows} if settings.lm_weight else set()
    with torch.random.fork_rng(devices=[]):  # so that the head begins as it does in a run without either
        held_out = hold_out(encoder_run, encoder, settings.data_dir, settings.offline, learned) if measures else None
        lm_loss = lm_loss_of(encoder_run, encoder) if settings.lm_weight else None
    model = build(encoder, settings, data.reviews.classes).to(device)
    settings = settings.with_epochs(len(data.rows))
    unfreeze(encoder, settings, settings.epochs - 1)
    return Transfer(settings, encoder_run, model, data, held_out, lm_loss)


def learn_and_score(transfer: Transfer, run: RunDirectory) -> None:
    """Encode both halves, train on the one, score the other once, and save everything.

    What the encoder forgets of `held_out` is measured around the training: its weights are still those of its run
    when it begins, since a saved state is taken up only in `train`. Of several processes the first measures it, and
    writes.
    """
    settings, model, held_out = transfer.settings, transfer.model, transfer.held_out
    before = held_out.measure() if held_out is not None else None
    labelled, test, encoding = encode(transfer, run)
    with Stop() as stop:
        outcome = train(model, labelled, settings, run, stop, transfer.lm_loss)
        after = on_first(stop, lambda: held_out.measure(stop.check)) if settings.measure_forgetting else None
        validation = classify(model, labelled.examples, labelled.validation_rows, lambda: stop_together(stop))
        logits = score(model, test, lambda: stop_together(stop), settings.log_every)
        stop_together(stop)
    if not is_first():
        return
    forgetting = held_out.summary(before, after) if held_out is not None else None
    results = asdict(results_of(transfer, outcome, scores_of(logits, test.labels), encoding, forgetting))
    validation_labels = labelled.examples.labels[labelled.validation_rows]
    files = {**transfer.encoder_run.files, "results.json": to_json(results),
             LOGITS: logits_file(validation, validation_labels, logits, test.labels)}
    run.save_model(model.state_dict(), files)
    run.mark_complete(outcome.step, results)
    report(results, run.path)


def encode(transfer: Transfer, run: RunDirectory) -> tuple[LabelledExamples, Examples, float]:
    """The labelled reviews and those to test on as examples, and the seconds that it took, earlier tries included.

    A mean head standardises by the reviews to learn from, where their features are known. Raises: Stopped by a signal.
    """
    started = time.monotonic()
    with interruptible():
        labelled, test = prepare_halves(transfer.model, transfer.encoder_run, transfer.data, transfer.settings)
    earlier = (row.get("seconds_encoding") for row in run.read_metrics())  # before a stop; now it is in the cache
    seconds = time.monotonic() - started + sum(value for value in earlier if type(value) is float)
    if is_first():
        run.log_metrics({"step": 0, "seconds_encoding": seconds}, once=True)
    if isinstance(labelled.examples, PooledExamples) and transfer.settings.head == "mean":
        transfer.model.standardise.fit(labelled.examples.batch(labelled.train_rows))
    return labelled, test, seconds


def results_of(transfer: Transfer, outcome: Outcome, scores: Scores, encoding: float,
               forgetting: dict[str, Any] | None) -> Results:
    """What results.json holds of a run that took `encoding` seconds before its training."""
    settings, encoder_run, data, mix = transfer.settings, transfer.encoder_run, transfer.data, transfer.model.mix
    of_settings = {name: getattr(settings, name) for name in ("encoder", "mode", "head", "pool", "seed", "max_tokens",
                                                              "trial")}
    return Results.of(outcome, scores, data.reviews.classes, encoding, **of_settings, encoder_kind=encoder_run.kind,
                      encoder_corpus=corpus_of(encoder_run, settings.mode), data=data.reviews.name,
                      labels=len(data.rows), gamma=mix.gamma.item() if mix else None,
                      mix=mix.weights().tolist() if mix else None, forgetting=forgetting)
