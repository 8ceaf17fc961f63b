"""Claims about reviews of one's own: which classes they have, that no row is left out unsaid, and what is refused."""

import gzip
import json
import lzma
import os
import sys
from collections import Counter

import pytest
from corpus_files import corpus_of, review_files, write
from hearing import heard

from minitransfer.apparatus.errors import DataError, MinitransferError, UsageError
from minitransfer.text import own, tables
from minitransfer.text.corpora import Reviews, fingerprint, load_reviews
from minitransfer.text.own import set_slice_aside, sort_classes

FOLDER = {f"{half}/{name}/{n}.txt": f"{half} {name} {n}" for name in ("good", "so so", "bad")
          for half, count in (("train", 4), ("test", 2)) for n in range(count)} | {"train/unsup/9.txt": "who knows"}


def read(*data, said=None, **columns) -> Reviews:
    """The reviews that --data names; what is remarked upon goes into `said`."""
    with heard(said):
        return load_reviews([str(part) for part in data], None, offline=True, **columns)


def file(folder, name, text):
    """A file with this text or these bytes."""
    write(folder, {name: text})
    return folder / name


def pairs(reviews, half="train"):
    """The (text, name of its class) pairs of a half."""
    texts, labels = getattr(reviews, f"{half}_texts"), getattr(reviews, f"{half}_labels")
    return [(text, reviews.classes[y]) for text, y in zip(texts, labels)]


# Folders


def test_a_folder_may_have_any_classes_by_any_names(tmp_path):
    reviews = read(write(tmp_path / "shop", FOLDER))
    assert reviews.classes == ("bad", "good", "so so") and reviews.name == "own:shop"
    for half in ("train", "test"):
        expected = [(text, name.split("/")[1]) for name, text in FOLDER.items()
                    if name.startswith(half) and "unsup" not in name]
        assert sorted(pairs(reviews, half)) == sorted(expected)
    assert reviews.unsup_texts == ["who knows"] and reviews.train_texts[0] == "train bad 0"


def test_a_folder_of_neg_and_pos_has_the_classes_of_imdb_and_their_fingerprints(tmp_path):
    files = {name: text for name, text in review_files().items()}
    reviews = read(write(tmp_path / "aclImdb", files))
    official = load_reviews("imdb", tmp_path, offline=True)
    assert reviews.classes == official.classes == ("negative", "positive")
    for half in ("train", "test"):
        assert pairs(reviews, half) == pairs(official, half)
        assert fingerprint(getattr(reviews, f"{half}_texts")) == fingerprint(getattr(official, f"{half}_texts"))
    swapped = {name.replace("pos", "#").replace("neg", "pos").replace("#", "neg"): text for name, text in files.items()}
    with pytest.raises(DataError, match="mislabelled"):
        read(write(tmp_path / "swapped", swapped))


def test_what_is_no_class_and_no_text_is_said(tmp_path):
    said = []
    write(tmp_path, FOLDER | {"train/notes.md": "x", "train/.git/a.txt": "x", "train/bad/scan.pdf": "x"})
    read(tmp_path, said=said)
    assert f"warning: {tmp_path / 'train'} holds 2 things that are no class, '.git' the first" in said
    assert f"warning: {tmp_path / 'train' / 'bad'} holds 1 things that are no .txt files" in said


def test_without_a_test_half_the_same_fifth_of_each_class_is_set_aside_and_said(tmp_path):
    said = []
    write(tmp_path, {f"train/{name}/{n}.txt": f"{name} {n}" for name, count in (("a", 10), ("b", 25), ("c", 3))
                     for n in range(count)})
    first, second = read(tmp_path, said=said), read(tmp_path)
    assert Counter(label for _, label in pairs(first, "test")) == {"a": 2, "b": 5, "c": 1}
    assert not set(first.train_texts) & set(first.test_texts) and len(first.train_texts) == 30
    assert pairs(first, "test") == pairs(second, "test")
    assert any("8 of 38 texts, 20% of each class and always the same ones, are set aside" in line for line in said)


