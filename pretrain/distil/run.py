"""Part VI, the command: distillation. What does a student of half the layers keep?

    python -m pretrain.distil runs/bert
    python -m pretrain.distil runs/bert --soft-weight 0 --cosine-weight 0 --out runs/untaught    # the same, untaught

The loop is that of `pretrain.bert.train`; only the network that it is given has another loss. So a student is masked,
saved, resumed, measured and transferred like any BERT.

Read next: `finetune.average.average`, the command.
"""

from typing import Any

from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.durable import entry
from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.bert.distillation import DistillationConfig, Student
from minitransfer.bert.encoder import MaskedLM
from pretrain.bert import run as bert
from pretrain.bert import start
from pretrain.bert.text import Text
from pretrain.distil.settings import Settings


def main(settings: Settings) -> dict[str, Any]:
    """Teach, in the run that `pretrain.bert` would make; returns what that run came to."""
    return bert.main(settings, build_student, check_teacher)


def check_teacher(teacher: LoadedRun, settings: Settings, network: type[MaskedLM]) -> None:
    """Raises: what `check_origin` does; UsageError for rows longer than those that the teacher knows, beyond which its
    answers are noise; CheckpointError for a teacher of a single layer."""
    start.check_origin(teacher, settings, network)
    longest = entry(teacher.config, "training.seq_length")
    if type(longest) is int and settings.seq_length > longest:
        raise UsageError(f"--seq-length {settings.seq_length} is longer than the rows of {longest} pieces that "
                         f"{settings.teacher} has learned from", f"give --seq-length {longest} or less")
    if teacher.config["model"]["num_layers"] < 2:
        raise CheckpointError(f"{settings.teacher}: a teacher of one layer has no half",
                              "give a run of two layers or more")


def build_student(settings: Settings, text: Text, origin: LoadedRun, network: type[MaskedLM]) -> MaskedLM:
    """A student of the teacher that is the run's origin."""
    distillation = DistillationConfig(settings.soft_weight, settings.masked_weight, settings.cosine_weight,
                                      settings.temperature)
    return Student(start.build(settings, text, origin, network), distillation, settings.dropout)
