"""python -m pretrain.inspect: the flags are in settings.py, what is shown in look.py."""

import sys

from minitransfer.apparatus.commands import deferred, run_command
from pretrain.inspect.settings import Settings

main = deferred("pretrain.inspect.look")

if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
