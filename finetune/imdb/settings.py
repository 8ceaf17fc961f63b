"""Part V: the flags of `python -m finetune.imdb`, and what each kind of run begins with.

Which reviews, which encoder, which head, and how to train: all of it can be said on the command line, and what is
not said comes from one table, `DEFAULTS`. Nothing here imports torch, so `--help` and a mistyped flag are answered
at once.

Read next: `finetune.imdb.train`.
"""

import argparse

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import (
    Parser,
    add_precision,
    add_shared,
    directory_name,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    probability,
    share,
)
from minitransfer.text import REVIEWS

MODES = ("frozen", "top", "finetune", "gradual", "scratch")
HEADS = ("mean", "bilstm", "cls")
POOLS = ("mean", "mean-max", "mean-spread")
FEWEST_LABELS = 4  # of each class one to learn from and one to choose by
FLAGS = ("epochs", "encoder_rate", "layer_decay", "weight_decay", "dropout", "encoder_dropout", "patience")
ONLY_LEARNING = ("encoder_rate", "encoder_dropout", "layer_decay")  # flags of modes in which the encoder learns
FEW_LABELS = 2_000  # with more of them a mean head has learnt in so many epochs:
PASSES_OVER_MANY = {"frozen": 20, "top": 3, "finetune": 3, "gradual": 4}
DEFAULTS = {  # what each kind of run begins with, where a flag does not say otherwise; in the order of FLAGS
    ("frozen", "mean"): (60, None, None, 3.0, 0.2, None, 60),
    ("frozen", "bilstm"): (8, None, None, 0.01, 0.3, None, 2),
    ("frozen", "cls"): (60, None, None, 0.01, 0.2, None, 15),
    ("top", "mean"): (6, 2e-4, 1.0, 0.01, 0.3, 0.0, 2),
    ("top", "bilstm"): (8, 5e-4, 1.0, 0.01, 0.3, 0.0, 2),
    ("top", "cls"): (5, 2e-4, 1.0, 0.01, 0.1, 0.1, 2),
    ("finetune", "mean"): (6, 2e-4, 0.4, 0.01, 0.3, 0.0, 3),
    ("finetune", "bilstm"): (8, 5e-4, 0.4, 0.01, 0.3, 0.0, 2),
    ("finetune", "cls"): (4, 2e-4, 0.9, 0.01, 0.1, 0.1, 2),
    ("gradual", "mean"): (6, 2e-4, 0.4, 0.01, 0.3, 0.0, 4),
    ("gradual", "bilstm"): (8, 5e-4, 0.4, 0.01, 0.3, 0.0, 4),
    ("gradual", "cls"): (8, 2e-4, 0.9, 0.01, 0.1, 0.1, 6),
    ("scratch", "mean"): (12, 1e-3, 1.0, 0.01, 0.3, 0.0, 4),
    ("scratch", "bilstm"): (8, 1e-3, 1.0, 0.01, 0.3, 0.0, 2),
    ("scratch", "cls"): (12, 5e-4, 1.0, 0.01, 0.1, 0.1, 6),
}

DESCRIPTION = """Train a sentiment classifier for film reviews on top of a pretrained encoder.

examples:
  python -m finetune.imdb --mode frozen
  python -m finetune.imdb --mode frozen --encoder runs/static --labels 500 --out runs/static-500
  python -m finetune.imdb --mode finetune --encoder runs/bilm-imdb --out runs/finetuned
  python -m finetune.imdb --mode scratch --labels 500 --out runs/scratch-500
  torchrun --nproc-per-node 2 -m finetune.imdb --mode finetune --out runs/finetuned

writes to --out: config.json, model.safetensors (encoder, mix, head), vocab.txt, metrics.jsonl, results.json, state/
on 2 cores, all of IMDB: frozen about 6 minutes, and seconds once its features are kept; the others read every token
in every epoch: about 4 minutes a pass for frozen with bilstm, 5 to 15 minutes where the encoder learns"""


def make_parser() -> Parser:
    """The flags of this command."""
    parser = Parser(prog="python -m finetune.imdb", description=DESCRIPTION, epilog=_defaults_table())
    parser.add_argument("--encoder", metavar="DIR", type=directory_name, default="runs/bilm",
                        help="a finished run of pretrain.bilm, bert or static; scratch takes only its shape")
    parser.add_argument("--mode", choices=MODES, default="frozen",
                        help="how much of the encoder learns beside mix and head. frozen: nothing; top: its upper "
                             "layers; finetune: all layers, lower ones more slowly; gradual: one more layer in each "
                             "epoch; scratch: all, from random weights instead of pretrained ones")
    parser.add_argument("--unfreeze", metavar="N", type=positive_int,
                        help="how many upper layers learn in mode top (default: 1)")
    parser.add_argument("--head", choices=HEADS, default="mean",
                        help="mean: W2 tanh(W1 mean) + b; bilstm: an LSTM over the tokens, which "
                             "must be read anew in each epoch; cls: W h_[CLS] + b, for a pretrain.bert run")
    parser.add_argument("--pool", choices=POOLS,
                        help="how the mean head's vector is made of tokens (default: mean, as in the lecture)")
    parser.add_argument("--data", choices=REVIEWS, default="auto", help="the reviews; auto is imdb if it can be had")
    parser.add_argument("--labels", metavar="N", type=positive_int,
                        help="learn from N labelled reviews, half of each class, validation included (default: all)")
    parser.add_argument("--trial", metavar="N", type=positive_int,
                        help="for choosing flags: score on N reviews of the training half, always the same, instead of "
                             "the test half")
    parser.add_argument("--max-tokens", metavar="N", type=positive_int,
                        help="tokens read of a review; a longer one keeps its head and tail (default: 512, or as "
                             "many as a BERT was pretrained on, if fewer)")
    parser.add_argument("--no-cache", action="store_true",
                        help="read the texts anew, and do not keep their features (otherwise kept in `cache` beside "
                             "--out)")
    parser.add_argument("--measure-forgetting", action="store_true",
                        help="report the encoder's loss on text that its pretraining held out, before and after; "
                             "reads that corpus again, and at most 100,000 held-out tokens")
    _add_training(parser)
    add_precision(parser)
    add_shared(parser, out="runs/imdb")
    return parser


