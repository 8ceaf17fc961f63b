"""Apparatus: the machine. Where does a run compute, what decides its random numbers, and how is it told to stop?

Order, masks and dropout come from `derived_seed(seed, epoch, step, …)`, never from how many random numbers were
drawn before: so a run that was killed and resumed draws what it would have drawn.

Next: progress.py, what a run says while it works.
"""

import contextlib
import hashlib
import json
import math
import operator
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy
import torch

from minitransfer.apparatus.errors import Interrupted, Stopped, UsageError
from minitransfer.apparatus.progress import is_speaker

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

OLDEST_TORCH = (2, 10)
WIDE = 128  # hidden units from which on bfloat16 is faster: below, converting takes longer than multiplying
HANGUP = getattr(signal, "SIGHUP", None)  # of a terminal that is closed; Windows has none
ENDING = (signal.SIGTERM,) if HANGUP is None else (signal.SIGTERM, HANGUP)
MANY_THREADS = 64  # beyond this, and beyond the number of cores, is a slip of the finger that may exhaust the system


def choose_device(name: str) -> torch.device:
    """The device that --device names; `auto` takes a CUDA GPU if there is one, `cuda` insists on it.

    Of several processes on a machine each takes the GPU of its own number, by the variables that torchrun sets.
    Raises: UsageError when `cuda` is asked for and not there: a run ten times slower than expected is no kindness;
    when there are fewer GPUs than processes; or when this torch is too old for anything here.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise UsageError(f"torch {oldest} or newer is needed, and this is {torch.__version__}",
                         "install this package into an environment of its own: pip install -e .")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        why = "no GPU is visible" if torch.backends.cuda.is_built() else "this torch is built for CPUs only"
        raise UsageError(f"--device cuda: {why}", "use --device cpu, or --device auto to take a GPU if there is one")
    if name == "cpu" or not available:
        return torch.device("cpu")
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if processes > 1:
        if processes > gpus:
            raise UsageError(f"there are {processes} processes on this machine, but {gpus} GPUs",
                             f"start it with --nproc-per-node {gpus}, or use --device cpu")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return torch.device("cuda")


def set_up(device: str, threads: int | None) -> torch.device:
    """The device to compute on, as `choose_device` has it, once threads are set. Raises: UsageError for either."""
    set_threads(threads)
    return choose_device(device)


def choose_precision(name: str, device: torch.device, width: int) -> str:
    """In which numbers --precision has matrices multiplied, "fp32" or "bf16"; `auto` takes the faster for `width`.

    bfloat16 keeps the range of float32 and 8 of its 24 digits. Where a processor has instructions for it, products
    and LSTMs take about half the time; where it has none, they are slower than in float32.
    Raises: UsageError when `bf16` is asked for and the machine has no instructions for it.
    """
    able = multiplies_bfloat16(device)
    if name == "bf16" and not able:
        raise UsageError("--precision bf16: this machine has no instructions for bfloat16",
                         "use --precision fp32, or auto to take what suits the machine")
    if name == "auto":
        return "bf16" if able and width >= WIDE else "fp32"
    return name


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether there are instructions for products of bfloat16, and they need not be pieced together from others."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # The oldest torch that we take cannot tell: then float32.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context in which matrices are multiplied in this precision, "fp32" or "bf16"; weights stay in float32.

    It must be left before the weights change, since it keeps their bfloat16 copies until then.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def set_threads(threads: int | None) -> int:
    """Use this many CPU threads, or torch's own choice (all cores, or $OMP_NUM_THREADS) for None; returns how many.

    Sums are split among threads, so a run is repeated bit for bit only with the same number.
    Raises: UsageError beyond 64 threads, unless the machine has so many cores.
    """
    most = max(MANY_THREADS, os.cpu_count() or 1)
    if threads is not None and not 1 <= threads <= most:
        raise UsageError(f"--threads {threads} is outside 1 to {most}",
                         f"use {most} or fewer; this machine has {os.cpu_count()} cores")
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed that the parts decide: the same on every machine, and unrelated for parts that differ at all.

    Example: derived_seed(seed, "order", epoch), derived_seed(seed, "masks", step). Raises: TypeError for other types.
    """
    parts_as_text = json.dumps([part if isinstance(part, str) else operator.index(part) for part in parts])
    return int.from_bytes(hashlib.sha256(parts_as_text.encode()).digest()[:8], "big") >> 1


