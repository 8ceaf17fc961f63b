"""Part I, text into integers: corpora. Where do the texts come from, and what exactly is one document?

WikiText for pretraining, IMDB for transfer (and, without its test half, for pretraining too), or the built-in sample.
Each is looked for as an unpacked folder, then as an archive put there by hand, then downloaded.

A document is one string: an article or a review, its lines separated by "\\n", none of them blank, none with spaces
at its ends. Published WikiText-2 results count one `<eos>` per line of the file, blank lines included: 217,646 tokens
in validation are 213,886 words and 3,760 lines, 245,569 in test are 241,211 and 4,358. Of these lines only 2,461 and
2,891 hold words, so with one `<eos>` per line of a document there are 216,347 and 244,102 tokens. A blank line is
easily foretold: on equal models the published way of counting gives the lower perplexity. In training, 36 of the
2,051,910 words are a lone zero-width character, which vanishes here.

`<unk>` means "a word outside the vocabulary" in the word-level WikiText alone. Where it stands in any other corpus it
is what somebody wrote, and becomes `< unk >` in a `Corpus`: the same three tokens for a tokeniser that splits
punctuation, and no longer mistaken for the mark when corpora are mixed.

Next: `minitransfer/text/words.py`, which cuts documents into words.
"""

import hashlib
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from minitransfer.apparatus.errors import DataError, NetworkError, ResourceError, UsageError
from minitransfer.text.archives import decode, file_lines, tar_members, text_lines, zip_lines
from minitransfer.text.download import ARCHIVES, by_hand, fetch, file_sha256

WIKITEXT = ("wikitext-2", "wikitext-2-raw", "wikitext-103", "wikitext-103-raw")
MARKING = ("wikitext-2", "wikitext-103")  # the word-level ones, where rare words are replaced
CORPORA = ("auto", *WIKITEXT, "imdb", "sample")
REVIEWS = ("auto", "imdb", "sample")
UNKNOWN = "<unk>"
BUILT_IN = "built in, written by a small grammar"
HELD_OUT = 0.02  # of the reviews, when they are a pretraining corpus

TITLE = re.compile(r"= (?!= ).*(?<! =) =")  # "= Title =", but not "= = Section = ="
ESCAPED = re.compile(r"(?<!\S)@([-,.])@(?!\S)")  # "@-@" alone between spaces
LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
RATED = re.compile(r"[0-9]+_(10|[1-9])\.txt")  # ID_RATING.txt, ratings of 1 to 10 stars

