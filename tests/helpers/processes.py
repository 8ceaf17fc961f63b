"""Several processes that train together: forked from the test, with the variables that torchrun would set.

As a script, for torchrun itself, it runs a command of which one process sends itself, or torchrun, a signal:

    torchrun --nproc-per-node 2 tests/helpers/processes.py 1 17 SIGKILL itself --out …
"""

import faulthandler
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch._dynamo  # noqa: F401  the first optimiser of a process would import it, for seconds
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bert_runs import PRESET  # noqa: E402
from pretrain_runs import signal_at  # noqa: E402

from minitransfer.apparatus import distributed  # noqa: E402
from minitransfer.apparatus.commands import run_command  # noqa: E402
from pretrain.bert import run as bert  # noqa: E402

SMALL = {**PRESET, "batch_size": 6, "epochs": 1}  # of pretrain.bert
DEADLINE = 200.0  # seconds, after which a process counts as one that hangs
PORT = 2  # bytes


class Ended(NamedTuple):
    """How a process has ended: its exit code, −n after signal n, and what it said on stdout and stderr."""

    code: int
    told: str


def together(n: int, work: Callable[[int], int | None], folder: Path) -> list[Ended]:
    """Do work(rank) in n processes at once; each one's end, in the order of their ranks.

    Forked before there is a store: it has a thread, and what a thread holds at that moment, a child never gets.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"rank-{rank}.txt" for rank in range(n)]
    told, tell = os.pipe()
    children = [begin(rank, n, told, work, files[rank]) for rank in range(n)]
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # torchrun keeps it for them, too
    os.write(tell, store.port.to_bytes(PORT, "big") * n)
    os.close(tell), os.close(told)
    deadline = time.monotonic() + DEADLINE
    codes = [wait_for(child, deadline) for child in children]
    return [Ended(code, file.read_text()) for code, file in zip(codes, files)]


def begin(rank: int, n: int, told: int, work: Callable[[int], int | None], file: Path) -> int:
    """Fork a process that reads from `told` where to meet, does its work and ends; returns its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
        faulthandler.dump_traceback_later(DEADLINE - 5, file=log)  # so that one that hangs tells where
        port = int.from_bytes(os.read(told, PORT), "big")
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_PORT": port,
                 "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": True}
        os.environ |= {name: str(value) for name, value in place.items()}
        distributed.LAST_WORDS = 0.1  # there is no torchrun to take heed of them
        code = work(rank) or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def wait_for(child: int, deadline: float) -> int:
    """The exit code of a process, or −signal; one that does not end in time is killed."""
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(module: ModuleType, flags: list[str]) -> int:
    """Run a command as its module does when torchrun starts it; returns its exit code."""
    sys.argv[1:] = flags
    return run_command(module.main, module.Settings, flags, together=True)


def under_torchrun(n: int, *arguments: str) -> subprocess.CompletedProcess:
    """Run this file as a script in n processes that torchrun starts."""
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n), __file__, *arguments]
    patient = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, env=patient)


if __name__ == "__main__":
    bert.Settings.presets["tiny"] = SMALL
    rank, step, name, whom, *rest = sys.argv[1:]
    if os.environ["RANK"] == rank:
        signal_at("bert", int(step), getattr(signal, name), whom=os.getppid() if whom == "torchrun" else os.getpid())
    sys.exit(run(bert, rest))
