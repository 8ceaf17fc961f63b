"""The command that answers, run in this process: what it says, and what it is given on stdin."""

import io
import sys

from finetune.predict import answer as predict
from minitransfer.apparatus.commands import run_command


def answer(capsys, *argv):
    """The exit code, and the lines on stdout and stderr."""
    capsys.readouterr()
    code = run_command(predict.main, predict.Settings, [str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def feed(monkeypatch, raw):
    """Give the command these bytes for its stdin."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
