"""Apparatus: every way a command may fail, and the exit code of each.

What does a reader see when something goes wrong? One line that names the fault and the remedy. A class here is one
of the exit codes listed in docs/trust.md; `minitransfer.apparatus.commands.run_command` prints the line and exits.
Nothing here imports torch, so that a mistyped flag is answered at once.

Next: options.py, how a command reads its flags.
"""

import errno

NAME_ERRORS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP}  # a path that cannot be one, on any disk
SMALLER_STEPS = "begin again with a smaller --learning-rate and another --out"


class OneLine:
    """A failure whose line says all: a notebook, which asks for this method, shows that alone, and no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class MinitransferError(OneLine, Exception):
    """A failure its user can mend: `what` is wrong, and the `fix` for it, one sentence each."""

    exit_code = 1

    def __init__(self, what: str, fix: str):
        super().__init__(f"{what.rstrip('.')}. Fix: {fix.rstrip('.')}{'.' * (not fix.endswith('?'))}")
        self.what, self.fix = what, fix


class UsageError(MinitransferError):
    """A flag, or a combination of flags, that cannot mean anything; also a missing optional package."""

    exit_code = 2


class DataError(MinitransferError):
    """A corpus, archive or text that is damaged, mislaid, hostile or too small."""

    exit_code = 3


class CheckpointError(MinitransferError):
    """A run directory that is missing, damaged, of another kind, or made by other settings."""

    exit_code = 4


class NumericsError(MinitransferError):
    """Losses or gradients that stopped being finite; the `fix` is mostly the same."""

    exit_code = 5

    def __init__(self, what: str, fix: str = SMALLER_STEPS):
        super().__init__(what, fix)


class ResourceError(MinitransferError):
    """A disk that is full or read-only, or memory that ran out."""

    exit_code = 6


class NetworkError(MinitransferError):
    """A download that failed, or a corpus that is absent and may not be downloaded."""

    exit_code = 7


class Interrupted(OneLine, KeyboardInterrupt):
    """A signal that ends the work at once, where there is nothing to save: as Ctrl-C does, in a notebook too."""

    def __init__(self, signal: int, message: str = "stopped at once; what was saved before is kept"):
        super().__init__(message)
        self.signal, self.message = signal, message


class Stopped(Interrupted):
    """A run that was asked to stop, and can go on: `message` says in a few words how much of it is kept.

    agreed: whether it is raised in all processes of a run at once.  reported: set once it has been said.
    """

    reported: bool

    def __init__(self, signal: int, message: str = "stopped and saved", *, agreed: bool = False):
        super().__init__(signal, message)
        self.agreed = agreed
