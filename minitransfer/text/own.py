"""Part I, around the reviews: your own. How does what somebody else labelled become a training and a test half?

Given as `--data`: a folder `train/CLASS/*.txt`, `test/CLASS/*.txt` whose folders are the classes, with unlabelled
texts in `train/unsup`; or one or two tables, for training and for testing. Where nothing is given to test on, a slice
of the rest is set aside, the same one every time. What is not understood is an error, never left out.

Read next: `minitransfer.text.words`.
"""

import difflib
import math
import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from minitransfer.apparatus.archives import file_lines
from minitransfer.apparatus.errors import DataError, UsageError
from minitransfer.apparatus.options import one_line
from minitransfer.apparatus.progress import say
from minitransfer.text import CLASSES, REVIEWS, imdb, tables
from minitransfer.text.cleaning import decode, say_normalised

UNLABELLED = "unsup"
SHARE = 0.2  # of each class is set aside to test on, where nothing else is
MOST_CHARACTERS = 60_000  # of all names of classes: results.json and complete.json have them several times

Pairs = list[tuple[str, str]]  # (text, name of its class)


def check_data(data: Sequence[str]) -> None:
    """Raises: UsageError for a --data that is neither a name of REVIEWS, nor a folder, nor one or two tables."""
    if len(data) == 1 and data[0] in REVIEWS:
        return
    if named := [name for name in data if name in REVIEWS and not os.path.exists(name)]:
        raise UsageError(f"--data takes one name, or files, and not {' '.join(data)}", f"write --data {named[0]}")
    for path in data:
        if not os.path.exists(path):
            near = difflib.get_close_matches(path, [*REVIEWS, *_beside(path)], n=1)
            fix = f"write {near[0]}, if that is meant" if near else "check its spelling, and the folder that you are in"
            raise UsageError(f"--data {path} is none of {', '.join(REVIEWS)}, and there is no such file or folder", fix)
        if os.path.isdir(path) and len(data) > 1 or len(data) > 2:
            raise UsageError(f"--data takes one folder, or one or two files, and not {' '.join(data)}",
                             "give the folder that train and test are in, or the file to train on and the one to test")
        if not os.path.isdir(path) and tables.ending(Path(path)) not in tables.ENDINGS:
            raise UsageError(f"--data {path} does not end as a table does: {', '.join(tables.ENDINGS)}",
                             "give a CSV, TSV, JSON-lines or Parquet file, or a folder train/CLASS/*.txt")
    if len(data) == 2 and os.path.samefile(*data):
        raise UsageError(f"--data names {data[0]} to train on and to test on: an accuracy on it would mean nothing",
                         "name it once, and a part of it is set aside to test on")


def _beside(path: str) -> list[str]:
    """What else is in the folder that a path leads to, as it would be written."""
    folder = os.path.dirname(path)
    return [os.path.join(folder, name) for name in os.listdir(folder or ".")] if os.path.isdir(folder or ".") else []


