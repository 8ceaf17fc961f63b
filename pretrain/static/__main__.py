"""python -m pretrain.static: the flags are in settings.py, the training loop in train.py."""

import sys
from typing import Any

from minitransfer.apparatus.options import run_command
from pretrain.static.settings import Settings


def main(settings: Settings) -> dict[str, Any]:
    """Train, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait for it."""
    from pretrain.static.train import main as train

    return train(settings)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
