"""python -m pretrain.bert: the flags are in settings.py, the training loop in train.py."""

import argparse
import sys

from minitransfer.apparatus.options import run_command
from pretrain.bert.settings import check_vocab_size, make_parser


def main(arguments: argparse.Namespace) -> int:
    """Train, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait for it."""
    check_vocab_size(arguments)
    from pretrain.bert.train import main as train

    return train(arguments)


if __name__ == "__main__":
    sys.exit(run_command(main, make_parser(), together=True))
