"""python -m pretrain.distil: the flags are in settings.py, all else in run.py."""

import sys

from minitransfer.apparatus.commands import deferred, run_command
from pretrain.distil.settings import Settings

main = deferred("pretrain.distil.run")

if __name__ == "__main__":
    sys.exit(run_command(main, Settings, together=True))
