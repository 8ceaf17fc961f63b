"""Where texts come from, what a document is, and which data are refused or remarked upon."""

import hashlib
import io
import shutil
import sys
import tarfile
import types
import zipfile

import numpy as np
import pytest

from minitransfer.apparatus.errors import DataError, NetworkError, ResourceError, UsageError
from minitransfer.text import corpora
from minitransfer.text.corpora import articles, find_data_dir, fingerprint, load_corpus, load_reviews
from minitransfer.text.download import Archive

# A file as published: blank lines hold one space, and text lines have one at each end.
WIKI = {"train": " \n = Ada <unk> = \n \n She wrote well @-@ known notes , 1 @,@ 234 of them . \n \n"
                 " = = Later = = \n \n The end . \n \n = Bo = \n \n A dog . \n",
        "valid": " \n = Cy = \n \n A cat . \n", "test": " \n = Secret = \n \n Never read . \n"}
SAMPLE = types.SimpleNamespace(
    articles=lambda: (["= One =\nText <unk> ."], ["= Two =\nMore ."]),
    reviews=lambda: ([("bad", 0), ("good", 1), ("fine", 1)], [("poor", 0), ("nice", 1)], ["so so"]))


@pytest.fixture(autouse=True)
def no_network_and_a_tiny_sample(monkeypatch):
    """No test here may download; and what the built-in sample says is not what is tested."""
    def fetch(archive, directory, **_):
        raise NetworkError(f"could not download {archive.name}", "check the connection")

    monkeypatch.setattr(corpora, "fetch", fetch)
    monkeypatch.setitem(sys.modules, "minitransfer.text.sample", SAMPLE)
    monkeypatch.setattr("minitransfer.text.sample", SAMPLE, raising=False)


def corpus_of(names, folder, said=None, **options):
    said = [] if said is None else said
    return load_corpus(names, folder, say=said.append, **{"offline": True} | options)


def reviews_of(folder, said=None, name="imdb", offline=True):
    said = [] if said is None else said
    return load_reviews(name, folder, offline=offline, say=said.append)


def wikitext(folder, name="wikitext-2", texts=WIKI, ending="tokens"):
    """Write an unpacked WikiText folder."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for split, text in texts.items():
        raw = text if isinstance(text, bytes) else text.encode()
        (folder / name / f"wiki.{split}.{ending}").write_bytes(raw)
    return folder


def wikitext_zip(folder, name="wikitext-2", texts=WIKI, ending="tokens"):
    """Write the same as an archive under its official name."""
    with zipfile.ZipFile(folder / f"{name}-v1.zip", "w") as packed:
        for split, text in texts.items():
            packed.writestr(f"{name}/wiki.{split}.{ending}", text)
    return folder


def review_files(**more):
    """Files of a small official-looking data set: path below the root -> text."""
    files = {f"train/{kind}/{n}_{rating + n % 2}.txt": f"train {kind} {n}"
             for kind, rating in (("neg", 1), ("pos", 9)) for n in range(11)}
    files |= {f"test/{kind}/{n}_{rating}.txt": f"test {kind} {n}" for kind, rating in (("neg", 4), ("pos", 7))
              for n in range(3)}
    files |= {f"train/unsup/{n}_0.txt": f"unlabelled {n}" for n in range(7)}
    return files | {name.replace("__", "/") + ".txt": text for name, text in more.items()}


def write(folder, files):
    """Write files (path -> text or bytes) below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def imdb_tar(path, files, mode="w:gz"):
    """Write files as an IMDB archive, in an order that is nobody's."""
    with tarfile.open(path, mode) as tar:
        for name in sorted(files, key=lambda name: hashlib.sha256(name.encode()).digest()):
            info = tarfile.TarInfo(f"aclImdb/{name}")
            raw = files[name].encode()
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))


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
    wikitext_zip(wikitext(tmp_path), texts={split: text.replace("Bo", "Zip") for split, text in WIKI.items()})
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
    said = []
    corpus = corpus_of(["auto"], tmp_path, said, offline=False)
    assert corpus.name == "sample" and reviews_of(tmp_path, said, "auto", offline=False).name == "sample"
    banner = "\n".join(said)
    assert "NOT WIKITEXT-2" in banner and "NOT IMDB" in banner and failure.what in banner and failure.fix in banner


