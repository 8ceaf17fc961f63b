"""Part II, around the command: its flags. What may be asked of skip-gram?

One flag or preset value stands in one place. Nothing here imports torch, so that `--help` and a mistyped flag are
answered at once.

Read next: `pretrain.static.units`.
"""

import argparse
from typing import Any

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import Parser, add_shared, positive_float, positive_int
from minitransfer.text.wordpiece import SPECIAL_PIECES
from pretrain.shared import add_corpus_and_preset, take_preset

PRESETS = {
    "tiny": dict(hidden_size=64, window=8, epochs=20, learning_rate=0.2, min_count=2),
    "small": dict(hidden_size=256, window=8, epochs=3, learning_rate=0.15, min_count=5),
    "base": dict(hidden_size=512, window=8, epochs=5, learning_rate=0.15, min_count=5),
}

DESCRIPTION = """Train a vector for each word, or piece of a word, by skip-gram with negative sampling.

examples:
  python -m pretrain.static --corpus sample --preset tiny --out runs/static-tiny
  python -m pretrain.static --corpus wikitext-2 imdb
  python -m pretrain.static --corpus wikitext-2 imdb --pieces 16000

writes to --out (default: runs/static; with --pieces, runs/static-pieces): config.json, model.safetensors (vectors,
contexts, counts), vocab.txt, tokenizer.json for pieces, metrics.jsonl, state/
on 2 cores: tiny 10 seconds on the sample; small 20 seconds on WikiText-2, 3 minutes with IMDB; base 3 times that"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m pretrain.static", description=DESCRIPTION)
    add_corpus_and_preset(parser, PRESETS)
    parser.add_argument("--pieces", type=positive_int, metavar="N",
                        help="learn up to N word pieces from the text, and vectors of these, for pretrain.bert "
                             "(default: vectors of words)")
    group = parser.add_argument_group("training (default: by preset)")
    group.add_argument("--hidden-size", type=positive_int, metavar="N", help="width of a vector")
    group.add_argument("--window", type=positive_int, metavar="N", help="words or pieces looked at to each side")
    group.add_argument("--epochs", type=positive_int, metavar="N", help="passes over the text")
    group.add_argument("--learning-rate", type=positive_float, metavar="X", help="of AdaGrad, at its highest")
    group.add_argument("--min-count", type=positive_int, metavar="N", help="rarer words get no vector")
    add_shared(parser, out="runs/static")
    parser.set_defaults(out=None)  # it depends on --pieces
    return parser


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill in what no flag has said; returns what of the run's config is known before any text is read.

    Raises: UsageError for --pieces that leave no room for letters, or stand beside what only words have.
    """
    pieces, few = arguments.pieces, len(SPECIAL_PIECES)
    if pieces is not None and pieces <= few:
        raise UsageError(f"--pieces {pieces} leaves no room beside the {few} special ones", "ask for some thousands")
    if pieces is not None and arguments.min_count is not None:
        raise UsageError("--min-count has no meaning with --pieces: all have vectors", "leave one of the two out")
    arguments.out = arguments.out or ("runs/static" if pieces is None else "runs/static-pieces")
    training = take_preset(arguments, PRESETS)
    known = {"kind": "static", "model": {"hidden_size": arguments.hidden_size}, "training": training,
             "preset": arguments.preset, "seed": arguments.seed}
    if pieces is not None:
        del training["min_count"]
        known |= {"unit": "pieces", "most_pieces": pieces}
    return known
