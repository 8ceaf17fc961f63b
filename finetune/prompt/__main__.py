"""python -m finetune.prompt: the flags are in settings.py, the scoring in score.py."""

import sys
from typing import Any

from finetune.prompt.settings import Settings
from minitransfer.apparatus.options import run_command


def main(settings: Settings) -> dict[str, Any]:
    """Ask, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait for it."""
    from finetune.prompt.score import main as score

    return score(settings)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
