"""Part I, chapter 1, reviews: IMDB. Which reviews are there, and can the folders they lie in be believed?

**Sentiment classification**: is a film review positive or negative? IMDB has 25,000 labelled reviews to train on and
as many to test on (Maas et al. 2011). A label is no more than the name of a folder, and a folder can be empty,
misfiled or a copy of another. So a class without text is refused, and so are ratings in file names that contradict
their folders, and a test half that is the training half. Counts other than the official ones, and single texts that
stand in both halves, are only remarked upon: your own reviews, in folders of the same layout, are as welcome as the
archive. A third class is refused here, and not left out.

Read next: `minitransfer.text.words`, which cuts articles and reviews into words. Around this file: reviews of any
classes, in folders or tables, `own` and `tables`.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from minitransfer.apparatus.archives import file_lines, tar_members
from minitransfer.apparatus.errors import DataError
from minitransfer.apparatus.progress import say
from minitransfer.text.cleaning import decode, say_normalised
from minitransfer.text.tables import read_table

HELD_OUT = 0.02  # of the reviews, when they are a pretraining corpus

LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
RATED = re.compile(r"[0-9]+_(10|[1-9])\.txt")  # ID_RATING.txt, ratings of 1 to 10 stars

TRAIN = ("train/neg", "train/pos", "train/unsup")
TEST = ("test/neg", "test/pos")
LABELLED = ("train/neg", "train/pos", "test/neg", "test/pos")
OFFICIAL_REVIEWS = {folder: 12_500 for folder in LABELLED} | {"train/unsup": 50_000}
HUB = {"train": {0: "train/neg", 1: "train/pos"}, "test": {0: "test/neg", 1: "test/pos"},  # the folder of each label
       "unsupervised": {-1: "train/unsup"}}
HUB_FILE = "{}-00000-of-00001.parquet"
KNOWN_MEMBERS = re.compile(r"aclImdb/(README|imdb\.vocab|imdbEr\.txt|(train|test)/(urls_\w+\.txt|\w+\.feat))")

Labelled = list[tuple[str, int]]  # (text, label), 0 negative and 1 positive


def read_reviews(place: Path) -> tuple[Labelled, Labelled, list[str]]:
    """Return the reviews of a folder or archive: labelled train and test, neg before pos, and unlabelled texts.

    Those of one folder are sorted by file name. `<br />` becomes a line end. An empty review stays, as "".
    Raises: DataError for a class without text, ratings that contradict the folders, halves that hold the same texts,
    and whatever cannot be read.
    """
    files = _review_files(place, (*TRAIN, *TEST))
    check_ratings(files, place)
    train, test = ([(text, label) for label, folder in enumerate(half) for text in files[folder].values()]
                   for half in (TRAIN[:2], TEST))
    unsup = list(files["train/unsup"].values())
    check_overlap([text for text, _ in train], [text for text, _ in test], unsup, place)
    return train, test, unsup


def read_texts(place: Path) -> tuple[list[str], list[str]]:
    """Return the training and the unlabelled reviews without their labels, parted into a large and a held-out part.

    Empty ones are left out, and the test half is not read. Which ones are held out depends on the files alone, and not
    on any run's seed: so a run that goes on from another never learns from what that one held out. Nor are copies of
    one that is held out learned from.
    Raises: DataError for a class without text, and for whatever cannot be read.
    """
    files = _review_files(place, TRAIN)
    texts = [text for folder in TRAIN for text in files[folder].values() if text]
    drawn = random.Random(0).sample(range(len(texts)), max(1, round(HELD_OUT * len(texts))))
    copies = {texts[index] for index in drawn}
    train = [text for text in texts if text not in copies]
    return train, [texts[index] for index in drawn]  # as they were drawn: so the first few are a sample of all, too


def _review_files(place: Path, folders: Sequence[str]) -> dict[str, dict[str, str]]:
    """Folder -> file name -> text, sorted. Raises: DataError if a labelled folder has no review, or all are blank."""
    tally: Counter[str] = Counter()
    reviews: dict[str, dict[str, str]] = {folder: {} for folder in folders}
    for name, where, raw in _raw_reviews(place, folders):
        folder, _, file_name = name.rpartition("/")
        reviews[folder][file_name] = review_text(decode(raw, where, tally))
    reviews = {folder: dict(sorted(files.items())) for folder, files in reviews.items()}
    _check_counts(reviews, place)
    say_normalised(tally, "imdb")
    return reviews


def _raw_reviews(place: Path, folders: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yield ("train/pos/0_9.txt", the file's name for messages, its bytes) from a folder or an archive."""
    if hub_folder(place):
        yield from _hub_reviews(hub_folder(place), folders)
        return
    if place.is_dir():
        _refuse_strangers(place, folders)
        for folder in folders:
            for path in texts_in(place / folder):
                yield f"{folder}/{path.name}", str(path), b"".join(file_lines(path))
        return
    wanted = re.compile(rf"aclImdb/({'|'.join(folders)})/[0-9]+_[0-9]+\.txt")
    others = re.compile(rf"{KNOWN_MEMBERS.pattern}|aclImdb/({'|'.join((*TRAIN, *TEST))})/[0-9]+_[0-9]+\.txt")
    skipped: list[str] = []
    for name, raw in tar_members(place, wanted, others, max_members=200_000, max_member_bytes=1 << 20,
                                 max_total_bytes=1 << 30, skipped=skipped):
        yield name.removeprefix("aclImdb/"), f"{name} in {place}", raw
    if skipped:
        say(f"warning: {place} holds {len(skipped):,} members that are no reviews, {skipped[0][:80]!r} the first")


