"""Claims about reviews of one's own in the commands: three classes go all the way, from text to answer."""

import dataclasses
import json
from collections import Counter

import pytest
import torch
from commands import last_line
from encoder_runs import make_bert, make_bilm
from own_reviews import COUNTS, make_folder, make_knowing, make_tables, texts
from predictions import answer

from finetune.bag import __main__ as bag
from finetune.compare import __main__ as compare
from finetune.compare.run import usual_counts
from finetune.imdb import __main__ as imdb
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.text import corpora
from minitransfer.transfer.stopping import scores_of

CLASSES = ["gut", "mittel", "schlecht"]
QUICK = ("--epochs", "2", "--batch-size", "8", "--log-every", "1000")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three encoders, and the reviews as a folder and as tables."""
    path = tmp_path_factory.mktemp("place")
    make_folder(path / "shop"), make_tables(path), make_knowing(path / "static")
    make_bilm(path / "bilm"), make_bert(path / "bert")
    return path


def run(place, out, *flags, module=imdb, data=("shop",)):
    """The exit code of a command on these reviews."""
    argv = ["--data", *(str(place / name) for name in data), "--out", str(out), *flags]
    return run_command(module.main, module.Settings, argv)


def results(path):
    return json.loads((path / "results.json").read_text())


def expected_scores(answers):
    """Accuracy, recalls and macro F1 by plain loops over (right class, predicted class)."""
    right = Counter(label for label, predicted in answers if label == predicted)
    recalls, F1 = {}, []
    for name in CLASSES:
        labelled = sum(label == name for label, _ in answers)
        predicted = sum(p == name for _, p in answers)
        recalls[name] = right[name] / labelled
        precision = right[name] / predicted if predicted else 0.0
        F1.append(2 * precision * recalls[name] / (precision + recalls[name]) if right[name] else 0.0)
    return {"test_accuracy": pytest.approx(sum(right.values()) / len(answers)), "test_recalls": pytest.approx(recalls),
            "test_macro_f1": pytest.approx(sum(F1) / 3), "test_counts": COUNTS["test"]}


def test_scores_of_a_class_without_texts_are_none_and_one_without_answers_counts_as_nought():
    """Right are 0 0 1; of class 1 one is taken for 0, of class 3 one for 2, which no text has; class 4 has nothing."""
    labels, predicted = torch.tensor([0, 0, 1, 1, 3]), torch.tensor([0, 0, 1, 0, 2])
    scores = scores_of(torch.eye(5)[predicted], labels)
    assert scores.counts == [2, 2, 0, 1, 0] and scores.recalls == [1, 0.5, None, 0, None]
    assert scores.accuracy == pytest.approx(0.6)
    assert scores.macro_f1 == pytest.approx((2 * (2 / 3) / (2 / 3 + 1) + 2 * 0.5 / 1.5 + 0 + 0) / 4)


@pytest.mark.parametrize("data", [("shop",), ("train.csv", "test.csv")])
def test_vectors_that_know_the_words_tell_three_classes_apart(place, tmp_path, capsys, data):
    flags = ("--encoder", str(place / "static"), "--labels", "30", "--epochs", "40")
    assert run(place, tmp_path / "run", *flags, data=data) == 0
    out = capsys.readouterr().out
    told = results(tmp_path / "run")
    assert told["test_accuracy"] > 0.9 and told["data"] == f"own:{data[0]}" and told["labels"] == 30
    assert "always answering 'schlecht' would be right in 0.4706\n" in out  # 8 of 17
    assert f"macro F1 {told['test_macro_f1']:.4f}; recall of gut " in out
    config = load_run(tmp_path / "run").config
    assert config["classes"] == CLASSES
    code, lines, _ = answer(capsys, tmp_path / "run", "--words", "schön und stark", "fade", "lala")
    assert code == 0 and [line.split()[0] for line in lines if line[0] != " "] == ["gut", "schlecht", "mittel"]


MODES = [(encoder, mode, head) for encoder, heads in (("bilm", ("mean", "bilstm")), ("bert", ("cls",)))
         for mode in ("frozen", "top", "finetune", "gradual", "scratch") for head in heads]


@pytest.mark.parametrize("encoder, mode, head", MODES)
def test_three_classes_in_every_mode_under_every_head(place, tmp_path, capsys, encoder, mode, head):
    """And what is scored at the end is what `predict` says of the same texts, counted by plain loops."""
    flags = ("--encoder", str(place / encoder), "--mode", mode, "--head", head, *QUICK)
    assert run(place, tmp_path / "run", *flags) == 0
    labelled = [(text, name) for name in CLASSES for text in texts("test", name)]
    given = [text for text, _ in labelled]
    _, lines, _ = answer(capsys, tmp_path / "run", "--json", "--batch-size", "17", "--", *given)
    told, answers = results(tmp_path / "run"), [json.loads(line)["label"] for line in lines]
    expected = expected_scores([(name, predicted) for (_, name), predicted in zip(labelled, answers, strict=True)])
    assert told | expected == told


def test_folder_and_tables_come_to_the_same_run(place, tmp_path):
    """But for the name of the data: the order of the texts is that of their classes in both."""
    flags = ("--encoder", str(place / "bilm"), *QUICK)
    assert run(place, tmp_path / "a", *flags) == 0 and run(place, tmp_path / "b", *flags, "--labels", "33") == 0
    assert run(place, tmp_path / "c", *flags, "--labels", "33", data=("train.csv", "test.csv")) == 0
    fingerprints = [load_run(tmp_path / name).config["data"] for name in "abc"]
    assert fingerprints[0] == fingerprints[1] and len({len(f["train"]) for f in fingerprints}) == 1
    assert [f["name"] for f in fingerprints[1:]] == ["own:shop", "own:train.csv"]


def test_a_run_goes_on_only_with_the_same_reviews(place, tmp_path, capsys):
    flags = ("--encoder", str(place / "bilm"), *QUICK)
    assert run(place, tmp_path / "run", *flags) == 0
    assert run(place, tmp_path / "run", *flags, "--resume") == 0
    assert run(place, tmp_path / "run", *flags, "--resume", data=("train.csv",)) == 4
    assert "data.train" in last_line(capsys)


def test_a_run_that_was_begun_before_classes_had_names_is_still_resumed(place, tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--data", "sample", "--encoder", str(place / "bilm"), "--labels", "20", "--out", str(out), *QUICK]
    assert run_command(imdb.main, imdb.Settings, flags) == 0
    path = out / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("classes") == ["negative", "positive"]
    path.write_text(json.dumps(config))
    capsys.readouterr()
    assert run_command(imdb.main, imdb.Settings, [*flags, "--resume"]) == 0
    assert "already complete" in capsys.readouterr().out


def test_the_bag_counts_three_classes(place, tmp_path, capsys):
    assert run(place, tmp_path / "bag", module=bag, data=("train.csv", "test.csv")) == 0
    out, told = capsys.readouterr().out, results(tmp_path / "bag")
    assert told["test_accuracy"] > 0.9 and told["test_counts"] == COUNTS["test"]
    assert all(f"most {name}: " in out for name in CLASSES)
    saved = load_run(tmp_path / "bag", "bag")
    assert saved.tensors["weights"].shape == (3, saved.text("ngrams.txt").count("\n"))
    assert saved.tensors["b"].shape == (3,) and saved.config["classes"] == CLASSES


def test_a_comparison_of_three_classes(place, tmp_path, capsys):
    flags = ("--encoders", str(place / "static"), "--labels", "12", "--seeds", "0", "--modes", "frozen", "--epochs",
             "2", "--label-column", "sentiment", "--no-plots")
    data = ("train.csv", "test.csv")
    assert run(place, tmp_path / "out", *flags, module=compare, data=data) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [row["cell"] for row in rows] == ["bag-12-0", "static-frozen-12-0", "static-scratch-12-0"]
    files = " ".join(str(place / name) for name in data)
    assert all(f"--data {files} --label-column sentiment" in row["command"] for row in rows)
    assert run(place, tmp_path / "out", *flags, "--resume", module=compare, data=data) == 0
    assert "3 cells, of which 3 are done" in capsys.readouterr().err


def test_numbers_of_labels_that_are_usual_follow_the_classes(place):
    reviews = corpora.load_reviews([str(place / "shop")], None, offline=True)
    assert usual_counts(reviews) == [33]  # 11 of the rarest class: fewer than 99
    assert usual_counts(dataclasses.replace(reviews, train_labels=reviews.train_labels.repeat(50))) == [99, 498]


@pytest.mark.parametrize("module, flags, code, told", [
    (imdb, ["--labels", "10"], 2, "14 gut, 11 mittel and 17 schlecht reviews. Fix: choose a multiple of 3 from 6"),
    (imdb, ["--labels", "36"], 2, "a multiple of 3 from 6 to 33"),
    (imdb, ["--labels", "3"], 2, "choose a number from 4"),
    (imdb, ["--trial", "10"], 2, "--trial 10 cannot be chosen"),
    (imdb, ["--trial", "30", "--labels", "12"], 2, "give more reviews, or a smaller --trial"),
    (bag, ["--labels", "10"], 2, "a multiple of 3"),
    (imdb, ["--text-column", "nothing"], 2, "has no column called 'nothing'; it has 'review', 'sentiment'"),
    (bag, ["--text-column", "sentiment"], 2, "cannot be text and label at once"),
    (imdb, ["--label-column", "review"], 2, "cannot be text and label at once"),
])  # fmt: skip
def test_what_cannot_be_done_with_three_classes_is_said_in_one_line(
    place, tmp_path, capsys, module, flags, code, told
):
    encoder = ["--encoder", str(place / "bilm")] if module is imdb else []
    assert run(place, tmp_path / "run", *encoder, *flags, module=module, data=("train.csv", "test.csv")) == code
    assert told in last_line(capsys) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("module", [imdb, bag, compare])
def test_columns_are_for_tables_and_a_misspelt_name_is_answered_at_once(module, tmp_path, capsys):
    for flags, told in ((["--data", "sample", "--text-column", "x"], "--text-column is for tables of your own"),
                        (["--data", "smaple"], "write sample, if"), (["--data", "sample", "sample"], "--data sample."),
                        (["--data", str(tmp_path / "x.csv")], "no such")):
        assert run_command(module.main, module.Settings, flags) == 2
        assert told in last_line(capsys)


def test_data_given_twice_is_both_files_and_not_the_last_one():
    assert imdb.Settings.parse_args(["--data", "train.csv", "--data", "test.csv"]).data == ("train.csv", "test.csv")


def test_reviews_of_ones_own_never_touch_the_data_folder(place, tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "_find", lambda *a: pytest.fail("a corpus was looked for"))
    flags = ("--data-dir", str(tmp_path / "nowhere"), "--encoder", str(place / "static"), *QUICK)
    assert run(place, tmp_path / "run", *flags) == 0
    assert not (tmp_path / "nowhere").exists()


def test_a_named_data_folder_without_reviews_is_never_replaced_by_the_sample(place, tmp_path, capsys):
    """As it was found: a folder of tables, given as --data-dir, and one whose name is misspelt."""
    for folder, told in ((place, f"{place} holds no imdb (looked for "), (tmp_path / "reviws", "there is no folder")):
        for module in (imdb, bag, compare):
            encoder = {imdb: ["--encoder", str(place / "static")], bag: [],
                       compare: ["--encoders", str(place / "static")]}[module]
            argv = ["--data-dir", str(folder), "--offline", "--out", str(tmp_path / "run"), *encoder]
            assert run_command(module.main, module.Settings, argv) == 2
            assert told in last_line(capsys)
    assert not (tmp_path / "run").exists() and not (tmp_path / "reviws").exists()


def test_copies_that_are_validated_or_scored_on_and_learned_from_are_warned_of(tmp_path, capsys):
    rows = [f"{kind} text {n},{kind}" for n in range(20) for kind in ("good", "bad")]
    for copies, warned in ((1, False), (4, True)):
        (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows * copies]))
        for flags in ((), ("--trial", "10")):
            argv = ["--data", str(tmp_path / "a.csv"), "--out", str(tmp_path / f"{copies}{len(flags)}"), *flags]
            assert run_command(bag.main, bag.Settings, argv) == 0
            err = capsys.readouterr().err
            assert ("validation texts are learned from as well" in err) == warned
            assert ("trial texts are learned from as well" in err) == (warned and bool(flags))


def test_a_bag_of_texts_that_share_no_word_is_a_bag_like_any_other(tmp_path, capsys):
    rows = [f"a{n} b{n} c{n},{'xy'[n % 2]}" for n in range(10)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]))
    argv = ["--data", str(tmp_path / "a.csv"), "--out", str(tmp_path / "bag")]
    assert run_command(bag.main, bag.Settings, argv) == 0
    capsys.readouterr()
    code, out, _ = answer(capsys, tmp_path / "bag", "a1 b1")
    assert code == 0 and out == ["x 0.50  a1 b1"]
