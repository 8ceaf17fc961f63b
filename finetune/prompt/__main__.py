"""python -m finetune.prompt: the flags are in settings.py, the scoring in score.py."""

from finetune.prompt.settings import Settings
from minitransfer.apparatus.commands import deferred, run_command

main = deferred("finetune.prompt.score")

if __name__ == "__main__":
    raise SystemExit(run_command(main, Settings))
