"""python -m pretrain.bilm: the flags are in settings.py, the training loop in train.py."""

from minitransfer.apparatus.commands import deferred, run_command
from pretrain.bilm.settings import Settings

main = deferred("pretrain.bilm.run")

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings, together=True))
