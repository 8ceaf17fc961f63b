"""Small corpora on disk, for tests: folders and archives as WikiText and IMDB are published, and how to load them."""

import dataclasses
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from hearing import heard

from minitransfer.text.corpora import Corpus, Reviews, load_corpus, load_reviews

# A file as published: blank lines hold one space, and text lines have one at each end.
WIKI = {"train": " \n = Ada <unk> = \n \n She wrote well @-@ known notes , 1 @,@ 234 of them . \n \n"
                 " = = Later = = \n \n The end . \n \n = Bo = \n \n A dog . \n",
        "valid": " \n = Cy = \n \n A cat . \n", "test": " \n = Secret = \n \n Never read . \n"}


def corpus_of(names: list[str], folder: Path, said: list[str] | None = None, **options) -> Corpus:
    """The corpora named, from a folder; what is remarked upon goes into `said`."""
    with heard(said):
        return load_corpus(names, folder, **{"offline": True} | options)


def reviews_of(folder: Path, said: list[str] | None = None, name: str = "imdb", offline: bool = True) -> Reviews:
    """The labelled reviews in a folder; what is remarked upon goes into `said`."""
    with heard(said):
        return load_reviews(name, folder, offline=offline)


def few_of_sample(folder: Path, every: int, train_every: int = 1) -> Reviews:
    """The built-in reviews, of the test half one in `every`, of the training half one in `train_every`."""
    whole = reviews_of(folder, name="sample")
    return dataclasses.replace(whole, train_texts=whole.train_texts[::train_every],
                               train_labels=whole.train_labels[::train_every],
                               test_texts=whole.test_texts[::every], test_labels=whole.test_labels[::every])


def wikitext_folder(folder: Path, name: str = "wikitext-2", texts=WIKI, ending: str = "tokens") -> Path:
    """Write an unpacked WikiText folder."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for split, text in texts.items():
        (folder / name / f"wiki.{split}.{ending}").write_bytes(text.encode())
    return folder


def wikitext_zip(folder: Path, name: str = "wikitext-2", texts=WIKI, ending: str = "tokens") -> Path:
    """Write the same files as an archive under its official name."""
    with zipfile.ZipFile(folder / f"{name}-v1.zip", "w") as packed:
        for split, text in texts.items():
            packed.writestr(f"{name}/wiki.{split}.{ending}", text)
    return folder


def review_files(**more: str) -> dict[str, str]:
    """Files of a small official-looking data set: path below the root -> text."""
    files = {f"train/{kind}/{n}_{rating + n % 2}.txt": f"train {kind} {n}"
             for kind, rating in (("neg", 1), ("pos", 9)) for n in range(11)}
    files |= {f"test/{kind}/{n}_{rating}.txt": f"test {kind} {n}" for kind, rating in (("neg", 4), ("pos", 7))
              for n in range(3)}
    files |= {f"train/unsup/{n}_0.txt": f"unlabelled {n}" for n in range(7)}
    return files | {name.replace("__", "/") + ".txt": text for name, text in more.items()}


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files (path -> text or bytes) below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def imdb_tar(path: Path, files: dict[str, str], mode: str = "w:gz") -> None:
    """Write files as an IMDB archive, in an order that is nobody's."""
    with tarfile.open(path, mode) as tar:
        for name in sorted(files, key=lambda name: hashlib.sha256(name.encode()).digest()):
            info = tarfile.TarInfo(f"aclImdb/{name}")
            raw = files[name].encode()
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
