"""Parts II to V, around inspecting: its flags. Nothing here imports torch.

Read next: `pretrain.inspect.look`.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import directory_name, non_negative_float, non_negative_int, one_line, positive_int
from minitransfer.apparatus.settings import CommandSettings, device_flag, flag, threads_flag
from minitransfer.text import CORPORA
from minitransfer.text.cleaning import clean_text
from minitransfer.text.plain import corpus_name
from minitransfer.text.sample import SENSES
from minitransfer.text.words import tokenize

MODES = ("word", "senses", "fill", "write", "agreement", "attention", "mix", "pmi", "curves", "runs")
ONLY = {"--word": ("layer", "occurrences", "corpus", "data_dir", "offline"),
        "--write": ("length", "temperature", "top_k", "seed")}
ALSO = {("layer", "--attention"), ("data_dir", "--pmi"), ("offline", "--pmi")}  # flags of --word that these have, too
MOST_RUNS = {"--agreement": 7, "--attention": 3, "--pmi": 7, "--curves": 7, "--runs": 7}  # a screen; as many colours
MOST_OCCURRENCES = 2_000  # all pairs of them are compared

DESCRIPTION = """Look into finished runs: a word in many sentences, a gap in a text, what may follow it, grammar, a mix,
a training, or several runs.

examples:
  python -m pretrain.inspect runs/bilm --word bank
  python -m pretrain.inspect runs/bert --word bank --layer 2 --corpus wikitext-2 imdb --out bank.png
  python -m pretrain.inspect runs/bilm --senses bank
  python -m pretrain.inspect runs/bert --fill "the film was [MASK] ."
  python -m pretrain.inspect runs/gpt --write "the film was" --temperature 0.7 --seed 3
  python -m pretrain.inspect runs/bilm runs/gpt --agreement
  python -m pretrain.inspect runs/bert runs/bert-finetuned --attention "it was not a good film ."
  python -m pretrain.inspect runs/frozen-500 --mix
  python -m pretrain.inspect runs/static runs/glove --pmi
  python -m pretrain.inspect --curves runs/bilm runs/bilm-imdb
  python -m pretrain.inspect --runs runs/frozen-500 runs/finetuned-500

