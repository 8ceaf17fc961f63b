"""python -m finetune.average: the flags are in settings.py, the averaging in average.py."""

import sys
from typing import Any

from finetune.average.settings import Settings
from minitransfer.apparatus.options import run_command


def main(settings: Settings) -> dict[str, Any]:
    """Average, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait."""
    from finetune.average.average import main as average

    return average(settings)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