TRAIN = ("train/neg", "train/pos", "train/unsup")
TEST = ("test/neg", "test/pos")
LABELLED = ("train/neg", "train/pos", "test/neg", "test/pos")
OFFICIAL_REVIEWS = {folder: 12_500 for folder in LABELLED} | {"train/unsup": 50_000}
OFFICIAL_ARTICLES = {"wikitext-2": (600, 60), "wikitext-2-raw": (600, 60)}  # train, validation
KNOWN_MEMBERS = re.compile(r"aclImdb/(README|imdb\.vocab|imdbEr\.txt|(train|test)/(urls_\w+\.txt|\w+\.feat))")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Corpus:
    """Documents to pretrain on, and others to measure perplexity on; `marks_unknown` tells what `<unk>` means."""

    name: str
    train: list[str]
    validation: list[str]
    marks_unknown: bool
    source: str


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews (0 negative, 1 positive; int64), those to test on, and unlabelled ones."""

    name: str
    train_texts: list[str]
    train_labels: np.ndarray
    test_texts: list[str]
    test_labels: np.ndarray
    unsup_texts: list[str]
    source: str


def find_data_dir(flag: str | None) -> Path:
    """Return the data folder: --data-dir if given, else $MINITRANSFER_DATA, else ./data. It need not exist yet."""
    path = Path(flag or os.environ.get("MINITRANSFER_DATA") or "data")
    try:
        path = path.expanduser()
        if not path.exists() or path.is_dir() and os.access(path, os.R_OK | os.X_OK):
            return path
        what = f"the data folder {path} " + ("may not be read" if path.is_dir() else "is a file")
    except (OSError, RuntimeError) as error:  # a name too long for the system, a locked parent, no such ~user
        what = f"the data folder {str(path)[:80]!r} cannot be used: {getattr(error, 'strerror', None) or error}"
    raise UsageError(what, "name a folder with --data-dir or MINITRANSFER_DATA")


def load_corpus(names: Sequence[str], data_dir: Path, *, offline: bool, seed: int = 0, say: Say) -> Corpus:
    """Return the documents of one corpus, or of several one after the other, to pretrain on.

    names: out of CORPORA; `auto` is wikitext-2, or the sample where that cannot be had.  seed: draws the 2 % of
    the IMDB reviews that are held out for validation (its test half is never part of a corpus).
    Raises: UsageError, DataError, NetworkError for a named corpus that is absent and cannot be downloaded.
    """
    distinct = {"wikitext-2" if name == "auto" else name for name in names}
    if not names or len(distinct) != len(names) or not distinct <= set(CORPORA):
        raise UsageError(f"the corpora {', '.join(names) or '(none)'} are not different ones out of "
                         f"{', '.join(CORPORA)}", "name one of these, or several once each")
    parts = [_load_one(name, data_dir, offline, seed, say) for name in names]
    merged = Corpus("+".join(part.name for part in parts), [text for part in parts for text in part.train],
                    [text for part in parts for text in part.validation],
                    any(part.marks_unknown for part in parts), "; ".join(part.source for part in parts))
    say(describe(merged))
    return merged


def load_reviews(name: str, data_dir: Path, *, offline: bool, say: Say) -> Reviews:
    """Return the labelled and unlabelled reviews of `name` (one of REVIEWS), neg before pos, sorted by file name.

    `<br />` becomes a line end. An empty review stays, as "". Texts keep a literal `<unk>`: it is text.
    Raises: UsageError, DataError, NetworkError, as `load_corpus` does.
    """
    if name not in REVIEWS:
        raise UsageError(f"there is no labelled data called {name!r}", f"name one of {', '.join(REVIEWS)}")
    place, source = _place("imdb", name, data_dir, offline, say)
    if place is None:
        from minitransfer.text import sample  # the grammar is worked out only when it is wanted

        return _reviews("sample", *sample.reviews(), source)
    files = _review_files(place, (*TRAIN, *TEST), say)
    _check_ratings(files, place)
    _check_overlap(files, place, say)
    train, test = ([(text, label) for label, folder in enumerate(half) for text in files[folder].values()]
                   for half in (TRAIN[:2], TEST))
    return _reviews("imdb", train, test, list(files["train/unsup"].values()), source)


def describe(corpus: Corpus) -> str:
    """Return a corpus in one line."""
    sizes = [f"{len(texts):,} documents ({sum(map(len, texts)) / 1e6:.1f} M characters)"
             for texts in (corpus.train, corpus.validation)]
    return f"corpus {corpus.name}: {sizes[0]} for training, {sizes[1]} for validation"


def fingerprint(documents: Iterable[str]) -> str:
    """Return the sha256, in hex, of texts and of where each one ends."""
    digest = hashlib.sha256()
    for document in documents:
        encoded = document.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def articles(lines: Iterable[str]) -> Iterator[str]:
    """Yield the articles of stripped WikiText lines, each from its title on, without blank lines and escapes.

    A title is a line `= Title =` between two blank ones: elsewhere such a line is part of a broken table or formula
    (two of 62 in the WikiText-2 test file).

    Example: "", "= Ada =", "", "She wrote @-@ well .", "" -> "= Ada =\\nShe wrote - well ."
    """
    article, before = [], ""
    for line, after in pairwise(chain(lines, [""])):
        if article and not before and not after and TITLE.fullmatch(line):
            yield "\n".join(article)
            article = []
        if line:
            article.append(ESCAPED.sub(r"\1", line))
        before = line
    if article:
        yield "\n".join(article)


def _load_one(name: str, data_dir: Path, offline: bool, seed: int, say: Say) -> Corpus:
    """Load a single corpus."""
    real = "wikitext-2" if name == "auto" else name
    place, source = _place(real, name, data_dir, offline, say)
    if place is None:
        from minitransfer.text import sample

        train, validation = sample.articles()
        _, _, reviews = sample.reviews()  # small as it is, the sample has to show both kinds of text
        held_out = max(1, round(HELD_OUT * len(reviews)))
        train, validation = train + reviews[held_out:], validation + reviews[:held_out]
        return Corpus("sample", _unmarked(train), _unmarked(validation), marks_unknown=False, source=source)
    train, validation = _imdb_texts(place, seed, say) if real == "imdb" else _wikitext_texts(real, place, say)
    marks_unknown = real in MARKING
    if not marks_unknown:
        train, validation = _unmarked(train), _unmarked(validation)
    return Corpus(real, train, validation, marks_unknown, source)


def _wikitext_texts(name: str, place: Path, say: Say) -> tuple[list[str], list[str]]:
    """Return the training and the validation articles of a WikiText folder or zip file."""
    tally, ending = Counter(), "tokens" if name in MARKING else "raw"
    members = {split: f"{name}/wiki.{split}.{ending}" for split in ("train", "valid", "test")}
    limit = 1 << 30 if "103" in name else 1 << 26  # bytes: about twice and six times the largest member
    splits = []
    for split in ("train", "valid"):
        path = place / Path(members[split]).name
        raw_lines = file_lines(path) if place.is_dir() else zip_lines(
            place, members[split], members.values(), limit)
        where = str(path) if place.is_dir() else f"{members[split]} in {place}"
        splits.append(list(articles(text_lines(raw_lines, where, tally))))
        if not splits[-1]:
            raise DataError(f"{where} holds 0 articles and 0 words", "put a WikiText file with text in its place")
    _say_normalised(tally, name, say)
    found, official = tuple(map(len, splits)), OFFICIAL_ARTICLES.get(name)
    if official and found != official:
        say(f"warning: {name} here has {found[0]:,} + {found[1]:,} articles (train + validation), "
            f"the official one {official[0]:,} + {official[1]:,}")
    return splits[0], splits[1]


def _imdb_texts(place: Path, seed: int, say: Say) -> tuple[list[str], list[str]]:
    """Part the training and the unlabelled reviews into a large and a held-out part; empty ones are left out."""
    files = _review_files(place, TRAIN, say)
    texts = [text for folder in TRAIN for text in files[folder].values() if text]
    held_out = set(random.Random(seed).sample(range(len(texts)), max(1, round(HELD_OUT * len(texts)))))
    train = [text for index, text in enumerate(texts) if index not in held_out]
    return train, [texts[index] for index in sorted(held_out)]


def _reviews(name: str, train: list[tuple[str, int]], test: list[tuple[str, int]], unsup: list[str],
             source: str) -> Reviews:
    """Part (text, label) pairs into a list and an array for each half."""
    texts = [[text for text, _ in half] for half in (train, test)]
    labels = [np.array([label for _, label in half], dtype=np.int64) for half in (train, test)]
    return Reviews(name, texts[0], labels[0], texts[1], labels[1], unsup, source)


def _unmarked(texts: Iterable[str]) -> list[str]:
    """Rewrite a literal `<unk>` so that it is not taken for WikiText's mark."""
    return [text.replace(UNKNOWN, "< unk >") for text in texts]


