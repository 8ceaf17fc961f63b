"""Apparatus: progress. What does a run say while it works, and what happens when nobody is listening any more?

On a terminal a bar; elsewhere plain lines, one every few seconds, which read well in a log file. Both go to stderr,
since stdout is for results. A terminal that is closed, or a pipe whose reader left, silences the run but never ends
it: hours of training are worth more than their commentary.

Next: durable.py, how a file is written so that no crash leaves half of it.
"""

import contextlib
import io
import os
import sys
import time


def is_speaker() -> bool:
    """Whether this is the process that speaks for all: the first of those that torchrun started, or the only one."""
    return not several() or os.environ.get("RANK", "0") == "0"


def several() -> bool:
    """Whether torchrun has started several processes to do the work of one."""
    return os.environ.get("WORLD_SIZE") not in (None, "", "1")


def say(text: str) -> None:
    """Write one line to stderr, if somebody still listens; under torchrun only the first process speaks."""
    if not _speaks():
        return
    with contextlib.suppress(OSError, ValueError):  # ValueError is what a closed file raises
        if "tqdm" in sys.modules:  # there may be a bar, which must make room for the line
            sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


class Aside(io.TextIOBase):
    """Stands in for stdout where results are no more than commentary: what is printed is said on stderr."""

    def write(self, text: str) -> int:
        """Hand on to stderr, if somebody still listens there."""
        with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed, or None
            sys.stderr.write(text)
        return len(text)


class Progress:
    """How far a run has come: a tqdm bar on a terminal, else a line on stderr every `log_every` seconds.

    Example of a line:  bilm: 1,200/10,000 steps (12 %), 4.3 steps/s, 34 min left, loss=4.213

    `total` and `done`, both counted in `unit`: all the work, and what a resumed run had done before.
    """

    def __init__(self, total: int, unit: str, *, description: str, log_every: float = 10.0, done: int = 0):
        self.total, self.unit, self.description, self.log_every = total, unit, description, log_every
        self.done, self._done_before, self._done_logged = done, done, done
        self._numbers = ""
        self._started = self._logged = time.monotonic()  # the wall clock may be set back while we run
        self._bar = self._make_bar()

    def advance(self, n: int = 1, **numbers: float) -> None:
        """Count `n` more units done, and show `numbers` beside them, to four digits."""
        self.done += n
        self._numbers = "".join(f", {name}={value:.4g}" for name, value in numbers.items())
        if self._bar is not None:
            self._on_bar(lambda bar: (bar.set_postfix_str(self._numbers[2:], refresh=False), bar.update(n)))
        elif time.monotonic() - self._logged >= self.log_every:
            self._log()

    def close(self) -> None:
        """Show the last count, unless it has been shown, and leave the bar's line."""
        if self._bar is not None:
            self._on_bar(lambda bar: bar.close())
        elif self.done > self._done_logged:
            self._log()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *failure) -> None:
        self.close()

    def _make_bar(self):
        """A tqdm bar, or None where stderr is not a terminal or belongs to another process than the first."""
        if not _speaks() or not _is_terminal(sys.stderr):
            return None
        from tqdm import tqdm

        return tqdm(total=self.total, initial=self.done, unit=f" {self.unit}", desc=self.description, file=sys.stderr,
                    dynamic_ncols=True)

    def _on_bar(self, show) -> None:
        """Call `show(bar)`; if the terminal is gone, silence the bar for good."""
        try:
            show(self._bar)
        except (OSError, ValueError):
            self._bar.disable = True

    def _log(self) -> None:
        """Say how far the run is, how fast, and how long it will still take at this rate."""
        now = time.monotonic()
        rate = (self.done - self._done_before) / max(now - self._started, 1e-9)
        left = (self.total - self.done) / rate if rate else float("inf")
        percent = 100 * self.done / max(self.total, 1)
        say(f"{self.description}: {self.done:,}/{self.total:,} {self.unit} ({percent:.0f} %), "
            f"{_short(rate)} {self.unit}/s, {_duration(left)} left{self._numbers}")
        self._logged, self._done_logged = now, self.done


def _speaks() -> bool:
    """Whether this process reports: there is a stderr, and nobody else to report on it."""
    return sys.stderr is not None and is_speaker()


def _is_terminal(stream) -> bool:
    """Whether the stream is a terminal that a bar fits on: not closed, and not of the width 0 that some report."""
    try:
        return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def _short(rate: float) -> str:
    """A rate in as many digits as are worth reading: 5,432 or 4.3 or 0.021."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    """A time as one would say it: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
