"""Part I, chapter 1: corpora. Where do the texts come from, and what exactly is one document?

A **corpus** is a collection of texts: WikiText for pretraining, IMDB for transfer (and, without its test half, for
pretraining too), the built-in sample, or any files of plain text (`minitransfer.text.plain`). Each is looked for as an
unpacked folder, then as an archive put there by hand, then downloaded. Under `auto` nobody has named a corpus: the
real one is taken if it can be had, else the sample, and a banner says so. What somebody has named is never replaced,
be it a corpus or the data folder.

A document is one string: an article or a review, its lines separated by "\\n", none of them blank, none with spaces
at its ends.

`<unk>` means "a word outside the vocabulary" in the word-level WikiText alone. Where it stands in any other corpus it
is what somebody wrote, and becomes `< unk >` in a `Corpus`: the same three tokens for a tokeniser that splits
punctuation, and no longer mistaken for the mark when corpora are mixed.

Read next: `minitransfer.text.cleaning`, which brings bytes into one form. Around this file: where corpora
come from, `minitransfer.apparatus.mirrors`, `download` and `archives`, the one that is built in, `sample`, and
somebody's own reviews, `own`.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minitransfer.apparatus.download import fetch, file_sha256
from minitransfer.apparatus.errors import NetworkError, ResourceError, UsageError
from minitransfer.apparatus.mirrors import ARCHIVES, by_hand
from minitransfer.apparatus.progress import say
from minitransfer.text import CLASSES, CORPORA, REVIEWS, imdb, own, plain, sample, wikitext
from minitransfer.text.words import UNK_WORD

BUILT_IN = "built in, written by a small grammar"
UNNAMED = Path("data")  # the data folder where nobody names one; known by identity, as `--data-dir data` equals it


@dataclass(frozen=True)
class Corpus:
    """Documents to pretrain on, and others to measure perplexity on; `marks_unknown` tells what `<unk>` means.

    own_text: of each file or folder in it, by the name it was given, the sha256 of its documents.
    """

    name: str
    train: list[str]
    validation: list[str]
    marks_unknown: bool
    source: str
    own_text: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews (each label is a place in `classes`, int64), those to test on, and unlabelled ones."""

    name: str
    train_texts: list[str]
    train_labels: np.ndarray
    test_texts: list[str]
    test_labels: np.ndarray
    unsup_texts: list[str]
    source: str
    classes: tuple[str, ...] = CLASSES


def find_data_dir(flag: str | None) -> Path:
    """The data folder: --data-dir, $MINITRANSFER_DATA, or `UNNAMED`. Raises: UsageError for what cannot be one."""
    named = flag or os.environ.get("MINITRANSFER_DATA")
    path = Path(named) if named else UNNAMED
    try:
        path = path.expanduser() if named else UNNAMED
        if not path.exists() or path.is_dir() and os.access(path, os.R_OK | os.X_OK):
            return path
        what = f"the data folder {path} " + ("may not be read" if path.is_dir() else "is a file")
    except (OSError, RuntimeError) as error:  # a name too long for the system, a locked parent, no such ~user
        what = f"the data folder {str(path)[:80]!r} cannot be used: {getattr(error, 'strerror', None) or error}"
    raise UsageError(what, "name a folder with --data-dir or MINITRANSFER_DATA")


def load_corpus(names: Sequence[str], data_dir: Path, *, offline: bool) -> Corpus:
    """Return the documents of one corpus, or of several one after the other, to pretrain on.

    names: out of CORPORA, or of files and folders of plain text; `auto` is wikitext-2, or the sample where that cannot
    be had. Of the IMDB reviews and of own text 2 %, always the same, are held out for validation, and the test half of
    the reviews is never part of a corpus. What of these two is trained on comes in the order of its sha256. In that of
    its files IMDB has all negative reviews first, and one's own folders may be sorted by class. Whatever looks across
    the end of a text, as windows of skip-gram do, would learn labels from that.
    Raises: UsageError for other names; DataError for what cannot be read; NetworkError for a named corpus that is
    absent and cannot be downloaded, and ResourceError where the disk will not take it.
    """
    distinct = {"wikitext-2" if name == "auto" else name for name in names}
    if not names or len(distinct) != len(names):
        raise UsageError(f"the corpora {', '.join(names) or '(none)'} are not different ones",
                         f"name one of {', '.join(CORPORA)} or of your own texts, or several once each")
    plain.check_names(names)
    parts = [_load_one(name, data_dir, offline) for name in names]
    if len({part.name for part in parts}) < len(parts):
        raise UsageError("auto stands for the sample here, which is named beside it", "leave one of the two out")
    merged = Corpus("+".join(part.name for part in parts), [text for part in parts for text in part.train],
                    [text for part in parts for text in part.validation],
                    any(part.marks_unknown for part in parts), "; ".join(part.source for part in parts),
                    {name: sha256 for part in parts for name, sha256 in part.own_text.items()})
    sizes = [f"{len(texts):,} documents ({sum(map(len, texts)) / 1e6:.1f} M characters)"
             for texts in (merged.train, merged.validation)]
    say(f"corpus {merged.name}: {sizes[0]} for training, {sizes[1]} for validation")
    return merged


