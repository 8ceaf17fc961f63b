"""python -m pretrain.bert"""

import sys

from minitransfer.apparatus.options import run_command
from pretrain.bert.train import main, make_parser

if __name__ == "__main__":
    sys.exit(run_command(main, make_parser(), together=True))
