"""Part VI, around the average: its flags. Nothing here imports torch.

Read next: `finetune.average.average`.
"""

import math
import os
from dataclasses import dataclass
from typing import Any, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import directory_name, positive_int
from minitransfer.apparatus.settings import CommandSettings, flag, out_flag, shared_flag, threads_flag

STEPS = 10
MOST = 100_000  # weightings: a few minutes of trying

DESCRIPTION = """Average the probabilities of finished runs that learned from the same reviews.

examples:
  python -m finetune.average runs/finetuned runs/bag --out runs/average
  python -m finetune.average runs/bilm-500 runs/bert-500 runs/bag-500 --steps 20 --out runs/average-500

writes to --out: config.json, model.safetensors (one weight per run), results.json, and results.jsonl, its line for
`python -m finetune.compare --draw`
on 2 cores: seconds; nothing is encoded, since each run keeps its logits of each review"""


@dataclass(frozen=True)
class Settings(CommandSettings):
    """The flags of `python -m finetune.average`."""

    prog = "python -m finetune.average"
    description = DESCRIPTION

    runs: tuple[str, ...] = flag(
        "finished runs of finetune.imdb and finetune.bag, two at least, over the same reviews, of one seed and one "
        "number of labels", directory_name, metavar="RUN", many=True, positional=True)
    steps: int = flag("weights are multiples of 1/N", positive_int, metavar="N", default=STEPS)
    threads: int | None = threads_flag()
    out: str = out_flag("runs/average")
    resume: bool = shared_flag("only say so if --out holds this very average already", bool, default=False)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError for fewer than two runs, one run twice, or too many weightings."""
        settings = super().of(**given)
        if len(settings.runs) < 2:
            raise UsageError(f"{len(settings.runs)} run is no average", "name two runs at least")
        places = [os.path.realpath(run) for run in settings.runs]
        twice = [run for i, run in enumerate(settings.runs) if places[i] in places[:i]]
        if twice:
            raise UsageError(f"{twice[0]} is given twice", "name each run once; the weights are found")
        if settings.num_weightings > MOST:
            raise UsageError(f"{len(settings.runs)} runs in steps of 1/{settings.steps} have "
                             f"{settings.num_weightings:,} weightings", "use fewer --steps, or fewer runs")
        return settings

    @property
    def num_weightings(self) -> int:
        """In how many ways N steps can be divided among K runs: (N + K − 1 choose K − 1)."""
        return math.comb(self.steps + len(self.runs) - 1, len(self.runs) - 1)