def test_auto_is_the_real_corpus_where_that_is_there(tmp_path):
    wikitext(tmp_path)
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


# WikiText


def test_an_article_is_its_lines_without_blank_ones_and_escapes(tmp_path):
    corpus = corpus_of(["wikitext-2"], wikitext(tmp_path))
    assert corpus.train == [
        "= Ada <unk> =\nShe wrote well - known notes , 1 , 234 of them .\n= = Later = =\nThe end .",
        "= Bo =\nA dog ."]
    assert corpus.validation == ["= Cy =\nA cat ."] and corpus.marks_unknown


def test_no_word_of_wikitext_is_lost_or_added(tmp_path):
    corpus = corpus_of(["wikitext-2"], wikitext(tmp_path))
    assert [len(" ".join(texts).split()) for texts in (corpus.train, corpus.validation)] == [
        len(WIKI[split].split()) for split in ("train", "valid")]


@pytest.mark.parametrize("middle, count", [
    (["", "= Real =", ""], 2), (["", "= Played , W =", "Won"], 1), (["Key : Pld", "= Played , W =", ""], 1),
    (["", "= = Section = =", ""], 1), (["", "= = = Deep = = =", ""], 1), (["", "= a = b =", ""], 2),
    (["", "= broken = =", ""], 1), (["", "no = title", ""], 1), (["", "= =", ""], 1)])
def test_a_title_has_one_mark_on_each_side_and_blank_lines_around(middle, count):
    lines = ["", "= First =", "", "Text .", *middle, "More ."]
    found = list(articles(lines))
    assert len(found) == count
    assert "\n".join(found).split("\n") == [line for line in lines if line]


def test_lines_before_the_first_title_are_kept_and_a_title_may_open_the_file():
    assert list(articles(["Stray .", "", "= A =", "", "b"])) == ["Stray .", "= A =\nb"]
    assert list(articles(["= A =", "", "b"])) == ["= A =\nb"]
    assert list(articles(["", "", ""])) == [] == list(articles([]))


def test_only_an_escape_that_stands_alone_is_undone():
    assert list(articles(["a @-@ b @.@ c @,@ d @-@ @-@ me@-@you @/@ @-@"])) == ["a - b . c , d - - me@-@you @/@ -"]


def test_archive_and_folder_give_the_same_documents(tmp_path):
    (tmp_path / "z").mkdir()
    one, two = wikitext(tmp_path), wikitext_zip(tmp_path / "z")
    assert corpus_of(["wikitext-2"], one).train == corpus_of(["wikitext-2"], two).train


def test_another_number_of_articles_is_remarked_upon(tmp_path):
    said = []
    corpus_of(["wikitext-2"], wikitext(tmp_path), said)
    assert any("2 + 1 articles" in line and "600 + 60" in line for line in said)


@pytest.mark.parametrize("text", ["", " \n \n\n"])
def test_a_blank_file_is_refused_with_counts(tmp_path, text):
    with pytest.raises(DataError, match="wiki.valid.tokens holds 0 articles and 0 words"):
        corpus_of(["wikitext-2"], wikitext(tmp_path, texts=WIKI | {"valid": text}))


def test_a_missing_split_and_an_undecodable_one_are_named(tmp_path):
    wikitext(tmp_path)
    (tmp_path / "wikitext-2" / "wiki.valid.tokens").write_bytes(b"fine\n" + "naïve".encode("latin-1"))
    with pytest.raises(DataError, match="wiki.valid.tokens is not UTF-8 text: byte 0xef at offset 7.*iconv"):
        corpus_of(["wikitext-2"], tmp_path)
    (tmp_path / "wikitext-2" / "wiki.valid.tokens").unlink()
    with pytest.raises(DataError, match="cannot read .*wiki.valid.tokens"):
        corpus_of(["wikitext-2"], tmp_path)


