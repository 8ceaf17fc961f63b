"""Part V, the command: distillation. What does a student of half the layers keep?

    python -m pretrain.distil runs/bert
    python -m pretrain.distil runs/bert --soft-weight 0 --cosine-weight 0 --out runs/untaught    # the same, untaught

The loop is that of `pretrain.bert.train`; only the network that it is given has another loss. So a student is masked,
saved, resumed, measured and transferred like any BERT.

Read next: `finetune.average.average`, the command.
"""

from typing import Any

from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.bert.distillation import DistillationWeights, Student
from minitransfer.bert.encoder import MaskedLM
from pretrain.bert import run as bert
from pretrain.bert import start
from pretrain.bert.text import Text
from pretrain.distil.settings import Settings


def main(settings: Settings) -> dict[str, Any]:
    """Teach, in the run that `pretrain.bert` would make; returns what that run came to."""
    return bert.main(settings, build_student)


def build_student(settings: Settings, text: Text, origin: LoadedRun, network: type[MaskedLM]) -> MaskedLM:
    """A student of the teacher that is the run's origin. Raises: CheckpointError for a teacher of a single layer."""
    weights = DistillationWeights(settings.soft_weight, settings.masked_weight, settings.cosine_weight,
                                  settings.temperature)
    try:
        return Student(start.build(settings, text, origin, network), weights, settings.dropout)
    except ValueError as failure:
        raise CheckpointError(f"{origin.path}: {failure}", "give a run of two layers or more") from failure
