"""What all pretraining commands can be told. Nothing here imports torch.

Read next: `pretrain.shared`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minitransfer.apparatus.settings import RunSettings, flag
from minitransfer.text import CORPORA


def training_flag(help: str, convert: Callable[[str], Any], metavar: str) -> Any:
    """A flag of the training; where it is not given, the preset decides."""
    return flag(help, convert, metavar=metavar, group="training (default: by preset)", by_preset=True)


@dataclass(frozen=True)
class PretrainSettings(RunSettings):
    """What to learn from, and how large to learn. config.json has the corpus by its fingerprint."""

    corpus: tuple[str, ...] = flag(
        f"text to learn from, one or several of {', '.join(CORPORA)}; auto is wikitext-2 if it can be had, and else "
        "the sample (default: auto)", metavar="NAME", many=True, choices=CORPORA, default=("auto",), decides=False)
    preset: str = flag("sizes of the network, and the default of every training flag below",
                       choices=("tiny", "small", "base"), default="small")
