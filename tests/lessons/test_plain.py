"""Claims about own text: which files are read, where documents end, what is held out, and what is refused."""

import bz2
import gzip
import hashlib
import lzma
import os
import random

import pytest
from corpus_files import WIKI, corpus_of, wikitext_folder, write
from hearing import heard
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransfer.apparatus.errors import DataError, UsageError
from minitransfer.text.corpora import as_saved_corpus, fingerprint, names_of
from minitransfer.text.plain import SMALL, corpus_name, hold_out, is_small, read_documents, split_documents

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
BOOK = "\n\n".join(f"Chapter {n}.\nIt was day {n}, and it rained." for n in range(1, 101)) + "\n"


def documents_of(name, said=None) -> list[str]:
    with heard(said):
        return read_documents(str(name))


# What is read


def test_blank_lines_and_the_ends_of_files_end_documents(tmp_path):
    write(tmp_path, {"b.txt": "\ufeffThree.\r\n \t\r\n\r\n  Four,\r\nand on. \r\n", "a.txt": "\n\nOne.\n\nTwo."})
    assert documents_of(tmp_path) == ["One.", "Two.", "Three.", "Four,\nand on."]
    assert documents_of(tmp_path / "b.txt") == ["Three.", "Four,\nand on."]


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab \n\t")))
def test_documents_are_the_lines_between_blank_ones(text):
    expected, current = [], []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            current.append(line.strip())
        elif current:
            expected.append("\n".join(current))
            current = []
    assert split_documents(text) == expected


def test_a_folder_gives_its_texts_packed_or_not_and_says_what_it_passes_over(tmp_path):
    write(tmp_path, {"b.txt": "b", "a/z.txt": "z", "a.txt": "a", "notes.md": "no", ".hidden.txt": "no",
                     ".git/x.txt": "no", **{f"c{end}.txt{end}": pack(end.encode()) for end, pack in PACK.items()}})
    os.symlink(tmp_path, tmp_path / "round")  # a link back to where it stands
    said = []
    assert documents_of(tmp_path, said) == ["z", "a", "b", ".bz2", ".gz", ".xz"]
    assert "4 files passed over" in said[0] and "6 files, 6 documents" in said[-1]


@pytest.mark.parametrize("ending", PACK)
def test_a_packed_file_is_the_text_that_it_holds_and_any_ending_will_do_for_a_file(tmp_path, ending):
    write(tmp_path, {f"book.md{ending}": PACK[ending](BOOK.encode()), "book.md": BOOK})
    assert documents_of(tmp_path / f"book.md{ending}") == documents_of(tmp_path / "book.md") == BOOK.strip().split(
        "\n\n")


# What is held out


def test_whole_documents_are_held_out_up_to_two_percent_whatever_their_order():
    documents = [f"{n} " * (1 + n % 7) for n in range(400)]
    train, held_out = hold_out(documents, "x")
    shuffled = random.Random(0).sample(documents, len(documents))
    assert sorted(train + held_out) == sorted(documents) and not set(train) & set(held_out)
    assert train == [document for document in documents if document in train]  # in their order
    assert 0.015 < sum(map(len, held_out)) / sum(map(len, documents)) <= 0.02
    assert set(hold_out(shuffled, "x")[1]) == set(held_out)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab\n", min_size=1).map(str.strip).filter(bool).map(
    lambda text: "\n".join(filter(None, text.split("\n")))), min_size=1, max_size=9))
def test_something_is_held_out_and_something_left_of_anything_but_a_line(documents):
    if len(documents) == 1 and "\n" not in documents[0]:
        with pytest.raises(DataError, match="x is a single line, of which nothing can be held out"):
            hold_out(documents, "x")
        return
    train, held_out = hold_out(documents, "x")
    assert all(train) and train and all(held_out) and held_out
    lines = "\n".join(documents).split("\n")
    assert sorted("\n".join(train + held_out).split("\n")) == sorted(lines)


