"""python -m pretrain.distil: the flags are in settings.py, all else in run.py."""

import sys
from typing import Any

from minitransfer.apparatus.options import run_command
from pretrain.distil.settings import Settings


def main(settings: Settings) -> dict[str, Any]:
    """Train, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait for it."""
    from pretrain.distil.run import main as run

    return run(settings)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings, together=True))
