"""Part VI, around the second command: its flags. Nothing here imports torch.

Read next: `finetune.predict.answer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from minitransfer.apparatus.options import directory_name, positive_int
from minitransfer.apparatus.settings import CommandSettings, device_flag, flag, threads_flag, without_flag

DESCRIPTION = """Say which class texts belong to, such as positive or negative, and with what probability.

examples:
  python -m finetune.predict runs/imdb "A moving film, superbly acted."
  python -m finetune.predict runs/imdb --words "Slow, but moving."
  python -m finetune.predict runs/imdb --json --batch-size 64 --file reviews.txt
  grep film reviews.txt | python -m finetune.predict runs/bag

Each line of stdin is a text, where no texts and no files are given, or the text is -. Nothing is written but stdout:
one line per text, in order, and with --words up to two more, indented, beneath it. An empty text has no answer, which
its line says. Neither has a line that is not UTF-8: the others are answered, and the exit code is 3."""


@dataclass(frozen=True)
class Settings(CommandSettings):
    """The flags of `python -m finetune.predict`."""

    prog = "python -m finetune.predict"
    description = DESCRIPTION

    run: str = flag("the directory of a run of finetune.imdb or finetune.bag", directory_name, metavar="RUN",
                    positional=True)
    texts: tuple[str, ...] = flag("a text to classify; `--` goes before one that begins with -", metavar="TEXT",
                                  many=True, positional=True, default=())
    file: tuple[str, ...] = flag("a file with one text per line; may stand several times", metavar="FILE",
                                 repeated=True, default=())
    json: bool = flag("one JSON object per line: label (null if there is no answer), probability (of that label), "
                      "tokens (that were encoded), shortened (whether the middle was left out), and fault (of a line "
                      "that is no text)", bool, default=False)
    words: bool = flag(
        "show the words that spoke most for the answer and most against it, each with how much the log odds of the "
        "answer fall when it is left out; with --json, field words: [word, fall] of each word in order, of more than "
        "256 the outermost. A text is then encoded once more for each word", bool, default=False)
    batch_size: int = flag("texts per pass; 1 answers each line as it comes, more is faster for a file", positive_int,
                           metavar="N", default=1)
    device: str = device_flag()
    threads: int | None = threads_flag()
    reads_stdin: bool = without_flag(True)  # where there is no text, or it is -

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From Python, whatever is among `texts` is a text, and none are none: stdin is read where nothing is said."""
        return replace(super().from_values(values), reads_stdin=values.get("texts") is None)
