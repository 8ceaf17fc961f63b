"""python -m pretrain.inspect: the flags are in settings.py, what is shown in look.py."""

import sys
from typing import Any

from minitransfer.apparatus.options import run_command
from pretrain.inspect.settings import Settings


def main(settings: Settings) -> Any:
    """Look, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait for it."""
    from pretrain.inspect.look import main as look

    return look(settings)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