def _add_training(parser: Parser) -> None:
    """The flags of the training, of which those in `FLAGS` have defaults that depend on mode and head."""
    group = parser.add_argument_group("training (what has no default here has one by mode and head: see the end)")
    group.add_argument("--epochs", metavar="N", type=positive_int, help="passes over the labelled reviews at most")
    group.add_argument("--batch-size", metavar="N", type=positive_int, default=32, help="reviews per step")
    group.add_argument("--learning-rate", metavar="X", type=positive_float, default=1e-3,
                       help="of AdamW for the head, at its highest")
    group.add_argument("--encoder-rate", metavar="X", type=positive_float,
                       help="learning rate of the encoder's uppermost layer")
    group.add_argument("--layer-decay", metavar="X", type=share,
                       help="each layer's rate is X times that of the layer above it")
    group.add_argument("--weight-decay", metavar="X", type=non_negative_float, help="of matrices, by AdamW")
    group.add_argument("--dropout", metavar="P", type=probability, help="share of the head's inputs dropped")
    group.add_argument("--encoder-dropout", metavar="P", type=probability,
                       help="share of the encoder's units dropped while it learns")
    group.add_argument("--patience", metavar="N", type=non_negative_int,
                       help="epochs without a lower validation loss before stopping; 0 trains to the "
                            "end, and keeps the last weights instead of the best")
    group.add_argument("--head-size", metavar="N", type=positive_int, default=64,
                       help="units of the head's hidden layer")


def _defaults_table() -> str:
    """The defaults by mode and head, as a table for --help."""
    names = [name.rpartition("_")[::2] for name in FLAGS]  # of two words each has a line of its own
    widths = [2 + max(map(len, words)) for words in names]
    table = [("", [words[0] for words in names]), ("", [words[1] for words in names])]
    table += [(" ".join(kind), ["-" if v is None else v for v in values]) for kind, values in DEFAULTS.items()]
    rows = (f"  {kind:16}" + "".join(f"{v:>{width}}" for v, width in zip(values, widths)) for kind, values in table)
    fewer = ", ".join(f"{mode} {epochs}" for mode, epochs in PASSES_OVER_MANY.items())
    note = f"epochs of the mean head with more than {FEW_LABELS:,} labels: {fewer}"
    return "\n".join(["defaults by mode and head:", *rows, note])


def check_labels(n: int | None) -> None:
    """Raises: UsageError for a number of labels that no corpus could serve: half of each class, two at least."""
    if n is not None and (n % 2 or n < FEWEST_LABELS):
        what = f"--labels {n} cannot be chosen, half of them negative and half positive"
        raise UsageError(what, f"choose an even number from {FEWEST_LABELS}")


def check(arguments: argparse.Namespace) -> None:
    """Fill in the defaults that depend on other flags. Raises: UsageError for flags that contradict each other."""
    check_labels(arguments.labels)
    if arguments.head != "mean" and arguments.pool is not None:
        reads = {"bilstm": "every token", "cls": "the first token alone"}[arguments.head]
        raise UsageError(f"--pool {arguments.pool} is for the mean head: the {arguments.head} head reads {reads}",
                         "leave out --pool, or use --head mean")
    arguments.pool = arguments.pool or ("cls" if arguments.head == "cls" else "mean")
    if arguments.unfreeze is not None and arguments.mode != "top":
        raise UsageError(f"--unfreeze is for --mode top, not {arguments.mode}", "leave it out, or use --mode top")
    if arguments.mode == "frozen" and any(getattr(arguments, name) is not None for name in ONLY_LEARNING):
        raise UsageError("--encoder-rate, --encoder-dropout and --layer-decay say how an encoder learns, and a frozen "
                         "one does not", "leave them out, or use --mode finetune")
    if arguments.measure_forgetting and arguments.mode == "scratch":
        raise UsageError("--measure-forgetting: what is trained from scratch has nothing to forget",
                         "leave it out, or use --mode finetune")
    arguments.unfreeze = arguments.unfreeze or 1
    for name, value in zip(FLAGS, DEFAULTS[arguments.mode, arguments.head]):
        if name != "epochs" and getattr(arguments, name) is None:
            setattr(arguments, name, value)


def take_epochs(arguments: argparse.Namespace, num_labels: int) -> None:
    """Fill in --epochs, of which the default depends on how many labelled reviews there are."""
    usual = DEFAULTS[arguments.mode, arguments.head][FLAGS.index("epochs")]
    if arguments.head == "mean" and num_labels > FEW_LABELS:
        usual = PASSES_OVER_MANY.get(arguments.mode, usual)
    arguments.epochs = arguments.epochs or usual
