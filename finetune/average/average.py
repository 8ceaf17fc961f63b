"""Part VI, the average. Do models that err differently know more together than the best of them alone?

    python -m finetune.average runs/finetuned runs/bag --out runs/average

An **ensemble** answers by what several models say. Here it is the weighted geometric mean of their probabilities, a
**logarithmic opinion pool** (with weights of 1 it would be a product of experts, Hinton 2002): what one model takes
to be impossible stays so, and whoever is unsure leaves the answer to the others. The validation slice, which no run
learned from, chooses the weights; the test half is scored once, with these. That each run also stopped by that slice
makes its validation accuracies a little too good.

Each run has kept its logits for both. A model that was trained with other labels, or another seed, has learned from
reviews that the others hold out, and is refused: its weight would be chosen by what it knows by heart.

Read next: `finetune.compare.run`, which sets it beside everything else.
"""

import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from finetune.average.settings import STEPS, Settings
from finetune.reports import LOGITS, Results, say_already_complete
from minitransfer.apparatus import checkpoint
from minitransfer.apparatus.checkpoint import LoadedRun, RunDirectory, check_free, load_run
from minitransfer.apparatus.durable import to_json
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.options import shell_line
from minitransfer.apparatus.runtime import environment, interruptible, set_threads
from minitransfer.apparatus.saved import ANOTHER
from minitransfer.text import classes_of
from minitransfer.transfer import CLASSIFIERS
from minitransfer.transfer.stopping import Outcome, loss_and_accuracy, scores_of

SAME = {  # what all runs of an average must have in common, and how a reader calls it
    "trial": "another --trial", "data": "other reviews", "classes": "other classes",
    "labels": "another number of labels", "seed": "another --seed, so another validation slice",
}
TENSORS = ("validation", "validation_labels", "test", "test_labels")


@dataclass(frozen=True)
class Member:
    """One run of an average: what must be the same in all, its own results, and its logits by the names of TENSORS."""

    run: LoadedRun
    same: dict[str, Any]
    results: dict[str, Any]
    logits: dict[str, Tensor]

    @property
    def name(self) -> str:
        """What it is called in a table: "bag", or its encoder and mode."""
        encoder = self.results.get("encoder")
        mode = str(self.results.get("mode"))
        return f"{os.path.basename(os.path.abspath(encoder))} {mode}" if isinstance(encoder, str) else mode


def main(settings: Settings) -> dict[str, Any]:
    """Read the runs, find the weights, score once, and write down what came of it; returns the results."""
    if not settings.resume:
        check_free(Path(settings.out))
    set_threads(settings.threads)
    with interruptible():
        members = [read_member(path) for path in settings.runs]
        check_together(members)
        config = {"kind": "average", "mode": "average", "runs": [member.run.fingerprint for member in members],
                  "steps": settings.steps, **members[0].same, "environment": environment()}
        with RunDirectory.create(settings.out, config, resume=settings.resume) as run:
            if run.completed is None:
                average(members, settings, run)
            else:
                say_already_complete(run)
    return checkpoint.results(settings.out)


def average(members: Sequence[Member], settings: Settings, run: RunDirectory) -> None:
    """Find the weights, score the test half with them, save and tell."""
    started, tried = time.monotonic(), settings.num_weightings
    validation, test = (torch.stack([member.logits[part] for member in members]) for part in ("validation", "test"))
    labels, same = members[0].logits, members[0].same
    weights = choose_weights(validation, labels["validation_labels"], settings.steps)
    seconds = time.monotonic() - started
    loss, accuracy = loss_and_accuracy(geometric_mean(validation, weights), labels["validation_labels"])
    scores = scores_of(geometric_mean(test, weights), labels["test_labels"])
    encoding, training = (sum(member.results[name] for member in members)
                          for name in ("seconds_encoding", "seconds_training"))
    outcome = Outcome(step=tried, epochs_run=tried, seconds=training + seconds, best_epoch=tried, best_loss=loss,
                      best_accuracy=accuracy)
    shared = {name: same[name] for name in ("labels", "seed", "trial")}
    record = Results.of(outcome, scores, same["classes"], encoding, mode="average", data=members[0].results["data"],
                        **shared)
    results = asdict(record) | {"runs": weighed(members, weights)}
    line = json.dumps(row_of(members, settings, results)) + "\n"
    run.save_model({"weights": weights}, {"results.json": to_json(results), "results.jsonl": line})
    run.mark_complete(outcome.step, results)
    report(results, run.path)


def weighed(members: Sequence[Member], weights: Tensor) -> list[dict[str, Any]]:
    """What results.json has of each run: where it is, its weight and its own accuracies. Shapes: weights (K,)."""
    runs = []
    for member, weight in zip(members, weights.tolist()):
        accuracies = {f"{part}_accuracy": loss_and_accuracy(member.logits[part], member.logits[f"{part}_labels"])[1]
                      for part in ("validation", "test")}
        runs.append({"run": str(member.run.path), "fingerprint": member.run.fingerprint, "weight": weight,
                     **accuracies})
    return runs


def row_of(members: Sequence[Member], settings: Settings, results: dict[str, Any]) -> dict[str, Any]:
    """The line of results.jsonl, as a comparison has one of each of its runs."""
    steps = [] if settings.steps == STEPS else ["--steps", str(settings.steps)]
    return {"cell": Path(settings.out).name, "model": " + ".join(member.name for member in members),
            "command": f"python -m finetune.average {shell_line([*settings.runs, *steps, '--out', settings.out])}",
            "reviews": results["labels"] + len(members[0].logits["test_labels"]), **results,
            "validation_accuracies": []}


