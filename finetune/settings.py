"""Part VI, around the commands: the flags that say which reviews, the same in all of them. Nothing here imports torch.

Read next: `finetune.imdb.settings`.
"""

import os
from dataclasses import dataclass
from typing import Any, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import positive_int
from minitransfer.apparatus.settings import RunSettings, SeedSettings, flag
from minitransfer.text import CLASSES, REVIEWS
from minitransfer.text.tables import USUAL
from minitransfer.transfer import FEWEST

COLUMNS = ("text_column", "label_column")


@dataclass(frozen=True)
class ReviewSettings(RunSettings):
    """Which reviews are learnt from. config.json has them by their fingerprints."""

    data: tuple[str, ...] = flag(
        "the reviews: imdb, sample, or auto, which is imdb if it can be had; or your own, of two classes or more: a "
        "folder train/CLASS/*.txt, test/CLASS/*.txt, or one or two CSV, TSV, JSON-lines or Parquet files, to train on "
        "and to test on (without one, a fifth is set aside)", metavar="DATA", many=True, default=("auto",),
        decides=False)
    text_column: str | None = flag(
        f"the column of your files that has the texts (default: {', '.join(USUAL['--text-column'])})", metavar="NAME",
        default=None, decides=False)
    label_column: str | None = flag(
        f"the one that has the labels (default: {', '.join(USUAL['--label-column'])})", metavar="NAME", default=None,
        decides=False)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError for columns of what has none."""
        data = given.get("data", ("auto",))
        data = (data,) if isinstance(data, str) else tuple(data)
        column = next((name for name in COLUMNS if given.get(name)), None)
        if column and (data[0] in REVIEWS or os.path.isdir(data[0])):
            raise UsageError(f"--{column.replace('_', '-')} is for tables of your own, and not for {data[0]}",
                             "leave it out, or name a file with --data")
        return super().of(**{**given, "data": data})

    @property
    def is_own(self) -> bool:
        """Whether the reviews are somebody's own, with classes that are not known beforehand."""
        return self.data[0] not in REVIEWS

    def columns(self) -> dict[str, str | None]:
        """What flags say of the columns of a table."""
        return {name: getattr(self, name) for name in COLUMNS}


@dataclass(frozen=True)
class LabelSettings(SeedSettings, ReviewSettings):
    """Which of the reviews a run learns from, and on which it is scored."""

    labels: int | None = flag(
        "learn from N labelled reviews, as many of each class, validation included (default: all)", positive_int,
        metavar="N", default=None)
    trial: int | None = flag(
        "for choosing flags: score on N reviews of the training half, always the same, instead of the test half",
        positive_int, metavar="N", default=None)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError for a --labels that no reviews could serve."""
        settings = super().of(**given)
        check_labels(settings.labels, settings.is_own)
        return settings


def check_labels(n: int | None, own: bool) -> None:
    """Raises: UsageError for a number of labels that no reviews could serve: two of each class at least.

    own: whether they are somebody's own, so that nobody knows yet how many classes there are.
    """
    least = FEWEST * len(CLASSES)
    if n is not None and (n < least or n % len(CLASSES) and not own):
        what = f"--labels {n} cannot be chosen, as many of each class, two at least"
        raise UsageError(what, f"choose {'a' if own else 'an even'} number from {least}")