prints to stdout; all but --fill, --write, --agreement and --runs also draw a picture, which needs
`pip install -e ".[plot]"`
on 2 cores: --word some 20 seconds with IMDB, which must be read; all else a few seconds"""


what_flag = partial(flag, exclusive="what", required=True)  # says what to look at; one of these must be given
word_flag = partial(flag, group="for --word")  # has a meaning with --word alone
write_flag = partial(flag, group="for --write")  # and with --write alone


@dataclass(frozen=True)
class Settings(CommandSettings):
    """The flags of `python -m pretrain.inspect`."""

    prog = "python -m pretrain.inspect"
    description = DESCRIPTION

    runs: tuple[str, ...] = flag("the directory of a run; several for --agreement, --attention, --pmi, --curves and "
                                 "--runs", directory_name, metavar="RUN", many=True, positional=True)
    word: str | None = what_flag("compare the occurrences of a word, as a pretrain.bilm, bert or gpt run encodes them",
                                 metavar="WORD", default=None)
    senses: str | None = what_flag(
        f"draw the uses of a word in the built-in articles, layer by layer, each coloured by its sense: "
        f"{', '.join(SENSES)}", metavar="WORD", choices=tuple(SENSES), default=None)
    fill: str | None = what_flag("guess each [MASK] in a text, by a pretrain.bert run", metavar="TEXT", default=None)
    write: str | None = what_flag("go on with a text, by a pretrain.gpt run", metavar="TEXT", default=None)
    agreement: bool = what_flag(
        "ask pretrain.bilm, bert or gpt runs which form of a verb follows, where another noun stands between", bool,
        default=False)
    attention: str | None = what_flag(
        "draw which tokens of a text each head attends to, by runs of pretrain.bert, gpt or of finetune.imdb on one, "
        "beside a network of new weights", metavar="TEXT", default=None)
    mix: bool = what_flag("show how a finetune.imdb run weighs the encoder's layers", bool, default=False)
    pmi: bool = what_flag(
        "hold the inner products of pretrain.static runs against counts of which words stand near each other", bool,
        default=False)
    curves: bool = what_flag(
        "draw loss, perplexity, accuracy and learning rate of runs, finished or not; a biLM's training loss is of its "
        "sampled softmax, so its perplexity is not e to that power", bool, default=False)
    side_by_side: bool = what_flag(
        "show runs side by side, in one table: the settings that differ, the results, the minutes", bool, default=False,
        name="runs")
    layer: int | None = word_flag(
        "the layer to compare occurrences by; 0 is below all context; with --attention the block, from 1 on (default: "
        "the uppermost)", non_negative_int,
        metavar="K", default=None)
    occurrences: int = word_flag("lines with the word to look at, at most", positive_int, metavar="N", default=200)
    corpus: tuple[str, ...] | None = word_flag(
        f"text to find them in, what is held out first: of {', '.join(CORPORA[1:])}, or own text (default: what the "
        "run was trained on)", corpus_name, metavar="NAME", many=True, default=None)
    data_dir: str | None = word_flag(
        "where corpora are, or are downloaded to (default: $MINITRANSFER_DATA, else ./data)", directory_name,
        metavar="DIR", default=None)
    offline: bool = word_flag("never download; say what is missing instead", bool, default=False)
    length: int = write_flag("pieces to write, at most", positive_int, metavar="N", default=40)
    temperature: float = write_flag("below 1 the likely is more likely still, at 0 the likeliest is taken",
                                    non_negative_float, metavar="X", default=0.8)
    top_k: int = write_flag("draw among the K likeliest pieces", positive_int, metavar="K", default=40)
    seed: int = write_flag("decides what is drawn", non_negative_int, metavar="N", default=0)
    out: str | None = flag("the picture to write, or write anew: a .png (default: runs/inspect-RUN-….png)",
                           directory_name, metavar="FILE", default=None)
    device: str = device_flag()
    threads: int | None = threads_flag()

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings, with --word as a corpus has it. Raises: UsageError for what contradicts itself."""
        asked = {**given, "runs": given.get("side_by_side")}
        mode = next(f"--{name}" for name in MODES if asked.get(name) not in (None, False))
        most, out = MOST_RUNS.get(mode, 1), given.get("out")
        if len(given["runs"]) > most:
            what = f"{mode} looks into {most} run{'s' * (most > 1)} at most, and {len(given['runs'])} are given"
            raise UsageError(what, "give fewer")
        for other, names in ONLY.items():
            useless = [name for name in names if name in given and (name, mode) not in ALSO]
            if useless and mode != other:
                raise UsageError(f"--{useless[0].replace('_', '-')} has no meaning with {mode}",
                                 f"leave it out, or use {other}")
        if mode == "--fill" and "[MASK]" not in given["fill"]:
            raise UsageError("--fill: there is no [MASK] in the text", "write [MASK] for what is to be guessed")
        if mode in ("--fill", "--write", "--agreement", "--runs") and out is not None:
            raise UsageError(f"--out has no meaning with {mode}, which draws no picture", "leave it out")
        if out is not None and Path(out).suffix.lower() != ".png":
            raise UsageError(f"--out {out[:300]} does not end in .png", "name a file that does")
        if mode == "--word":
            given["word"] = one_word(given["word"])
            if not 2 <= given.get("occurrences", 2) <= MOST_OCCURRENCES:
                what = f"--occurrences {given['occurrences']} is outside 2 to {MOST_OCCURRENCES:,}"
                raise UsageError(what, "choose a number among these")
        return super().of(**given)


def one_word(text: str) -> str:
    """A word in the form that words of a corpus have. Raises: UsageError if it is not a single one."""
    word = clean_text(text, Counter())
    tokens = tokenize(word)
    if len(tokens) != 1:
        seen = f"{len(tokens)} words to an encoder: {', '.join(tokens[:5])}" if tokens else "no word"
        raise UsageError(f"--word {one_line(word[:40])!r} is {seen}", "give a single one")
    return tokens[0]
