"""Apparatus: the run directory. What does a run leave on disk, and how does it go on after being stopped or killed?

    runs/bilm/
      config.json          kind, format version and every setting, written before the first step
      metrics.jsonl        one line per logged step
      state/step-00001234  all that is needed to go on: the two newest, each with a manifest; `state/latest` names one
      model.safetensors    the trained weights, and beside them vocab.txt or tokenizer.json
      manifest.json        size and sha256 of the files above: written last, so a run that has it is whole
      complete.json        the last step and what it came to

A run killed at any moment can go on: states.py tells how. Random numbers are not part of a state: they follow from
(seed, epoch, step), see runtime.py. A finished run is read by saved.py.

Next: keeper.py, who keeps the books of a run in it.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from filelock import BaseFileLock
from torch import Tensor

from minitransfer.apparatus import metrics, states
from minitransfer.apparatus.durable import (
    LOCK,
    MANIFEST,
    TEMPORARY,
    disk_errors,
    manifest_of,
    probe,
    read_json,
    sign_lock,
    take_lock,
    to_json,
    write_file,
)
from minitransfer.apparatus.errors import CheckpointError, ResourceError, UsageError
from minitransfer.apparatus.metrics import METRICS
from minitransfer.apparatus.progress import is_speaker, say
from minitransfer.apparatus.saved import CONFIG, FORMAT_VERSION, WEIGHTS, LoadedRun, load_run, load_weights, read_config
from minitransfer.apparatus.states import finite

__all__ = ["LoadedRun", "RunDirectory", "finite", "load_run", "load_weights"]

COMPLETE, STATES = "complete.json", "state"
RESERVED = {CONFIG, WEIGHTS, MANIFEST, METRICS, COMPLETE, STATES, LOCK}
PLAIN_NAME = re.compile(r"\w[\w.-]*")  # no directory, and nothing hidden
BEGIN_INSTEAD = "leave out --resume to begin a run, in a directory that is new or empty"
# What the configs of older runs lack, as these runs had it.
ADDED = {"classes": ["negative", "positive"], "optimizer": "adamw", "weight_decay": 0.01, "average_weights": None,
         "masks": "dynamic", "mask_probability_end": None, "lm_weight": 0.0, "adversarial": 0.0,
         "softmax_optimizer": "adamw"}


class RunDirectory:
    """A directory that one run writes; made by `create`, and held against other runs until `close`.

    with RunDirectory.create("runs/bilm", config, resume=False) as run:
        state = run.load_state()  # None for a new run
        ...
        run.save_state(step, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch})
    """

    def __init__(self, path: Path, config: dict[str, Any], lock: BaseFileLock | None):
        """Take over what `create` has made: the directory's `config` as read back from JSON, and its `lock`, held.

        Without a lock (None) another process holds the directory, and this one writes nothing.
        """
        self.path, self.config = path, config
        self._lock = lock
        self._opened, self._earlier = time.monotonic(), 0.0  # the latter: seconds before the state that it goes on from
        self._damaged: set[str] = set()  # the states that load_state had to pass over

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any], *, resume: bool) -> "RunDirectory":
        """Begin a run in a new or empty directory, or go on with the one that is there.

        `config` holds "kind", every setting that decides the result, and runtime.environment() under "environment".
        Raises: UsageError if the directory holds something (without resume), or another process runs in it;
        CheckpointError if there is no run to resume, or its config differs, except in "environment", which is only
        warned of; ResourceError if a test file cannot be written.
        """
        path = Path(path)
        config = as_saved(config)
        saved = read_config(path, BEGIN_INSTEAD) if resume else None
        if saved is None:
            make_directory(path)
        lock = take_lock(path).lock
        try:
            if saved is None:
                refuse_if_taken(path)
            elif saved["kind"] != config["kind"]:
                what = f"{path} holds a run of kind {saved['kind']!r}, and not one of kind {config['kind']!r} to resume"
                raise CheckpointError(what, "give the --out of the run that was stopped")
            else:
                compare_settings(saved, config, path)
            run = cls(path, saved or config, lock)
            if run.completed is None:  # a finished run is only looked at
                sign_lock(lock)
                probe(path)
            if saved is None:
                write_file(path / CONFIG, to_json(config))
        except BaseException:
            lock.release()
            raise
        return run

    def close(self) -> None:
        """Let other processes have the directory."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *failure) -> None:
        self.close()

    @property
    def completed(self) -> dict[str, Any] | None:
        """What `mark_complete` noted, its "step" included; None for a run that has not finished."""
        return read_completion(self.path)

    @property
    def seconds(self) -> float:
        """How long the run has taken, without the pauses: since it was opened, and up to the state it goes on from."""
        return self._earlier + time.monotonic() - self._opened

    def mark_complete(self, step: int, summary: Mapping[str, Any]) -> None:
        """Note that the run has finished at this step, and what it came to."""
        write_file(self.path / COMPLETE, to_json({**summary, "step": step}))

    def log_metrics(self, row: Mapping[str, Any], *, once: bool = False) -> None:
        """Append one row to metrics.jsonl, whole or not at all.

        `once` is for what is logged after the last state, and so twice by a run that was killed before it was
        complete: a row of the same step and the same names, if there is one, stays the only one.
        """
        if once and any(old.keys() == row.keys() and old["step"] == row["step"] for old in self.read_metrics()):
            return
        metrics.append_row(self.path / METRICS, row)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows logged so far; a last line torn by a kill is left out."""
        return metrics.read_rows(self.path / METRICS)

    def truncate_metrics(self, step: int) -> None:
        """Drop the rows of steps after `step`, which a run resumed from there will log again."""
        metrics.keep_rows_up_to(self.path / METRICS, step)

    def save_model(self, tensors: Mapping[str, Tensor], extra_files: Mapping[str, bytes | str]) -> None:
        """Write the trained weights and the files that belong to them, and the manifest that makes the run whole.

        Tied weights are written under each of their names. Raises: NumericsError if a weight is not finite;
        ResourceError for a full disk; ValueError for a file name that is taken or not plain.
        """
        states.refuse_non_finite(dict(tensors))
        wrong = [name for name in extra_files if name in RESERVED or not PLAIN_NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"these names are taken, or no plain file names: {wrong}")
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        files = {name: data.encode() if isinstance(data, str) else data for name, data in extra_files.items()}
        files[WEIGHTS] = safetensors.torch.save(plain)
        with disk_errors(self.path / MANIFEST):
            (self.path / MANIFEST).unlink(missing_ok=True)  # killed after this, the run is unfinished, not damaged
        for name, data in files.items():
            write_file(self.path / name, data)
        files[CONFIG] = self._own_config()
        write_file(self.path / MANIFEST, to_json(manifest_of(files)))

    def _own_config(self) -> bytes:
        """The bytes of config.json, as the run was begun; written once more if somebody has changed them since."""
        config, path = to_json(self.config), self.path / CONFIG
        with disk_errors(path):
            unchanged = path.is_file() and path.read_bytes() == config
        if not unchanged:
            say(f"warning: {path} was changed while the run trained; it is written again as it was")
            write_file(path, config)
        return config

    def save_state(self, step: int, state: Mapping[str, Any]) -> None:
        """Save what is needed to go on from `step`: nested dicts and lists of tensors, numbers and strings.

        The newest two states are kept. Raises: NumericsError if a tensor under "model" is not finite; ResourceError
        for a full disk; after either, what was saved before is still there.
        """
        states.save(self.path / STATES, step, state, self._damaged)

    def load_state(self) -> dict[str, Any] | None:
        """The newest saved state that is whole, its "step" included, with tensors on the CPU; None if none was saved.

        A damaged state is passed over with a warning, the first time. Raises: CheckpointError if all are damaged.
        """
        state, self._damaged = states.load_newest(self.path / STATES, self._damaged)
        self._earlier = (state or {}).get("seconds", 0.0)  # which a keeper saves with all else
        return state


def check_state(state: Mapping[str, Any], names: Iterable[str], path: Path) -> None:
    """Raises: CheckpointError unless a saved state of the run at `path` has all these entries."""
    absent = [name for name in names if name not in state]
    if absent:
        what = f"the state in {path} was saved by another version of this program: it has no {', '.join(absent)}"
        raise CheckpointError(what, "begin again in another --out, or go on with the version that saved it")


def check_free(path: Path, what_is_there: str = "run", fix: str | None = None) -> None:
    """Raises: UsageError if something is at `path` that is no directory, or one that holds something or is in use."""
    if os.path.isdir(path):  # which a name too long for the system does not trouble
        if is_speaker() and (path / LOCK).is_file():  # several processes would be in each other's way
            with contextlib.suppress(ResourceError), take_lock(path):  # else `--resume` would be advised
                pass
        refuse_if_taken(path, what_is_there, fix)
    elif os.path.lexists(path):  # lexists, for a link that points to nothing
        raise UsageError(f"{str(path)[:300]} is not a directory", fix or "choose another --out")


def read_completion(path: Path) -> dict[str, Any] | None:
    """What complete.json of a run says; None if there is none. Raises: CheckpointError if it is damaged."""
    if not (path / COMPLETE).is_file():
        return None
    fix = "delete it, and the run goes on from its last state with --resume"
    try:
        noted = read_json(path / COMPLETE)
    except CheckpointError as failure:
        if isinstance(failure.__cause__, OSError):  # it cannot be read, and may be whole
            raise
        raise CheckpointError(failure.what, fix) from failure
    if type(noted.get("step")) is not int:
        raise CheckpointError(f"{path / COMPLETE} is damaged: it does not say at which step the run was complete", fix)
    return noted


def results(path: str | Path) -> dict[str, Any]:
    """What a finished run came to, its "step" and where it is, "out", included: what its command returns."""
    return {"out": str(path), **(read_completion(Path(path)) or {})}


def make_directory(path: Path) -> None:
    """Make the directory of a new run, unless it is there. Raises: UsageError if something else is there already."""
    if not os.path.isdir(path):
        check_free(path)
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    if not (path / LOCK).exists():  # nobody's yet, or somebody's photographs: then not even a lock is left in it
        refuse_if_taken(path)


def refuse_if_taken(path: Path, what_is_there: str = "run", fix: str | None = None) -> None:
    """Raises: UsageError, which may advise `fix`, for anything but a lock and what a killed process left behind."""
    if names := held(path):
        what = f"{path} is not empty: it holds {', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        raise UsageError(what, fix or f"add --resume to go on with the {what_is_there} there, or choose another --out")


def held(path: Path) -> list[str]:
    """The names in a directory, but for a lock and what a killed process left behind."""
    return sorted(e.name for e in path.iterdir() if e.name != LOCK and not e.name.startswith(TEMPORARY))


def as_saved(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config as it will be read back from its file: tuples become lists."""
    return json.loads(to_json({"kind": config["kind"], "format_version": FORMAT_VERSION, **config}))


