"""python -m finetune.average: the flags are in settings.py, the averaging in average.py."""

from finetune.average.settings import Settings
from minitransfer.apparatus.commands import deferred, run_command

main = deferred("finetune.average.average")

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings))
