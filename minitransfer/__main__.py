"""python -m minitransfer: which commands are there? Each is named in the order of the book, with what it does."""

import importlib
import textwrap

from minitransfer.apparatus.calling import COMMANDS, HUGGINGFACE, door
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.options import Parser


def listing() -> str:
    """What each command does, in a sentence."""
    lines = {name: door(name).Settings.description for name in COMMANDS}
    lines[HUGGINGFACE] = importlib.import_module(f"{HUGGINGFACE}.__main__").DESCRIPTION
    return "\n".join(textwrap.fill(text.partition("\n\n")[0], 120, initial_indent=f"python -m {name:26}",
                                   subsequent_indent=" " * 36) for name, text in lines.items())


def make_parser() -> Parser:
    """The flags of this command: none but --help."""
    ending = ("Each says more with --help. From Python: minitransfer.load, and minitransfer.run for all but the last; "
              'help("minitransfer").')
    return Parser(prog="python -m minitransfer", description=listing(), epilog=ending)


if __name__ == "__main__":
    raise SystemExit(run_command(lambda flags: make_parser().print_help(), make_parser()))
