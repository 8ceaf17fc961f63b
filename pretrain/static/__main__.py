"""python -m pretrain.static: the flags are in settings.py, the training loop in train.py."""

from minitransfer.apparatus.commands import deferred, run_command
from pretrain.static.settings import Settings

main = deferred("pretrain.static.train")

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings))
