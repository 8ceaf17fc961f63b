"""Part VI, around the command: reports. What does a run say of itself, before, afterwards, and for good?

Read next: `finetune.imdb.forgetting`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from torch import Tensor

from finetune.imdb.settings import Settings
from finetune.labelled import LabelledReviews
from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory
from minitransfer.apparatus.distributed import of_processes
from minitransfer.apparatus.durable import entry
from minitransfer.apparatus.options import shell_line
from minitransfer.apparatus.progress import say
from minitransfer.text.corpora import Reviews, fingerprint
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.coverage import Coverage
from minitransfer.transfer.stopping import Outcome, Scores

UNTRAINED = "random weights of its shape"
LOGITS = "logits.safetensors"
LOOKED_AT = 200  # texts, about, whose words are looked up to see whether the encoder knows their language


def fingerprints(reviews: Reviews) -> dict[str, str]:
    """What a run's config says of its reviews: their name, and the sha256 of both halves and of all labels."""
    labels = map(str, [*reviews.train_labels, *reviews.test_labels])
    return {"name": reviews.name, "train": fingerprint(reviews.train_texts), "test": fingerprint(reviews.test_texts),
            "labels": fingerprint(labels)}


@dataclass(frozen=True, kw_only=True)
class Results:
    """What results.json holds: what was trained on what, how it went, and the layers it chose; times in seconds.

    What a run does not have is None: a bag has no encoder, an average no head. An epoch of a bag is one pass over the
    reviews, one of an average is one weighting that was tried.
    """

    encoder: str | None = None
    encoder_kind: str | None = None
    encoder_corpus: str | None = None
    mode: str
    head: str | None = None
    pool: str | None = None
    seed: int
    max_tokens: int | None = None
    trial: int | None
    data: str
    labels: int
    validation_accuracy: float
    validation_loss: float
    test_accuracy: float
    epochs: int
    epochs_run: int
    seconds: float
    seconds_encoding: float
    seconds_training: float
    gamma: float | None = None
    mix: list[float] | None = None
    test_macro_f1: float
    test_counts: dict[str, int]
    test_recalls: dict[str, float | None]
    forgetting: dict[str, Any] | None = None

    @classmethod
    def of(cls, outcome: Outcome, scores: Scores, classes: Sequence[str], encoding: float, **others: Any) -> Self:
        """Of a training that took `encoding` seconds before it began, and its scores; `others`: all other fields."""
        return cls(
            validation_accuracy=outcome.best_accuracy, validation_loss=outcome.best_loss,
            epochs=outcome.best_epoch, epochs_run=outcome.epochs_run,
            seconds=encoding + outcome.seconds, seconds_encoding=encoding, seconds_training=outcome.seconds,
            test_accuracy=scores.accuracy, test_macro_f1=scores.macro_f1,
            test_counts=dict(zip(classes, scores.counts)), test_recalls=dict(zip(classes, scores.recalls)), **others)


def logits_file(validation: Tensor, validation_labels: Tensor, test: Tensor, test_labels: Tensor) -> bytes:
    """What logits.safetensors holds: what a run says of the validation set and of the reviews that it is scored on.

    Shapes: logits (n, Y) and (N, Y), kept in float32, labels (n,) and (N,) int64. `finetune.average` reads it.
    """
    tensors = {"validation": validation.float(), "validation_labels": validation_labels, "test": test.float(),
               "test_labels": test_labels}
    return safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


def corpus_of(encoder_run: LoadedRun, mode: str) -> str | None:
    """What the encoder was pretrained on, and what the runs that it began with were; nothing, for `scratch`.

    A biLM of WikiText-2 over vectors of the reviews has learned from the reviews: `wikitext-2, from static vectors of
    wikitext-2+imdb`. Vectors of the same text are not told of.
    """
    mine, origin = entry(encoder_run.config, "corpus.name"), entry(encoder_run.config, "origin")
    if mode == "scratch" or not isinstance(mine, str):
        return None
    told = [mine]
    while isinstance(theirs := entry(origin, "corpus.name"), str):  # which an imported network's origin does not have
        kind = entry(origin, "kind")
        if kind != "static" or theirs != mine:
            told.append(f"{'static vectors' if kind == 'static' else f'a {kind}'} of {theirs}")
        mine, origin = theirs, entry(origin, "origin")
    return ", from ".join(told)


