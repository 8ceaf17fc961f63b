"""python -m finetune.predict: the flags are in settings.py, the answering in answer.py."""

from finetune.predict.settings import Settings
from minitransfer.apparatus.commands import deferred, run_command

main = deferred("finetune.predict.answer")

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings))