def test_where_no_document_is_small_the_last_lines_are_held_out():
    lines = [f"line {n:03}" for n in range(1_000)]
    assert hold_out(["\n".join(lines)], "x") == (["\n".join(lines[:980])], ["\n".join(lines[980:])])
    assert hold_out(["a" * 500, "b" * 500 + "\nend"], "x")[1] == ["end"]
    assert hold_out(["first", "second"], "x") == (["first"], ["second"])


def test_copies_of_a_document_are_all_held_out_or_none_is():
    documents = [f"{n} " * 9 for n in range(100) for _ in range(3)]
    train, held_out = hold_out(documents, "x")
    assert held_out and not set(train) & set(held_out) and sorted(train + held_out) == sorted(documents)


# As a corpus


def test_own_text_is_a_corpus_with_the_fingerprints_of_its_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path, {"book.txt": BOOK, "more/a.txt": "It <unk> rained.\nAgain.\n"}))
    said = []
    corpus = corpus_of(["book.txt", "more"], tmp_path, said)
    assert corpus.name == "book.txt+more" and not corpus.marks_unknown
    assert corpus.train[-1] == "It < unk > rained." and corpus.validation[-1] == "Again."
    assert len(corpus.train) == 98 + 1 and len(corpus.validation) == 2 + 1  # of 100 documents, and of 2 lines
    saved = as_saved_corpus(corpus)
    assert saved["own_text"] == {"book.txt": fingerprint(BOOK.strip().split("\n\n")),
                                 "more": fingerprint(["It < unk > rained.\nAgain."])}
    assert saved["fingerprint"] == fingerprint(corpus.train) and names_of(saved) == ["book.txt", "more"]
    assert any("are held out, 1 documents" in line for line in said)


def test_own_text_stands_beside_a_corpus_and_leaves_its_marks(tmp_path, monkeypatch):
    monkeypatch.chdir(write(wikitext_folder(tmp_path), {"my.txt": "a <unk>\nb\n"}))
    corpus = corpus_of(["wikitext-2", "my.txt"], tmp_path)
    assert corpus.name == "wikitext-2+my.txt" and corpus.marks_unknown
    assert corpus.train[0].startswith("= Ada <unk> =\nShe wrote well - known notes , 1 , 234 of them .\n")
    assert corpus.train[-1] == "a < unk >" and WIKI["train"].count("<unk>") == 1
    assert set(as_saved_corpus(corpus_of(["wikitext-2"], tmp_path))) == {"name", "fingerprint"}


def test_the_name_of_a_corpus_comes_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path, {"sample": "mine\nown\n"}))
    assert corpus_of(["sample"], tmp_path).name == "sample" and corpus_of(["./sample"], tmp_path).train == ["mine"]


