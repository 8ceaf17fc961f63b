"""Apparatus: flags. What may a command be asked, and what is said when it is asked for something impossible?

Flags are read by a `Parser`, and their numbers by types that refuse what is out of range. What is refused is told in
one line, `error: what is wrong. Fix: what to do.` Nothing here imports torch, so `--help` and a mistyped flag are
answered at once.

Next: settings.py, where the flags of a command stand.
"""

import argparse
import contextlib
import difflib
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, MappingView, Sequence, Set
from typing import Any

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.progress import is_speaker

LARGEST_INT = 2**31 - 1  # what fits every place a flag's integer may end up in: seeds, sizes, thread counts


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors end with a `Fix:`, and name the nearest flag or choice.

    Abbreviated flags are refused: `--lab` would change its meaning on the day that a second `--lab…` is added.
    """

    def __init__(self, **settings):
        """Take argparse's own `settings`; those not given are abbreviations refused, and help laid out as written."""
        super().__init__(**{"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter, **settings})
        # argparse takes only -1 and -.5 for negative numbers, so `--learning-rate -1e-3` and `-inf` would be answered
        # with "expected one argument", where the allowed range is the help that is needed.
        self._negative_number_matcher = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)

    def parse_args(self, args=None, namespace=None) -> Any:
        """The flags as a namespace; exits with 2 on the first thing that is not understood."""
        mixed = self._subparsers is None  # else flags may stand between texts, `RUN --json TEXT`, as people write them
        arguments, unknown = (self.parse_known_intermixed_args if mixed else self.parse_known_args)(args, namespace)
        if unknown:
            self.error(f"unknown argument {unknown[0]!r}. Fix: {self._advice(unknown[0])}")
        return arguments

    def error(self, message: str):
        """Print the usage and one line, `error: … Fix: …`, to stderr, and exit with 2."""
        if ". Fix: " not in message:
            message += f". Fix: `{self.prog} --help` shows what each flag takes."
        self.print_usage(sys.stderr)
        self.exit(2, one_line(f"error: {message.removeprefix('argument ')}") + "\n")

    def _print_message(self, message: str, file=None) -> None:
        """Called by argparse for help, usage and errors; replaced so that of several processes only one speaks."""
        if is_speaker():
            super()._print_message(message, file)

    def _advice(self, unknown: str) -> str:
        """What to do about an argument that is no flag of this parser: usually a misspelt one."""
        flags = re.findall(r"--[a-z][a-z-]*", self.format_usage())
        near = difflib.get_close_matches(unknown.partition("=")[0], flags, n=1)
        return f"did you mean {near[0]}?" if near else f"`{self.prog} --help` lists every flag."

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Called by argparse with each converted value; replaced to add the nearest choice to its message."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        near = difflib.get_close_matches(str(value), choices, n=1)
        fix = f"did you mean {near[0]}?" if near else "choose one of these."
        raise argparse.ArgumentError(action, f"{value!r} is not one of {', '.join(choices)}. Fix: {fix}")


def one_line(text: str) -> str:
    """The text on one line, control characters and broken Unicode written as escapes: safe for any terminal."""
    characters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return "".join(characters)


def shell_line(words: Sequence[str]) -> str:
    """The words as one would type them for the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _number(convert: Callable[[str], float], accepts: Callable[[float], bool], allowed: str) -> Callable:
    """An argparse `type` that turns text into a number within a range, and names the range when it is not."""

    def parse(text: str):
        """The number that the text is."""
        with contextlib.suppress(ValueError):
            number = convert(text)
            if accepts(number):  # written so that nan, which compares false with everything, is refused
                return number
        raise argparse.ArgumentTypeError(f"must be {allowed}, not {text!r}")

    return parse


positive_int = _number(int, lambda n: 1 <= n <= LARGEST_INT, f"a whole number from 1 to {LARGEST_INT}")
non_negative_int = _number(int, lambda n: 0 <= n <= LARGEST_INT, f"a whole number from 0 to {LARGEST_INT}")
positive_float = _number(float, lambda x: 0 < x < math.inf, "a finite number above 0")
step_size = _number(float, lambda x: 0 < x <= 1e38, "a number above 0 and at most 1e38")  # float32 ends at 3e38
non_negative_float = _number(float, lambda x: 0 <= x < math.inf, "a finite number of at least 0")
probability = _number(float, lambda p: 0 <= p < 1, "a number of at least 0 and below 1")
share = _number(float, lambda p: 0 < p <= 1, "a number above 0 and at most 1")
fraction = _number(float, lambda p: 0 < p < 1, "a number above 0 and below 1")


def several_of(name: str, values: Any) -> list:
    """What Python gives for several values, in its order: of a list, an array, a generator.

    Raises: UsageError for what has no order, such as a set, is a table, or has nothing in it to give.
    """
    in_order = isinstance(values, Iterable) and not isinstance(values, (bytes, Mapping, Set, MappingView))
    if not in_order or hasattr(values, "columns") or getattr(values, "ndim", 1) == 0:
        raise UsageError(f"{name} are of type {type(values).__name__}", "give a list of them, or one alone")
    return list(values)


def directory_name(text: str) -> str:
    """An argparse `type`: the text itself, unless no directory can have this name, which only Python can give.

    Nor may it be empty, which would quietly mean the current directory.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a directory, not be empty")
    with contextlib.suppress(UnicodeEncodeError):
        if b"\0" not in os.fsencode(text):
            return text
    raise argparse.ArgumentTypeError(f"{ascii(text):.60} can be the name of no directory. Fix: give another.")
