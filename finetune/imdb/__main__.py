"""python -m finetune.imdb"""

import sys

from finetune.imdb.train import main, make_parser
from minitransfer.apparatus.options import run_command

if __name__ == "__main__":
    sys.exit(run_command(main, make_parser(), together=True))