def read(data: Sequence[str], text_column: str | None, label_column: str | None
         ) -> tuple[imdb.Labelled, imdb.Labelled, list[str], tuple[str, ...]]:
    """Return train, test and unlabelled texts, and the classes, of a folder or of one or two tables.

    Which, `check_data` says. Of the first two each is pairs of a text and its class's place among the classes.
    Classes are sorted by name, numbers by their size; a folder of `neg` and `pos` has those of IMDB.
    Raises: UsageError for columns that are not to be found; DataError for everything else that is wrong.
    """
    place = Path(data[0])
    if hub := imdb.hub_folder(place):
        return *imdb.read_reviews(hub), CLASSES
    unsup: list[str] = []
    if place.is_dir():
        train, test, unsup = _read_folder(place)
    else:
        halves = [tables.read_pairs(Path(path), text_column, label_column) for path in data]
        halves = [[(imdb.review_text(text), label) for text, label in half] for half in halves]
        train, test = halves if len(halves) == 2 else (halves[0], [])
    groups = sort_classes({label for _, label in train + test})
    name_of_label = {label: name for name, group in groups.items() for label in group}
    train, test = ([(text, name_of_label[label]) for text, label in half] for half in (train, test))
    names = tuple(groups)
    _check_classes(names, train, place)
    if not test:
        train, test = set_slice_aside(train, place)
        say(f"nothing is given to test on: {len(test):,} of {len(train) + len(test):,} texts, {SHARE:.0%} of each "
            "class and always the same ones, are set aside for it")
        _check_classes(names, train, place)  # for a text with two labels is set aside with both
    _remark(groups, train, test)
    imdb.check_overlap([text for text, _ in train], [text for text, _ in test], unsup, place)
    number = {name: y for y, name in enumerate(names)}
    learnt, tested = ([(text, number[name]) for text, name in half] for half in (train, test))
    return learnt, tested, unsup, CLASSES if names == ("neg", "pos") and place.is_dir() else names


def sort_classes(labels: Iterable[str]) -> dict[str, list[str]]:
    """Return name -> the labels that mean it, sorted by name; if all are numbers, by size, and 1 and 1.0 are one class.

    Example: {"10", "9.0", "9"} -> {"9": ["9", "9.0"], "10": ["10"]}
    """
    labels = sorted(labels)
    try:
        sizes = {label: _number(label) for label in labels}
    except ValueError:
        return {label: [label] for label in labels}
    names: dict[str, list[str]] = {}
    for label in sorted(labels, key=sizes.__getitem__):
        names.setdefault(str(sizes[label]), []).append(label)
    return names


def _number(label: str) -> int | float:
    """The number that a label is, an int if it is whole. Raises: ValueError if it is none, and for nan and infinity."""
    if "_" in label or not label.isascii():  # which Python takes for numbers, too
        raise ValueError(label)
    try:
        return int(label)  # as floats many numbers of 17 digits are the same
    except ValueError:
        x = float(label)
    if not math.isfinite(x):
        raise ValueError(label)
    return int(x) if x.is_integer() else x


def set_slice_aside(pairs: Pairs, place: Path) -> tuple[Pairs, Pairs]:
    """Return the pairs without a fifth of each class's distinct texts, and that fifth; always the same one.

    A text that is there several times is in one half only. Raises: DataError for a class of fewer than three texts.
    """
    of_class: dict[str, set[str]] = {}
    for text, label in pairs:
        of_class.setdefault(label, set()).add(text)
    aside: set[str] = set()
    for label, texts in sorted(of_class.items()):
        if len(texts) < 3:
            raise DataError(f"class {label!r:.60} of {place} has {len(texts)} different texts, and three are the "
                            "fewest: to learn from, to choose by and to test on", "add some, or a test half of its own")
        aside |= set(random.Random(f"{label} test").sample(sorted(texts), max(1, round(SHARE * len(texts)))))
    return [pair for pair in pairs if pair[0] not in aside], [pair for pair in pairs if pair[0] in aside]


