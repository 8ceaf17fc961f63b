"""Part VI, around the comparison: minutes to accuracy. How long from raw text to so many right, whatever was tried?

    python -m finetune.compare --minutes --out runs/compare        # of all finished runs in runs/ and runs/*/

The cost of an answer is that of all that it needs: static vectors, pretraining, pretraining further, the task. Each run
tells how long it took, and by a fingerprint which run it began with; so each is followed to its beginning, as long as
the runs that it goes back to lie beside it. Seeds of one recipe are one line, at its mean accuracy and mean minutes.

This is the end of the comparison. Read next: `minitransfer.huggingface.exchange`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.compare.tables import markdown, mean, plain
from minitransfer.apparatus.checkpoint import read_completion
from minitransfer.apparatus.durable import MANIFEST, entry
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.saved import read_config
from minitransfer.transfer import CLASSIFIERS

ACCURACIES = (80, 83, 85, 87, 88, 90, 91.5, 92.5, 93)  # %, of the test half
SCORED = (*CLASSIFIERS, "average")  # kinds of runs that were scored on a test half
NOT_OF_A_RECIPE = ("seed", "environment")  # of a config: what may differ between runs of one recipe
OF_A_PASS = ("encoder_fingerprint", "data", "max_tokens", "precision", "mode")  # what decides how long it takes
Records = Mapping[str, "Record"]  # by fingerprint


@dataclass(frozen=True, eq=False)
class Record:
    """What a finished run says of itself in config.json and complete.json; fingerprint: sha256 of its manifest."""

    path: Path
    config: dict[str, Any]
    results: dict[str, Any]
    fingerprint: str

    def number(self, name: str) -> float:
        """A number that the run tells. Raises: CheckpointError if it tells none."""
        value = self.results.get(name)
        if type(value) not in (int, float) or not 0 <= value < 2**53:  # nan is neither
            raise CheckpointError(f"{self.path} does not tell its {name}", "train it anew")
        return value


@dataclass(frozen=True, eq=False)
class Recipe:
    """One recipe over its seeds: accuracy in %, minutes of all stages, and those of each stage by its directory."""

    runs: Sequence[Record]
    accuracy: float
    minutes: float
    stages: Mapping[str, float]

    def __str__(self) -> str:
        seeds = ", ".join(str(run.config.get("seed")) for run in self.runs)
        sums = " + ".join(f"{path} {plain(minutes)}" for path, minutes in self.stages.items())
        return f"- {self.runs[0].path} (seed {seeds}): {self.accuracy:.1f} % in {plain(self.minutes)} min = {sums}"


def main(root: Path) -> list[dict[str, Any]]:
    """Print the table of each corpus of reviews that finished runs at most two levels below `root` were scored on.

    Returns the recipes, as dicts. What is left out is said on stderr.
    Raises: CheckpointError if there is nothing to tell.
    """
    records = read_records(root)
    tried: dict[tuple[str, int], list[Recipe]] = {}  # by reviews and number of labels
    for runs in runs_by_recipe(records):
        costs = costs_of(runs, records)
        if costs:
            first = next(iter(costs))
            reviews_and_labels = str(first.results.get("data")), int(first.number("labels"))
            tried.setdefault(reviews_and_labels, []).append(recipe_of(costs))
    if not tried:
        raise CheckpointError(f"no finished classifier in {root} whose every stage is there",
                              "give an --out beside which the runs lie, encoders included")
    for data in dict.fromkeys(data for data, _ in tried):
        print(table(data, {labels: recipes for (of, labels), recipes in sorted(tried.items()) if of == data}), end="")
    return [{"run": str(recipe.runs[0].path), "data": data, "labels": labels, "accuracy": recipe.accuracy,
             "minutes": recipe.minutes} for (data, labels), recipes in tried.items() for recipe in recipes]


def read_records(root: Path) -> dict[str, Record]:
    """All finished runs at most two levels below a directory."""
    records = {}
    for manifest in sorted([*root.glob(f"*/{MANIFEST}"), *root.glob(f"*/*/{MANIFEST}")]):
        try:
            results = read_completion(manifest.parent)
            if results is not None:
                fingerprint = hashlib.sha256(manifest.read_bytes()).hexdigest()
                records[fingerprint] = Record(manifest.parent, read_config(manifest.parent), results, fingerprint)
        except CheckpointError as failure:
            say(f"left out: {failure.what}")
    return records


def runs_by_recipe(records: Records) -> list[list[Record]]:
    """The classifiers that were scored on a test half, those that differ in nothing but their seed together."""
    alike: dict[str, list[Record]] = {}
    for record in records.values():
        if record.config["kind"] not in SCORED or record.config.get("trial") is not None:
            continue
        recipe = but_for_the_seed(record.config)
        if record.config["kind"] == "average":  # the recipes of its runs, as far as these are there
            recipe["runs"] = [but_for_the_seed(records[run].config) if run in records else run
                              for run in parents(record.config)]
        alike.setdefault(json.dumps(recipe, sort_keys=True), []).append(record)
    return list(alike.values())


def but_for_the_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config is the same in all runs of one recipe."""
    return {name: value for name, value in config.items() if name not in NOT_OF_A_RECIPE}


