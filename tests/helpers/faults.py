"""Small runs to damage, and the ways to damage them: kills, flipped bits, and disks that refuse.

Used by the tests of run directories, states and finished runs. Processes are really forked and really killed; the
refusal of a disk is played by replacing the system call that would report it.
"""

import contextlib
import os
import resource
import shutil
import signal
import stat
import sys
from pathlib import Path

import torch
from hearing import heard

from minitransfer.apparatus import durable, states
from minitransfer.apparatus.checkpoint import RunDirectory

CONFIG = {"kind": "bilm", "hidden_size": 7, "corpus": {"name": "sample", "sha256": "ab"}, "widths": (1, 2, 3),
          "environment": {"threads": 2, "torch": "2.13.0"}}


def make_state(value: float, size: int = 13) -> dict:
    weight = torch.full((size, 3), value)
    return {"model": {"weight": weight}, "optimizer": [{"lr": 0.5, "name": "Ω"}, None], "epoch": 2}


def value_of(state: dict) -> float:
    """What a state from `make_state` was made of, after a look at the rest of it."""
    weight = state["model"]["weight"]
    assert weight.shape == (13, 3) and weight.eq(weight[0, 0]).all() and state["optimizer"][0]["name"] == "Ω"
    return weight[0, 0].item()


@contextlib.contextmanager
def begin(path: Path, *, resume: bool = False, config: dict = CONFIG, said: list[str] | None = None):
    """A run directory, begun or gone on with; what is said meanwhile goes into `said`."""
    with heard(said), RunDirectory.create(path, config, resume=resume) as run:
        yield run


def finish(path: Path, value: float = 0.5, config: dict = CONFIG) -> None:
    """A finished run."""
    with begin(path, config=config) as run:
        run.save_model({"weight": torch.full((5, 3), value), "bias": torch.arange(3)}, {"vocab.txt": "the\nça\n"})
        run.mark_complete(17, {"loss": 1.5})


def in_a_child(work) -> int:
    """Run `work` in a forked process, and return the signal that ended it, or 0."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(99)
    status = os.waitpid(child, 0)[1]
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def limit_memory(megabytes):
    """Let this process take no more than so much beside what it has."""
    with open("/proc/self/status") as file:
        (size,) = (int(line.split()[1]) for line in file if line.startswith("VmSize"))
    most = size * 1024 + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def state_names(path: Path) -> list[str]:
    return sorted(entry.name for entry in (path / "state").iterdir())


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


MOMENTS = [(durable.os, "fsync"), (durable.os, "replace"), (states.os, "rename"), (shutil, "rmtree")]


def killed_at(count: int, monkeypatch, cut: bool = False) -> None:
    """From now on, kill this process at the count-th system call that a save depends on; `cut`: after half a file."""
    left = [count]

    def counting(call):
        def instead(*arguments, **settings):
            left[0] -= 1
            if left[0] < 0:
                if cut and call is fsync and stat.S_ISREG(os.fstat(arguments[0]).st_mode):
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **settings)
        return instead

    fsync = os.fsync
    for module, name in MOMENTS:
        monkeypatch.setattr(module, name, counting(getattr(module, name)))


def refusing(monkeypatch, module, name: str, code: int, *, after: int = 0) -> None:
    """Let a system call fail with an error code from its `after`-th call on."""
    original, calls = getattr(module, name), []

    def instead(*arguments, **settings):
        calls.append(name)
        if len(calls) > after:
            raise OSError(code, os.strerror(code))
        return original(*arguments, **settings)

    monkeypatch.setattr(module, name, instead)