def compare_settings(saved: Mapping[str, Any], asked: Mapping[str, Any], path: Path) -> None:
    """Compare the settings of a run with those it is resumed with; warn of another environment.

    Raises: CheckpointError listing each setting that differs, as it was and as it was asked for.
    """
    old, new = flat(saved), flat(asked)
    differing = [key for key in {**old, **new} if old.get(key, ADDED.get(key, "absent")) != new.get(key, "absent")]
    differences = {key: f"{key}: {_brief(old, key)} there, {_brief(new, key)} now" for key in differing}
    settings = [text for key, text in differences.items() if not key.startswith("environment.")]
    if settings:
        what = f"{path} was begun with other settings: {'; '.join(settings)}"
        raise CheckpointError(what, "resume with the same settings, or choose another --out for these")
    if differences:
        say(f"warning: {'; '.join(differences.values())}. The run goes on, but no longer bit for bit as it would have.")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings of nested objects under dotted names, such as "environment.threads"."""
    named: dict[str, Any] = {}
    for key, value in config.items():
        named |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return named


def _brief(settings: Mapping[str, Any], key: str) -> str:
    """A setting in at most 40 characters."""
    text = json.dumps(settings[key]) if key in settings else "absent"
    return text if len(text) <= 40 else f"{text[:39]}…"
