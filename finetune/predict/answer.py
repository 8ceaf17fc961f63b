"""Part VI, the second command: use. What does a trained classifier say of a text that nobody has labelled?

    python -m finetune.predict runs/imdb "A moving film, superbly acted." "A boring film with a predictable story."
    python -m finetune.predict runs/imdb --words "Slow, but moving."        # and which words moved the decision
    python -m finetune.predict runs/imdb --json --file reviews.txt          # one text per line
    grep film reviews.txt | python -m finetune.predict runs/bag

A transfer run holds its encoder, and a bag its n-grams, so nothing else is needed. Any text is answered: one of a
million characters, one in which somebody wrote [MASK]. Only an empty one is marked as such, and a line that is no text:
each line of a file has its line on stdout.

Read next: `minitransfer.transfer.erasure`, where the words are weighed.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from finetune.predict.settings import Settings
from minitransfer.apparatus.errors import CheckpointError, DataError, UsageError
from minitransfer.apparatus.options import one_line
from minitransfer.apparatus.progress import say
from minitransfer.apparatus.runtime import set_threads
from minitransfer.apparatus.saved import COMMAND_OF_KIND, read_config
from minitransfer.text.cleaning import decode
from minitransfer.text.tables import ENDINGS as TABLES
from minitransfer.text.tables import ending
from minitransfer.transfer import CLASSIFIERS, api
from minitransfer.transfer.api import Predicting, TextClassifier, clean
from minitransfer.transfer.coverage import Coverage
from minitransfer.transfer.erasure import word_importances

STDIN = "-"  # as a text
SHOWN = 70  # characters of a text that are repeated beside its answer
WORDS, LONGEST = 5, 24  # how many words are shown for an answer and against it, and how much of each
LEAST_SHOWN = 0.005  # log odds: what would be shown as 0.00 is not
CERTAIN = 3  # standard deviations: three unknown words of three are beyond chance, and four of six are not


class Asked(NamedTuple):
    """A text to be answered, or what is wrong with the line where one should be."""

    text: str
    fault: DataError | None = None


def main(settings: Settings) -> list[dict[str, Any]]:
    """Answer texts, a line each; returns the answers. Raises: DataError, after the last, if some lines are no text."""
    check_texts(settings.texts if settings.reads_stdin else (), settings.file)
    set_threads(settings.threads)
    classifier = load_classifier(settings.run, settings.device)
    weigh = weigher(classifier) if settings.words else None
    coverage = classifier.coverage() if isinstance(classifier, TextClassifier) else None
    texts, answers, faults = asked(settings), [], []
    while batch := list(islice(texts, settings.batch_size)):
        for one, answer in zip(batch, answered(batch, classifier, weigh, coverage)):
            for line in [json.dumps(answer)] if settings.json else lines(one, answer):
                print(line, flush=True)
            if one.fault is not None:
                say(f"no answer: {one.fault.what}")
                faults.append(one.fault)
            answers.append(answer)
        if coverage and (told := coverage.warning(CERTAIN)):
            say(told)
            coverage = None  # once is enough
    if faults:
        what = f"{len(faults):,} of {len(answers):,} lines have no answer; the first: {faults[0].what}"
        raise DataError(what, faults[0].fix)
    return answers


def load_classifier(run: str, device: str) -> Predicting:
    """What a run predicts by. Raises: CheckpointError for one that has learned no classes."""
    make = f"give the directory of such a run; `{COMMAND_OF_KIND['transfer']}` trains one"
    kind = read_config(Path(run), make)["kind"]
    if kind not in CLASSIFIERS:
        raise CheckpointError(f"{run} holds a run of kind {kind!r}, and only those of finetune.imdb and finetune.bag "
                              "classify", make)
    return api.load(run, device=device)


def check_texts(texts: Sequence[str], files: Sequence[str]) -> None:
    """Raises: UsageError for a text that is the name of a file, and a file that is none, before anything is loaded."""
    for text in texts:
        if text != STDIN and os.path.isfile(text):
            raise UsageError(f"the text {text!r:.100} is the name of a file",
                             f"use --file {one_line(text)} for its lines; to classify the name, give it on stdin")
    for name in files:
        if os.path.isdir(name) or not os.path.exists(name):  # a pipe is as good as a file
            found = "is a directory" if os.path.isdir(name) else "does not exist"
            raise UsageError(f"--file {name:.300} {found}", "name a file with one text per line")
        if ending(Path(name)) in TABLES:
            raise UsageError(f"--file {name:.300} is a table, by its ending, and each line would be one text",
                             "write the texts alone to a .txt file, one a line")


def weigher(classifier: Predicting) -> Callable[..., list[tuple[str, float]]]:
    """What gives each word of a text its weight in the answer. Raises: CheckpointError for a bag."""
    if not isinstance(classifier, TextClassifier):
        raise CheckpointError(f"--words takes a word out and encodes the rest, and {classifier.run} has no encoder",
                              f"leave it out, or give a run of `{COMMAND_OF_KIND['transfer']}`")
    return partial(word_importances, classifier.model, max_tokens=classifier.max_tokens)


def asked(settings: Settings) -> Iterator[Asked]:
    """The texts of the command line, `-` for the lines of stdin, then those of the files; without any, stdin's."""
    nothing = (STDIN,) if settings.reads_stdin and not settings.file else ()
    for text in settings.texts or nothing:
        yield from stdin_lines() if text == STDIN and settings.reads_stdin else [Asked(text)]
    for name in settings.file:
        try:
            with open(name, "rb") as file:
                yield from decoded_lines(file, name)
        except OSError as failure:
            what = f"--file {name:.300} cannot be read: {failure.strerror}"
            raise UsageError(what, "let your user read it, or name another file") from failure


