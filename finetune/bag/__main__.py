"""python -m finetune.bag: the flags are in settings.py, the fitting in train.py."""

from finetune.bag.settings import Settings
from minitransfer.apparatus.commands import deferred, run_command
from minitransfer.text.own import check_data

main = deferred("finetune.bag.train", lambda settings: check_data(settings.data))

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings))
