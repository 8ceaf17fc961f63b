"""python -m finetune.bag: the flags are in settings.py, the fitting in train.py."""

import sys
from typing import Any

from finetune.bag.settings import Settings
from minitransfer.apparatus.options import run_command
from minitransfer.text.own import check_data


def main(settings: Settings, reviews: Any = None) -> dict[str, Any]:
    """Train, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait for it.

    reviews: those of --data, where they are known already.
    """
    check_data(settings.data)
    from finetune.bag.train import main as train

    return train(settings, reviews)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