# Mixtures, and the word <unk>


def test_unk_is_a_mark_in_word_level_wikitext_and_text_everywhere_else(tmp_path):
    wikitext(tmp_path)
    wikitext(tmp_path, "wikitext-2-raw", WIKI, "raw")
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


# IMDB


def test_reviews_come_sorted_with_their_labels_from_folder_and_archives_alike(tmp_path):
    files = review_files()
    places = [tmp_path / name for name in ("folder", "own", "gz", "xz")]
    write(places[0] / "aclImdb", files)
    write(places[1], files)
    for place in places[2:]:
        place.mkdir()
        imdb_tar(place / f"aclImdb_v1.tar.{place.name}", files, f"w:{place.name}")
    first, *others = [reviews_of(place) for place in places]
    order = sorted(str(n) + f"_{1 + n % 2}.txt" for n in range(11))
    assert first.train_texts[:11] == [files[f"train/neg/{name}"] for name in order]
    assert first.train_labels.tolist() == [0] * 11 + [1] * 11 and first.train_labels.dtype == np.int64
    assert first.test_labels.tolist() == [0] * 3 + [1] * 3 and first.test_texts[-1] == "test pos 2"
    assert first.unsup_texts == [f"unlabelled {n}" for n in range(7)]
    for other in others:
        assert other.train_texts == first.train_texts and other.test_texts == first.test_texts
        assert other.unsup_texts == first.unsup_texts and (other.train_labels == first.train_labels).all()


def test_ones_own_files_may_have_any_name_and_unlabelled_ones_may_be_absent(tmp_path):
    said = []
    write(tmp_path, {"train/pos/très bon.txt": "bon", "train/neg/b.txt": "mauvais", "train/neg/notes.md": "ignored",
                     "test/pos/1_1.txt": "bien", "test/neg/z.txt": "mal"})
    reviews = reviews_of(tmp_path, said)
    assert (reviews.train_texts, reviews.test_texts, reviews.unsup_texts) == (["mauvais", "bon"], ["mal", "bien"], [])
    assert any("train/neg 1 (official 12,500)" in line for line in said)


def test_line_breaks_become_line_ends_and_no_line_is_blank(tmp_path):
    write(tmp_path / "aclImdb", review_files(train__neg__50_1="One.<br /><br />Two. <BR> \n\n Three.<br/>",
                                             train__neg__51_1="<br /> \n", train__neg__52_1=""))
    texts = reviews_of(tmp_path).train_texts
    assert "One.\nTwo.\nThree." in texts and texts.count("") == 2


def test_as_a_corpus_imdb_gives_no_test_review_no_empty_one_and_holds_two_percent_out(tmp_path):
    files = review_files(train__unsup__1000_0="", train__unsup__1001_0="a<br />b")
    files |= {f"train/unsup/{n}_0.txt": f"more {n}" for n in range(2000, 2120)}
    write(tmp_path / "aclImdb", files)
    corpus = corpus_of(["imdb"], tmp_path)
    expected = {text.replace("<br />", "\n") for name, text in files.items() if name.startswith("train/") and text}
    assert len(corpus.train) + len(corpus.validation) == len(expected)
    assert set(corpus.train) | set(corpus.validation) == expected
    assert len(corpus.validation) == round(0.02 * len(expected)) and not corpus.marks_unknown
    assert corpus == corpus_of(["imdb"], tmp_path)
    assert corpus.validation != corpus_of(["imdb"], tmp_path, seed=1).validation


