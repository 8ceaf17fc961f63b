"""python -m pretrain.bilm"""

import sys

from minitransfer.apparatus.options import run_command
from pretrain.bilm.train import main, make_parser

if __name__ == "__main__":
    sys.exit(run_command(main, make_parser(), together=True))
