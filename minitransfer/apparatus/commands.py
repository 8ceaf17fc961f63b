"""Apparatus: commands. How is a command of the shell run, and how does it end?

A command hands its `main` and its settings to `run_command`. That turns every failure that a user can mend into one
line, `error: what is wrong. Fix: what to do.`, and an exit code (the table is in errors.py). torch is imported only
once the flags are understood, so `--help` and a mistyped flag are answered at once.

Next: calling.py, how a command is started from Python.
"""

import atexit
import contextlib
import errno
import importlib
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from minitransfer.apparatus.errors import (
    NAME_ERRORS,
    Interrupted,
    MinitransferError,
    ResourceError,
    Stopped,
    UsageError,
)
from minitransfer.apparatus.options import one_line, shell_line
from minitransfer.apparatus.progress import is_speaker, several

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")  # GPU, Windows, Linux
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
DEPENDENCIES = {"torch", "numpy", "tokenizers", "tqdm", "safetensors"}


def deferred(module: str, check: Callable[[Any], None] = lambda settings: None) -> Callable[..., Any]:
    """The `main` of a module, which is imported once it is called. check: refuses what can be refused before that."""
    def main(settings: Any, *more: Any) -> Any:
        """That of the module."""
        check(settings)
        return importlib.import_module(module).main(settings, *more)

    return main


def run_command(main: Callable[[Any], object], settings: Any, argv: Sequence[str] | None = None, *,
                together: bool = False) -> int:
    """Read the flags, run `main` on the settings that they make, and return the exit code of the process.

    `settings` are those of a command, or a bare parser: what has `prog` and `parse_args`.
    What `main` returns is for callers in Python, by `minitransfer.run`. Its failures are told on stderr, as in
    errors.py; only a bug of ours, code 1, shows a traceback. A reader that closes our stdout early (`| head`) ends the
    command quietly with 141.
    `together`: whether several processes, started by torchrun, may do the work of one; else they are refused.
    """
    if hasattr(sys.stdout, "reconfigure"):  # a review may hold what the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    to_go_on = resume_command(settings.prog, sys.argv[1:] if argv is None else argv)
    try:
        code = _parse_and_run(main, settings, argv, together, to_go_on)
    except SystemExit:
        raise
    except BaseException as failure:
        code = report_failure(failure, to_go_on)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # too late to stop anything but the goodbye
    return _flush_stdout(code)


def _parse_and_run(main: Callable, settings: Any, argv: Sequence[str] | None,
                   together: bool, to_go_on: str) -> int:
    """Run `main`; returns 0, or the exit code of argparse: 0 after --help, 2 after a usage error."""
    try:
        complete = settings.parse_args(argv)
    except SystemExit as exit_:
        return int(exit_.code or 0)
    check_here()
    if not several():
        main(complete)
        return 0
    if not together:
        what = f"`{settings.prog}` is the work of one process, and torchrun has started {os.environ['WORLD_SIZE']}"
        raise UsageError(what, f"start it as `{settings.prog} …`, without torchrun")
    from minitransfer.apparatus.distributed import joined

    with joined():
        try:
            main(complete)
        except Stopped as stop:
            if stop.agreed:  # said before the processes part: torchrun ends the others once one of them has ended
                report_failure(stop, to_go_on)
                stop.reported = True
            raise
    return 0


def check_here() -> None:
    """Raises: UsageError if the current directory was deleted, where torch would say that it is broken."""
    try:
        os.getcwd()
    except FileNotFoundError as failure:
        raise UsageError("the directory that you are in is gone", "change to another") from failure


def resume_command(prog: str, argv: Sequence[str]) -> str:
    """The command that goes on with a run that was started by `prog` and these flags: the same ones, and --resume."""
    end = [*argv, "--"].index("--")  # of the flags: what stands behind is none
    flags, names = [word for word in argv[:end] if word != "--resume"], argv[end:]
    starter = f"torchrun --nproc-per-node {os.environ['WORLD_SIZE']} -m" if several() else "python -m"
    return f"{starter} {prog.split()[-1]} {shell_line([*flags, '--resume', *names])}"