@pytest.mark.parametrize("folder", ["train/neg", "train/pos", "test/neg", "test/pos"])
@pytest.mark.parametrize("form", ["absent", "empty", "blank"])
def test_a_class_without_reviews_is_refused_with_all_counts(tmp_path, folder, form):
    files = {name: " \n" if form == "blank" and name.startswith(folder) else text
             for name, text in review_files().items() if form == "blank" or not name.startswith(folder)}
    write(tmp_path / "aclImdb", files)
    if form == "empty":
        (tmp_path / "aclImdb" / folder).mkdir()
    with pytest.raises(DataError, match=f"of {folder}; found .*official 12,500.*Fix: put UTF-8 texts") as caught:
        reviews_of(tmp_path)
    assert caught.value.exit_code == 3


def test_ratings_that_contradict_their_folders_are_refused_with_counts(tmp_path):
    files = review_files()
    other = {"neg": "pos", "pos": "neg", "unsup": "unsup"}
    swapped = {}
    for name, text in files.items():
        half, kind, file_name = name.split("/")
        swapped[f"{half}/{other[kind]}/{file_name}"] = text
    write(tmp_path / "aclImdb", swapped)
    with pytest.raises(DataError, match="mislabelled.* 11 of 11 in train/neg, 11 of 11 in train/pos, 3 of 3 in test"):
        reviews_of(tmp_path)


def test_a_test_half_that_is_the_training_half_is_refused(tmp_path):
    train = {name: text for name, text in review_files().items() if name.startswith("train/") and "unsup" not in name}
    write(tmp_path, train | {name.replace("train", "test"): text for name, text in train.items()})
    with pytest.raises(DataError, match="train and test .* hold the same 22 texts"):
        reviews_of(tmp_path)


def test_texts_in_both_halves_are_counted_aloud(tmp_path):
    said = []
    write(tmp_path / "aclImdb", review_files(test__pos__70_9="train pos 3", test__pos__71_9="train neg 4",
                                             test__neg__72_1="", train__neg__73_1=""))
    reviews_of(tmp_path, said)
    assert "warning: 2 texts of the test half are in the training half too" in said


def test_a_review_that_is_not_utf8_is_named(tmp_path):
    write(tmp_path / "aclImdb", review_files() | {"train/unsup/8_0.txt": "un café".encode("latin-1")})
    with pytest.raises(DataError, match=r"unsup/8_0.txt is not UTF-8 text: byte 0xe9 at offset 6.*iconv"):
        reviews_of(tmp_path)


def test_known_extras_of_the_archive_are_passed_over_in_silence_and_strangers_are_not(tmp_path):
    extras = {name: "x" for name in ("README", "imdb.vocab", "imdbEr.txt", "train/urls_pos.txt", "test/urls_neg.txt",
                                     "train/labeledBow.feat", "train/unsupBow.feat", "test/labeledBow.feat")}
    imdb_tar(tmp_path / "aclImdb_v1.tar.gz", review_files() | extras)
    said = []
    reviews_of(tmp_path, said)
    corpus_of(["imdb"], tmp_path, said)
    assert not any("no reviews" in line for line in said)
    imdb_tar(tmp_path / "aclImdb_v1.tar.gz", review_files() | {"train/pos/.DS_Store": "x"})
    reviews_of(tmp_path, said)
    assert any("1 members that are no reviews, 'aclImdb/train/pos/.DS_Store' the first" in line for line in said)


def test_invisible_characters_are_normalised_and_counted_aloud(tmp_path):
    said = []
    write(tmp_path / "aclImdb", review_files(train__neg__90_1="\ufeffnul\x00and \u200bmore\x85"))
    assert "nul and more…" in reviews_of(tmp_path, said).train_texts
    assert "imdb: 4 control or zero-width characters normalised" in said


# Fingerprints


def test_a_fingerprint_knows_order_and_where_texts_end():
    lists = [["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["ab", "c", ""], [], [""], ["\ud800"]]
    assert len({fingerprint(texts) for texts in lists}) == len(lists)
    assert fingerprint(iter(["ab", "c"])) == fingerprint(["ab", "c"]) and len(fingerprint([])) == 64
