"""Apparatus: resume states. How is one saved so that a kill at any moment leaves a good one to go on from?

    state/
      step-00001200/  state.pt  manifest.json     the one before, in case the newest turns out to be damaged
      step-00001234/  state.pt  manifest.json     the newest
      latest                                      its name

A state is written under a temporary name, flushed to the disk, renamed, and only then named by `latest`; only after
that is an older one deleted. Reading starts from `latest`, compares every byte with the manifest, and falls back to
the state before. Nothing in a state is executed: torch reads it with `weights_only`, which knows tensors and plain
values alone.

Next: checkpoint.py, the directory around it.
"""

import io
import itertools
import os
import re
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minitransfer.apparatus.durable import (
    MANIFEST,
    TEMPORARY,
    disk_errors,
    manifest_of,
    read_json,
    read_verified,
    sync_directory,
    to_json,
    write_file,
)
from minitransfer.apparatus.errors import CheckpointError, NumericsError
from minitransfer.apparatus.progress import say

STATE, LATEST = "state.pt", "latest"
STATE_NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")  # a state saved again at the same step is step-00001234.2
READABLE = {Tensor, torch.nn.Parameter, int, float, str, bool, type(None)}  # what we need of what weights_only reads


def save(states: Path, step: int, state: Mapping[str, Any], damaged: Collection[str] = ()) -> None:
    """Save a state in the directory `states`, then delete all but it and the one before that is not `damaged`.

    Raises: NumericsError if a tensor under "model" is not finite; ResourceError for a full disk; either way what was
    saved before is kept. TypeError for a value that could not be read back.
    """
    refuse_non_finite(state.get("model", {}))
    _refuse_unreadable(state)
    buffer = io.BytesIO()  # a copy in memory, so that the sha256 is of what was meant, not of what reached the disk
    torch.save({**state, "step": step}, buffer)
    _refuse_other(states)
    with disk_errors(states):
        states.mkdir(exist_ok=True)
    _delete_all_but(states, _complete_states(states))  # that is, what a kill left half-written
    target = _free_name(states, step)
    _write(target, step, buffer.getbuffer())
    write_file(states / LATEST, f"{target.name}\n".encode())
    # A later step was passed over as damaged, or never named by `latest`: this run has now taken its place.
    before = [s for s in _complete_states(states) if s != target and s.name not in damaged and _order(s)[0] <= step]
    _delete_all_but(states, [target, *before[:1]])


def load_newest(states: Path, known: Collection[str] = ()) -> tuple[dict[str, Any] | None, set[str]]:
    """The newest state that is whole, its "step" included, with tensors on the CPU; and the names of damaged ones.

    The state is None if none was saved. A damaged one is passed over, with a warning unless it is `known`.
    Raises: CheckpointError naming the files if there are states, but none can be used.
    """
    _refuse_other(states)
    latest, complete, problems = _read_latest(states), _complete_states(states), {}
    if STATE_NAME.fullmatch(latest) and latest not in {s.name for s in complete}:
        problems[latest] = f"{states / latest} is not there or has no {MANIFEST}, though {LATEST} names it"
    for directory in sorted(complete, key=lambda s: s.name != latest):  # latest, then newest first
        try:
            state = _read(directory)
        except CheckpointError as failure:
            problems[directory.name] = failure.what
            continue
        if problems.keys() - set(known):
            say(f"warning: {'; '.join(problems.values())}. Going on from {directory.name} instead.")
        return state, set(problems)
    if problems:
        fix = "restore the files from a copy, or begin again in another --out"
        raise CheckpointError("; ".join(problems.values()), fix)
    return None, set()


def finite(state: Any) -> bool:
    """Whether every floating tensor in nested dicts and lists is free of nan and infinity."""
    return all(_is_finite(leaf) for _, leaf in _leaves(state))


def refuse_non_finite(tensors: Any) -> None:
    """Raises: NumericsError naming the first tensor that holds nan or infinity, if one does."""
    for name, leaf in _leaves(tensors):
        if not _is_finite(leaf):
            what = f"the weights are no longer finite (first in {name}), so they were not saved"
            raise NumericsError(what)


