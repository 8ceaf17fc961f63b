"""Part III, around the command: its flags. Which text, which network, how long?

One flag or preset value stands in one place. Nothing here imports torch, so that `--help` and a mistyped flag are
answered at once.

Read next: `pretrain.bilm.text`.
"""

import argparse

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import (
    Parser,
    add_precision,
    add_shared,
    directory_name,
    non_negative_int,
    positive_float,
    positive_int,
    probability,
)
from minitransfer.text.words import SPECIAL_WORDS
from pretrain.shared import add_corpus_and_preset

FILTERS = ((2, 512), (3, 1024), (4, 1536), (5, 2048), (6, 2048), (7, 1024))  # (width in bytes, how many)
PRESETS = {
    # Chosen for its time, and by cosine with the static vectors and perplexity of the sample's held-out text: the
    # sample's labelled reviews cannot choose, since what transfer must bring is in none of those to train on.
    "tiny": dict(hidden_size=64, projection_size=32, filters=((2, 64), (3, 256), (4, 512), (5, 768), (6, 448)),
                 vocab_size=5_000, epochs=2, batch_size=16, window=32, negatives=256, learning_rate=8e-3,
                 dropout=0.0),
    "small": dict(hidden_size=256, projection_size=128, filters=FILTERS, vocab_size=50_000, epochs=4, batch_size=32,
                  window=64, negatives=1024, learning_rate=4e-3, dropout=0.1),
    "base": dict(hidden_size=1024, projection_size=256, filters=FILTERS, vocab_size=200_000, epochs=2, batch_size=128,
                 window=64, negatives=8192, learning_rate=2e-3, dropout=0.1),
}
SIZES = ("hidden_size", "projection_size", "filters")
MOST_HIGHWAYS = 8

DESCRIPTION = """Train a forward and a backward language model over a character CNN: the encoder of ELMo.

examples:
  python -m pretrain.bilm --corpus sample --preset tiny --warm-start runs/static-tiny --out runs/bilm-tiny
  python -m pretrain.bilm --warm-start runs/static
  python -m pretrain.bilm --corpus imdb --init-from runs/bilm --epochs 1 --out runs/bilm-imdb
  torchrun --nproc-per-node 2 -m pretrain.bilm --warm-start runs/static

writes to --out: config.json, model.safetensors (encoder and softmax), vocab.txt, metrics.jsonl, state/
on 2 cores: tiny half a minute on the sample; small half an hour on WikiText-2; base is for a GPU and WikiText-103"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m pretrain.bilm", description=DESCRIPTION)
    add_corpus_and_preset(parser, PRESETS)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--warm-start", metavar="RUN", type=directory_name,
                       help="a pretrain.static run, whose vectors the character CNN first learns to spell")
    start.add_argument("--init-from", metavar="RUN", type=directory_name,
                       help="a pretrain.bilm run, to go on from with new text; its sizes are taken over, all else is "
                            "the preset's")
    parser.add_argument("--charcnn", choices=("auto", "fixed", "learning"), default="auto",
                        help="whether the language model may change the character CNN; auto fixes one that was "
                             "warm-started, and then each word is spelled only once")
    parser.add_argument("--highways", type=non_negative_int, metavar="N", help="highway layers of a new character CNN; "
                        "the paper has 2 (default: 0)")
    parser.add_argument("--softmax", choices=("sampled", "full"), default="sampled",
                        help="sampled: over the target and --negatives drawn words; full: over all of the vocabulary, "
                             "as every perplexity is")
    group = parser.add_argument_group("training (default: by preset)")
    group.add_argument("--epochs", type=positive_int, metavar="N", help="passes over the text")
    group.add_argument("--batch-size", type=positive_int, metavar="N", help="rows of text read side by side")
    group.add_argument("--window", type=positive_int, metavar="N", help="tokens back-propagated through")
    group.add_argument("--learning-rate", type=positive_float, metavar="X", help="of AdamW, at its highest")
    group.add_argument("--dropout", type=probability, metavar="P", help="share of units dropped")
    group.add_argument("--negatives", type=positive_int, metavar="N", help="words drawn for the sampled softmax")
    group.add_argument("--vocab-size", type=positive_int, metavar="N", help="most words the softmax can predict")
    add_precision(parser)
    add_shared(parser, out="runs/bilm")
    return parser


def check_vocab_size(arguments: argparse.Namespace) -> None:
    """Raises: UsageError for a --vocab-size that leaves no room for words."""
    special, asked = len(SPECIAL_WORDS), arguments.vocab_size
    if asked <= special:
        what = f"--vocab-size {asked} leaves no room for words: the first {special} are {', '.join(SPECIAL_WORDS)}"
        raise UsageError(what, "ask for some thousands")


def check_highways(arguments: argparse.Namespace) -> None:
    """Fill in how many there are. Raises: UsageError for too many, or where an earlier run brings its own."""
    if (arguments.highways or 0) > MOST_HIGHWAYS:
        raise UsageError(f"--highways {arguments.highways} is too deep", f"use {MOST_HIGHWAYS} or fewer")
    if arguments.init_from and arguments.highways is not None:
        what = f"--highways {arguments.highways} has no meaning where --init-from brings its own character CNN"
        raise UsageError(what, "leave one out")
    arguments.highways = arguments.highways or 0
