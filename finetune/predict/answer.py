"""Part V, the second command: use. What does a trained classifier say of a text that nobody has labelled?

    python -m finetune.predict runs/imdb "A film I will not forget." "Two hours I will not get back."
    python -m finetune.predict runs/imdb --words "Slow, but moving."        # and which words moved the decision
    python -m finetune.predict runs/imdb --json < reviews.txt

A transfer run holds its encoder, so nothing else is needed. Any text is answered: an empty one, one of a million
characters, one in which somebody wrote [MASK].

Read next: `minitransfer.transfer.erasure`, where the words are weighed.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor

from finetune.predict.settings import Settings
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import one_line
from minitransfer.apparatus.runtime import choose_device, set_threads
from minitransfer.text.cleaning import clean_text, decode
from minitransfer.text.imdb import LINE_BREAK
from minitransfer.transfer.classifier import load_classifier, max_tokens_of
from minitransfer.transfer.erasure import word_importances
from minitransfer.transfer.examples import predict
from minitransfer.transfer.tokens import TokenisedTexts

SHOWN = 70  # characters of a text that are repeated beside its answer
WORDS, LONGEST = 5, 24  # how many words are shown for an answer and against it, and how much of each
LEAST = 0.005  # log odds: what would be shown as 0.00 is not


def main(settings: Settings) -> None:
    """Load the classifier and answer text after text."""
    device = choose_device(settings.device)
    set_threads(settings.threads)
    run = load_run(settings.run, kind="transfer")
    model = load_classifier(run, device)
    max_tokens = max_tokens_of(run.config, model.encoder)
    weigh = partial(word_importances, model, max_tokens=max_tokens) if settings.words else None
    texts = iter(settings.texts) if settings.texts else stdin_lines()
    while batch := list(islice(texts, settings.batch_size)):
        tokenised = model.encoder.tokenise([clean(text) for text in batch], max_tokens)
        for line in answers(batch, tokenised, predict(model, tokenised), model.classes, settings.json, weigh):
            print(line, flush=True)


def stdin_lines() -> Iterator[str]:
    """The lines of stdin, one text each. Raises: DataError naming line and byte of what is not UTF-8."""
    if sys.stdin is None:
        raise UsageError("there is no text, and stdin is closed", "give a text as an argument")
    if sys.stdin.isatty():
        print("one text per line; Ctrl-D ends", file=sys.stderr)
    return decoded_lines(sys.stdin.buffer)


def decoded_lines(lines: Iterable[bytes]) -> Iterator[str]:
    """Raw lines as texts.

    Raises: DataError naming line and byte of what is not UTF-8; UsageError if there is no reading from there.
    """
    offset = 0
    try:
        for number, raw in enumerate(lines, start=1):
            yield decode(raw.rstrip(b"\r\n"), f"line {number:,} of stdin", Counter(), offset)
            offset += len(raw)
    except OSError as failure:  # opened for writing only, as nohup does it, or a disk that fails
        raise UsageError(f"stdin cannot be read: {failure.strerror}", "give a text as an argument") from failure


def clean(text: str) -> str:
    """A text as those of the corpus are: composed Unicode, line breaks for <br />, no invisible characters."""
    return LINE_BREAK.sub("\n", clean_text(text, Counter()))


def answers(texts: Sequence[str], tokenised: TokenisedTexts, p: Tensor, classes: Sequence[str], as_json: bool,
            weigh: Callable[..., list[tuple[str, float]]] | None = None) -> Iterator[str]:
    """One line for each text, from the probabilities of its classes, (N, Y).

    With `weigh`, which gives each word its weight in the answer, a line of JSON holds these, and another line is
    followed by the words that weigh most.
    """
    rows = zip(texts, p.tolist(), tokenised.lengths.tolist(), tokenised.shortened.tolist())
    for text, of_classes, tokens, shortened in rows:
        label = max(range(len(of_classes)), key=of_classes.__getitem__)
        if as_json:
            answer: dict[str, Any] = {"label": classes[label], "probability": round(of_classes[label], 6),
                                      "tokens": tokens, "shortened": shortened}
            if weigh:
                words = weigh(text=clean(text), label=label)
                answer["words"] = [(word, round(weight, 6)) for word, weight in words]
            yield json.dumps(answer)
        else:
            yield f"{one_line(classes[label])} {of_classes[label]:.2f}  {shown(text)}"
            if weigh:
                yield from weightiest(weigh(text=clean(text), label=label))


def weightiest(words: Sequence[tuple[str, float]]) -> Iterator[str]:
    """A line with the words that speak most for an answer, and one with those against it, if there are any."""
    ranked = sorted(words, key=lambda word: -word[1])
    sides = {"for it": [word for word in ranked if word[1] >= LEAST],
             "against it": [word for word in reversed(ranked) if word[1] <= -LEAST]}
    for side, most in sides.items():
        if most:
            yield f"  {side}:  " + "  ".join(f"{shown(word, LONGEST)} {weight:+.2f}" for word, weight in most[:WORDS])
    if not any(sides.values()):
        yield "  no word moved it by itself"


def shown(text: str, most: int = SHOWN) -> str:
    """The beginning of a text on one line, safe for any terminal: at most so many characters."""
    text = one_line(text[: 4 * most])
    return (text if len(text) <= most else text[: most - 1] + "…") or "(an empty text)"