def _place(real: str, asked: str, data_dir: Path, offline: bool, say: Say) -> tuple[Path | None, str]:
    """Return the folder or archive of corpus `real` and a description of it; None for the sample.

    The sample is taken if asked for, and under `auto` if the real corpus cannot be had.
    """
    if asked == "sample":
        return None, BUILT_IN
    try:
        # Under `auto` nobody insists on the download: one try per mirror is enough.
        place = _find(real, data_dir, offline, say, attempts=1 if asked == "auto" else 3)
    except (NetworkError, ResourceError) as error:
        if asked != "auto":
            raise
        say(f"*** USING THE BUILT-IN SAMPLE, NOT {real.upper()}: results will say little about real text. ***")
        say(f"*** Why: {error.what}. To use the real one: {error.fix}. ***")
        return None, BUILT_IN
    source = _source(place, real)
    say(f"{real}: read from {source}")
    return place, source


def _find(name: str, data_dir: Path, offline: bool, say: Say, attempts: int) -> Path:
    """Return where a corpus is, downloading it if need be."""
    archive, folder = ARCHIVES[name], data_dir / ("aclImdb" if name == "imdb" else name)
    files = [data_dir / archive.name] + ([data_dir / "aclImdb_v1.tar.xz"] if name == "imdb" else [])
    if name == "imdb" and folder.is_dir() or any(folder.glob("wiki.*.tokens" if name in MARKING else "wiki.*.raw")):
        return folder
    if name == "imdb" and any((data_dir / own).is_dir() for own in LABELLED):
        return data_dir
    for file in files:
        if file.is_file():
            return file
    looked = f"looked for {', '.join(map(str, [folder, *files]))}"
    if offline:
        raise NetworkError(f"{name} is not in {data_dir} ({looked}) and --offline forbids its download",
                           f"leave --offline out, or {by_hand(archive, data_dir)}")
    try:
        return fetch(archive, data_dir, say=say, attempts=attempts)
    except NetworkError as error:
        raise NetworkError(f"{name} is not in {data_dir} ({looked}); {error.what}", error.fix) from error


