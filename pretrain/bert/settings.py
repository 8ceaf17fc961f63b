"""Part IV, around the command: its flags. Which text, which network, how long?

One flag or preset value stands in one place. Nothing here imports torch, so that `--help` and a mistyped flag are
answered at once.

Read next: `pretrain.bert.text`.
"""

import argparse

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import (
    Parser,
    add_precision,
    add_shared,
    directory_name,
    fraction,
    positive_float,
    positive_int,
    probability,
)
from pretrain.shared import add_corpus_and_preset

PRESETS = {
    "tiny": dict(hidden_size=64, num_layers=2, num_heads=2, intermediate_size=256, max_positions=128,
                 vocab_size=2_000, seq_length=64, epochs=6, batch_size=16, learning_rate=4e-3, dropout=0.0),
    "small": dict(hidden_size=256, num_layers=4, num_heads=4, intermediate_size=1024, max_positions=512,
                  vocab_size=16_000, seq_length=128, epochs=4, batch_size=16, learning_rate=1e-3, dropout=0.1),
    "base": dict(hidden_size=512, num_layers=8, num_heads=8, intermediate_size=2048, max_positions=512,
                 vocab_size=30_000, seq_length=256, epochs=4, batch_size=128, learning_rate=5e-4, dropout=0.1),
}
SIZES = ("hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions", "vocab_size")
LEAST_VOCABULARY = 100

DESCRIPTION = """Train a mini BERT by masked language modelling.

examples:
  python -m pretrain.bert --corpus sample --preset tiny --out runs/bert-tiny
  python -m pretrain.bert --warm-start runs/static-pieces
  python -m pretrain.bert --corpus imdb --init-from runs/bert --epochs 1 --out runs/bert-imdb
  python -m pretrain.bert --init-from runs/bert --seq-length 512 --epochs 1 --out runs/bert-long
  torchrun --nproc-per-node 2 -m pretrain.bert --warm-start runs/static-pieces

writes to --out: config.json, model.safetensors (encoder and head), tokenizer.json, metrics.jsonl, state/
on 2 cores: tiny a minute on the sample; small half an hour on WikiText-2; base is for a GPU and WikiText-103"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m pretrain.bert", description=DESCRIPTION)
    add_corpus_and_preset(parser, PRESETS)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--warm-start", metavar="RUN", type=directory_name,
                       help="a pretrain.static run with --pieces, whose pieces and vectors are begun with")
    start.add_argument("--init-from", metavar="RUN", type=directory_name,
                       help="a pretrain.bert run, to go on from with new text; its sizes and pieces are taken over, "
                            "all else is the preset's")
    parser.add_argument("--whole-words", action="store_true", help="mask all pieces of a word, or none")
    parser.add_argument("--mask-probability", type=fraction, metavar="P", default=0.15,
                        help="share of pieces to be named")
    group = parser.add_argument_group("training (default: by preset)")
    group.add_argument("--epochs", type=positive_int, metavar="N", help="passes over the text")
    group.add_argument("--batch-size", type=positive_int, metavar="N", help="rows of text in a step")
    group.add_argument("--seq-length", type=positive_int, metavar="N", help="tokens in a row, [CLS] and [SEP] too")
    group.add_argument("--learning-rate", type=positive_float, metavar="X", help="of AdamW, at its highest")
    group.add_argument("--dropout", type=probability, metavar="P", help="share of units dropped")
    group.add_argument("--vocab-size", type=positive_int, metavar="N", help="most pieces to learn from the text")
    add_precision(parser)
    add_shared(parser, out="runs/bert")
    return parser


def check_vocab_size(arguments: argparse.Namespace) -> None:
    """Raises: UsageError for a --vocab-size that leaves no room for letters, or where pieces are taken over."""
    asked = arguments.vocab_size
    if asked is not None and asked < LEAST_VOCABULARY:
        raise UsageError(f"--vocab-size {asked} leaves no room for the letters", f"allow {LEAST_VOCABULARY} or more")
    if asked is not None and (arguments.warm_start or arguments.init_from):
        flag = "--warm-start" if arguments.warm_start else "--init-from"
        raise UsageError(f"--vocab-size {asked} has no meaning where {flag} brings its own pieces", "leave one out")
