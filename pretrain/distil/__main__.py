"""python -m pretrain.distil: the flags are in settings.py, all else in run.py."""

from minitransfer.apparatus.commands import deferred, run_command
from pretrain.distil.settings import Settings

main = deferred("pretrain.distil.run")

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings, together=True))