def _source(place: Path, name: str) -> str:
    """Say where a corpus is read from, and whether it is the official file."""
    if place.is_dir():
        return f"{place} (unpacked folder)"
    if _is_official(place, name):
        return f"{place} (archive, official checksum)"
    counted = ", so its counts are checked instead" if name in ("imdb", *OFFICIAL_ARTICLES) else ""
    return f"{place} (archive; its checksum is not the official one{counted})"


def _is_official(path: Path, name: str) -> bool:
    """Tell whether a file is the pinned archive; one that cannot be read is not, and reading it will say why."""
    try:
        return path.stat().st_size == ARCHIVES[name].size and file_sha256(path) == ARCHIVES[name].sha256
    except OSError:
        return False


def _review_files(place: Path, folders: Sequence[str], say: Say) -> dict[str, dict[str, str]]:
    """Return folder -> file name -> text for the given folders, files sorted by name.

    Raises: DataError if a labelled folder has no review, or all are blank.
    """
    tally = Counter()
    found = {folder: {} for folder in folders}
    for name, where, raw in _raw_reviews(place, folders, say):
        folder, _, file_name = name.rpartition("/")
        found[folder][file_name] = _review_text(decode(raw, where, tally))
    found = {folder: dict(sorted(files.items())) for folder, files in found.items()}
    _check_counts(found, place, say)
    _say_normalised(tally, "imdb", say)
    return found


def _raw_reviews(place: Path, folders: Sequence[str], say: Say) -> Iterator[tuple[str, str, bytes]]:
    """Yield ("train/pos/0_9.txt", the file's name for messages, its bytes) from a folder or an archive."""
    if place.is_dir():
        for folder in folders:
            for path in (place / folder).glob("*.txt"):
                if path.is_file():
                    yield f"{folder}/{path.name}", str(path), b"".join(file_lines(path))
        return
    wanted = re.compile(rf"aclImdb/({'|'.join(folders)})/[0-9]+_[0-9]+\.txt")
    others = re.compile(rf"{KNOWN_MEMBERS.pattern}|aclImdb/({'|'.join((*TRAIN, *TEST))})/[0-9]+_[0-9]+\.txt")
    skipped = []
    for name, raw in tar_members(place, wanted, others, max_members=200_000, max_member_bytes=1 << 20,
                                 max_total_bytes=1 << 30, skipped=skipped):
        yield name.removeprefix("aclImdb/"), f"{name} in {place}", raw
    if skipped:
        say(f"warning: {place} holds {len(skipped):,} members that are no reviews, {skipped[0][:80]!r} the first")


def _review_text(text: str) -> str:
    """Make a line end of each `<br />`, and drop blank lines and the spaces around lines."""
    return "\n".join(filter(None, map(str.strip, LINE_BREAK.sub("\n", text).split("\n"))))


def _check_counts(files: dict[str, dict[str, str]], place: Path, say: Say) -> None:
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


def _check_ratings(files: dict[str, dict[str, str]], place: Path) -> None:
    """Raises: DataError if files are named ID_RATING.txt throughout, and ratings contradict the folders."""
    rated = {folder: [RATED.fullmatch(name) for name in files[folder]] for folder in LABELLED}
    if not all(chain.from_iterable(rated.values())):
        return  # somebody's own data, under names of their own
    wrong = {folder: sum(int(name[1]) > 4 if folder.endswith("neg") else int(name[1]) < 7 for name in names)
             for folder, names in rated.items()}
    if any(wrong.values()):
        counts = ", ".join(f"{wrong[folder]:,} of {len(rated[folder]):,} in {folder}" for folder in LABELLED)
        raise DataError(f"{place} is mislabelled: ratings in file names (ID_RATING.txt; neg 1 to 4, pos 7 to 10) "
                        f"contradict their folders: {counts}", "restore the official folders, or rename the files")


def _check_overlap(files: dict[str, dict[str, str]], place: Path, say: Say) -> None:
    """Warn of texts that are in both halves. Raises: DataError if the halves hold the same texts altogether."""
    train, test = ({text for folder in half for text in files[folder].values() if text}
                   for half in (TRAIN[:2], TEST))
    if train == test:
        raise DataError(f"train and test of {place} hold the same {len(test):,} texts",
                        "put texts in test that are not in train: an accuracy on these would mean nothing")
    shared = len(train & test)
    if shared:
        say(f"warning: {shared:,} texts of the test half are in the training half too")


def _say_normalised(tally: Counter, name: str, say: Say) -> None:
    """Report how many characters were cleaned out of the text."""
    if tally["normalised"]:
        say(f"{name}: {tally['normalised']:,} control or zero-width characters normalised")
