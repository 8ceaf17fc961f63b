"""python -m finetune.compare"""

import sys

from finetune.compare.run import main, make_parser
from minitransfer.apparatus.options import run_command

if __name__ == "__main__":
    sys.exit(run_command(main, make_parser()))
