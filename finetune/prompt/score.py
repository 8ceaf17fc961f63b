"""Part V, prompting: the command. What does a BERT say of a review before it has seen a single label?

    python -m finetune.prompt runs/bert-imdb
    python -m finetune.prompt runs/bert --reviews 2000       # an encoder that never saw a review, for comparison

Each review is asked about with each template, and each pair of words gives an answer: the review is positive if the
positive word is the likelier one (raw), or if its score is above the median score of reviews without labels. The second
assumes that half of these are positive. All templates and pairs are told, with mean, spread and worst.

Read next: `minitransfer.bert.distillation`.
"""

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from finetune.prompt.settings import Settings
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.errors import DataError, UsageError
from minitransfer.apparatus.progress import Progress, say
from minitransfer.apparatus.runtime import choose_device, choose_precision, set_threads
from minitransfer.bert.encoder import MaskedLM
from minitransfer.text.corpora import find_data_dir, load_reviews
from minitransfer.transfer.loading import load_with_head
from minitransfer.transfer.prompts import (
    PAIRS,
    SAMPLE_PAIRS,
    TEMPLATES,
    Template,
    accuracies,
    scores,
    single_pieces,
)

UNLABELLED = 2_000  # reviews whose median score is the threshold
LEAST_ROOM = 8  # pieces of a review, or there is nothing to judge


def main(settings: Settings) -> dict[str, Any]:
    """Ask everything of all reviews, and tell and return what came of it."""
    device = choose_device(settings.device)
    set_threads(settings.threads)
    run = load_run(settings.run, kind="bert")
    model, encoder = load_with_head(run, device, MaskedLM)
    precision = choose_precision("auto", device, encoder.hidden_size)
    wordpiece = encoder.wordpiece
    templates = {text: Template.of(text, wordpiece) for text in TEMPLATES}
    max_tokens = _room(list(templates.values()), settings.max_tokens, encoder.max_tokens)
    reviews = load_reviews(settings.data, find_data_dir(settings.data_dir), offline=settings.offline, say=say)
    usual = SAMPLE_PAIRS if reviews.name == "sample" else PAIRS
    pairs = single_pieces(usual, wordpiece)
    if not pairs:
        words = ", ".join("/".join(pair) for pair in usual)
        raise DataError(f"of {words} {settings.run} knows no pair as single pieces",
                        "use a run that was pretrained with more pieces, or on more text")
    test = _drawn(len(reviews.test_texts), settings.reviews)
    unlabelled = reviews.unsup_texts or reviews.train_texts
    some = _drawn(len(unlabelled), UNLABELLED)
    labels, answers = reviews.test_labels[test], []
    asked = wordpiece.encode([reviews.test_texts[i] for i in test]), wordpiece.encode([unlabelled[i] for i in some])
    say(f"{len(test):,} reviews of {reviews.name} to test on, {len(some):,} without labels for the threshold; "
        f"{len(TEMPLATES)} templates, {len(pairs)} of {len(usual)} pairs of words")
    for text, template in templates.items():
        s, unjudged = (ask(model, [template.fill(review, max_tokens) for review in part], list(pairs.values()),
                           precision, text) for part in asked)
        median = unjudged.median(dim=0).values
        both = zip(pairs, accuracies(s, labels), accuracies(s, labels, median))
        answers += [{"template": text, "words": list(pair), "raw": raw, "median": above} for pair, raw, above in both]
    results = {"encoder": settings.run, "mode": "prompt", "labels": 0, "data": reviews.name, "reviews": len(test),
               "max_tokens": max_tokens, "answers": answers,
               **{kind: _summary(answers, kind) for kind in ("raw", "median")}}
    print(json.dumps(results)) if settings.json else tell(results)
    return results


def ask(model: MaskedLM, questions: Sequence[np.ndarray], pairs: Sequence[Sequence[int]], precision: str,
        text: str) -> torch.Tensor:
    """The scores of questions for all pairs, (N, W), with a line of progress that shows the template."""
    with Progress(sum(map(len, questions)), "tokens", description=f'"{text}"') as progress:
        return scores(model, questions, pairs, precision, progress.advance)


def tell(results: dict[str, Any]) -> None:
    """Print the table: a row for each template and pair, then what they come to together."""
    print(f"{'template':42}{'words':20}{'raw':>8}{'median':>8}")
    for answer in results["answers"]:
        print(f"{answer['template']:42}{'/'.join(answer['words']):20}{answer['raw']:8.2%}{answer['median']:8.2%}")
    for kind in ("raw", "median"):
        found = results[kind]
        print(f"{kind}: mean {found['mean']:.2%}, standard deviation {found['spread']:.2%}, worst {found['worst']:.2%}")


def _room(templates: Sequence[Template], asked: int | None, usual: int) -> int:
    """How long a question may be. Raises: UsageError beyond what the run was pretrained on, or for next to nothing."""
    least = max(template.length for template in templates) + LEAST_ROOM
    if not least <= (asked or usual) <= usual:
        raise UsageError(f"--max-tokens {asked or usual} is not within {least}, which the templates need, and {usual}, "
                         "which the run was pretrained on", "leave it out, or use another run")
    return asked or usual


def _drawn(N: int, n: int | None) -> np.ndarray:
    """n of N positions, always the same, in order; all of them for None or more than there are."""
    return np.array(sorted(random.Random(0).sample(range(N), min(n or N, N))))


def _summary(answers: Sequence[dict[str, Any]], kind: str) -> dict[str, float]:
    """Mean, spread and worst of the accuracies of all templates and pairs."""
    found = np.array([answer[kind] for answer in answers])
    return {"mean": float(found.mean()), "spread": float(found.std()), "worst": float(found.min())}
