"""python -m finetune.imdb: the flags are in settings.py, the loop in train.py, the rest of the run in run.py."""

import argparse
import sys

from finetune.imdb.settings import check, make_parser
from minitransfer.apparatus.options import run_command


def main(arguments: argparse.Namespace, reviews: object = None) -> int:
    """Train, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait for it.

    reviews: those of --data, where they are known already.
    """
    check(arguments)
    from finetune.imdb import run

    return run.main(arguments, reviews)


if __name__ == "__main__":
    sys.exit(run_command(main, make_parser(), together=True))