def test_a_text_that_is_there_twice_is_in_one_half_only():
    given = [(f"{label} {n % 7}", label) for label in "xy" for n in range(20)]
    train, test = set_slice_aside(given, None)
    assert sorted(train + test) == sorted(given) and not {text for text, _ in train} & {text for text, _ in test}


def test_what_is_set_aside_hangs_on_the_texts_and_not_on_the_order_of_rows():
    given = [(f"{label} {n}", label) for label in "xy" for n in range(20)]
    assert sorted(set_slice_aside(given, None)[1]) == sorted(set_slice_aside(given[::-1], None)[1])


def test_labels_that_are_one_number_are_one_class_where_some_of_it_are_set_aside(tmp_path):
    rows = [f"text {n},{label}\n" for n, label in enumerate(["1"] * 30 + ["1.0"] * 2 + ["2"] * 20)]
    write(tmp_path, {"a.csv": "text,label\n" + "".join(rows)})
    reviews = load_reviews([str(tmp_path / "a.csv")], tmp_path, offline=True)
    assert reviews.classes == ("1", "2") and Counter(reviews.test_labels.tolist()) == {0: 6, 1: 4}


# Tables


ROWS = [("Great, \"really\"\nnice", "good"), ("  naïve 映画 🎬 ", "so so"), ("bad<br />film", "bad"), ("", "bad"),
        ("one", "good"), ("two", "so so")]
CLEAN = [('Great, "really"\nnice', "good"), ("naïve 映画 🎬", "so so"), ("bad\nfilm", "bad"), ("", "bad"),
         ("one", "good"), ("two", "so so")]


def as_csv(rows, delimiter=",", end="\n", head=("text", "label")):
    """Rows as a spreadsheet writes them: each text in quotes, those in it doubled."""
    return end.join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [head, *rows]) + end


