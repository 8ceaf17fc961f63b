"""Apparatus: the cache. How is what took minutes to compute kept for the next run, and never taken for something else?

By a name that is the sha256 of everything that decides it, and a manifest with the sha256 of its bytes. Whatever is
wrong with what was kept, or with the disk, costs time and nothing else: it is computed again.

Next: figures.py, what pictures have in common.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from minitransfer.apparatus.distributed import all_reduce, is_first
from minitransfer.apparatus.durable import disk_errors, manifest_of, read_json, read_verified, to_json, write_file
from minitransfer.apparatus.errors import CheckpointError, MinitransferError
from minitransfer.apparatus.progress import say


def cache_key(*parts: str | int) -> str:
    """A name for what these parts decide: their sha256, in hex."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cached(directory: Path | None, what: str, key: str, compute: Callable[[], dict[str, Tensor]]
           ) -> dict[str, Tensor]:
    """The tensors kept under `key`, if they are whole; else those computed now, which are kept for the next run.

    In `directory` there are `WHAT-KEY.safetensors` and a manifest with its sha256; None keeps nothing. A damaged file
    is told of and replaced. A disk that takes no more is told of as well, and costs the next run its time only.
    Several processes compute together if any of them lacks the tensors, and the first keeps them.
    """
    if directory is None:
        return compute()
    name = f"{what}-{key}.safetensors"
    manifest = directory / f"{what}-{key}.json"
    tensors = None
    if manifest.is_file():
        try:
            tensors = _read(directory, name, manifest)
        except CheckpointError as failure:
            say(f"warning: {failure.what.rstrip('.')}; the {what} are computed again")
    if not all_reduce(torch.tensor(int(tensors is None))):
        say(f"{what}: read from {directory / name}")
        return tensors
    tensors = compute()
    if is_first():
        try:
            _write(directory, name, manifest, tensors)
        except MinitransferError as failure:
            say(f"warning: the {what} are not kept for the next run: {failure.what.rstrip('.')}")
    return tensors


def _read(directory: Path, name: str, manifest: Path) -> dict[str, Tensor]:
    """The tensors in a cache file. Raises: CheckpointError if it is not the file that was written."""
    data = read_verified(directory, read_json(manifest)).get(name)
    if data is None:
        raise CheckpointError(f"{manifest} belongs to another file", "delete it")
    try:
        return safetensors.torch.load(data)
    except safetensors.SafetensorError as failure:  # the manifest fits it, so somebody made both by hand
        raise CheckpointError(f"{directory / name} is not a safetensors file", "delete it") from failure


def _write(directory: Path, name: str, manifest: Path, tensors: dict[str, Tensor]) -> None:
    """Keep tensors, the manifest last: without it they count as not there."""
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        manifest.unlink(missing_ok=True)
    data = safetensors.torch.save(tensors)
    write_file(directory / name, data)
    write_file(manifest, to_json(manifest_of({name: data})))
