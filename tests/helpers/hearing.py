"""What is said on stderr, as a list of lines."""

import contextlib
import io


class Lines(io.TextIOBase):
    """A stream that puts each whole line into a list at once."""

    def __init__(self, lines: list[str]):
        self._lines, self._begun = lines, ""

    def write(self, text: str) -> int:
        *whole, self._begun = (self._begun + text).split("\n")
        self._lines += whole
        return len(text)


def heard(said: list[str] | None) -> contextlib.AbstractContextManager:
    """A context in which what is said goes into `said`, line by line; nowhere if that is None."""
    return contextlib.redirect_stderr(Lines([] if said is None else said))
