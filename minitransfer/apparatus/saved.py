"""Apparatus: reading a finished run. Is this directory the run it is taken for, whole, and of the kind asked for?

Every byte is compared with the manifest before it is used, and weights are read from safetensors, a format that
holds numbers only. What is wrong is said before anything is built: a biLM given for a BERT, a run that never
finished, a file of which one bit has changed, a config and weights that are not of one network.

Next: metrics.py, the rows that a run logs.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from minitransfer.apparatus.durable import MANIFEST, read_json, read_verified
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.apparatus.options import shell_line
from minitransfer.apparatus.states import finite

FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
COMMAND_OF_KIND = {  # which command writes a run of which kind, for advice
    "static": "python -m pretrain.static",
    "bilm": "python -m pretrain.bilm",
    "bert": "python -m pretrain.bert",
    "gpt": "python -m pretrain.gpt",
    "transfer": "python -m finetune.imdb",
    "bag": "python -m finetune.bag",
    "average": "python -m finetune.average",
}
ANOTHER = "give the directory of another run, or train this one anew"
Parsed = TypeVar("Parsed")
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class LoadedRun:
    """A finished run in memory, each file verified.

    `tensors`: the weights by name, on the CPU. `files`: what else was saved beside them, such as vocab.txt, by name.
    `fingerprint`: sha256 of the manifest, so a key for whatever is computed from this run and no other.
    """

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    files: dict[str, bytes]
    fingerprint: str

    @property
    def kind(self) -> str:
        """What the run trained: static, bilm, bert, gpt, transfer, bag or average."""
        return self.config["kind"]

    def text(self, name: str) -> str:
        """The text of one saved file. Raises: CheckpointError if the run has no such file, or it is not UTF-8."""
        if name not in self.files:
            raise CheckpointError(f"{self.path} has no {name}, but {_some(self.files)}", _train_another(self.kind))
        try:
            return self.files[name].decode()
        except UnicodeDecodeError as failure:
            what = f"{self.path / name} is not UTF-8 text, at byte {failure.start}"
            raise CheckpointError(what, _train_another(self.kind)) from failure

    def parsed(self, name: str, parse: Callable[[str], Parsed]) -> Parsed:
        """What `parse` makes of one saved file's text. Raises: CheckpointError as `text`, or if it is a ValueError."""
        text = self.text(name)
        try:
            return parse(text)
        except ValueError as failure:
            raise CheckpointError(f"{self.path / name} is damaged: {failure}", ANOTHER) from failure


def load_run(path: str | Path, kind: str | None = None) -> LoadedRun:
    """Read a finished run of the kind asked for, or of any kind for None.

    Raises: CheckpointError for a directory that is no run, unfinished, damaged, of another kind, or a newer format.
    """
    path = Path(path)
    config = read_config(path, _first_make(path, kind))
    if kind is not None and config["kind"] != kind:
        what = f"{path} holds a run of kind {config['kind']!r}, but one of kind {kind!r} is needed"
        raise CheckpointError(what, _train_another(kind))
    if not (path / MANIFEST).is_file():
        command = COMMAND_OF_KIND.get(config["kind"], "the command that began it")
        if "soft_weight" in config:  # a student is a BERT that another command has begun
            command = "python -m pretrain.distil TEACHER"
        what = f"the run in {path} has not finished: there is no {MANIFEST}"
        finish = f"{command} --resume --out {shell_line([str(path)])}"
        raise CheckpointError(what, f"finish it with `{finish}` and its other flags")
    files = read_verified(path, read_json(path / MANIFEST))
    absent = {CONFIG, WEIGHTS} - files.keys()
    if absent:
        raise CheckpointError(f"{path / MANIFEST} is damaged: it does not list {_some(absent)}", _train_another(kind))
    files.pop(CONFIG)
    tensors = _parse_weights(path / WEIGHTS, files.pop(WEIGHTS))
    fingerprint = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    return LoadedRun(path, config, tensors, files, fingerprint)


def _first_make(path: Path, kind: str | None) -> str:
    """The advice where there is no run: the command that makes one there, of the kind needed or of the name's."""
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):  # something else is there
        return "give the directory of a finished run"
    kind = kind or next((kind for kind in COMMAND_OF_KIND if path.name.startswith(kind)), "bilm")
    usual = "runs/imdb" if kind == "transfer" else f"runs/{kind}"
    out = "" if str(path) == usual else f" --out {shell_line([str(path)[:300]])}"
    return f"make it with `{COMMAND_OF_KIND[kind]}{out}`, or give the directory of a finished run"


