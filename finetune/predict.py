"""Part V, the second command: use. What does a trained classifier say of a text that nobody has labelled?

    python -m finetune.predict runs/imdb "A film I will not forget." "Two hours I will not get back."
    python -m finetune.predict runs/imdb --json < reviews.txt

A transfer run holds its encoder, so nothing else is needed. Any text is answered: an empty one, one of a million
characters, one in which somebody wrote [MASK].

This is the end of the path from text to answer; the apparatus, from `minitransfer.apparatus.errors` on, is read next.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import Parser, directory_name, one_line, positive_int, run_command
from minitransfer.text.archives import clean_text, decode
from minitransfer.text.imdb import LINE_BREAK

if TYPE_CHECKING:
    from torch import Tensor

    from minitransfer.transfer.tokens import TokenisedTexts

LABELS = ("negative", "positive")
SHOWN = 70  # characters of a text that are repeated beside its answer

DESCRIPTION = """Say whether texts are positive or negative, and with which probability.

examples:
  python -m finetune.predict runs/imdb "A film I will not forget."
  python -m finetune.predict runs/imdb --json --batch-size 64 < reviews.txt

Without texts, each line of stdin is one. Nothing is written but stdout: one line per text, in order."""


class MixedParser(Parser):
    """A parser that takes flags between its positional arguments, `RUN --json TEXT`, as people write them."""

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        """The flags and texts as a namespace; exits with 2 on the first thing that is not understood."""
        arguments, unknown = self.parse_known_intermixed_args(args, namespace)
        if unknown:
            self.error(f"unknown argument {unknown[0]!r}. Fix: {self._advice(unknown[0])}")
        return arguments


def make_parser() -> Parser:
    """The flags of this command."""
    parser = MixedParser(prog="python -m finetune.predict", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", type=directory_name, help="the directory of a run of finetune.imdb")
    parser.add_argument("texts", metavar="TEXT", nargs="*",
                        help="a text to classify; `--` goes before one that begins with -")
    parser.add_argument("--json", action="store_true",
                        help="one JSON object per line: label, probability (of that label), tokens (that were read), "
                             "shortened (whether the middle was left out)")
    parser.add_argument("--batch-size", metavar="N", type=positive_int, default=1,
                        help="texts per pass; 1 answers each line as it comes, more is faster for a file")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto",
                        help="where to compute; auto takes a CUDA GPU if there is one")
    parser.add_argument("--threads", metavar="N", type=positive_int, help="CPU threads (default: all cores)")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Load the classifier and answer text after text."""
    from minitransfer.apparatus.checkpoint import load_run
    from minitransfer.apparatus.runtime import choose_device, set_threads
    from minitransfer.transfer.classifier import load_classifier, max_tokens_of
    from minitransfer.transfer.examples import predict

    device = choose_device(arguments.device)
    set_threads(arguments.threads)
    run = load_run(arguments.run, kind="transfer")
    model = load_classifier(run, device)
    max_tokens = max_tokens_of(run.config, model.encoder)
    texts = iter(arguments.texts) if arguments.texts else stdin_lines()
    while batch := list(islice(texts, arguments.batch_size)):
        tokenised = model.encoder.tokenise([clean(text) for text in batch], max_tokens)
        for line in answers(batch, tokenised, predict(model, tokenised), arguments.json):
            print(line, flush=True)


def stdin_lines() -> Iterator[str]:
    """The lines of stdin, one text each. Raises: DataError naming line and byte of what is not UTF-8."""
    if sys.stdin is None:
        raise UsageError("there is no text, and stdin is closed", "give a text as an argument")
    if sys.stdin.isatty():
        print("one text per line; Ctrl-D ends", file=sys.stderr)
    return decoded_lines(sys.stdin.buffer)


def decoded_lines(lines: Iterable[bytes]) -> Iterator[str]:
    """Raw lines as texts. Raises: DataError naming line and byte of what is not UTF-8."""
    offset = 0
    for number, raw in enumerate(lines, start=1):
        yield decode(raw.rstrip(b"\r\n"), f"line {number:,} of stdin", Counter(), offset)
        offset += len(raw)


def clean(text: str) -> str:
    """A text as those of the corpus are: composed Unicode, line breaks for <br />, no invisible characters."""
    return LINE_BREAK.sub("\n", clean_text(text, Counter()))


def answers(texts: Sequence[str], tokenised: TokenisedTexts, p: Tensor, as_json: bool) -> Iterator[str]:
    """One line for each text, from the probabilities of its classes, (N, 2)."""
    rows = zip(texts, p.tolist(), tokenised.lengths.tolist(), tokenised.shortened.tolist())
    for text, of_classes, tokens, shortened in rows:
        label = max(range(len(of_classes)), key=of_classes.__getitem__)
        answer: dict[str, Any] = {"label": LABELS[label], "probability": round(of_classes[label], 6),
                                  "tokens": tokens, "shortened": shortened}
        yield json.dumps(answer) if as_json else f"{LABELS[label]} {of_classes[label]:.2f}  {shown(text)}"


def shown(text: str) -> str:
    """The beginning of a text on one line, safe for any terminal."""
    text = one_line(text[: 4 * SHOWN])
    return (text if len(text) <= SHOWN else text[: SHOWN - 1] + "…") or "(an empty text)"


if __name__ == "__main__":
    sys.exit(run_command(main, make_parser()))