def _check_classes(names: Sequence[str], train: Pairs, place: Path) -> None:
    """Raises: DataError for fewer than two classes, as many as texts, or one that cannot be learnt."""
    if len(names) < 2:
        raise DataError(f"all texts of {place} are of one class, {names[0]!r:.60}",
                        "give texts of two classes or more, or name the column of labels by --label-column")
    if len(names) > max(2, len(train) // 2):
        raise DataError(f"{place} has {len(names):,} different labels for {len(train):,} texts to learn from",
                        "name the column of labels by --label-column, and give each class several texts")
    characters = sum(map(len, names))
    if characters > MOST_CHARACTERS:
        raise DataError(f"the labels of {place} have {characters:,} characters in {len(names):,} names, and "
                        f"{MOST_CHARACTERS:,} are the most", "give shorter names, or name another --label-column")
    learnt = {name for _, name in train}
    for name in names:
        if name not in learnt:
            raise DataError(f"class {name!r:.60} is in the test half alone, so nothing can be learnt of it",
                            "put texts of it into the training half, or take it out of the test half")


def _remark(groups: dict[str, list[str]], train: Pairs, test: Pairs) -> None:
    """Warn of empty texts, of a class without test texts, and of two whose names differ in case alone."""
    if empty := sum(not text for text, _ in train + test):
        say(f"warning: {empty:,} of these reviews are empty, and stay")
    tested = {name for _, name in test}
    for name in (name for name in groups if name not in tested):
        say(f"warning: class {name!r} has no text to test on")
    for name, labels in groups.items():
        if len(labels) > 1:
            say(f"labels {', '.join(map(repr, labels))} are one class, {name}: as numbers they are equal")
    spelled = Counter(name.casefold() for name in groups)
    for name in (name for name in groups if spelled[name.casefold()] > 1):
        say(f"warning: class {name!r} has a name that another one has but for capital letters")


def _read_folder(place: Path) -> tuple[Pairs, Pairs, list[str]]:
    """The labelled texts of both halves, the second one empty where there is no test folder, and unlabelled texts."""
    if not (place / "train").is_dir():
        fix = "put texts, one per .txt file, in train/CLASS and test/CLASS, or name a table in it"
        if place.absolute().name in ("train", "test"):
            fix = f"give {place.absolute().parent}, which holds it"
        elif any(place.glob("*/*.txt")):
            fix = f"move the folders of texts into {place / 'train'}; without a test half, a part is set aside"
        raise DataError(f"{place} has no folder train (there is {imdb.listed(place)})", fix)
    halves = ["train", "test"] if (place / "test").exists() else ["train"]
    tally: Counter[str] = Counter()
    files = {f"{half}/{name}": _texts_of(place / half / name, tally)
             for half in halves for name in _folders_in(place / half)}
    unsup = files.pop(f"train/{UNLABELLED}", {})
    imdb.check_ratings(files, place)
    say_normalised(tally, place.name)
    pairs: dict[str, Pairs] = {half: [] for half in ("train", "test")}
    for folder, texts in files.items():
        half, _, name = folder.partition("/")
        pairs[half] += [(text, one_line(name)) for text in texts.values()]
    for half in halves:
        if not pairs[half]:
            raise DataError(f"{place / half} has no folder of texts (there is {imdb.listed(place / half)})",
                            f"put texts, one per .txt file, in {half}/CLASS; without a folder test, a part of train "
                            "is set aside to test on")
    return pairs["train"], pairs["test"], list(unsup.values())


def _folders_in(half: Path) -> list[str]:
    """The names of the folders in a half, sorted; what else is there is said."""
    names = sorted(path.name for path in half.iterdir()) if half.is_dir() else []
    folders = [name for name in names if (half / name).is_dir() and not name.startswith(".")]
    if others := [name for name in names if name not in folders]:
        say(f"warning: {half} holds {len(others):,} things that are no class, {others[0]!r} the first")
    return folders


def _texts_of(folder: Path, tally: Counter) -> dict[str, str]:
    """File name -> text of a class, sorted. Raises: DataError for one without any text."""
    paths = sorted(imdb.texts_in(folder))
    texts = {path.name: imdb.review_text(decode(b"".join(file_lines(path)), str(path), tally)) for path in paths}
    if not any(texts.values()):
        raise DataError(f"{folder} has no text (there is {imdb.listed(folder)})",
                        "put UTF-8 texts there, one per .txt file, or remove it")
    if others := len(list(folder.iterdir())) - len(paths):
        say(f"warning: {folder} holds {others:,} things that are no .txt files")
    return texts


def name_of(data: Sequence[str]) -> str:
    """What own reviews are called in results and tables: "own:shop.csv"."""
    return f"own:{one_line(os.path.basename(os.path.abspath(data[0])))}"
