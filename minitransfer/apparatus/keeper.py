"""Apparatus: the keeper. Who counts the steps of a run, logs, saves and stops it, so that the loop shows the lesson?

    with Keeper(run, stop, settings, …, model=model, optimizer=optimizer) as keeper:
        for epoch in keeper.epochs(E):
            for batch in keeper.steps(batches_of(epoch)):
                …                                             # rate, batch, loss, gradients, clipping
                if keeper.may_step(loss, norm):
                    optimizer.step()
                keeper.done(len(batch), loss=loss)

The keeper sees no model, batch or loss: what is to be saved is handed to it by name, and need only have `state_dict`
and `load_state_dict`. At first it takes all of that back to the last state of the run, if there is one; both `for`
loops then begin where they were interrupted. At the edge of a step, where the `for` asks for the next batch, a state
is saved if it is time, and a run that was asked to stop ends there by an exception, its state saved. What is done at
the end of an epoch, as validation, belongs into the outer loop: the epoch counts as finished once that is done, and a
run that is stopped meanwhile does it again.

Next: optim.py, which moves the weights.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from minitransfer.apparatus.checkpoint import RunDirectory, check_state, load_weights
from minitransfer.apparatus.distributed import agree, is_first, stop_together
from minitransfer.apparatus.errors import NumericsError
from minitransfer.apparatus.optim import FiniteGuard
from minitransfer.apparatus.progress import Progress
from minitransfer.apparatus.runtime import Stop
from minitransfer.apparatus.settings import SavingSettings

ROWS = 200  # of metrics.jsonl, about so many in a run: by steps, so that a run that was interrupted has the same ones
RECENT = 20  # steps: the loss that the line of progress shows is a mean over so many
BOOKS = ("epoch", "in_epoch", "skipped", "seconds", "sums")
Batch = TypeVar("Batch")


class Keeper:
    """Keeps the books of one training run.

    step, epoch: how many are finished.  in_epoch: steps of the epoch that runs.  skipped: steps that changed nothing,
    because loss or gradient were not finite.  progress: units of work done, of a total.  seconds: from the beginning
    to the last step, without the pauses.  sums: of the epoch that runs, what `add` was told.
    """

    def __init__(self, run: RunDirectory, stop: Stop, settings: SavingSettings, *, steps: int, total: int, unit: str,
                 description: str, **kept: Any):
        """steps: of the whole run.  total: its work, in `unit`.  description: what the line of progress begins with.

        kept: what a state holds, by name, each with `state_dict` and `load_state_dict`.
        Raises: CheckpointError for a run whose saved states are damaged, or do not fit.
        """
        self._run, self._stop, self._kept = run, stop, kept
        self.step = self.epoch = self.in_epoch = self.skipped = 0
        self.seconds = 0.0
        self.sums: dict[str, float] = {}
        self._total_steps, self._row_every = steps, max(1, steps // ROWS)
        self._guard, self._save_every, self._saved = FiniteGuard(), settings.save_every, time.monotonic()
        self._saved_step: int | None = None
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT)  # units and loss of a step
        units = self._restore(run.load_state() or {"step": 0})
        self._began = time.monotonic() - self.seconds
        self.progress = Progress(total, unit, description=description, log_every=settings.log_every, done=units)

    def epochs(self, n: int) -> Iterator[int]:
        """The epochs that are not finished, counted from 0."""
        while self.epoch < n:
            yield self.epoch
            self.epoch, self.in_epoch, self.sums = self.epoch + 1, 0, {}

    def steps(self, batches: Sequence[Batch]) -> Iterator[Batch]:
        """The batches of an epoch that are not done. Raises: Stopped, once the state is saved, if asked to stop."""
        for batch in batches[self.in_epoch :]:
            yield batch
            self.in_epoch += 1
            self.save_or_stop()

    def may_step(self, loss: float, norm: float) -> bool:
        """Whether loss and gradient norm are finite. Raises: NumericsError when they were not for five steps."""
        finite = self._guard.ok(loss, norm)
        self.skipped += not finite
        return finite

    def add(self, **amounts: float) -> None:
        """Add to the sums of the epoch that runs."""
        self.sums |= {name: self.sums.get(name, 0.0) + amount for name, amount in amounts.items()}

    def done(self, units: int, *, loss: float, shown: Mapping[str, float] | None = None, **numbers: float) -> None:
        """Count a step that was `units` of work. One step in so many is logged, with its loss and other numbers.

        shown: what the line of progress tells beside the loss, which there is the mean per unit over the last steps.
        """
        self.step, self.seconds = self.step + 1, time.monotonic() - self._began
        self._recent.append((units, loss))
        recent = sum(n * nats for n, nats in self._recent) / sum(n for n, _ in self._recent)
        self.progress.advance(units, loss=recent, **(shown or {}))
        if self.step % self._row_every == 0 or self.step == self._total_steps:
            tokens = {"tokens": self.progress.done} if self.progress.unit != "steps" else {}
            row = {"step": self.step, "epoch": self.epoch, **tokens, "loss": loss, **numbers}
            self._run.log_metrics({**row, "skipped": self.skipped})

    def save(self) -> None:
        """Save a state of this step."""
        parts = {name: part.state_dict() for name, part in self._kept.items()}
        books = {name: getattr(self, name) for name in BOOKS}
        self._run.save_state(self.step, {**parts, **books, "units": self.progress.done})
        self._saved, self._saved_step = time.monotonic(), self.step

    def save_or_stop(self) -> None:
        """Save in every process when the first says that it is time: a state may be gathered from all.

        To be called in long work between two steps, too: a step that has been saved is not saved again.
        Raises: Stopped, once the state is saved, if asked to stop.
        """
        due = is_first() and time.monotonic() - self._saved >= self._save_every
        stopping, due = agree(self._stop, due)
        if (stopping or due) and self._saved_step != self.step:
            self.save()
        if stopping:
            stop_together(self._stop)

    def _restore(self, state: Mapping[str, Any]) -> int:
        """Take everything back to a saved state; returns how many units were done there.

        A state of step 0 is one that a stage before the loop has left: it has no books, and not every part.
        """
        if state["step"]:
            check_state(state, (*BOOKS, "units", *self._kept), self._run.path)
            for name in BOOKS:
                setattr(self, name, state[name])
            self._saved_step = state["step"]
        for name, part in self._kept.items():
            if name in state and isinstance(part, nn.Module):
                load_weights(part, state[name])  # which names the file where something does not fit
            elif name in state:
                part.load_state_dict(state[name])
        self.step = state["step"]
        self._run.truncate_metrics(self.step)  # without a state too: a run may be killed before its first, after a row
        return state.get("units", 0)

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, failure: type | None, *_) -> None:
        """Leave the last line of progress, and the last state. Raises: NumericsError if not one step could be taken."""
        self.progress.close()
        if failure is None and 0 < self.step == self.skipped:
            raise NumericsError(f"none of {self.step} steps had a loss and a gradient that are numbers")
        if failure is None and self._saved_step != self.step:
            self.save()