def load_reviews(data: str | Sequence[str], data_dir: Path, *, offline: bool, text_column: str | None = None,
                 label_column: str | None = None) -> Reviews:
    """Return the labelled and unlabelled reviews that --data names: one of REVIEWS, or somebody's own (`own.read`).

    Of IMDB neg comes before pos, sorted by file name. `<br />` becomes a line end. An empty review stays, as "". Texts
    keep a literal `<unk>`: it is text.
    Raises: UsageError, DataError, NetworkError, ResourceError, as `load_corpus` does.
    """
    data = (data,) if isinstance(data, str) else data
    own.check_data(data)
    classes: tuple[str, ...] = CLASSES
    if data[0] not in REVIEWS:
        train, test, unsup, classes = own.read(data, text_column, label_column)
        name, source = own.name_of(data), " ".join(data)
    else:
        place, source = _place("imdb", data[0], data_dir, offline)
        name = "sample" if place is None else "imdb"
        train, test, unsup = sample.reviews() if place is None else imdb.read_reviews(place)
    texts = [[text for text, _ in half] for half in (train, test)]
    labels = [np.array([label for _, label in half], dtype=np.int64) for half in (train, test)]
    return Reviews(name, texts[0], labels[0], texts[1], labels[1], unsup, source, classes)


def as_saved_corpus(corpus: Corpus) -> dict[str, Any]:
    """What a run's config.json has of a corpus: its name, the sha256 of what is trained on, and those of own text."""
    saved = {"name": corpus.name, "fingerprint": fingerprint(corpus.train)}
    return {**saved, "own_text": dict(corpus.own_text)} if corpus.own_text else saved


def names_of(saved: Any) -> list[str]:
    """The names of the corpora that `as_saved_corpus` tells of; none if it is something else, or one is not known."""
    name, own_text = (saved.get(key) for key in ("name", "own_text")) if isinstance(saved, dict) else (None, None)
    names = name.split("+") if isinstance(name, str) else []
    corpora = {*CORPORA[1:], *(own_text if isinstance(own_text, dict) else ())}
    return names if set(names) <= corpora and len(set(names)) == len(names) else []


def is_unchanged(name: str, saved: Any) -> bool:
    """Whether own text, if it is still there, is what it was when `as_saved_corpus` told of it. Raises: DataError."""
    if not os.path.exists(name):
        return True
    own_text = saved.get("own_text") if isinstance(saved, dict) else None
    sha256 = own_text.get(name) if isinstance(own_text, dict) else None
    documents = [text for path in plain.find_files(name)[0] for text in plain.read_documents_of(path, Counter())]
    return sha256 == fingerprint(_unmarked(documents))


def fingerprint(documents: Iterable[str]) -> str:
    """Return the sha256, in hex, of texts and of where each one ends."""
    digest = hashlib.sha256()
    for document in documents:
        encoded = document.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _load_one(name: str, data_dir: Path, offline: bool) -> Corpus:
    """Load a single corpus."""
    if name not in CORPORA:
        return _own_text(name)
    real = "wikitext-2" if name == "auto" else name
    place, source = _place(real, name, data_dir, offline)
    if place is None:
        real, (train, validation) = "sample", _sample_texts()
    elif real == "imdb":
        train, validation = imdb.read_texts(place)
        train = plain.by_sha256(train)
    else:
        train, validation = wikitext.read_articles(real, place)
    marks_unknown = real in wikitext.MARKING
    if not marks_unknown:
        train, validation = _unmarked(train), _unmarked(validation)
    return Corpus(real, train, validation, marks_unknown, source)


def _own_text(name: str) -> Corpus:
    """Load a file or folder of plain text, and hold a slice of it out."""
    documents = _unmarked(plain.read_documents(name))
    train, validation = plain.hold_out(documents, name)
    train = plain.by_sha256(train)
    characters = sum(map(len, validation))
    say(f"{name}: {characters:,} of {characters + sum(map(len, train)):,} characters are held out, "
        f"{len(validation):,} documents")
    return Corpus(name, train, validation, False, name, {name: fingerprint(documents)})


