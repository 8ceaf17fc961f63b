"""python -m minitransfer.huggingface"""

import sys

from minitransfer.apparatus.options import run_command
from minitransfer.huggingface.exchange import main, make_parser

if __name__ == "__main__":
    sys.exit(run_command(main, make_parser()))
