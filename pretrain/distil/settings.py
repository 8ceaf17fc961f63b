"""Part VI, around distillation: its flags. Nothing here imports torch.

Read next: `pretrain.distil.run`.
"""

from dataclasses import dataclass
from typing import Any, Self

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.options import directory_name, non_negative_float, positive_float
from minitransfer.apparatus.settings import flag, out_flag, without_flag
from pretrain.bert.settings import Settings as BertSettings

DESCRIPTION = """Teach a student of half the layers what a finished BERT knows.

examples:
  python -m pretrain.distil runs/bert
  python -m pretrain.distil runs/bert-imdb --corpus imdb --epochs 1 --out runs/distil-imdb
  python -m pretrain.distil runs/bert --soft-weight 0 --cosine-weight 0 --out runs/untaught     # for comparison

writes to --out what pretrain.bert does: the student is a BERT like any other
on 2 cores, with the preset of its teacher: tiny a minute on the sample; small half an hour on WikiText-2"""


@dataclass(frozen=True)
class Settings(BertSettings):
    """The flags of `python -m pretrain.distil`. config.json has the teacher, as its origin, by its fingerprint."""

    prog = "python -m pretrain.distil"
    goes_on_from = "the teacher"
    description = DESCRIPTION

    teacher: str = flag("a finished run of pretrain.bert, of two layers or more", directory_name, metavar="RUN",
                        positional=True, decides=False)
    warm_start: str = without_flag("none")
    init_from: str | None = without_flag(None)
    soft_weight: float = flag("of the teacher's probabilities", non_negative_float, metavar="X", default=5.0)
    masked_weight: float = flag("of the masked pieces", non_negative_float, metavar="X", default=2.0)
    cosine_weight: float = flag("of the direction of the states", non_negative_float, metavar="X", default=1.0)
    temperature: float = flag("by which logits are divided before they become probabilities to learn from",
                              positive_float, metavar="X", default=2.0)
    out: str = out_flag("runs/distil")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Complete settings. Raises: UsageError as those of pretrain.bert, and for three weights of 0."""
        settings = super().of(**{**given, "init_from": given["teacher"]})
        if not settings.soft_weight + settings.masked_weight + settings.cosine_weight:
            raise UsageError("--soft-weight, --masked-weight and --cosine-weight are all 0: nothing would be learned",
                             "give one of them a weight")
        return settings