def _sample_texts() -> tuple[list[str], list[str]]:
    """Return the sample's articles and, so that both kinds of text are shown, its unlabelled reviews."""
    train, validation = sample.articles()
    _, _, reviews = sample.reviews()
    held_out = max(1, round(imdb.HELD_OUT * len(reviews)))
    return train + reviews[held_out:], validation + reviews[:held_out]


def _unmarked(texts: Iterable[str]) -> list[str]:
    """Rewrite a literal `<unk>` so that it is not taken for WikiText's mark."""
    return [text.replace(UNK_WORD, "< unk >") for text in texts]


def _place(real: str, asked: str, data_dir: Path, offline: bool) -> tuple[Path | None, str]:
    """Return the folder or archive of corpus `real` and a description of it; None for the sample.

    The sample is taken if asked for, and under `auto` if the real corpus cannot be had and nobody named a data folder.
    """
    if asked == "sample":
        return None, BUILT_IN
    try:
        place = _find(real, asked, data_dir, offline)
    except (NetworkError, ResourceError) as error:
        if asked != "auto" or data_dir is not UNNAMED:
            raise
        say(f"*** USING THE BUILT-IN SAMPLE, NOT {real.upper()}: results will say little about real text. ***")
        say(f"*** Why: {error.what}. To use the real one: {error.fix}. ***")
        return None, BUILT_IN
    source = _source(place, real)
    say(f"{real}: read from {source}")
    return place, source


def _find(name: str, asked: str, data_dir: Path, offline: bool) -> Path:
    """Where a corpus is, downloaded if need be. Raises: UsageError for a data folder that somebody named in vain."""
    if place := _present(name, data_dir):
        return place
    archive, places = ARCHIVES[name], ", ".join(map(str, _places(name, data_dir)))
    looked = f"looked for {places}; there is {imdb.listed(data_dir)}"
    if data_dir is not UNNAMED:
        if not data_dir.exists() and not (offline and asked != "auto"):
            raise UsageError(f"there is no folder {data_dir}, which --data-dir or MINITRANSFER_DATA names",
                             f"check its spelling, or make it (mkdir {data_dir}) to have corpora downloaded into it")
        if asked == "auto" and (offline or any(data_dir.iterdir())  # but no corpus: what is there is meant
                                and not any(_present(corpus, data_dir) for corpus in ARCHIVES)):
            raise UsageError(f"{data_dir} holds no {name} ({looked})", "name a folder that does, or the corpus that is "
                             f"meant ({name} to have it downloaded there, or sample); your own reviews go to --data")
    if offline:
        raise NetworkError(f"{name} is not in {data_dir} ({looked}) and --offline forbids its download",
                           f"leave --offline out, or {by_hand(archive, data_dir)}")
    try:
        # Under `auto` nobody insists on the download: one try per mirror is enough.
        return fetch(archive, data_dir, attempts=1 if asked == "auto" else 3)
    except NetworkError as error:
        raise NetworkError(f"{name} is not in {data_dir} ({looked}); {error.what}", error.fix) from error


def _places(name: str, data_dir: Path) -> list[Path]:
    """Return the folder and the archives that a corpus may be in."""
    if name == "imdb":
        return [data_dir / place for place in ("aclImdb", ARCHIVES[name].name, "aclImdb_v1.tar.xz")]
    return [data_dir / name, data_dir / ARCHIVES[name].name]


def _present(name: str, data_dir: Path) -> Path | None:
    """Return the folder or archive of a corpus, if it is there."""
    folder, *files = _places(name, data_dir)
    if folder.is_dir() if name == "imdb" else any(folder.glob(wikitext.file_name(name, "*"))):
        return folder
    if name == "imdb" and any((data_dir / half).is_dir() for half in imdb.LABELLED):
        return data_dir
    if name == "imdb" and (hub := imdb.hub_folder(data_dir)):
        return hub
    return next((file for file in files if file.is_file()), None)


def _source(place: Path, name: str) -> str:
    """Say where a corpus is read from, and whether it is the official file."""
    if place.is_dir():
        return f"{place} (Parquet files of the hub)" if imdb.hub_folder(place) else f"{place} (unpacked folder)"
    if _is_official(place, name):
        return f"{place} (archive, official checksum)"
    counted = ", so its counts are checked instead" if name in ("imdb", *wikitext.OFFICIAL_ARTICLES) else ""
    return f"{place} (archive; its checksum is not the official one{counted})"


def _is_official(path: Path, name: str) -> bool:
    """Tell whether a file is the pinned archive; one that cannot be read is not, and reading it will say why."""
    try:
        return path.stat().st_size == ARCHIVES[name].size and file_sha256(path) == ARCHIVES[name].sha256
    except OSError:
        return False