def costs_of(runs: Sequence[Record], records: Records) -> dict[Record, dict[Record, float]]:
    """The minutes of all stages of each run of a recipe, itself first; of one seed the first run alone.

    A run of which a stage is not among the records, or does not tell its time, is left out, and stderr says so.
    """
    costs: dict[Record, dict[Record, float]] = {}
    seeds = set()
    for run in runs:
        try:
            run.number("labels"), run.number("test_accuracy")
            cost = {record: seconds(record, records) / 60 for record in stages(run, records)}
        except CheckpointError as failure:
            say(f"left out: {run.path}: {failure.what}")
            continue
        if (seed := run.config.get("seed")) not in seeds:
            costs[run] = cost
        seeds.add(seed)
    return costs


def recipe_of(costs: Mapping[Record, Mapping[Record, float]]) -> Recipe:
    """One recipe with all its stages, as `costs_of` gives them, each at its mean over the seeds, by the names of the
    first; what seeds share is counted once for each, as a reader would run them."""
    first, accuracy = next(iter(costs)), mean([run.number("test_accuracy") for run in costs])
    names = ["itself", *(str(record.path) for record in list(costs[first])[1:])]
    minutes = [mean(stage) for stage in zip(*(cost.values() for cost in costs.values()))]
    return Recipe(list(costs), 100 * accuracy, sum(minutes), dict(reversed(list(zip(names, minutes)))))


def stages(run: Record, records: Records) -> list[Record]:
    """A run, and all that it goes back to, each once. Raises: CheckpointError if one is not among the records."""
    ancestry: dict[str, Record] = {}
    left = [(run.fingerprint, run)]
    while left:
        fingerprint, begun = left.pop(0)
        if fingerprint not in records:
            raise CheckpointError(f"what {begun.path} began with is not found (fingerprint {fingerprint!r:.14}…)",
                                  "let it lie beside --out")
        if fingerprint not in ancestry:
            ancestry[fingerprint] = records[fingerprint]
            left += [(parent, records[fingerprint]) for parent in parents(records[fingerprint].config)]
    return list(ancestry.values())


def parents(config: Mapping[str, Any]) -> list[str]:
    """The fingerprints of the runs that a run began with; for one that came from elsewhere something that is none."""
    if config["kind"] == "average":
        runs = config.get("runs")
        return [str(run) for run in runs] if isinstance(runs, list) else ["none"]
    if config["kind"] == "transfer":
        return [] if config.get("mode") == "scratch" else [str(config.get("encoder_fingerprint"))]
    return [] if config.get("origin") is None else [str(entry(config, "origin.fingerprint"))]


def seconds(record: Record, records: Records) -> float:
    """What one stage took. The time of an average is that of its runs.

    A frozen encoder's features are kept, so that of many runs one has encoded all reviews: each is charged with the
    longest of these passes, as if it had been the only one. (`finetune.compare.tables` charges it with the share of its
    labelled reviews alone: there modes are compared, and no other is charged with the reviews it is only tested on.)
    """
    if record.config["kind"] == "average":
        return 0.0
    if keeps_its_pass(record):
        alike = [other for other in records.values() if keeps_its_pass(other) and
                 all(other.config.get(name) == record.config.get(name) for name in OF_A_PASS)]
        return max(other.number("seconds_encoding") for other in alike) + record.number("seconds_training")
    return record.number("seconds")


def keeps_its_pass(record: Record) -> bool:
    """Whether a run encodes all reviews once: a frozen encoder, under a head that needs one vector of each."""
    frozen = record.config["kind"] == "transfer" and record.config.get("mode") == "frozen"
    model = record.config.get("model")
    return frozen and not (isinstance(model, dict) and model.get("head") == "bilstm")


def table(data: str, recipes: Mapping[int, Sequence[Recipe]]) -> str:
    """Accuracies downwards, numbers of labels across, the least minutes and whose; below, what these took."""
    body, used = [], []
    for accuracy in ACCURACIES:
        row = [f"{accuracy:g} %"]
        for of_count in recipes.values():
            enough = [recipe for recipe in of_count if recipe.accuracy >= accuracy]
            least = min(enough, key=lambda recipe: recipe.minutes) if enough else None
            row.append(f"{plain(least.minutes)} {least.runs[0].path.name}" if least else "—")
            used += [least] if least and least not in used else []
        body.append(row)
    head = ["test accuracy", *(f"{labels:,} labels" for labels in recipes)]
    costs = "".join(f"{recipe}\n" for recipe in used)
    return f"# Minutes to accuracy on {data}\n\n{markdown(head, body)}\n{costs}"