def _refuse_unreadable(state: Any) -> None:
    """Raises: TypeError for a value that torch's safe loader would refuse, when it is too late to do anything."""
    for name, leaf in _leaves(state):
        if type(leaf) not in READABLE:  # the exact type: numpy.float64 is a float, and is refused
            raise TypeError(f"state {name} is a {type(leaf).__name__}, which cannot be read back safely")


def _refuse_other(states: Path) -> None:
    """Raises: CheckpointError if it is a link, since a run keeps to its own directory, or anything else."""
    if states.is_symlink():
        raise CheckpointError(f"{states} is a link", "put the directory that it points to in its place")
    if states.exists() and not states.is_dir():
        fix = "restore it from a copy, or begin again in another --out"
        raise CheckpointError(f"{states} is not a directory", fix)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values at the ends of nested dicts and lists, each with its dotted name."""
    if type(value) in (dict, OrderedDict):
        items = value.items()
    elif type(value) in (list, tuple):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, inner in items:
        yield from _leaves(inner, f"{name}.{key}" if name else str(key))


def _is_finite(leaf: Any) -> bool:
    """Whether a leaf is anything but a floating tensor with nan or infinity in it."""
    return not (isinstance(leaf, Tensor) and leaf.is_floating_point()) or bool(leaf.isfinite().all())


def _write(target: Path, step: int, data: memoryview) -> None:
    """Write the state directory `target`, whole or not at all."""
    temporary = target.with_name(TEMPORARY + target.name)
    try:
        with disk_errors(target, len(data)):
            temporary.mkdir()
            write_file(temporary / STATE, data)
            write_file(temporary / MANIFEST, to_json(manifest_of({STATE: data}, step=step)))
            os.rename(temporary, target)
            sync_directory(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # there only if something above failed


def _read(directory: Path) -> dict[str, Any]:
    """The state in one directory. Raises: CheckpointError if it is damaged, or would need code to be run."""
    manifest = read_json(directory / MANIFEST)
    data = read_verified(directory, manifest).get(STATE)
    if data is None or manifest.get("step") != _order(directory)[0]:
        raise CheckpointError(f"{directory / MANIFEST} is damaged", "restore the file from a copy")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd files, of which the error below says enough
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as failure:  # whatever torch stumbles over or refuses, it is the file that is at fault
        what = f"{directory / STATE} holds something else than tensors and plain values"
        raise CheckpointError(what, "restore the file from a copy") from failure
    if not isinstance(state, dict):
        raise CheckpointError(f"{directory / STATE} holds no dict", "restore the file from a copy")
    return state


def _complete_states(states: Path) -> list[Path]:
    """The states with a manifest, newest first; one that lacks it was never finished."""
    there = [s for s in (states.iterdir() if states.is_dir() else ()) if STATE_NAME.fullmatch(s.name)]
    return sorted((s for s in there if not s.is_symlink() and (s / MANIFEST).is_file()), key=_order, reverse=True)


def _order(state: Path) -> tuple[int, int]:
    """The step of a state, and the number of its copy: 1 for the first that was saved of that step."""
    step, again = STATE_NAME.fullmatch(state.name).groups()
    return int(step), int(again or 1)


def _free_name(states: Path, step: int) -> Path:
    """Where to put a state of this step: beside one that is already there, which may be the only good one."""
    names = (f"step-{step:08d}" + f".{again}" * (again > 1) for again in itertools.count(1))
    return next(states / name for name in names if not os.path.lexists(states / name))


def _read_latest(states: Path) -> str:
    """The name of the state that was saved last, or nothing if that is not known: a hint, not a must."""
    if not (states / LATEST).is_file():  # nor a pipe, which would keep us waiting
        return ""
    try:
        with open(states / LATEST, "rb") as file:
            return file.read(100).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _delete_all_but(states: Path, kept: list[Path]) -> None:
    """Delete the other states, and whatever a kill left under a temporary name; failing to is no reason to stop."""
    for entry in states.iterdir():
        if (entry.name.startswith(TEMPORARY) or STATE_NAME.fullmatch(entry.name)) and entry not in kept:
            shutil.rmtree(entry, ignore_errors=True)