def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of torch, for tensors on `device`, that starts from `derived_seed(*parts)`."""
    return torch.Generator(device).manual_seed(derived_seed(*parts))


class SideBySide:
    """Runs jobs at the same time, each in a thread of its own with its share of the cores.

        with SideBySide(2) as side_by_side:
            a, b = side_by_side(encode_forwards, encode_backwards)

    An LSTM takes its time steps one by one, each too small to be worth dividing: two LSTMs on one core each end
    sooner than one after the other on two cores, and do not stall when another program wants a core. torch lets go
    of Python's lock while it computes, so threads are enough. On a GPU, which has one queue, jobs run in turn.

    Jobs must not begin graphs at the same parameter: `minitransfer.elmo.softmax.CandidateSoftmax` says why. What one of
    them computed before, both may read.
    """

    def __init__(self, jobs: int, device: torch.device | None = None):
        """Have `jobs` threads, or none on a single core and for a `device` other than the CPU."""
        cores = torch.get_num_threads()
        self._pool = None
        if cores > 1 and (device is None or device.type == "cpu"):
            share = max(1, cores // jobs)
            self._pool = ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(share,))

    def __call__(self, *jobs: Callable) -> list:
        """The jobs' results, in order; an exception of one of them is raised here, after the others have ended."""
        if self._pool is None:
            return [job() for job in jobs]
        # A thread begins with gradients on and in float32, whatever its parent does.
        with_gradients, in_bfloat16 = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")

        def run(job: Callable):
            """A job as its parent would run it."""
            with torch.set_grad_enabled(with_gradients), torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
                return job()

        running = [self._pool.submit(run, job) for job in jobs]
        wait(running)
        return [future.result() for future in running]

    def __enter__(self) -> "SideBySide":
        return self

    def __exit__(self, *failure) -> None:
        """End the threads, once their jobs have ended."""
        if self._pool is not None:
            self._pool.shutdown()


class Stop:
    """Turns SIGINT, SIGTERM and SIGHUP into a request that the training loop grants at the edge of a step.

        with Stop() as stop:
            for batch in batches:
                ...
                if stop.requested:
                    save the state, and raise Stopped by stop.check()

    A Ctrl-C after the first request stops at once, by KeyboardInterrupt. The previous handlers return on leaving. In a
    thread other than the main one, which gets no signals, nothing is ever requested.
    """

    def __init__(self):
        self.requested: int | None = None
        self._previous: dict[int, Any] = {}

    def check(self, message: str = "stopped and saved") -> None:
        """Raises: Stopped if a signal has come; `message` says how much of the run is kept."""
        if self.requested:
            raise Stopped(self.requested, message)

    def __enter__(self) -> "Stop":
        """Take the three signals over, but leave a SIGHUP that is ignored as it is."""
        for number in (signal.SIGINT, *ENDING) if gets_signals() else ():
            if number == HANGUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started under nohup: its user wants the run to outlive the terminal
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *failure) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        """The signal handler: remember the first signal; give way to a Ctrl-C that follows."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested = int(number)
            # os.write, because a handler that prints may have interrupted a print, which Python does not allow.
            with contextlib.suppress(OSError):
                if is_speaker():
                    os.write(2, b"\nstopping after this step; Ctrl-C stops at once\n")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Where there is nothing to save: let SIGTERM and SIGHUP end the work at once, as Ctrl-C does.

    The previous handlers return on leaving. In a thread other than the main one, which gets no signals, does nothing.
    Raises: Stopped for any of the three.
    """
    previous = {}
    for number in ENDING if gets_signals() else ():
        if signal.getsignal(number) == signal.SIG_DFL:
            previous[number] = signal.signal(number, _interrupt)
    try:
        yield
    except Stopped:
        raise
    except KeyboardInterrupt as end:
        raise Stopped(getattr(end, "signal", signal.SIGINT), "stopped") from end
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def gets_signals() -> bool:
    """Whether this is the main thread, the only one that Python hands signals to."""
    return threading.current_thread() is threading.main_thread()


def _interrupt(number: int, frame) -> None:
    """The signal handler of `interruptible`."""
    raise Interrupted(number)


def environment() -> dict[str, str | int]:
    """What a run's exact numbers depend on besides its settings: versions, processes, threads, kind of machine."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def peak_memory_gib() -> float:
    """The most main memory that this process has held so far, in GiB; nan where the system does not say.

    From Linux' own count for this program: getrusage begins with what the process held that started it.
    """
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) / 2**20
    if resource is None:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