def hub_folder(place: Path) -> Path | None:
    """Return where in a folder the Parquet files of the hub's stanfordnlp/imdb lie; None if they do not."""
    folders = (place, place / "plain_text", place / "imdb", place / "imdb" / "plain_text")
    return next((folder for folder in folders if (folder / HUB_FILE.format("train")).is_file()), None)


def _hub_reviews(place: Path, folders: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    """Yield what `_raw_reviews` does from the hub's Parquet files. Raises: DataError for other columns or labels."""
    for split, folder_of in HUB.items():
        path = place / HUB_FILE.format(split)
        if not set(folder_of.values()) <= set(folders) or split == "unsupervised" and not path.exists():
            continue
        columns, rows = read_table(path, Counter(), named=False)
        for number, (where, values) in enumerate(rows):
            row = dict(zip(columns, values))
            text, folder = row.get("text"), folder_of.get(row.get("label"))
            if folder is None or not isinstance(text, str):
                raise DataError(f"{where} is no review of IMDB: it has the label {row.get('label')!r:.60}",
                                "give tables of your own by their names, --data TRAIN TEST")
            yield f"{folder}/{number:06}.txt", where, text.encode("utf-8", "surrogatepass")


def _refuse_strangers(place: Path, folders: Sequence[str]) -> None:
    """Raises: DataError for a class beside neg and pos, which would be left out unsaid."""
    halves = {folder.partition("/")[0] for folder in folders}
    inside = (path for half in sorted(halves) if (place / half).is_dir() for path in sorted((place / half).iterdir()))
    for path in inside:
        if f"{path.parent.name}/{path.name}" not in (*TRAIN, *TEST) and path.is_dir() and any(path.glob("*.txt")):
            raise DataError(f"{path} is no class of IMDB, which has neg and pos",
                            f"use --data {place} for reviews of any classes, or move that folder away")


def listed(place: Path) -> str:
    """Return what a folder holds, in a few words, for messages."""
    names = sorted(path.name + "/" * path.is_dir() for path in place.iterdir()) if place.is_dir() else []
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return ", ".join(name[:40] for name in names[:8]) + more or "nothing"


def texts_in(folder: Path) -> list[Path]:
    """Return the .txt files of a folder but hidden ones. Raises: DataError for one that cannot be read or followed."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix == ".txt" and not path.name.startswith(".")
                 ] if folder.is_dir() else []
        lost = [path for path in paths if path.is_symlink() and not path.exists()]
    except OSError as error:
        raise DataError(f"{folder} may not be read: {error.strerror}", "let your user read it") from error
    if lost:
        raise DataError(f"{lost[0]} is a link to nothing, the first of {len(lost):,}", "restore it, or delete the link")
    return [path for path in paths if path.is_file()]


def review_text(text: str) -> str:
    """Make a line end of each `<br />`, and drop blank lines and the spaces around lines."""
    return "\n".join(filter(None, map(str.strip, LINE_BREAK.sub("\n", text).split("\n"))))


def _check_counts(files: dict[str, dict[str, str]], place: Path) -> None:
    """Name a size that is not the official one. Raises: DataError where a class has nothing to read."""
    counts = {folder: len(texts) for folder, texts in files.items()}
    official = {folder: OFFICIAL_REVIEWS[folder] for folder in files}
    compared = ", ".join(f"{folder} {counts[folder]:,} (official {official[folder]:,})" for folder in files)
    for folder in files:
        if folder in LABELLED and not any(files[folder].values()):
            raise DataError(f"{place} has no {'text in the reviews' if counts[folder] else 'review'} of {folder}; "
                            f"found {compared}", f"put UTF-8 texts, one per .txt file, in {folder}")
    if counts != official:
        say(f"warning: these reviews are not the official IMDB ones: {compared}")


def check_ratings(files: dict[str, dict[str, str]], place: Path) -> None:
    """Raises: DataError if files of neg and pos are named ID_RATING.txt throughout, contradicting their folders."""
    rated = {folder: [RATED.fullmatch(name) for name in names] for folder, names in files.items()
             if folder != "train/unsup"}
    if not rated.keys() <= set(LABELLED) or not all(chain.from_iterable(rated.values())):
        return  # somebody's own data, under names of their own
    wrong = {folder: sum(int(name[1]) > 4 if folder.endswith("neg") else int(name[1]) < 7 for name in names)
             for folder, names in rated.items()}
    if any(wrong.values()):
        counts = ", ".join(f"{wrong[folder]:,} of {len(rated[folder]):,} in {folder}" for folder in rated)
        raise DataError(f"{place} is mislabelled: ratings in file names (ID_RATING.txt; neg 1 to 4, pos 7 to 10) "
                        f"contradict their folders: {counts}", "restore the official folders, or rename the files")


def check_overlap(train: Sequence[str], test: Sequence[str], unlabelled: Sequence[str], place: Path) -> None:
    """Warn of test texts that training or pretraining meets too. Raises: DataError if both halves hold the same."""
    of_train, of_test, of_neither = (set(filter(None, texts)) for texts in (train, test, unlabelled))
    if of_train == of_test:
        raise DataError(f"train and test of {place} hold the same {len(of_test):,} texts",
                        "put texts in test that are not in train: an accuracy on these would mean nothing")
    shared, read = len(of_train & of_test), len(of_neither & of_test)
    if shared or read:
        say(f"warning: of the texts of the test half {shared:,} are in the training half too, and {read:,} among the "
            "unlabelled reviews, which encoders may be pretrained on")
