"""python -m finetune.bag: the flags are in settings.py, the fitting in train.py."""

import sys

from finetune.bag.settings import Settings
from minitransfer.apparatus.options import deferred, run_command

main = deferred("finetune.bag.train")

if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