def geometric_mean(logits: Tensor, weights: Tensor) -> Tensor:
    """The logarithm of the weighted geometric mean of what K models say of N texts.

    p_i(y) = Π_k p_{k,i}(y)^{w_k} / Z_i,  Z_i = Σ_y Π_k p_{k,i}(y)^{w_k},  p_k = softmax(z_k)

    So log p = Σ_k w_k log p_k − log Z. Σ_k w_k = 1: the mean of models that agree is what they agree on.
    Shapes: logits z (K, N, Y), weights (K,) float64 -> (N, Y) float64.
    """
    log_p = (weights.view(-1, 1, 1) * logits.double().log_softmax(dim=-1)).sum(dim=0)
    return log_p.log_softmax(dim=-1)


def choose_weights(logits: Tensor, labels: Tensor, steps: int) -> Tensor:
    """The weights, multiples of 1 / steps that sum to one, whose mean has the lowest loss; the first, if several have.

    Differs: the loss is convex in the weights, so a gradient would find the best ones more exactly. A grid can be read,
    and does not fit the slice closer than its few reviews deserve.
    Shapes: logits (K, n, Y), labels (n,) -> (K,) float64.
    """
    tried = (torch.tensor(shares, dtype=torch.float64) / steps for shares in grid(len(logits), steps))
    return min(tried, key=lambda weights: loss_and_accuracy(geometric_mean(logits, weights), labels)[0])


def grid(num_runs: int, steps: int) -> Iterator[tuple[int, ...]]:
    """Every way to divide `steps` among the runs: K − 1 bars between them stand somewhere among the steps."""
    for bars in itertools.combinations(range(steps + num_runs - 1), num_runs - 1):
        yield tuple(b - a - 1 for a, b in itertools.pairwise((-1, *bars, steps + num_runs - 1)))


def read_member(path: str) -> Member:
    """A run of an average. Raises: CheckpointError for one that is no finished classifier, or has no logits."""
    run = load_run(path)
    if run.kind not in CLASSIFIERS:
        raise CheckpointError(f"{path} holds a run of kind {run.kind!r}, which classifies nothing to be averaged",
                              "give runs of finetune.imdb and finetune.bag")
    if LOGITS not in run.files:
        raise CheckpointError(f"{path} has no {LOGITS}: it was trained before runs kept what they say of each review",
                              "train it anew in another --out")
    results = run.parsed("results.json", json.loads)
    numbers = ("labels", "seconds_encoding", "seconds_training")
    whole = isinstance(results, dict) and isinstance(results.get("data"), str)
    if not whole or any(type(results.get(name)) not in (int, float) for name in numbers):
        raise CheckpointError(f"{run.path / 'results.json'} does not tell what was learned from", ANOTHER)
    try:
        classes = classes_of(run.config)
    except ValueError as failure:
        raise CheckpointError(f"{run.path / 'config.json'}: {failure}", ANOTHER) from failure
    same = {"classes": classes, "labels": results["labels"],
            **{name: run.config.get(name) for name in ("data", "trial", "seed")}}
    return Member(run, same, results, read_logits(run, len(classes)))


def read_logits(run: LoadedRun, num_classes: int) -> dict[str, Tensor]:
    """What logits.safetensors of a run holds. Raises: CheckpointError if that is not what a run writes."""
    try:
        logits = safetensors.torch.load(run.files[LOGITS])
        for part in ("validation", "test"):
            z, labels = logits[part], logits[f"{part}_labels"]
            if z.shape != (len(labels), num_classes) or labels.shape != (len(z),) or not len(z):
                shapes = f"{tuple(z.shape)} for labels {tuple(labels.shape)} and {num_classes} classes"
                raise ValueError(f"{part} is {shapes}")
            if not z.is_floating_point() or not z.isfinite().all():
                raise ValueError(f"{part} is not all finite numbers")
            if labels.dtype != torch.int64 or labels.min() < 0 or labels.max() >= num_classes:
                raise ValueError(f"{part}_labels are not all classes")
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as failure:
        raise CheckpointError(f"{run.path / LOGITS} is damaged: {failure}", ANOTHER) from failure
    return {name: logits[name] for name in TENSORS}


def check_together(members: Sequence[Member]) -> None:
    """Raises: CheckpointError unless all runs chose by the same reviews and were scored on the same ones."""
    first = members[0]
    for member in members[1:]:
        differing = [text for name, text in SAME.items() if member.same[name] != first.same[name]]
        if not all(torch.equal(member.logits[name], first.logits[name]) for name in TENSORS if "labels" in name):
            differing.append("other reviews held out or scored")
        if differing:
            raise CheckpointError(f"{member.run.path} has {differing[0]} than {first.run.path}",
                                  "average runs over the same reviews, of one seed and one number of labels")


def report(results: dict[str, Any], path: Path) -> None:
    """Print what came of it, run by run."""
    scored = "development" if results["trial"] else "test"
    for run in results["runs"]:
        print(f"weight {run['weight']:.2f}  {run['run']}: validation accuracy {run['validation_accuracy']:.4f}, "
              f"{scored} accuracy {run['test_accuracy']:.4f}")
    print(f"the best of {results['epochs']:,} weightings: validation accuracy {results['validation_accuracy']:.4f}, "
          f"loss {results['validation_loss']:.4f}")
    on = f", on {results['trial']:,} training reviews set aside" if results["trial"] else " (scored once)"
    print(f"{scored} accuracy {results['test_accuracy']:.4f}{on}")
    print(f"saved in {path}: results.json, results.jsonl, model.safetensors")