def test_small_own_text_has_small_networks(tmp_path):
    write(tmp_path, {"few.txt": "x" * (SMALL - 1), "many.txt": "x" * SMALL, "packed.txt.gz": b"x" * (SMALL // 2)})
    few, many, packed = (str(tmp_path / name) for name in ("few.txt", "many.txt", "packed.txt.gz"))
    assert is_small([few]) and is_small(["sample"]) and is_small(["sample", few]) and is_small(["absent"])
    assert not any(map(is_small, ([many], [few, many], [packed], [few, "imdb"], ["auto"], [str(tmp_path)])))


@pytest.mark.parametrize("saved", [None, [], {}, {"name": 3}, {"name": "auto"}, {"name": "by hand"}, {"name": "a.txt"},
                                   {"name": "a.txt", "own_text": ["b.txt"]}, {"name": "imdb+imdb"}])
def test_what_tells_of_no_corpus_has_no_names(saved):
    assert names_of(saved) == []


# What is refused


def broken(path):
    os.symlink("nowhere", path)


WRONG = {  # what is there, what is named, and what is said
    "a misspelt corpus": ({}, ["wikitext2"], UsageError, "'wikitext2' is not one of auto, .*no such file.*wikitext-2"),
    "no such file": ({}, ["nothing.txt"], UsageError, "'nothing.txt' is not one of .*there is no such file or folder"),
    "an empty name": ({}, [""], UsageError, "'' is not one of auto"),
    "a plus": ({"a+b.txt": "a\nb"}, ["a+b.txt"], UsageError, "has a .*rename it"),
    "a file twice": ({"f/a.txt": "a\nb"}, ["f", "./f/a.txt"], UsageError, "a.txt is in f and in ./f/a.txt"),
    "a name twice": ({"a.txt": "a\nb"}, ["a.txt", "a.txt"], UsageError, "a.txt, a.txt are not different ones"),
    "an empty file": ({"a.txt": ""}, ["a.txt"], DataError, "a.txt holds no text, in 1 files"),
    "blank lines": ({"f/a.txt": "\n \n\u200b\n"}, ["f"], DataError, "f holds no text, in 1 files"),
    "a folder without text": ({"f/a.csv": "a,b"}, ["f"], DataError, "f has no file that ends.*it holds a.csv"),
    "an empty folder": ({"f/.x": ""}, ["f"], DataError, "f has no file .*it holds .x"),
    "a single line": ({"a.txt": "a b c\n"}, ["a.txt"], DataError, "a.txt is a single line, .*break it into lines"),
    "latin-1": ({"f/a.txt": "a\n", "f/b.txt": b"gut\nsch\xf6n"}, ["f"], DataError,
                "f/b.txt is not UTF-8 text: byte 0xf6 at offset 7.*iconv"),
    "utf-16": ({"a.txt": "a few words, and a few more".encode("utf-16-le")}, ["a.txt"], DataError,
               "a.txt is not UTF-8 text: byte 0x00 at offset 1"),
    "a PDF": ({"a.pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"}, ["a.pdf"], DataError, "a.pdf is not UTF-8 text: byte 0xe2"),
    "a cut gzip": ({"a.txt.gz": gzip.compress(BOOK.encode())[:-20]}, ["a.txt.gz"], DataError, "cannot read a.txt.gz: "),
    "no gzip": ({"a.txt.gz": "plain"}, ["a.txt.gz"], DataError, "cannot read a.txt.gz: Not a gzipped file"),
    "a cut xz": ({"a.xz": lzma.compress(BOOK.encode())[:-20]}, ["a.xz"], DataError, "cannot read a.xz: "),
    "no bz2": ({"a.bz2": "plain"}, ["a.bz2"], DataError, "cannot read a.bz2: Invalid data stream"),
    "a link to nothing": ({"a.txt": broken}, ["a.txt"], UsageError, "a.txt is a link to nothing"),
    "such a link in a folder": ({"f/a.txt": broken}, ["f"], DataError, "f/a.txt is a link to nothing"),
    "a pipe": ({"a.txt": os.mkfifo}, ["a.txt"], DataError, "a.txt is no file"),
    "a pipe in a folder": ({"f/a.txt": os.mkfifo}, ["f"], DataError, "f/a.txt is no file"),
    "a device": ({}, ["/dev/zero"], DataError, "/dev/zero is no file"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_text_is_refused_by_what_is_wrong_with_it(tmp_path, monkeypatch, wrong):
    files, names, error, told = WRONG[wrong]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if callable(content):
            content(tmp_path / name)
        else:
            write(tmp_path, {name: content})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=told):
        corpus_of(names, tmp_path)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, {"f/a.txt": "a\nb"})

    def refuse(top, onerror):
        onerror(PermissionError(13, "Permission denied", str(top)))
        return []

    monkeypatch.setattr("minitransfer.text.plain.os.walk", refuse)
    with pytest.raises(DataError, match="f may not be read: Permission denied"):
        corpus_of([str(tmp_path / "f")], tmp_path)


def test_a_flag_takes_names_of_corpora_and_paths_alone(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    assert corpus_name("imdb") == "imdb" and corpus_name(str(tmp_path / "a.txt")) == str(tmp_path / "a.txt")
    with pytest.raises(Exception, match=r"Fix: did you mean imdb\?|Fix: did you mean imdb\."):
        corpus_name("IMBD")


def test_what_is_held_out_follows_from_the_text_alone():
    """By its sha256, worked out by hand: of fifty documents of one length the one with the smallest."""
    documents = [f"document {n:02}" for n in range(50)]
    first = min(documents, key=lambda document: hashlib.sha256(document.encode()).digest())
    assert hold_out(documents, "x")[1] == [first]
