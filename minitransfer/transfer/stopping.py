"""Part V, chapter 10: stopping. When has a classifier learnt enough, and how does an interrupted run go on?

**Early stopping**: after each epoch the validation set is scored. The weights with the lowest loss there are set
aside, and when a few epochs in a row bring nothing lower, training ends and they are taken back (lecture 4.2). Or it
goes to the end of its epochs, and keeps what it has there, to show what stopping early is worth. A `Training` notes
how far this has come: everything that a new process needs, beside weights and optimizer, to go on exactly.

Read next: `finetune.imdb.train`, the loop that uses it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from minitransfer.transfer.heads import cross_entropy


@dataclass
class Training:
    """How far training has come. `best` holds the weights of `best_epoch`, by name; epochs are told from 1.

    epoch, batch, step    epochs finished, batches of the epoch that runs, batches altogether
    skipped               batches that nothing was learnt from, their loss or gradient not being finite
    logged                the step of the last row in metrics.jsonl
    loss_sum, learnt      of the epoch so far: the loss of the texts it learnt from, in nats, and how many these are
    seconds               of all training so far
    stale                 epochs since the validation loss was last at its lowest
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    skipped: int = 0
    logged: int = 0
    loss_sum: float = 0.0
    learnt: int = 0
    seconds: float = 0.0
    stale: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    best_accuracy: float = 0.0
    best: dict[str, Tensor] = field(default_factory=dict)

    def end_epoch(self, loss: float, accuracy: float, changing: Mapping[str, Tensor],
                  keep_last: bool = False) -> None:
        """Count an epoch that reached this validation loss and accuracy; set its weights aside if none was better.

        With `keep_last` the last epoch counts as the best one, whatever its loss.
        """
        self.epoch, self.batch, self.loss_sum, self.learnt = self.epoch + 1, 0, 0.0, 0
        self.logged = self.step
        self.stale += 1
        if keep_last or loss < self.best_loss:
            self.stale, self.best_epoch, self.best_loss, self.best_accuracy = 0, self.epoch, loss, accuracy
            self.best = {name: p.detach().clone() for name, p in changing.items()}

    def take_best(self, changing: Mapping[str, Tensor]) -> None:
        """Give what changes, parameters and buffers by their names, the values that did best, if any epoch did."""
        with torch.no_grad():
            for name, value in self.best.items():
                changing[name].copy_(value)

    def state(self, changing: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """What `RunDirectory.save_state` is to keep. A frozen encoder is not part of it, for it does not change."""
        return {"training": asdict(self), "model": {name: p.detach() for name, p in changing.items()},
                "optimizer": optimizer.state_dict()}

    @classmethod
    def restore(cls, state: Mapping[str, Any] | None, changing: Mapping[str, Tensor],
                optimizer: torch.optim.Optimizer) -> "Training":
        """Put weights and optimizer back to where a state was saved, and return how far it was; None is the start."""
        if state is None:
            return cls()
        with torch.no_grad():
            for name, p in changing.items():
                p.copy_(state["model"][name])
        optimizer.load_state_dict(state["optimizer"])
        return cls(**state["training"])


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The mean loss in nats, and the share of texts whose largest logit is that of the right class."""
    return cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).float().mean().item()
