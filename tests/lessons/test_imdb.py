"""What a review and its label are, and which folders of reviews are refused or remarked upon."""

from pathlib import Path

import numpy as np
import pytest
from corpus_files import corpus_of, imdb_tar, review_files, reviews_of, write

from minitransfer.apparatus.errors import DataError


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


def test_a_review_that_is_a_link_to_nothing_is_named_and_one_to_a_file_is_read(tmp_path):
    write(tmp_path / "aclImdb", review_files())
    (tmp_path / "elsewhere").write_text("kept elsewhere")
    (tmp_path / "aclImdb" / "train" / "pos" / "90_9.txt").symlink_to(tmp_path / "elsewhere")
    assert "kept elsewhere" in reviews_of(tmp_path).train_texts
    (tmp_path / "aclImdb" / "train" / "pos" / "91_9.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="91_9.txt is a link to nothing"):
        reviews_of(tmp_path)


def test_a_folder_that_may_not_be_listed_is_named(tmp_path, monkeypatch):
    write(tmp_path / "aclImdb", review_files())
    listed = Path.iterdir

    def refused(path):
        if path.name == "neg":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DataError, match="train/neg may not be read: Permission denied"):
        reviews_of(tmp_path)


def test_line_breaks_become_line_ends_and_no_line_is_blank(tmp_path):
    write(tmp_path / "aclImdb", review_files(train__neg__50_1="One.<br /><br />Two. <BR> \n\n Three.<br/>",
                                             train__neg__51_1="<br /> \n", train__neg__52_1=""))
    texts = reviews_of(tmp_path).train_texts
    assert "One.\nTwo.\nThree." in texts and texts.count("") == 2


def test_as_a_corpus_imdb_gives_no_test_review_no_empty_one_and_holds_two_percent_out(tmp_path):
    files = review_files(train__unsup__1000_0="", train__unsup__1001_0="a<br />b")
    files |= {f"train/unsup/{n}_0.txt": f"more {n}" for n in range(2000, 2600)}
    write(tmp_path / "aclImdb", files)
    corpus = corpus_of(["imdb"], tmp_path)
    expected = {text.replace("<br />", "\n") for name, text in files.items() if name.startswith("train/") and text}
    assert len(corpus.train) + len(corpus.validation) == len(expected)
    assert set(corpus.train) | set(corpus.validation) == expected
    assert len(corpus.validation) == round(0.02 * len(expected)) and not corpus.marks_unknown
    assert corpus == corpus_of(["imdb"], tmp_path)
    assert corpus.validation != sorted(corpus.validation)  # drawn, so that the first few are a sample of all


def test_as_a_corpus_imdb_comes_in_an_order_that_tells_nothing_of_labels(tmp_path):
    orders = []
    for blame, praise in (("neg", "pos"), ("pos", "neg")):
        rating = {"neg": 1, "pos": 9}
        files = review_files(**{f"train__{blame}__{n}_{rating[blame]}": f"blame {n}" for n in range(100, 250)},
                             **{f"train__{praise}__{n}_{rating[praise]}": f"praise {n}" for n in range(300, 450)})
        write(tmp_path / blame / "aclImdb", files)
        orders.append(corpus_of(["imdb"], tmp_path / blame).train)
    both = set(orders[0]) & set(orders[1])  # others were held out
    first, second = ([text for text in order if text in both] for order in orders)
    assert first == second
    words = [text.split()[0] for text in first if text.startswith(("blame", "praise"))]
    changes = sum(a != b for a, b in zip(words, words[1:]))
    assert abs(changes - len(words) / 2) < 4 * (len(words) / 4) ** 0.5  # as in a series of coin tosses


def test_no_copy_of_a_review_that_is_held_out_is_trained_on(tmp_path):
    files = {f"train/unsup/{n}_0.txt": f"said {n % 400} times" for n in range(900)}  # each twice or three times
    write(tmp_path / "aclImdb", review_files() | files)
    corpus = corpus_of(["imdb"], tmp_path)
    assert any("said" in text for text in corpus.validation)
    assert not set(corpus.train) & set(corpus.validation)


def test_a_hidden_file_is_no_review(tmp_path):
    write(tmp_path / "aclImdb", review_files(train__neg__50_1="seen") | {"train/neg/._50_1.txt": "hidden"})
    texts = reviews_of(tmp_path).train_texts
    assert "seen" in texts and "hidden" not in texts


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


@pytest.mark.parametrize("folder", ["train/neutral", "test/neutral"])
def test_a_third_class_is_refused_and_not_left_out(tmp_path, folder):
    write(tmp_path / "aclImdb", review_files() | {f"{folder}/1.txt": "so so"})
    with pytest.raises(DataError, match=f"{folder} is no class of IMDB.*Fix: use --data .*aclImdb for reviews of any"):
        reviews_of(tmp_path)


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
                                             test__neg__72_1="", train__neg__73_1="",
                                             test__neg__74_1="free", train__unsup__75_0="free"))
    reviews_of(tmp_path, said)
    assert ("warning: of the texts of the test half 2 are in the training half too, and 1 among the unlabelled "
            "reviews, which encoders may be pretrained on") in said


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