def say_already_complete(run: RunDirectory) -> None:
    """Print that a run has finished before, and where its results are."""
    print(f"already complete (step {run.completed['step']}): see {run.path / 'results.json'}")


def banner(model: Classifier, encoder_run: LoadedRun, data: LabelledReviews, settings: Settings) -> None:
    """Say what is about to be trained, on what, where, and what it will cost."""
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    steps = math.ceil(len(data.train_rows) / settings.batch_size)
    data.tell()
    corpus = corpus_of(encoder_run, settings.mode)
    say(f"encoder: {settings.encoder} ({encoder_run.kind}, {f'pretrained on {corpus}' if corpus else UNTRAINED}); "
        f"mode {settings.mode}, head {settings.head}, pool {settings.pool}")
    say(f"parameters: {learning:,} learning, {frozen:,} frozen; device {model.device}, "
        f"{of_processes(torch.get_num_threads())}; {'up to ' * bool(settings.patience)}{settings.epochs} epochs of "
        f"{steps:,} steps")
    if settings.mode != "scratch":
        train_texts = data.reviews.train_texts
        some = train_texts[:: max(1, len(train_texts) // LOOKED_AT)]
        texts = model.encoder.tokenise(some, settings.max_tokens)
        if warning := Coverage(encoder_run, encoder_run.kind).count(texts).warning():
            say(warning)


def report(results: dict[str, Any], path: Path) -> None:
    """Print what came of a run, where it is, and what to do with it."""
    if results["mix"]:
        mix = ", ".join(f"layer {k} {s:.3f}" for k, s in enumerate(results["mix"]))
        print(f"mix of layers: {mix}; γ = {results['gamma']:.3f}")
    chosen = f"epoch {results['epochs']} of {results['epochs_run']}"
    if results["mode"] == "bag":
        chosen = f"strength {results['strength']:g}, found in {results['epochs']} passes"
    print(f"data {results['data']}, {results['labels']:,} labels, {chosen}")
    print(f"validation accuracy {results['validation_accuracy']:.4f}")
    if results["trial"]:
        accuracy, n = results["test_accuracy"], results["trial"]
        print(f"development accuracy {accuracy:.4f}, on {n:,} training reviews set aside")
    else:
        print(f"test accuracy {results['test_accuracy']:.4f} (scored once)")
    report_classes(results)
    if forgetting := results["forgetting"]:
        before, after = forgetting["before"], forgetting["after"]
        print(f"held-out loss on {forgetting['corpus']}, which the encoder was pretrained on: {before:.3f} nats "
              f"before, {after:.3f} after ({after - before:+.3f})")
    print(f"seconds: {results['seconds_encoding']:.1f} encoding, {results['seconds_training']:.1f} training")
    print(f"saved in {path}: results.json, model.safetensors, metrics.jsonl")
    print(f'next: python -m finetune.predict {shell_line([str(path)])} "A moving film, superbly acted."')


def report_classes(results: dict[str, Any]) -> None:
    """Print what an accuracy is to be held against where classes are unequal, and of more than two how each did."""
    counts, recalls = results["test_counts"], results["test_recalls"]
    largest = max(counts, key=counts.get)
    if counts[largest] > min(counts.values()):
        print(f"always answering {largest!r} would be right in {counts[largest] / sum(counts.values()):.4f}")
    if len(counts) > 2:
        of_class = ", ".join(f"{name} {r:.2f}" for name, r in recalls.items() if r is not None)
        print(f"macro F1 {results['test_macro_f1']:.4f}; recall of {of_class}")
