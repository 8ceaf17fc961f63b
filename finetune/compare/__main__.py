"""python -m finetune.compare: the flags are in settings.py, the comparison in run.py."""

import sys
from typing import Any

from finetune.compare.settings import Settings
from minitransfer.apparatus.options import run_command
from minitransfer.text.own import check_data


def main(settings: Settings) -> list[dict[str, Any]]:
    """Compare, once the flags are understood; torch takes seconds to import, and a mistyped flag need not wait."""
    check_data(settings.data)
    from finetune.compare.run import main as compare

    return compare(settings)


if __name__ == "__main__":
    sys.exit(run_command(main, Settings))
