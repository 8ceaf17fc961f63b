"""python -m finetune.imdb: the flags are in settings.py, the loop in train.py, the rest of the run in run.py."""

import sys
from typing import Any

from finetune.imdb.settings import Settings
from minitransfer.apparatus.options import run_command
from minitransfer.text.own import check_data


def main(settings: Settings, reviews: Any = None) -> dict[str, Any]:
    """Train, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait for it.

    reviews: those of --data, where they are known already.
    """
    check_data(settings.data)
    from finetune.imdb import run

    return run.main(settings, reviews)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings, together=True))
