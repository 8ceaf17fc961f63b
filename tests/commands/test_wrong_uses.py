"""Claims about uses that a command was not made for, one of each kind that people try: one line says what to do.

Each row is a command line as somebody would type it, in a folder of their own that `place` makes.
"""

import json
import shlex

import pytest
from classifier_runs import make_bag, make_transfer
from commands import door, last_line
from corpus_files import write
from encoder_runs import make_bert, make_bilm, make_gpt
from own_reviews import make_folder, make_knowing, make_tables

from minitransfer.apparatus.commands import run_command

ROWS = [{"text": f"t {n}", "label": "ab"[n % 2]} for n in range(20)]
FILES = {
    "flat/pos/1.txt": "a triumph", "flat/neg/1.txt": "a mess",
    "array.json": json.dumps(ROWS), "rows.jsonl": "\n".join(map(json.dumps, ROWS)),
    "excel.csv": "本文,ラベル\n良い映画,良\n退屈,悪\n".encode("cp932"), "ja.csv": "本文,ラベル\n良い映画,良\n退屈,悪\n",
    "sep.csv": "sep=;\ntext;label\na;b\n", "pipes.csv": "text|label\na|0\nb|1\n",
    "quotes.csv": "text,label\n'well, it is',1\n'oh, no',0\n",
    "unlabelled.csv": "review\nx\ny\n", "case.csv": "review,sentiment\nein film,Gut\nein buch,schlecht\n",
    "real.csv": "text,label\n" + "".join(f"t {n},{n * 0.37}\n" for n in range(40)),
    "page.html": "<html><body><p>A film.</p></body></html>\n" * 30, "paper.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "text.txt": "the film is good .\n\nthe book is bad .\n" * 40,
}
IMDB = "finetune.imdb --encoder bilm --out out --data "


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with reviews, text, and a run of each kind."""
    path = tmp_path_factory.mktemp("place")
    write(path, FILES), make_folder(path / "shop"), make_tables(path), make_knowing(path / "static")
    make_bilm(path / "bilm"), make_bert(path / "bert"), make_gpt(path / "gpt"), make_bag(path / "bag")
    make_transfer(path / "imdb", path / "bilm")
    return path


WRONG_USES = [  # what is typed, the exit code, and words of what is said
    # reviews
    (IMDB + "shop/train", 3, "has no folder train (there is gut/, mittel/, schlecht/). Fix: give "),
    (IMDB + "flat", 3, "move the folders of texts into flat/train"),
    (IMDB + "static", 3, "static has no folder train (there is complete.json, config.json"),
    (IMDB + "shop --text-column text", 2, "--text-column is for tables of your own, and not for shop"),
    (IMDB + "array.json", 3, "line 1 of array.json is no JSON object, nor is any other. Fix: write one object a line"),
    (IMDB + "excel.csv", 3, "line 1 of excel.csv is not UTF-8 text: byte 0x96 at offset 0. Fix: convert it from the"),
    (IMDB + "ja.csv", 2, "it has '本文', 'ラベル'. Fix: name one by --text-column"),
    (IMDB + "ja.csv --text-column 本文 --label-column 2", 2, "no column called '2'; it has '本文', 'ラベル'"),
    (IMDB + "sep.csv", 2, "it has 'sep=', ''"),
    (IMDB + "pipes.csv", 2, "it has 'text|label'"),
    (IMDB + "quotes.csv", 3, "line 2 of quotes.csv has 3 columns, and the file 2, the first of 2 bad rows"),
    (IMDB + "'tr*.csv'", 2, "there is no such file or folder. Fix: write train.csv, if that is meant"),
    (IMDB + "https://example.org/reviews.csv", 2, "there is no such file or folder"),
    (IMDB + "train.csv,test.csv", 2, "there is no such file or folder. Fix: write train.csv, if"),
    (IMDB + "train.csv unlabelled.csv", 2, "unlabelled.csv has no column called any of label"),
    (IMDB + "train.csv case.csv", 3, "class 'Gut' is in the test half alone"),
    (IMDB + "real.csv", 3, "real.csv has 40 different labels for 40 texts"),
    (IMDB + "train.csv --data test.csv --data shop", 2, "--data takes one folder, or one or two files"),
    (IMDB + "train.csv --labels all", 2, "--labels: must be a whole number from 1"),
    (IMDB + "imdb --data-dir train.csv --offline", 2, "the data folder train.csv is a file"),
    ("finetune.imdb train.csv", 2, "unknown argument 'train.csv'"),
    # encoders and modes
    ("finetune.imdb --data train.csv --out out --encoder bert-base-uncased", 4, "there is no such directory"),
    ("finetune.imdb --data train.csv --out out --encoder imdb", 4, "imdb holds a run of kind 'transfer'"),
    ("finetune.imdb --data train.csv --out out --encoder static/model.safetensors", 4, "it is a file"),
    (IMDB + "train.csv --mode frozen,finetune", 2, "'frozen,finetune' is not one of frozen, top"),
    ("finetune.bag --data train.csv --encoder static", 2, "unknown argument '--encoder'"),
    ("finetune.compare --data train.csv --encoders bilm,bert --out out", 4, "no run at bilm,bert: there is no such"),
    ("finetune.compare --draw train.csv", 4, "line 1 of train.csv is not of a comparison"),
    # questions
    ("finetune.predict 'A film.'", 4, "no run at A film.: there is no such directory"),
    ("finetune.predict train.csv 'A film.'", 4, "no run at train.csv: it is a file"),
    ("finetune.predict imdb --file train.csv", 2, "train.csv is a table, by its ending, and each line would be one"),
    ("finetune.predict imdb --text 'A film.'", 2, "unknown argument '--text'"),
    # text
    ("pretrain.static --corpus train.csv", 2, "train.csv is no plain text, by its ending"),
    ("pretrain.bilm --corpus page.html", 2, "page.html is no plain text, by its ending"),
    ("pretrain.bert --corpus rows.jsonl", 2, "Fix: write its texts to a .txt file"),
    ("pretrain.gpt --corpus paper.pdf --out out", 3, "paper.pdf is not UTF-8 text: byte 0xe2 at offset 10"),
    ("pretrain.bilm --corpus text.txt,page.html", 2, "there is no such file or folder. Fix: name one of these"),
    ("pretrain.bilm --corpus text.txt --corpus ./text.txt --out out", 2, "text.txt is in text.txt and in ./text.txt"),
    ("pretrain.bilm --corpus text.txt --out text.txt", 2, "text.txt is not a directory"),
    ("pretrain.bilm --corpus text.txt --warm-start text.txt --out out", 4, "no run at text.txt: it is a file"),
    ("pretrain.bert --corpus text.txt --init-from gpt --out out", 4, "gpt holds a run of kind 'gpt'"),
    # looking, averaging, exchange
    ("pretrain.inspect bilm", 2, "is required"),
    ("pretrain.inspect bert --fill 'the film'", 2, "there is no [MASK] in the text. Fix: write [MASK]"),
    ("pretrain.inspect bilm --word 'the film'", 2, "'the film' is 2 words to an encoder"),
    ("finetune.average static bilm", 4, "classifies nothing to be averaged"),
    ("minitransfer.huggingface export bilm folder", 4, "for which the transformers library has no model"),
    ("minitransfer.huggingface import bert-base-uncased out", 4, "is not there, and nothing is downloaded here"),
    ("minitransfer.huggingface import bert out", 4, "bert is a run already. Fix: give it to --encoder as it is"),
]


@pytest.mark.parametrize("typed, code, told", WRONG_USES, ids=[typed for typed, _, _ in WRONG_USES])
def test_a_wrong_use_ends_in_one_line_that_tells_what_to_do(place, capsys, monkeypatch, typed, code, told):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    name, *flags = shlex.split(typed)
    module = door(name)
    readable = module.Settings if hasattr(module, "Settings") else module.make_parser()
    assert run_command(module.main, readable, flags) == code
    assert told in last_line(capsys)
    assert sorted(place.rglob("*")) == before