def stdin_lines() -> Iterator[Asked]:
    """The lines of stdin, one text each. Raises: UsageError if there is no reading from there."""
    if sys.stdin is None:
        raise UsageError("there is no text, and stdin is closed", "give a text as an argument")
    if sys.stdin.isatty():
        print("one text per line; Ctrl-D ends", file=sys.stderr)
    try:
        yield from decoded_lines(sys.stdin.buffer, "stdin")
    except OSError as failure:  # opened for writing only, as nohup does it, or a disk that fails
        raise UsageError(f"stdin cannot be read: {failure.strerror}", "give a text as an argument") from failure


def decoded_lines(raw_lines: Iterable[bytes], name: str) -> Iterator[Asked]:
    """Raw lines as texts; of one that is not UTF-8 it is said which byte of which line is at fault."""
    offset = 0
    for number, raw in enumerate(raw_lines, start=1):
        try:
            yield Asked(decode(raw.rstrip(b"\r\n"), f"line {number:,} of {name}", Counter(), offset))
        except DataError as fault:
            yield Asked("", fault)
        offset += len(raw)


def answered(batch: Sequence[Asked], classifier: Predicting,
             weigh: Callable[..., list[tuple[str, float]]] | None = None,
             coverage: Coverage | None = None) -> list[dict[str, Any]]:
    """What the classifier says of each text: label, probability (of that label), tokens, shortened.

    The label is None for an empty text, and for what is none, where `fault` says why. With `weigh` comes the weight of
    each word in the answer. With `coverage` the texts are counted there, too.
    """
    tokenised = classifier.tokenise([one.text for one in batch])
    if coverage:
        coverage.count(tokenised)
    rows = zip(batch, classifier.probabilities(tokenised).numpy(), tokenised.lengths.tolist(),
               tokenised.shortened.tolist())
    answers = []
    for one, p, tokens, shortened in rows:
        label, text = int(np.argmax(p)), clean(one.text)
        answer = {"label": str(classifier.classes_[label]), "probability": round(float(p[label]), 6),
                  "tokens": tokens, "shortened": shortened}
        if one.fault or not text.strip():
            answer |= {"label": None, "probability": None} | ({"fault": one.fault.what} if one.fault else {})
        if weigh:
            words = weigh(text=text, label=label) if answer["label"] else []
            answer["words"] = [(word, round(weight, 6)) for word, weight in words]
        answers.append(answer)
    return answers


def lines(one: Asked, answer: dict[str, Any]) -> Iterator[str]:
    """An answer in a line for people, and the words that weigh most, if they were weighed."""
    if answer["label"] is None:
        yield f"no answer  ({one.fault.what if one.fault else 'an empty text'})"
        return
    yield f"{one_line(answer['label'])} {answer['probability']:.2f}  {beginning(one.text)}"
    if "words" in answer:
        yield from weightiest(answer["words"])


def weightiest(words: Sequence[tuple[str, float]]) -> Iterator[str]:
    """A line with the words that speak most for an answer, and one with those against it, if there are any."""
    ranked = sorted(words, key=lambda word: -word[1])
    sides = {"for it": [word for word in ranked if word[1] >= LEAST_SHOWN],
             "against it": [word for word in reversed(ranked) if word[1] <= -LEAST_SHOWN]}
    for side, most in sides.items():
        if most:
            weights = (f'"{beginning(word, LONGEST)}" {weight:+.2f}' for word, weight in most[:WORDS])
            yield f"  {side}:  " + "  ".join(weights)
    if not any(sides.values()):
        yield "  no word moved it by itself"


def beginning(text: str, most: int = SHOWN) -> str:
    """The beginning of a text on one line, safe for any terminal: at most so many characters."""
    text = one_line(text[: 4 * most])
    return text if len(text) <= most else text[: most - 1] + "…"
