"""Part VI, chapter 10: stopping. When has a classifier learnt enough?

**Early stopping**: after each epoch the validation set is scored. The weights with the lowest loss there are set
aside, and when a few epochs in a row bring nothing lower, training ends and they are taken back (lecture 4.2). Or it
goes to the end of its epochs, and keeps what it has there, to show what stopping early is worth.

Read next: `finetune.imdb.train`, the loop that uses it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minitransfer.apparatus.errors import NumericsError
from minitransfer.transfer.heads import cross_entropy


class TrainableState:
    """What training changes of a model: its buffers, and the parameters that learn when this is made.

    A frozen encoder is no part of it, so that neither a state nor the best weights hold it once more.
    """

    def __init__(self, model: nn.Module):
        learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.tensors: dict[str, Tensor] = learning | dict(model.named_buffers())

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors by their names in the model, without gradients; they go on changing."""
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Give each the value that it had in `state`."""
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])


class EarlyStopping:
    """Sets the best weights aside, and tells when `patience` epochs in a row have brought no lower validation loss.

    A patience of 0 goes to the end, and the last epoch counts as the best one, whatever its loss.

    stale    epochs since the validation loss was last at its lowest
    best     the weights of `best_epoch`, by name; epochs are counted from 1, and 0 is none
    """

    def __init__(self, trainable: TrainableState, patience: int):
        self.trainable, self.patience = trainable, patience
        self.stale = self.best_epoch = 0
        self.best_loss, self.best_accuracy = math.inf, 0.0
        self.best: dict[str, Tensor] = {}

    @property
    def is_over(self) -> bool:
        """Whether the patience is at its end."""
        return self.stale >= max(1, self.patience)

    @property
    def shown(self) -> dict[str, float]:
        """What a line of progress says of it: the lowest validation loss so far, if there is one."""
        return {"validation": self.best_loss} if self.best_epoch else {}

    def end_epoch(self, epoch: int, loss: float, accuracy: float) -> None:
        """Count an epoch that reached this validation loss and accuracy; set its weights aside if none was better."""
        self.stale += 1
        if self.patience == 0 or loss < self.best_loss:
            self.stale, self.best_epoch, self.best_loss, self.best_accuracy = 0, epoch, loss, accuracy
            self.best = {name: tensor.clone() for name, tensor in self.trainable.state_dict().items()}

    def take_best(self, fix: str) -> None:
        """Take the best weights back. Raises: NumericsError, which advises `fix`, if no loss to keep is a number."""
        if not math.isfinite(self.best_loss):
            raise NumericsError("no epoch was kept whose validation loss is a number", fix)
        self.trainable.load_state_dict(self.best)

    def state_dict(self) -> dict[str, Any]:
        """All that changes, and so all that a new process needs to go on."""
        return {name: value for name, value in vars(self).items() if name not in ("trainable", "patience")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        vars(self).update(state)


@dataclass(frozen=True)
class Outcome:
    """How a training went: the steps and epochs that it took, and the epoch whose weights were kept."""

    step: int = 0
    epochs_run: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_loss: float = math.inf
    best_accuracy: float = 0.0


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The mean loss in nats, and the share of texts whose largest logit is that of the right class.

    Shapes: logits (N, Y) float, labels (N,) int64, positions among the classes.
    """
    return cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).float().mean().item()


@dataclass(frozen=True)
class Scores:
    """How well texts were classified: all together, and class by class in the order of the logits.

    accuracy   the share of texts that are predicted right
    recalls    of each class n the share of its texts that are predicted as n, TP_n / (TP_n + FN_n); None without texts
    macro_f1   mean_n 2 TP_n / (2 TP_n + FP_n + FN_n), over the classes that a text has or is predicted as
    counts     how many texts each class has

    TP_n texts of class n are predicted as n, FN_n are not; FP_n texts of others are. Unlike the accuracy, macro F1
    counts a rare class as much as a frequent one (Manning, Raghavan and Schütze 2008, section 13.6).
    """

    accuracy: float
    recalls: list[float | None]
    macro_f1: float
    counts: list[int]


def scores_of(logits: Tensor, labels: Tensor) -> Scores:
    """Score predictions. Shapes: logits (N, Y), labels (N,) int64."""
    Y, predicted = logits.shape[1], logits.argmax(dim=1)
    TP = torch.bincount(labels[predicted == labels], minlength=Y).tolist()
    counts, answers = (torch.bincount(y, minlength=Y).tolist() for y in (labels, predicted))  # TP + FN, TP + FP
    F1 = [2 * tp / (count + answered) for tp, count, answered in zip(TP, counts, answers) if count + answered]
    recalls = [tp / count if count else None for tp, count in zip(TP, counts)]
    return Scores(loss_and_accuracy(logits, labels)[1], recalls, sum(F1) / len(F1), counts)