WRITTEN = {
    "a.csv": as_csv(ROWS), "semicolons.csv": as_csv(ROWS, ";"), "tabs.csv": as_csv(ROWS, "\t"),
    "a.tsv": as_csv(ROWS, "\t"),
    "windows.csv": "\ufeff" + as_csv(ROWS, end="\r\n"), "blank lines.csv": as_csv(ROWS) + "\n\n",
    "Upper.CSV": as_csv(ROWS, head=("Review ", "Sentiment")),
    "more.csv": as_csv([("7", *row) for row in ROWS], head=("id", "sentence", "category")),
    "a.jsonl": "\n".join(json.dumps({"id": 1, "label": label, "text": text}) for text, label in ROWS),
    "a.json": "\n\n".join(json.dumps({"content": text, "class": label}, ensure_ascii=False) for text, label in ROWS),
    "packed.csv.gz": gzip.compress(as_csv(ROWS).encode()), "packed.TSV.xz": lzma.compress(as_csv(ROWS, "\t").encode()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_each_way_to_write_a_table_gives_the_same_rows(tmp_path, name):
    path = file(tmp_path, name, WRITTEN[name])
    test = file(tmp_path, "test.csv", "label,text\nbad,a third\ngood,and a fourth\n")
    reviews = read(path, test)
    assert pairs(reviews) == CLEAN and reviews.classes == ("bad", "good", "so so")
    assert pairs(reviews, "test") == [("a third", "bad"), ("and a fourth", "good")]


def test_columns_are_those_that_flags_name(tmp_path):
    rows = [(f"text {n}", f"summary {n}", str(n % 2), "x" if n < 9 else "y") for n in range(12)]
    path = file(tmp_path, "a.csv", as_csv(rows, head=("text", "summary", "label", "kind")))
    reviews = read(path, text_column="summary", label_column="kind")
    assert reviews.classes == ("x", "y") and set(reviews.train_texts + reviews.test_texts) == {row[1] for row in rows}


@pytest.mark.parametrize("labels, names", [
    (["10", "9", "2.5"], ("2.5", "9", "10")),
    (["1", "0", "1.0", "-1"], ("-1", "0", "1")),
    (["12345678901234568", "12345678901234567", "9e2"], ("900", "12345678901234567", "12345678901234568")),
    (["2.50", "1000", "-0.0"], ("0", "2.5", "1000")),
    (["2_1", "21", "1_1"], ("1_1", "21", "2_1")),
    (["2", "\u0661"], ("2", "\u0661")),
    (["nan", "inf", "2", "infinity"], ("2", "inf", "infinity", "nan")),
    (["10", "9", "two"], ("10", "9", "two")),
    (["neg", "Pos", "mid"], ("Pos", "mid", "neg")),
])  # fmt: skip
def test_classes_are_sorted_by_name_and_numbers_by_size(tmp_path, labels, names):
    assert tuple(sort_classes(set(labels))) == names
    rows = [(f"{label} {n}", label) for n in range(4) for label in labels]
    reviews = read(file(tmp_path, "a.csv", as_csv(rows)))
    assert reviews.classes == names
    for text, name in pairs(reviews) + pairs(reviews, "test"):
        assert name == text.split()[0] or float(name) == float(text.split()[0])


def test_labels_that_are_equal_as_numbers_are_said_to_be_one_class(tmp_path):
    said = []
    rows = [(f"{label} {n}", label) for n in range(4) for label in ("01", "1", "2")]
    read(file(tmp_path, "a.csv", as_csv(rows)), said=said)
    assert "labels '01', '1' are one class, 1: as numbers they are equal" in said
    assert not [line for line in said if "'2'" in line]


def test_a_label_may_be_an_integer_of_any_size_and_a_text_of_any_length(tmp_path):
    large = "1" + "0" * 400
    lines = [f'{{"text": "{n}", "label": {large if n % 2 else 3}}}' for n in range(8)]
    assert read(file(tmp_path, "a.jsonl", "\n".join(lines))).classes == ("3", large)
    rows = [(f"{n} " + "word " * (30_000 if n == 3 else 1), str(n % 2)) for n in range(8)]
    reviews = read(file(tmp_path, "a.csv", as_csv(rows)))
    assert max(map(len, reviews.train_texts + reviews.test_texts)) >= 149_999


def test_labels_of_json_may_be_numbers_and_truths(tmp_path):
    for values, names in (([1, 0, 2.0], ("0", "1", "2")), ([True, False], ("false", "true"))):
        lines = [json.dumps({"text": f"{value} {n}", "label": value}) for n in range(4) for value in values]
        assert read(file(tmp_path, "a.jsonl", "\n".join(lines))).classes == names


def test_what_may_be_a_mistake_and_may_not_is_a_warning(tmp_path):
    said = []
    rows = [(f"{label} {n}", label) for n in range(5) for label in ("Good", "good", "rare")]
    train = file(tmp_path, "train.csv", as_csv([*rows, ("", "good")]))
    read(train, file(tmp_path, "test.csv", as_csv([("Good 3", "Good"), ("good new", "good")])), said=said)
    assert [line for line in said if line.startswith("warning")] == [
        "warning: 1 of these reviews are empty, and stay", "warning: class 'rare' has no text to test on",
        "warning: class 'Good' has a name that another one has but for capital letters",
        "warning: class 'good' has a name that another one has but for capital letters",
        "warning: of the texts of the test half 1 are in the training half too, and 0 among the unlabelled reviews, "
        "which encoders may be pretrained on"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_invisible_characters_of_a_table_are_normalised_and_counted_aloud(tmp_path, name):
    said, rows = [], [(f"text {n}", "ab"[n % 2]) for n in range(8)] + [("nul\x00and \u200bmore", y) for y in "ab"]
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    reviews = read(file(tmp_path, name, as_csv(rows) if name == "a.csv" else "\n".join(lines)), said=said)
    assert "nul and more" in reviews.train_texts + reviews.test_texts
    assert f"{name}: 4 control or zero-width characters normalised" in said


# What is refused, each in one line


GOOD = as_csv([(f"text {n}", "ab"[n % 2]) for n in range(12)])
TABLE_FAULTS = {  # what the file holds, how the message begins or goes on, and what to do
    "nothing": ("a.csv", "", "is empty", "names of its columns"),
    "a head alone": ("a.csv", "text,label\n", "has no rows", "a text and a label in each row"),
    "no head": ("a.csv", "I loved it,1\nI did not,0\n", "no column called any of text, .*'I loved it', '1'",
                "a first line without names is taken for a row"),
    "no label column": ("a.csv", "text,stars\na,1\n", "no column called any of label.*'stars'", "--label-column"),
    "two text columns": ("a.csv", "review,text,label\na,b,1\n", "2 columns that --text-column may mean: 'review', ",
                         "name one by --text-column"),
    "two columns of one name": ("a.csv", "text,label,label\na,1,0\n", "2 columns that --label-column may mean", "name"),
    "a short row": ("a.csv", GOOD + "only one\n", "line 14 of .*a.csv has 1 columns, and the file 2", "mend that row"),
    "a long row after a text of two lines": ("a.csv", 'text,label\n"a\nb",1\n\nc,2,3\nd\n',
                                             "line 5 of .* has 3 columns, and the file 2, the first of 2 bad", "mend"),
    "an empty label": ("a.csv", GOOD + "x, \n", "line 14 of .* has no label", "mend that row"),
    "one class": ("a.csv", "text,label\na,1\nb,1\n", "all texts .* are of one class, '1'", "two classes or more"),
    "a label for each text": ("a.csv", as_csv([(f"t {n}", str(n)) for n in range(9)]), "9 different labels for 9 texts",
                              "--label-column"),
    "an open quote": ("a.csv", GOOD + '"never closed,a\n', "begins in line 14 of .*unexpected end of data", "quotes"),
    "Latin-1": ("a.csv", GOOD.encode() + b"caf\xe9,a\n", "line 14 of .* not UTF-8 text: byte 0xe9 at offset 3",
                "iconv"),
    "a picture": ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1 of .* is not UTF-8 text", "convert"),
    "UTF-16": ("a.csv", GOOD.encode("utf-16"), "is not UTF-8 text: byte 0xff", "iconv"),
    "too few of a class": ("a.csv", GOOD + "x,c\ny,c\n", "class 'c' of .* has 2 different texts", "a test half"),
    "names of many letters": ("a.csv", as_csv([(f"t {n}", str(n % 2) * 40_000) for n in range(9)]),
                              "80,000 characters in 2 names, and 60,000 are the most", "shorter names"),
    "a line that is no object": ("a.jsonl", '{"text": "a", "label": 1}\n\n[1, 2]\n{"text": "b", "label": 2}\n',
                                 "line 3 of .* is no JSON object", "mend that row"),
    "no object at all": ("a.json", '[\n{"text": "a"},\n', "line 1 of .* is no JSON object, nor is any", "one object a"),
    "a text that is a number": ("a.jsonl", '{"text": 5, "label": 1}\n', "line 1 of .* has '5' for a text", "mend"),
    "a label that is a list": ("a.jsonl", '{"text": "a", "label": [1]}\n', "line 1 of .* has no label", "mend"),
    "a row without text": ("a.jsonl", '{"text": "a", "label": 1}\n{"label": 1}\n', "line 2 of .* has no text", "mend"),
    "another ending": ("a.xlsx", "PK", "does not end as a table does: .csv", "CSV, TSV"),
}


@pytest.mark.parametrize("fault", TABLE_FAULTS)
def test_a_table_that_cannot_be_learnt_from_is_refused_in_one_line(tmp_path, fault):
    name, text, what, fix = TABLE_FAULTS[fault]
    with pytest.raises(MinitransferError, match=f"{what}.*Fix: .*{fix}") as caught:
        read(file(tmp_path, name, text))
    assert caught.value.exit_code in (2, 3) and len(str(caught.value)) < 600 and "\n" not in str(caught.value)


TRAIN = {name: text for name, text in FOLDER.items() if name.startswith("train/")}
FOLDER_FAULTS = {  # files, what is said, and what to do
    "no train folder": ({"reviews/a.csv": "x", "b.txt": "x"}, "no folder train \\(there is b.txt, reviews/\\)", "put"),
    "only a test folder": ({"test/a/1.txt": "x", "test/b/1.txt": "x"}, "no folder train \\(there is test/\\)", "put"),
    "texts beside classes": ({"train/1.txt": "x", "train/2.txt": "y"}, "train has no folder of texts \\(there is 1.txt",
                             "train/CLASS"),
    "one class": ({"train/a/1.txt": "x", "train/a/2.txt": "y"}, "of one class, 'a'", "two classes or more"),
    "a test folder without texts": (TRAIN | {"test/keep": ""}, "test has no folder of texts \\(there is keep", "aside"),
    "a class that only the test half has": (FOLDER | {"test/new/1.txt": "x"}, "class 'new' is in the test half alone",
                                            "training half"),
    "a blank class": (FOLDER | {"train/new/1.txt": " \n"}, "train/new has no text \\(there is 1.txt", "UTF-8"),
    "a class of other files": (FOLDER | {"train/new/1.html": "x"}, "new has no text \\(there is 1.html\\)", ".txt"),
    "two texts of a class and no test half": ({f"train/{c}/{n}.txt": c + n for c in "ab" for n in "12"},
                                              "class 'a' of .* has 2 different texts", "a test half"),
    "a test half that is the training half": (
        {f"{half}/{c}/{n}.txt": c + n for half in ("train", "test") for c in "ab" for n in "123"},
        "hold the same 6 texts", "put texts in test"),
    "Latin-1": (FOLDER | {"train/bad/9.txt": b"caf\xe9"}, "9.txt is not UTF-8 text: byte 0xe9", "iconv"),
}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_a_folder_that_cannot_be_learnt_from_is_refused_in_one_line(tmp_path, fault):
    files, what, fix = FOLDER_FAULTS[fault]
    with pytest.raises(DataError, match=f"{what}.*Fix: .*{fix}") as caught:
        read(write(tmp_path, files))
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


def test_what_data_names_is_there_or_an_error_with_the_nearest_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"train.csv": GOOD, "shop/train/a/1.txt": "x"})
    for data, what in {
        ("imbd",): "imbd is none of auto, imdb, sample, and there is no such file or folder. Fix: write imdb, if",
        ("trian.csv",): "no such file or folder. Fix: write train.csv, if",
        ("nowhere/a.csv",): "no such file or folder. Fix: check its spelling",
        ("train.csv", "train.csv"): "to train on and to test on: an accuracy",
        ("train.csv", "./train.csv"): "to train on and to test on: an accuracy",
        ("shop", "train.csv"): "one folder, or one or two files",
        ("train.csv", "train.csv", "train.csv"): "one folder, or one or two files",
        ("imdb", "train.csv"): "one name, or files, and not imdb train.csv. Fix: write --data imdb.",
    }.items():
        with pytest.raises(UsageError) as caught:
            read(*data)
        assert what in str(caught.value) and caught.value.exit_code == 2


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = file(tmp_path, "a.csv", GOOD)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(DataError, match="cannot read .*a.csv: Permission denied"):
        tables.read_pairs(path, None, None)


# Parquet


def test_without_pyarrow_a_parquet_file_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pyarrow reads, and that is not installed. Fix: pip install .*parquet"):
        read(file(tmp_path, "a.parquet", b"PAR1"))


def class_label(names, column="label"):
    """What the `datasets` library writes into the schema of a file with a column of classes."""
    features = {"text": {"dtype": "string", "_type": "Value"}, column: {"names": names, "_type": "ClassLabel"},
                "tags": [{"dtype": "int8", "_type": "Value"}]}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def parquet_file(path, columns, metadata=None):
    """Write columns, name -> values, as a Parquet file."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    os.makedirs(path.parent, exist_ok=True)
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), path)
    return path


def test_parquet_gives_the_same_rows_and_damage_is_named(tmp_path):
    texts, labels = zip(*ROWS)
    path = parquet_file(tmp_path / "a.parquet", {"text": texts, "label": labels})
    test = file(tmp_path, "test.csv", "label,text\nbad,a third\ngood,and a fourth\n")
    assert pairs(read(path, test)) == CLEAN
    numbered = parquet_file(tmp_path / "b.parquet", {"text": [f"t {n}" for n in range(12)], "label": [3, 10, 9] * 4})
    assert read(numbered).classes == ("3", "9", "10")
    categories = pytest.importorskip("pyarrow").array(["so so", "good", "bad"] * 4).dictionary_encode()
    categorical = parquet_file(tmp_path / "d.parquet", {"text": [f"t {n}" for n in range(12)], "label": categories})
    assert read(categorical).classes == ("bad", "good", "so so")
    missing = parquet_file(tmp_path / "c.parquet", {"text": ["a", None, "c"], "label": [1, 2, None]})
    with pytest.raises(DataError, match="row 2 of .*c.parquet has no text, the first of 2 bad rows"):
        read(missing)
    with pytest.raises(DataError, match="a.parquet is not a whole, readable Parquet file"):
        read(file(tmp_path, "a.parquet", path.read_bytes()[:-9]))


def test_names_of_classes_stand_in_the_schema_or_nowhere():
    assert tables.class_names(class_label(["bad", "so so", "good"])) == {"label": {0: "bad", 1: "so so", 2: "good"}}
    for metadata in (None, {}, {b"pandas": b"{}"}, {b"huggingface": b"{"}, {b"huggingface": b"[]"},
                     {b"huggingface": b'{"info": {"features": null}}'}, class_label(None), class_label(7)):
        assert tables.class_names(metadata) == {}


def test_numbers_of_classes_become_the_names_that_a_parquet_file_has_for_them(tmp_path):
    texts, numbers = [f"t {n}" for n in range(15)], [2, 0, 1] * 5
    metadata = class_label(["so so", "schlecht", "素晴らしい"])
    path = parquet_file(tmp_path / "a.parquet", {"text": texts, "label": numbers}, metadata)
    reviews = read(path)
    assert reviews.classes == ("schlecht", "so so", "素晴らしい")
    for text, name in pairs(reviews) + pairs(reviews, "test"):
        assert name == ("素晴らしい", "so so", "schlecht")[int(text[2:]) % 3]
    path = parquet_file(tmp_path / "b.parquet", {"text": texts, "label": [*numbers[:-1], -1]}, metadata)
    with pytest.raises(DataError, match="row 15 of .*b.parquet has no label"):
        read(path)
    stale = parquet_file(tmp_path / "c.parquet", {"text": texts, "label": numbers}, class_label(["a"], "stars"))
    assert read(stale).classes == ("0", "1", "2")


def hub_files(folder, metadata=None):
    """The hub's stanfordnlp/imdb, small."""
    halves = {"train": 3, "test": 2}
    for split, count in halves.items():
        parquet_file(folder / f"{split}-00000-of-00001.parquet",
                     {"text": [f"{split} {y} {n}<br />x" for y in (0, 1) for n in range(count)],
                      "label": [y for y in (0, 1) for _ in range(count)]}, metadata)
    parquet_file(folder / "unsupervised-00000-of-00001.parquet", {"text": ["free", "more"], "label": [-1, -1]},
                 metadata)
    return folder


@pytest.mark.parametrize("below", ["plain_text", "imdb/plain_text", "."])
def test_the_layout_of_the_hub_is_imdb(tmp_path, below):
    pytest.importorskip("pyarrow")
    folder = hub_files(tmp_path / below, class_label(["neg", "pos"]) if below == "." else None)
    for reviews in (load_reviews("imdb", tmp_path, offline=True), read(tmp_path), read(folder)):
        assert reviews.classes == ("negative", "positive") and reviews.unsup_texts == ["free", "more"]
        assert pairs(reviews) == [(f"train {y} {n}\nx", reviews.classes[y]) for y in (0, 1) for n in range(3)]
        assert reviews.test_labels.tolist() == [0, 0, 1, 1]
    corpus = corpus_of(["imdb"], tmp_path)
    expected = {f"train {y} {n}\nx" for y in (0, 1) for n in range(3)} | {"free", "more"}
    assert {*corpus.train, *corpus.validation} == expected and "Parquet files of the hub" in corpus.source
    parquet_file(folder / "train-00000-of-00001.parquet", {"text": ["a", "b"], "label": [0, 4]})
    with pytest.raises(DataError, match="row 2 of .* is no review of IMDB: it has the label 4"):
        read(folder)


def test_the_ending_of_a_file_is_checked_before_it_is_opened(tmp_path):
    with pytest.raises(UsageError, match="does not end as a table does"):
        own.check_data([str(file(tmp_path, "a.txt", "x"))])