def _flush_stdout(code: int) -> int:
    """Write out what stdout still holds, and return `code`, or the code of a pipe or disk that fails only now."""
    try:
        if sys.stdout is not None:  # None when the shell closed it, `>&-`
            sys.stdout.flush()
    except OSError as failure:
        with contextlib.suppress(OSError, ValueError):
            # Point stdout at nothing, or Python's own flush at exit fails once more, and says so.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or report_failure(failure)
    return code


def report_failure(failure: BaseException, to_go_on: str = "") -> int:
    """Report the failure on stderr, with a traceback if it is a bug, and return the exit code that it means.

    One that is `reported`, by another process as `minitransfer.apparatus.distributed.joined` finds out, is not said
    again.
    to_go_on: the command that goes on with the run, if it was stopped.
    """
    code, message = _verdict(failure)
    if isinstance(failure, Stopped):
        message += f"; to go on: {to_go_on}"
    if sys.stderr is None or getattr(failure, "reported", not is_speaker()):  # print would take None for stdout
        return code
    with contextlib.suppress(OSError, ValueError):  # stderr may be gone as well, but the exit code still tells
        if code == 1:
            traceback.print_exception(failure)
        if message:
            print(one_line(message), file=sys.stderr, flush=True)
    return code


def _verdict(failure: BaseException) -> tuple[int, str]:
    """The exit code and the line that a failure deserves."""
    if isinstance(failure, MinitransferError):
        return failure.exit_code, f"error: {failure}"
    if isinstance(failure, KeyboardInterrupt):
        stop = failure if isinstance(failure, Interrupted) else Interrupted(signal.SIGINT)
        return 128 + stop.signal, stop.message
    if isinstance(failure, BrokenPipeError):
        return 141, ""  # as if SIGPIPE had ended us
    if isinstance(failure, ModuleNotFoundError) and failure.name in DEPENDENCIES:
        what = f"the package {failure.name} is not installed for {sys.executable}"
        return 2, f"error: {what}. Fix: activate the environment that you installed into, or `pip install -e .`."
    if (mendable := as_mendable(failure)) is not None:
        return mendable.exit_code, f"error: {mendable}"
    return 1, "error: this is a bug in the program. Fix: report it together with the lines above."


def as_mendable(failure: BaseException) -> MinitransferError | None:
    """What a user can do about memory that ran out, a disk or a path, of which Python or torch said so; else None."""
    if _is_out_of_memory(failure):
        asked = re.search(r"tried to allocate [\d.]+ \w+", str(failure), re.IGNORECASE)
        details = asked[0] if asked else str(failure).partition(". ")[0][:200] or type(failure).__name__
        return ResourceError(f"memory ran out: {details}",
                             "ask for less, such as a smaller --batch-size or other sizes, or close other programs")
    if isinstance(failure, OSError) and failure.errno in DISK_ERRORS:
        return ResourceError(_system_message(failure), "free space there, or choose a directory you may write to")
    if isinstance(failure, OSError) and failure.errno in NAME_ERRORS:
        return UsageError(_system_message(failure), "give a shorter path, made of directories")
    return None


def _system_message(failure: OSError) -> str:
    """What the operating system said, with the file that it said it of."""
    return f"{failure.filename}: {failure.strerror}" if failure.filename else str(failure.strerror)


def _is_out_of_memory(failure: BaseException) -> bool:
    """Whether memory ran out: Python's, the operating system's, or torch's on a CPU or a GPU."""
    if isinstance(failure, MemoryError) or getattr(failure, "errno", None) == errno.ENOMEM:
        return True
    torch = sys.modules.get("torch")  # not imported for this: if it was never loaded, it did not run out of memory
    if torch is not None and isinstance(failure, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(words in str(failure).lower() for words in OUT_OF_MEMORY)
