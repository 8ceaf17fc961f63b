"""Apparatus: several processes. How can they train one model, and end with the weights that one alone would have?

    torchrun --nproc-per-node 2 -m pretrain.bert …

starts the command twice. Each process holds the whole model and draws the same batch, but encodes only its own rows
of it; then the gradients are averaged, so that all take the same step and their weights stay equal, bit for bit. A
training loop shows where: `share_of_rows`, `average_gradients`, and the keeper of its books. Alone, a process does
nothing here.

The batch is what --batch-size says, however many share it. So the losses are those of one process but for rounding,
since sums are taken in another order, and for dropout, which each process draws for its own rows. Only the first
process speaks, writes the run directory and measures held-out text, while the others wait; a state holds nothing of
any one process, so that any number of them can go on from it. Tensors travel by NCCL between GPUs, else by gloo.

Next: cache.py, what is kept from one run to the next.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn  # before there is a process group: its functions hold the one they find, for ever
from torch import Tensor, nn

from minitransfer.apparatus.checkpoint import RunDirectory, as_saved, compare_settings
from minitransfer.apparatus.errors import ResourceError, Stopped, UsageError
from minitransfer.apparatus.runtime import Stop
from minitransfer.apparatus.saved import read_config

Rows = TypeVar("Rows", Tensor, np.ndarray, list)
Result = TypeVar("Result")
_alone = False  # whether the first process is at work that the others wait for
PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells each process
MEETING = timedelta(minutes=5)  # until all processes have started
PATIENCE = timedelta(hours=1)  # with one that is at work alone, measuring; one that dies is noticed at once
LAST_WORDS = 1.0  # seconds: torchrun, which looks ten times a second, takes the first that ends for the cause


class PeerLost(ResourceError):
    """Another process of the run is gone, for a reason that is its own to tell."""


def rank() -> int:
    """The number of this process among those that train together; 0 for one that is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() and not _alone else 1


def is_first() -> bool:
    """Whether this is the process that speaks and writes."""
    return rank() == 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that torchrun has started, until all of them have come to the end.

    A failure is marked as `reported` if another process has failed in the same words: it is then shown only once.
    Raises: UsageError unless the environment says which process this is; ResourceError if the others do not come.
    """
    number, size = _place()
    store = None
    try:
        store = _find_others(number, size)
        try:
            yield
        except Stopped as stop:
            if not stop.agreed:
                raise
            _leave()
            raise
        _leave()
    except BaseException as failure:
        if not hasattr(failure, "reported"):
            setattr(failure, "reported", store is not None and _reported_before(store, failure))
        raise


def _leave() -> None:
    """End once all have come so far: after a failure torchrun would stop the first, perhaps amid its saving."""
    barrier()
    dist.destroy_process_group()


def _place() -> tuple[int, int]:
    """Which process this is, and of how many, by the environment. Raises: UsageError if it does not say."""
    place = {name: os.environ.get(name, "") for name in PLACE}
    number, size = place["RANK"], place["WORLD_SIZE"]
    if not (all(place.values()) and number.isdecimal() and size.isdecimal() and int(number) < int(size)):
        what = f"the environment speaks of several processes, but not which one this is: {place}"
        raise UsageError(what, "unset WORLD_SIZE to run one process, or start several by torchrun")
    return int(number), int(size)


def _find_others(number: int, size: int) -> dist.Store:
    """Join the process group; returns the store that all its processes see."""
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=MEETING))
        store.set(f"here {number}", "")
        store.wait([f"here {other}" for other in range(size)], MEETING)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as failure:
        what = f"the {size} processes of this run have not found one another: {str(failure)[:200]}"
        raise ResourceError(what, "start all of them by torchrun, on one machine") from failure
    return store


def _reported_before(store: dist.Store, failure: BaseException) -> bool:
    """Whether another process has failed in these words; for PeerLost, whether any has failed."""
    try:
        same, all_told = store.add(f"{type(failure).__name__}: {failure}", 1), store.add("failures", 1)
    except RuntimeError:  # the store has gone, and with it the process that kept it, which has told its own failure
        return not isinstance(failure, PeerLost)
    return (all_told if isinstance(failure, PeerLost) else same) > 1


def all_reduce(tensor: Tensor, operation=dist.ReduceOp.SUM) -> Tensor:
    """Replace a tensor by all processes' sum, or another `operation`: the same bits in all. Raises: PeerLost."""
    try:
        if world_size() > 1:
            dist.all_reduce(tensor, operation)
    except RuntimeError as failure:
        time.sleep(LAST_WORDS)
        what = "another process of this run has ended, or has been silent for too long"
        raise PeerLost(what, "see what it or torchrun says of it, and go on with --resume") from failure
    return tensor


def barrier() -> None:
    """Wait until all processes have come this far."""
    all_reduce(torch.zeros(1))


def agree(stop: Stop, due: bool = False) -> tuple[bool, bool]:
    """Whether any process has been asked to stop, and whether something is `due` in any: the same answers in all."""
    signal, any_due = all_reduce(torch.tensor([stop.requested or 0, int(due)]), dist.ReduceOp.MAX).tolist()
    if signal:  # else one that comes just now would be forgotten
        stop.requested = signal  # so that all end with its exit code
    return signal > 0, any_due > 0


