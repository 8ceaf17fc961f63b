"""Where corpora are looked for, when the sample stands in for them, and what becomes of several at once."""

import hashlib
import shutil
import types

import pytest
from corpus_files import (
    WIKI,
    corpus_of,
    review_files,
    reviews_of,
    wikitext_folder,
    wikitext_zip,
    write,
)

from minitransfer.apparatus.errors import (
    DataError,
    NetworkError,
    ResourceError,
    UsageError,
)
from minitransfer.apparatus.mirrors import Archive
from minitransfer.text import corpora
from minitransfer.text.corpora import UNNAMED, find_data_dir, fingerprint

SAMPLE = types.SimpleNamespace(
    articles=lambda: (["= One =\nText <unk> ."], ["= Two =\nMore ."]),
    reviews=lambda: ([("bad", 0), ("good", 1), ("fine", 1)], [("poor", 0), ("nice", 1)], ["so so"]))


@pytest.fixture(autouse=True)
def no_network_and_a_tiny_sample(monkeypatch):
    """No test here may download; and what the built-in sample says is not what is tested."""
    def fetch(archive, directory, **_):
        raise NetworkError(f"could not download {archive.name}", "check the connection")

    monkeypatch.setattr(corpora, "fetch", fetch)
    monkeypatch.setattr(corpora, "sample", SAMPLE)


# Where a corpus is looked for


def test_the_data_folder_is_the_flag_then_the_variable_then_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MINITRANSFER_DATA", str(tmp_path / "b"))
    assert find_data_dir(str(tmp_path / "a")) == tmp_path / "a"
    assert find_data_dir(None) == tmp_path / "b"
    monkeypatch.delenv("MINITRANSFER_DATA")
    assert str(find_data_dir(None)) == "data"


@pytest.mark.parametrize("flag", ["{}/file", "{}/" + "x" * 300, "~nobody-of-this-name/data"])
def test_a_data_folder_that_cannot_be_one_is_a_usage_error(tmp_path, flag):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match="data folder .*--data-dir") as caught:
        find_data_dir(flag.format(tmp_path))
    assert caught.value.exit_code == 2


def test_a_folder_comes_before_an_archive(tmp_path):
    wikitext_zip(wikitext_folder(tmp_path), texts={split: text.replace("Bo", "Zip") for split, text in WIKI.items()})
    said = []
    corpus = corpus_of(["wikitext-2"], tmp_path, said)
    assert "unpacked folder" in corpus.source and any(str(tmp_path / "wikitext-2") in line for line in said)
    shutil.rmtree(tmp_path / "wikitext-2")
    corpus = corpus_of(["wikitext-2"], tmp_path, said)
    assert corpus.train[1].startswith("= Zip =") and str(tmp_path / "wikitext-2-v1.zip") in corpus.source


def test_an_archive_put_there_by_hand_is_read_and_its_checksum_remarked_upon(tmp_path, monkeypatch):
    wikitext_zip(tmp_path)
    said = []
    assert "not the official one" in corpus_of(["wikitext-2"], tmp_path, said).source
    assert sum("checksum is not the official one" in line for line in said) == 1
    raw = (tmp_path / "wikitext-2-v1.zip").read_bytes()
    official = Archive("wikitext-2-v1.zip", len(raw), hashlib.sha256(raw).hexdigest(), ())
    monkeypatch.setitem(corpora.ARCHIVES, "wikitext-2", official)
    assert "official checksum" in corpus_of(["wikitext-2"], tmp_path).source


def test_what_is_absent_is_downloaded_into_the_data_folder(tmp_path, monkeypatch):
    asked = []

    def fetch(archive, directory, **options):
        asked.append((archive.name, options["attempts"]))
        wikitext_zip(directory)
        return directory / archive.name

    monkeypatch.setattr(corpora, "fetch", fetch)
    assert len(corpus_of(["wikitext-2"], tmp_path, offline=False).train) == 2
    assert len(corpus_of(["wikitext-2"], tmp_path, offline=False).train) == 2
    assert asked == [("wikitext-2-v1.zip", 3)]


@pytest.mark.parametrize("offline, reason", [(True, "--offline forbids"), (False, "could not download")])
@pytest.mark.parametrize("name, place", [("wikitext-103-raw", "wikitext-103-raw-v1.zip"),
                                         ("imdb", "aclImdb_v1.tar.xz")])
def test_a_corpus_named_by_hand_is_there_or_an_error(tmp_path, name, place, offline, reason):
    with pytest.raises(NetworkError, match=reason) as caught:
        corpus_of([name], tmp_path, offline=offline)
    assert caught.value.exit_code == 7 and str(tmp_path / place) in caught.value.what and caught.value.fix
    with pytest.raises(NetworkError):
        reviews_of(tmp_path, offline=offline)


@pytest.mark.parametrize("failure", [NetworkError("no mirror answers", "connect"),
                                     ResourceError("the disk is full", "make room")])
def test_auto_falls_back_to_the_sample_with_a_banner_that_says_why(tmp_path, monkeypatch, failure):
    def fetch(*_, **__):
        raise failure

    monkeypatch.setattr(corpora, "fetch", fetch)
    monkeypatch.chdir(tmp_path)
    said = []
    corpus = corpus_of(["auto"], UNNAMED, said, offline=False)
    assert corpus.name == "sample" and reviews_of(UNNAMED, said, "auto", offline=False).name == "sample"
    banner = "\n".join(said)
    assert "NOT WIKITEXT-2" in banner and "NOT IMDB" in banner and failure.what in banner and failure.fix in banner