def read_config(path: Path, fix: str = "give the directory of a finished run, such as runs/bilm") -> dict[str, Any]:
    """The config.json of a run. Raises: CheckpointError, which advises `fix`, if there is none that can be read."""
    if not os.path.isdir(path):  # which a name too long for the system does not trouble
        state = "it is a file" if os.path.exists(path) else "there is no such directory"
        raise CheckpointError(f"no run at {str(path)[:300]}: {state}", fix)
    if not (path / CONFIG).is_file():
        names = _some(sorted(entry.name for entry in path.iterdir()))
        raise CheckpointError(f"no run at {path}: looked for {CONFIG}, found {names}", fix)
    config = read_json(path / CONFIG)
    version = config.get("format_version")
    if not isinstance(version, int) or not isinstance(config.get("kind"), str):
        raise CheckpointError(f"{path / CONFIG} does not say its kind and format_version", fix)
    if version > FORMAT_VERSION:
        what = f"{path} was written by format v{version}, and this program reads up to v{FORMAT_VERSION}"
        raise CheckpointError(what, "use the newer program that wrote it")
    return config


def check_depth(num_layers: int, tensors: Collection[str]) -> None:
    """Raises: ValueError if a config claims more layers than there are tensors to make them of.

    To be asked before they are built: a billion layers fill the memory, even if only their shapes are kept.
    """
    if num_layers > len(tensors):
        raise ValueError(f"{num_layers:,} layers cannot be made of {len(tensors)} tensors")


def misfits(actual: Mapping[str, Any], needed: Mapping[str, Any], types: Collection[str] = ()) -> str:
    """How tensors, by name and shape, differ from those needed, in words; `types` are those of another type."""
    shapes = [f"{name} {tuple(actual[name])} instead of {tuple(shape)}" for name, shape in sorted(needed.items())
              if name in actual and tuple(actual[name]) != tuple(shape)]
    problems = {"missing": sorted(needed.keys() - actual.keys()), "not expected": sorted(actual.keys() - needed.keys()),
                "of another shape": shapes, "of another type": types}
    return "; ".join(f"{problem}: {_some(names)}" for problem, names in problems.items() if names)


def problems_of(tensors: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> str:
    """What keeps tensors from being a network's, in words: names, shapes, and what has no floating-point numbers."""
    types = [f"{name} {tensors[name].dtype} instead of {tensor.dtype}" for name, tensor in sorted(needed.items())
             if name in tensors and tensors[name].is_floating_point() != tensor.is_floating_point()]
    actual, shapes = ({name: tensor.shape for name, tensor in each.items()} for each in (tensors, needed))
    return misfits(actual, shapes, types)


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy all tensors into the module, or none. Raises: CheckpointError naming all that does not fit."""
    if problems := problems_of(tensors, module.state_dict()):
        raise CheckpointError(f"the weights do not fit this network: {problems}",
                              "use the settings it was trained with")
    module.load_state_dict(dict(tensors))


def build_to_fit(make: Callable[[], Network], tensors: Mapping[str, Tensor], path: Path) -> Network:
    """The module that `make` builds from a run's config, holding the run's tensors.

    It is built first on torch's meta device, which keeps shapes without memory: a config that claims a billion units
    is refused, not allocated. Raises: CheckpointError if config and tensors do not fit, or a weight is not finite.
    """
    try:
        with torch.device("meta"):
            problems = problems_of(tensors, make().state_dict())
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError) as failure:
        why = f"{type(failure).__name__}: {failure}"
        what = f"{path / 'config.json'} describes no network that its weights could fill ({why})"
        raise CheckpointError(what, ANOTHER) from failure
    if problems:
        what = f"{path / 'config.json'} describes a network of other weights than are saved with it: {problems}"
        raise CheckpointError(what, ANOTHER)
    if wrong := [name for name, tensor in tensors.items() if not finite(tensor)]:
        raise CheckpointError(f"the weights in {path} are not all finite (first in {wrong[0]})", ANOTHER)
    module = make()
    module.load_state_dict(dict(tensors))
    return module


def _parse_weights(path: Path, data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    try:
        return safetensors.torch.load(data)
    except Exception as failure:  # whatever the parser stumbles over, it is the file that is at fault
        raise CheckpointError(f"{path} is not a safetensors file: {failure}", _train_another(None)) from failure


def _some(names) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "nothing"


def _train_another(kind: str | None) -> str:
    """Advice: which command makes a run of this kind."""
    if kind in COMMAND_OF_KIND:
        return f"give the directory of such a run; `{COMMAND_OF_KIND[kind]}` trains one"
    return "give the directory of another run"