def stop_together(stop: Stop, message: str = "stopped and saved") -> None:
    """Raises: Stopped, with this message in all processes at once, if any of them has been asked to stop."""
    if agree(stop)[0]:
        raise Stopped(stop.requested, message, agreed=True)


def on_first(stop: Stop, work: Callable[[], Result], message: str = "stopped and saved") -> Result | None:
    """Have the first process do some work while the others wait, for which there is None.

    Asked to stop, the work must end by itself, by Stopped or otherwise, or the others would wait for ever.
    Raises: Stopped, in all processes at once, if one of them was asked to stop meanwhile.
    """
    global _alone
    result = None
    with contextlib.suppress(Stopped):  # it is raised below, where the others hear of it
        try:
            _alone = is_first()  # or what it asks of all would be answered by those who wait here
            result = work() if _alone else None
        finally:
            _alone = False
    stop_together(stop, message)
    return result


def share_of_rows(batch: Rows) -> Rows:
    """The rows of a batch that this one of R processes encodes. Shapes: (B, …) -> (⌈B / R⌉ or one less, …)."""
    return batch[rank() :: world_size()]


def gather_rows(mine: Tensor, B: int) -> Tensor:
    """Put the rows that each process has worked out back where they stood: (⌈B / R⌉ or one less, …) -> (B, …).

    All R processes can then judge the whole batch alike. Backwards, each keeps the gradient of its own rows only, times
    R, because `average_gradients` divides by R and no other process has a gradient for these rows. A process whose
    share is empty brings one row all the same, since a network cannot encode nothing: that row is dropped here.
    """
    if world_size() == 1:
        return mine
    own = share_of_rows(torch.arange(B, device=mine.device))
    mine = mine[: len(own)]
    if mine.requires_grad:
        mine.register_hook(lambda gradient: gradient * world_size())
    others = mine.new_zeros(B, *mine.shape[1:]).index_copy_(0, own, mine.detach())
    return all_reduce(others).index_copy(0, own, mine)


def average_gradients(parameters: Iterable[nn.Parameter], n: int = 1) -> None:
    """Give the parameters the gradient of the whole batch, from those that each process has of its share.

    g = Σ_r n_r g_r / Σ_r n_r        g_r the gradient of a mean over n_r tokens, or rows, of process r

    All are sent at once, since each message costs time. A process with n_r = 0 has no say, whatever its gradients.
    docs/speed.md tells why this is not torch's DistributedDataParallel.
    """
    if world_size() == 1:
        return
    learning = [p for p in parameters if p.requires_grad]
    own = [p.grad if n and p.grad is not None else torch.zeros_like(p) for p in learning]
    flat = torch.cat([*(n * g.flatten() for g in own), own[0].new_tensor([n])])
    total = all_reduce(flat)[-1].clamp(min=1)
    for p, g in zip(learning, (flat[:-1] / total).split([p.numel() for p in learning])):
        p.grad = g.view_as(p)


def average(n: int, *means: float) -> list[float]:
    """Means over the whole batch, from those over the n_r tokens, or rows, of each process r."""
    if world_size() == 1:
        return list(means)
    sums = all_reduce(torch.tensor([n, *(n * mean if n else 0.0 for mean in means)], dtype=torch.float64))
    return (sums[1:] / sums[0].clamp(min=1)).tolist()


def rank_seed() -> tuple[int, ...]:
    """What a process adds to its seeds, not to draw as others do; the first, which may be alone, adds nothing."""
    return () if is_first() else (rank(),)


def broadcast_generator(generator: torch.Generator) -> None:
    """From here on, draw in all processes what the first one will."""
    state = generator.get_state()
    generator.set_state(all_reduce(state if is_first() else torch.zeros_like(state)))


def check_batch_size(batch_size: int) -> None:
    """Raises: UsageError if the processes cannot share a batch evenly."""
    W = world_size()
    if batch_size % W:
        what = f"--batch-size {batch_size} cannot be divided evenly among {W} processes"
        raise UsageError(what, "choose a number of processes that divides it, or another --batch-size")


def of_processes(threads: int) -> str:
    """Who computes, in words."""
    return f"{threads} thread{'s' * (threads != 1)}" + f" in each of {world_size()} processes" * (world_size() > 1)


class ReadOnlyRun(RunDirectory):
    """A run directory as it is to all processes but the first: they read what is there, and write nothing."""

    def _nothing(self, *arguments, **settings) -> None:
        """Leave it to the first process."""

    mark_complete = log_metrics = truncate_metrics = save_model = save_state = _nothing


@contextlib.contextmanager
def open_run(path: str, config: Mapping[str, Any], *, resume: bool) -> Iterator[RunDirectory]:
    """The run directory, created, held and written by the first process alone, and read by the others after it.

    Raises: what RunDirectory.create does; CheckpointError if this process has other settings than the first.
    """
    barrier()  # those who look whether the directory is free have looked
    if is_first():
        with RunDirectory.create(path, config, resume=resume) as run:
            barrier()
            yield run
    else:
        barrier()
        saved = read_config(Path(path))
        compare_settings(saved, as_saved(config), Path(path))
        yield ReadOnlyRun(Path(path), saved, None)
