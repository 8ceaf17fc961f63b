"""python -m finetune.imdb: the flags are in settings.py, the loop in train.py, the rest of the run in run.py."""

from finetune.imdb.settings import Settings
from minitransfer.apparatus.commands import deferred, run_command
from minitransfer.text.own import check_data

main = deferred("finetune.imdb.run", lambda settings: check_data(settings.data))

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings, together=True))
