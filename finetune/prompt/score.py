"""Part VI, prompting: the command. What does a language model say of a review before it has seen a single label?

    python -m finetune.prompt runs/bert-imdb
    python -m finetune.prompt runs/bert --reviews 2000       # an encoder that never saw a review, for comparison
    python -m finetune.prompt runs/bert-imdb --labels 100    # tuned first; beside it: finetune.imdb --mode finetune
    python -m finetune.prompt runs/gpt-imdb --examples 4     # with four reviews and their answers before each

Each review is asked about with each template, and each pair of words gives an answer: the review is positive if the
positive word is the likelier one (raw), or if its score is above the median score of reviews without labels. The second
assumes that half of these are positive. All templates and pairs are told, with mean, spread and worst.

Read next: `finetune.prompt.tune`.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetune.prompt.settings import Settings
from finetune.prompt.tune import tune
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.errors import DataError, UsageError
from minitransfer.apparatus.progress import Progress, say
from minitransfer.apparatus.runtime import choose_precision, derived_seed, set_up
from minitransfer.bert.encoder import MaskedLM
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.corpora import Reviews, find_data_dir, load_reviews
from minitransfer.text.wordpiece import WordPiece
from minitransfer.transfer import FEWEST
from minitransfer.transfer.labels import choose_labelled
from minitransfer.transfer.loading import load_with_head
from minitransfer.transfer.prompts import PAIRS, SAMPLE_PAIRS, TEMPLATES, Template, accuracies, scores, single_pieces

UNLABELLED = 2_000  # reviews whose median score is the threshold
LEAST_ROOM = 8  # pieces of a review, or there is nothing to judge
Example = tuple[np.ndarray, int]  # a review as pieces, and its label


def main(settings: Settings) -> dict[str, Any]:
    """Tune if that is asked for, then ask everything of all reviews, and tell and return what came of it."""
    device = set_up(settings.device, settings.threads)
    model, encoder = load_with_head(load_run(settings.run), device)
    precision = choose_precision("auto", device, encoder.hidden_size)
    wordpiece = encoder.wordpiece
    templates = {text: template for text in TEMPLATES if (template := Template.of(text, wordpiece)).asks_behind
                 or not isinstance(model, CausalLM)}
    max_tokens = _room(list(templates.values()), settings, encoder.max_tokens)
    reviews = load_reviews(settings.data, find_data_dir(settings.data_dir), offline=settings.offline)
    pairs = _pairs(reviews, wordpiece, settings.run)
    tuned: dict[str, Any] = {}
    examples: list[Example] = []
    if settings.labels:
        templates, pairs = dict(list(templates.items())[:1]), dict(list(pairs.items())[:1])
        [template], [pair] = templates.values(), pairs.values()
        texts, labels = _labelled(reviews, settings.labels, settings.seed, wordpiece, "--labels")
        questions = [template.fill(text, max_tokens) for text in texts]
        tuned = tune(model, questions, labels, pair, settings, precision)
    elif settings.examples:
        examples = list(zip(*_labelled(reviews, settings.examples, settings.seed, wordpiece, "--examples")))
        random.Random(derived_seed(settings.seed, "examples")).shuffle(examples)
    test = _drawn(len(reviews.test_texts), settings.reviews)
    answers = Asker(model, wordpiece, examples, max_tokens, precision).ask_all(reviews, test, templates, pairs)
    results = {"encoder": settings.run, "mode": "prompt", "labels": settings.labels or 0,
               "examples": len(examples), "seed": settings.seed, "data": reviews.name, "reviews": len(test),
               "max_tokens": max_tokens, **tuned, "answers": answers,
               **{kind: _summary(answers, kind) for kind in ("raw", "median")}}
    print(json.dumps(results)) if settings.json else tell(results)
    return results


@dataclass(frozen=True)
class Asker:
    """A language model with its pieces, and what all questions to it have in common.

    examples      labelled reviews that stand before each review, with their answers
    max_tokens    the length of a question at most
    precision     "fp32" or "bf16", in which the network multiplies
    """

    model: MaskedLM
    wordpiece: WordPiece
    examples: Sequence[Example]
    max_tokens: int
    precision: str

    def ask_all(self, reviews: Reviews, test: np.ndarray, templates: dict[str, Template],
                pairs: dict[tuple[str, str], list[int]]) -> list[dict[str, Any]]:
        """The accuracies of each template and pair over the test reviews `test`, raw and above the median.

        Shapes: test (N,) int64, positions in `reviews.test_texts`.
        """
        unlabelled = reviews.unsup_texts or reviews.train_texts
        some = _drawn(len(unlabelled), UNLABELLED)
        labels, answers = reviews.test_labels[test], []
        pieces, unlabelled_pieces = (self.wordpiece.encode([texts[i] for i in rows])
                                     for texts, rows in ((reviews.test_texts, test), (unlabelled, some)))
        say(f"{len(test):,} reviews of {reviews.name} to test on, {len(some):,} without labels for the threshold; "
            f"{len(templates)} templates")
        for text, template in templates.items():
            s, s_unlabelled = (self.ask(template, part, list(pairs.values()), text)
                               for part in (pieces, unlabelled_pieces))
            median = s_unlabelled.median(dim=0).values
            both = zip(pairs, accuracies(s, labels), accuracies(s, labels, median))
            answers += [{"template": text, "words": list(pair), "raw": raw, "median": above}
                        for pair, raw, above in both]
        return answers

    def ask(self, template: Template, reviews: Sequence[np.ndarray], pairs: Sequence[Sequence[int]],
            text: str) -> Tensor:
        """The scores of reviews for all pairs, with a line of progress that shows `text`, that of the template.

        One forward pass does for all pairs; but examples have their answers by one pair, and each pair then needs a
        pass of its own.
        Shapes: reviews int32 (T_i,) each, N of them; pairs (W, 2) token ids -> (N, W) float32.
        """
        found = []
        for group in [[pair] for pair in pairs] if self.examples else [pairs]:
            answered = [(review, group[0][1 - label]) for review, label in self.examples]  # the positive word is first
            questions = [template.fill(review, self.max_tokens, answered) for review in reviews]
            with Progress(sum(map(len, questions)), "tokens", description=f'"{text}"') as progress:
                found.append(scores(self.model, questions, group, self.precision, progress.advance))
        return torch.cat(found, dim=1)


def tell(results: dict[str, Any]) -> None:
    """Print the table: a row for each template and pair, then what they come to together."""
    if results["labels"]:
        chosen, right = f"epoch {results['epochs']} of {results['epochs_run']}", results["validation_accuracy"]
        print(f"tuned on {results['labels']:,} labels, {chosen}: validation accuracy {right:.4f}")
    print(f"{'template':42}{'words':20}{'raw':>8}{'median':>8}")
    for answer in results["answers"]:
        print(f"{answer['template']:42}{'/'.join(answer['words']):20}{answer['raw']:8.2%}{answer['median']:8.2%}")
    for kind in ("raw", "median"):
        found = results[kind]
        print(f"{kind}: mean {found['mean']:.2%}, standard deviation {found['spread']:.2%}, worst {found['worst']:.2%}")


def _room(templates: Sequence[Template], settings: Settings, usual: int) -> int:
    """How long a question may be. Raises: UsageError beyond what the run was pretrained on, or for next to nothing."""
    asked, several = settings.max_tokens or usual, settings.examples or 0
    least = 2 + (several + 1) * (max(template.length for template in templates) + LEAST_ROOM)
    if not least <= asked <= usual:
        needed = f"the templates and {several} examples need" if several else "the templates need"
        fix = "give another number" if least <= usual else f"use {'fewer --examples' if several else 'another run'}"
        raise UsageError(f"--max-tokens {asked} is not within {least}, which {needed}, and {usual}, "
                         "which the run was pretrained on", fix)
    return asked


def _pairs(reviews: Reviews, wordpiece: WordPiece, run: str) -> dict[tuple[str, str], list[int]]:
    """The pairs of words that are single pieces, with the ids of these. Raises: DataError if there are none."""
    usual = SAMPLE_PAIRS if reviews.name == "sample" else PAIRS
    pairs = single_pieces(usual, wordpiece)
    if not pairs:
        words = ", ".join("/".join(pair) for pair in usual)
        raise DataError(f"of {words} {run} knows no pair as single pieces",
                        "use a run that was pretrained with more pieces, or on more text")
    say(f"{len(pairs)} of {len(usual)} pairs of words are single pieces")
    return pairs


def _labelled(reviews: Reviews, n: int, seed: int, wordpiece: WordPiece,
              flag: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Reviews of the training half as pieces, as many of each class, and their labels (n,): 1 is positive."""
    drawn = choose_labelled(reviews.train_labels, max(n, 2 * FEWEST), seed, flag=flag)
    chosen = np.concatenate([drawn[reviews.train_labels[drawn] == y][: n // 2] for y in (0, 1)])
    return wordpiece.encode([reviews.train_texts[i] for i in chosen]), reviews.train_labels[chosen]


def _drawn(N: int, n: int | None) -> np.ndarray:
    """n of N positions, always the same, in order; all of them for None or more than there are."""
    return np.array(sorted(random.Random(0).sample(range(N), min(n or N, N))))


def _summary(answers: Sequence[dict[str, Any]], kind: str) -> dict[str, float]:
    """Mean, spread and worst of the accuracies of all templates and pairs."""
    found = np.array([answer[kind] for answer in answers])
    return {"mean": float(found.mean()), "spread": float(found.std()), "worst": float(found.min())}
