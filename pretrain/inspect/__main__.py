"""python -m pretrain.inspect: the flags are in settings.py, what is shown in look.py."""

from minitransfer.apparatus.commands import deferred, run_command
from pretrain.inspect.settings import Settings

main = deferred("pretrain.inspect.look")

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings))
