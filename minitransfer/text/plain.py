"""Part I, around chapter 1: own text. How do files of plain text become documents, and which of them are held out?

A blank line ends a document, as in the files that BERT was pretrained from, and so does the end of a file. A
**validation set** of at most 2 % is held out: whole documents, in the order of their sha256, as many as fit. They are
always the same, whatever the order of the files. Where no document is that small, the last lines are held out instead:
as many as fit, and one at least.

Nothing here imports torch, since names of files are flags.

Read next: `minitransfer.text.cleaning`.
"""

import argparse
import difflib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from minitransfer.apparatus.archives import UNPACK, file_lines
from minitransfer.apparatus.errors import DataError, UsageError
from minitransfer.apparatus.progress import say
from minitransfer.text import CORPORA, tables
from minitransfer.text.cleaning import decode, say_normalised

ENDINGS = (".txt", *(f".txt{ending}" for ending in UNPACK))  # what is read of a folder
NOT_PLAIN = (*tables.ENDINGS, ".html", ".htm", ".xml")
HELD_OUT = 0.02  # of the characters, at most
SMALL = 2_000_000  # bytes: a fifth of WikiText-2; of less, the preset `small` would be taught for a few hundred steps
PACKED = 3  # how much larger packed text is, about
BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


def corpus_name(text: str) -> str:
    """An argparse `type`: the name of a corpus, or of a file or folder that is there."""
    try:
        check_name(text)
    except UsageError as failure:
        raise argparse.ArgumentTypeError(f"{failure.what}. Fix: {failure.fix}.") from failure
    return text


def check_name(text: str) -> None:
    """Raises: UsageError for what is neither the name of a corpus nor a folder or file of plain text that is there."""
    if text in CORPORA:
        return
    if os.path.lexists(text):
        if not os.path.exists(text):
            raise UsageError(f"{text} is a link to nothing", "restore what it leads to, or name another file")
        if "+" in text:
            raise UsageError(f"the name {text!r} has a +, which stands between the names of corpora", "rename it")
        if tables.ending(Path(text)) in NOT_PLAIN and not os.path.isdir(text):
            raise UsageError(f"{text} is no plain text, by its ending: its marks would be learned as words",
                             "write its texts to a .txt file, with a blank line after each")
        return
    near = difflib.get_close_matches(text.lower(), CORPORA, n=1)
    fix = f"did you mean {near[0]}?" if near else "name one of these, or a file or folder of plain text"
    raise UsageError(f"{text[:200]!r} is not one of {', '.join(CORPORA)}, and there is no such file or folder", fix)


def check_names(names: Sequence[str]) -> None:
    """Raises: UsageError for the first name that `check_name` refuses, and for a file that two names stand for."""
    seen: dict[Path, str] = {}
    for name in names:
        check_name(name)
        for path in find_files(name)[0] if name not in CORPORA else []:
            if seen.setdefault(path.resolve(), name) != name:
                raise UsageError(f"{path} is in {seen[path.resolve()]} and in {name}", "leave one of the two out")


def is_small(names: Sequence[str]) -> bool:
    """Whether all of some corpora are the sample or own text, and so little of it that small networks suit it."""
    paths = [path for name in names if name not in CORPORA and os.path.exists(name) for path in find_files(name)[0]]
    size = sum(path.stat().st_size * (PACKED if path.suffix in UNPACK else 1) for path in paths)
    return all(name == "sample" or name not in CORPORA for name in names) and size < SMALL


def read_documents(name: str) -> list[str]:
    """The documents of a file, or of all files of text below a folder. Raises: DataError for what is no text."""
    paths, others = find_files(name)
    if others:
        say(f"{name}: {len(others):,} files passed over, since they are hidden, linked folders, or end in none of "
            f"{', '.join(ENDINGS)}; {others[0].name!r} is the first")
    tally: Counter[str] = Counter()
    documents = [document for path in paths for document in read_documents_of(path, tally)]
    if not documents:
        raise DataError(f"{name} holds no text, in {len(paths):,} files", "give text, or another name")
    say_normalised(tally, name)
    say(f"{name}: {len(paths):,} files, {len(documents):,} documents between blank lines")
    return documents


def find_files(name: str) -> tuple[list[Path], list[Path]]:
    """The files of text that a name stands for, and what is passed over of a folder. Raises: DataError for none."""
    top = Path(name)
    if not top.is_dir():
        return [checked(top)], []
    found: list[Path] = []
    others: list[Path] = []
    for folder, folders, files in os.walk(top, onerror=_refuse):
        here = Path(folder)
        others += [here / sub for sub in folders if sub.startswith(".") or (here / sub).is_symlink()]
        folders[:] = [sub for sub in folders if not sub.startswith(".")]
        for file in files:
            (found if file.endswith(ENDINGS) and not file.startswith(".") else others).append(here / file)
    if not found:
        there = ", ".join(path.name for path in sorted(others)[:5]) or "nothing"
        raise DataError(f"the folder {name} has no file that ends in {', '.join(ENDINGS)}; it holds {there}",
                        "put text there, or name the files themselves")
    return [checked(path) for path in sorted(found)], sorted(others)


def checked(path: Path) -> Path:
    """The path itself. Raises: DataError for a link to nothing, a pipe, a device."""
    if not path.is_file():
        flaw = "a link to nothing" if path.is_symlink() and not path.exists() else "no file"
        raise DataError(f"{path} is {flaw}", "give a file of plain text in its place")
    return path


def read_documents_of(path: Path, tally: Counter) -> list[str]:
    """The documents of one file, packed or not. Raises: DataError naming file and byte of what is not UTF-8."""
    return split_documents(decode(b"".join(file_lines(path)), str(path), tally))


def split_documents(text: str) -> list[str]:
    """Part a text at its blank lines; lines lose the spaces around them."""
    parts = ("\n".join(filter(None, map(str.strip, part.split("\n")))) for part in BLANK_LINES.split(text))
    return [part for part in parts if part]


def by_sha256(texts: Iterable[str]) -> list[str]:
    """Texts in the order of their sha256: it hangs on the texts alone, and tells nothing of their labels."""
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())


def hold_out(documents: Sequence[str], name: str) -> tuple[list[str], list[str]]:
    """Part documents into those to train on and those held out, always the same of the same documents.

    Copies of a document are all held out, or none is. Raises: DataError for a single line, which cannot be parted.
    """
    room, held_out, copies = HELD_OUT * sum(map(len, documents)), set(), Counter(documents)
    for document in by_sha256(copies):
        if (size := len(document) * copies[document]) <= room:
            held_out.add(document)
            room -= size
    if held_out:
        return ([document for document in documents if document not in held_out],
                [document for document in documents if document in held_out])
    *whole, last = documents  # no document is that small: the last lines of the last one are held out
    lines = last.split("\n")
    if not whole and len(lines) == 1:
        raise DataError(f"{name} is a single line, of which nothing can be held out",
                        "give more text, or break it into lines")
    first, least = len(lines) - 1, 0 if whole else 1  # a line at least stays to train on
    room -= len(lines[first])
    while first > least and (room := room - len(lines[first - 1]) - 1) >= 0:
        first -= 1
    return whole + ["\n".join(lines[:first])] * (first > 0), ["\n".join(lines[first:])]


def _refuse(error: OSError) -> None:
    """Raises: DataError for a folder that may not be read."""
    raise DataError(f"the folder {error.filename} may not be read: {error.strerror}", "let your user read it")