@pytest.mark.parametrize("files, offline", [
    ([], True), (["shop.csv", "notes/a.txt"], True), (["shop.csv", "notes/a.txt"], False),
    (["train/good/1.txt"], False),
])  # fmt: skip
def test_a_data_folder_that_somebody_named_is_never_replaced_by_the_sample(tmp_path, monkeypatch, files, offline):
    """By the flag or the variable, and even if it is called as the usual one; it is said what is there instead."""
    write(tmp_path / "data", dict.fromkeys(files, "x"))
    (tmp_path / "data").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINITRANSFER_DATA", str(tmp_path / "data"))
    for folder in (find_data_dir("data"), find_data_dir(None)):
        for load, named in ((lambda: reviews_of(folder, name="auto", offline=offline), "imdb .*aclImdb_v1.tar.xz"),
                            (lambda: corpus_of(["auto"], folder, offline=offline), "wikitext-2 .*wikitext-2-v1.zip")):
            with pytest.raises(UsageError, match=f"holds no {named}") as caught:
                load()
            first = (sorted(files) or ["nothing"])[0].partition("/")[0]
            assert caught.value.exit_code == 2 and f"there is {first}" in str(caught.value)


@pytest.mark.parametrize("files", [[], ["aclImdb_v1.tar.gz"]])
def test_into_a_named_folder_a_corpus_may_be_downloaded_if_nothing_else_is_there(tmp_path, monkeypatch, files):
    """And where it cannot be, the sample is no answer either."""
    write(tmp_path, dict.fromkeys(files, "x"))
    with pytest.raises(NetworkError, match="wikitext-2 is not in .*could not download"):
        corpus_of(["auto"], tmp_path, offline=False)
    monkeypatch.setattr(corpora, "fetch", lambda archive, folder, **_: wikitext_zip(folder) / archive.name)
    assert corpus_of(["auto"], tmp_path, offline=False).name == "wikitext-2"


@pytest.mark.parametrize("names", [["auto"], ["imdb"]])
def test_a_named_folder_that_is_not_there_is_misspelt_and_not_made(tmp_path, names):
    with pytest.raises(UsageError, match="there is no folder .*reviws.*check its spelling, or make it") as caught:
        corpus_of(names, tmp_path / "reviws", offline=False)
    assert caught.value.exit_code == 2 and not (tmp_path / "reviws").exists()
    with pytest.raises(UsageError, match="there is no folder"):
        reviews_of(tmp_path / "reviws", name="auto")


def test_auto_is_the_real_corpus_where_that_is_there(tmp_path):
    wikitext_folder(tmp_path)
    write(tmp_path / "aclImdb", review_files())
    assert corpus_of(["auto"], tmp_path).name == "wikitext-2"
    assert reviews_of(tmp_path, name="auto").name == "imdb"


def test_auto_does_not_hide_that_what_is_there_is_damaged(tmp_path):
    (tmp_path / "wikitext-2-v1.zip").write_bytes(b"<html>please sign in</html>")
    with pytest.raises(DataError, match="not a whole, readable archive"):
        corpus_of(["auto"], tmp_path)


def test_the_sample_needs_no_folder(tmp_path):
    corpus, reviews = corpus_of(["sample"], tmp_path / "none"), reviews_of(tmp_path / "none", name="sample")
    assert (corpus.name, corpus.marks_unknown, reviews.name) == ("sample", False, "sample")
    assert reviews.train_labels.tolist() == [0, 1, 1] and reviews.test_texts == ["poor", "nice"]


@pytest.mark.parametrize("names", [[], ["wikitext"], ["imdb", "imdb"], ["auto", "wikitext-2"]])
def test_corpora_are_named_once_each_and_out_of_the_list(tmp_path, names):
    with pytest.raises(UsageError, match="wikitext-103-raw"):
        corpus_of(names, tmp_path)
    with pytest.raises(UsageError, match="auto, imdb, sample"):
        reviews_of(tmp_path, name="wikitext-2")


def test_auto_beside_the_sample_that_it_stands_for_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="auto stands for the sample here"):
        corpus_of(["auto", "sample"], UNNAMED)


# Mixtures, and the word <unk>


def test_unk_is_a_mark_in_word_level_wikitext_and_text_everywhere_else(tmp_path):
    wikitext_folder(tmp_path)
    wikitext_folder(tmp_path, "wikitext-2-raw", WIKI, "raw")
    write(tmp_path / "aclImdb", review_files(train__pos__99_9="they wrote <unk><unk>",
                                             train__neg__99_1="a <un\u200bk>"))
    mixed = corpus_of(["wikitext-2", "imdb"], tmp_path)
    assert mixed.name == "wikitext-2+imdb" and mixed.marks_unknown
    with_mark = [text for text in mixed.train + mixed.validation if "<unk>" in text]
    assert len(with_mark) == 1 and with_mark[0].startswith("= Ada <unk> =")
    spelled = [text for text in mixed.train + mixed.validation if "< unk >" in text]
    assert sorted(spelled) == ["a < unk >", "they wrote < unk >< unk >"]
    raw = corpus_of(["wikitext-2-raw", "sample"], tmp_path)
    assert not raw.marks_unknown and not any("<unk>" in text for text in raw.train)
    assert "they wrote <unk><unk>" in reviews_of(tmp_path).train_texts


# Fingerprints


def test_a_fingerprint_knows_order_and_where_texts_end():
    lists = [["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["ab", "c", ""], [], [""], ["\ud800"]]
    assert len({fingerprint(texts) for texts in lists}) == len(lists)
    assert fingerprint(iter(["ab", "c"])) == fingerprint(["ab", "c"]) and len(fingerprint([])) == 64
