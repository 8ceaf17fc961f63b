"""python -m finetune.predict: the flags are in settings.py, the answering in answer.py."""

import sys
from typing import Any

from finetune.predict.settings import Settings
from minitransfer.apparatus.options import run_command


def main(settings: Settings) -> list[dict[str, Any]]:
    """Answer, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait."""
    from finetune.predict.answer import main as answer

    return answer(settings)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
