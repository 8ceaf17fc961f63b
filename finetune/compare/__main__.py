"""python -m finetune.compare: the flags are in settings.py, the comparison in run.py."""

from finetune.compare.settings import Settings
from minitransfer.apparatus.commands import deferred, run_command
from minitransfer.text.own import check_data

main = deferred("finetune.compare.run", lambda settings: check_data(settings.data))

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings))
