"""Part VI, around the comparison: its flags. Nothing here imports torch.

Read next: `finetune.compare.run`.
"""

from dataclasses import dataclass
from typing import Any, Self

from finetune.imdb.settings import MODES
from finetune.settings import ReviewSettings
from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import directory_name, non_negative_int, positive_int
from minitransfer.apparatus.settings import SavingSettings, flag, flag_name, out_flag, precision_flag

ENCODERS, USUAL, SEEDS = ("runs/static", "runs/bilm"), ("frozen", "finetune"), (0, 1, 2)
GRID = ("encoders", "modes", "labels", "seeds", "epochs", "no_baselines", "data", "precision", "resume",
        "show")  # flags that say which cells there are

DESCRIPTION = """Compare encoders, modes of transfer and baselines over numbers of labels and seeds.

examples:
  python -m finetune.compare
  python -m finetune.compare --encoders runs/static runs/bilm runs/bert --labels 500 2000 --seeds 0 1 2
  python -m finetune.compare --data sample --encoders runs/static-tiny runs/bilm-tiny --out runs/compare-sample
  python -m finetune.compare --draw docs/experiment/results.jsonl --out runs/recorded
  python -m finetune.compare --minutes --out runs/compare

writes to --out: one run directory for each cell of the grid, results.jsonl, table.md, accuracy.png, convergence.png,
cost.png, and cache/ with the features of frozen encoders
on 2 cores: all of the sample under 5 minutes; on IMDB a frozen cell takes seconds, once its encoder has encoded all
reviews, but one that learns encodes every token in every epoch: minutes with 500 labels, hours with 25,000"""


@dataclass(frozen=True)
class Settings(SavingSettings, ReviewSettings):
    """The flags of `python -m finetune.compare`."""

    prog = "python -m finetune.compare"
    description = DESCRIPTION

    encoders: tuple[str, ...] = flag("finished runs of pretrain.static, bilm, bert, gpt", directory_name, metavar="DIR",
                                     many=True, default=ENCODERS)
    modes: tuple[str, ...] = flag(f"how the encoders are transferred: {', '.join(MODES)}", metavar="MODE",
                                  choices=MODES, many=True, default=USUAL)
    labels: tuple[int, ...] | None = flag(
        "numbers of labels (default: 100 500 2000 10000 25000; of the sample 20 100 400; of reviews of your own those "
        "of imdb that they have, or all)", positive_int, metavar="N", many=True, default=None)
    seeds: tuple[int, ...] = flag("each decides which reviews are labelled, and how the weights begin",
                                  non_negative_int, metavar="N", many=True, default=SEEDS)
    epochs: int | None = flag("epochs at most in every cell (default: what finetune.imdb has for each mode)",
                              positive_int, metavar="N", default=None)
    no_baselines: bool = flag("leave out the bag of n-grams, static vectors frozen, and each encoder from scratch",
                              bool, default=False)
    show: bool = flag("run nothing: draw up what is done of this grid, and nothing else, of whatever pieces it was run "
                      "in; implies --resume", bool, default=False)
    draw: tuple[str, ...] = flag(
        "run nothing, and read neither encoders nor reviews: draw up the lines of these results.jsonl, or of those in "
        "these directories, such as pieces of a grid that were run on several machines", directory_name, metavar="FILE",
        many=True, default=())
    minutes: bool = flag(
        "run nothing: of the finished runs beside --out, and of those in directories beside it, tell the least minutes "
        "from raw text to each accuracy, all stages counted", bool, default=False)
    plots: bool | None = flag("draw the figures (default: if matplotlib is installed)", bool, default=None)
    precision: str = precision_flag()
    out: str = out_flag("runs/compare")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError for flags that contradict each other, or decide nothing."""
        of_grid = [name for name in GRID if "draw" in given and name in given]
        if of_grid:
            name = flag_name(cls.__dataclass_fields__[of_grid[0]])
            raise UsageError(f"--draw shows every line that it is given, whatever {name} says",
                             f"leave out {name}, or take lines out of the file")
        useless = [name for name in (*GRID, "draw", "plots") if "minutes" in given and name in given]
        if useless:
            name = flag_name(cls.__dataclass_fields__[useless[0]])
            raise UsageError(f"--minutes tells of every run that it finds, whatever {name} says", f"leave out {name}")
        return super().of(**given)
