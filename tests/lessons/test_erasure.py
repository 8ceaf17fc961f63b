"""Claims about erasure: a word weighs what a text loses without it, and any text can be weighed.

The oracle is a classifier made by hand over static vectors that know the polarity of every word: of it a formula with
one tanh says what each word must weigh.
"""

import json
import math
import re

import pytest
import torch
from classifier_runs import MAX_TOKENS, classifier, make_bag, polarity_classifier
from encoder_runs import make_bert, make_bilm, make_gpt, make_oracle, save_run
from hypothesis import HealthCheck, given, settings
from predictions import answer, feed
from strange_texts import ANYTHING, STRANGE

from finetune.predict.answer import weightiest
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.durable import to_json
from minitransfer.text.sample import LEXICON
from minitransfer.transfer import erasure, examples
from minitransfer.transfer.erasure import log_odds, word_importances, word_spans

TEXT = "the film is not dull , but marvellous , the plot a mess and marvellous ."
TOLERANCE = 2e-6  # log odds: float32 sums in another order
CLASSIFIERS = [("bilm", "mean"), ("bilm", "bilstm"), ("oracle", "mean"), ("bert", "cls"), ("bert", "mean"),
               ("gpt", "last")]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Runs of encoders: a biLM, a BERT and a GPT that know nothing, and static vectors that know polarity."""
    path = tmp_path_factory.mktemp("encoders")
    make_bilm(path / "bilm"), make_bert(path / "bert"), make_gpt(path / "gpt"), make_oracle(path / "oracle")
    return path


def odds(model, text, label):
    """The log odds of a label, of one text by itself, from its probability in double precision."""
    (p,) = examples.logits_of(model, model.encoder.tokenise([text], MAX_TOKENS)).double().softmax(dim=-1).tolist()
    return math.log(p[label] / (1 - p[label]))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("kind, head", CLASSIFIERS)
def test_a_word_weighs_what_the_text_loses_when_it_is_left_out_by_hand(encoders, kind, head, label):
    model, words = classifier(encoders, kind, head), TEXT.split()
    found = word_importances(model, TEXT, MAX_TOKENS, label)
    assert [word for word, _ in found] == words
    for i, (_, importance) in enumerate(found):
        without = " ".join(words[:i] + words[i + 1 :])
        assert importance == pytest.approx(odds(model, TEXT, label) - odds(model, without, label), abs=TOLERANCE)
    assert max(abs(importance) for _, importance in found) > 500 * TOLERANCE


def test_what_the_oracles_formula_says_a_word_weighs_it_weighs(encoders):
    model, words = polarity_classifier(encoders), TEXT.split()
    encoder = model.encoder
    v = [encoder.vectors[encoder.ids[word], 0].item() if word in encoder.ids else 0.0 for word in words]

    def s(values):
        return 2 * math.tanh(0.5 * sum(values) / len(values)) - 0.5

    for i, (_, importance) in enumerate(word_importances(model, TEXT, MAX_TOKENS, 1)):
        assert importance == pytest.approx(s(v) - s(v[:i] + v[i + 1 :]), abs=TOLERANCE)


def test_the_one_word_with_a_polarity_comes_first_for_its_own_label_and_last_for_the_other(encoders):
    model = polarity_classifier(encoders)
    for label, polarity in enumerate(["negative", "positive"]):
        for half in LEXICON[polarity].values():
            for word in half["adjective"]:
                text = f"the music is {word} , and the script was by nora"
                ranked = sorted(word_importances(model, text, MAX_TOKENS, label), key=lambda found: -found[1])
                assert ranked[0][0] == word
                ranked = sorted(word_importances(model, text, MAX_TOKENS, 1 - label), key=lambda found: found[1])
                assert ranked[0][0] == word


@pytest.mark.parametrize("kind, head", CLASSIFIERS)
def test_which_variants_share_a_batch_and_what_pads_them_does_not_matter(encoders, monkeypatch, kind, head):
    model = classifier(encoders, kind, head)
    together = word_importances(model, TEXT, MAX_TOKENS, 1)
    monkeypatch.setattr("minitransfer.transfer.tokens.TOKENS_PER_BATCH", 1)  # each variant in a batch of its own
    for (_, one), (_, other) in zip(word_importances(model, TEXT, MAX_TOKENS, 1), together, strict=True):
        assert one == pytest.approx(other, abs=TOLERANCE)


def test_all_pieces_of_a_word_are_one_span_and_cls_and_sep_are_none():
    tokens = ["[CLS]", "a", "play", "##wri", "##ght", "[", "mask", "]", "[SEP]"]
    assert word_spans(tokens, framed=True) == [(1, 2), (2, 5), (5, 6), (6, 7), (7, 8)]
    assert word_spans(["[CLS]", "[SEP]"], framed=True) == []
    assert word_spans(["play", "it", "again"], framed=False) == [(0, 1), (1, 2), (2, 3)]
    assert word_spans([], framed=False) == []


def test_where_the_middle_was_left_out_no_word_goes_on():
    tokens = ["[CLS]", "a", "play", "##wright", "##s", "b", "[SEP]"]
    assert word_spans(tokens, framed=True, cut=4) == [(1, 2), (2, 4), (4, 5), (5, 6)]


@pytest.mark.parametrize("kind, head", [("bilm", "mean"), ("bert", "cls")])
def test_of_a_text_that_is_too_long_the_head_and_tail_are_weighed(encoders, kind, head):
    model = classifier(encoders, kind, head)
    read = model.encoder.tokenise([TEXT], 9)
    tokens = [read.tokens[i] for i in read.token_ids[0]]
    words = [word for word, _ in word_importances(model, TEXT, 9, 0)]
    assert read.shortened[0] and words[0] == "the" and words[-1] == "."
    assert "".join(words) == "".join(tokens).replace("##", "").removeprefix("[CLS]").removesuffix("[SEP]")


def test_of_very_many_words_the_outermost_are_weighed_as_they_are_among_all(encoders, monkeypatch):
    model = classifier(encoders, "bilm", "mean")
    every = word_importances(model, TEXT, MAX_TOKENS, 1)
    monkeypatch.setattr(erasure, "MOST_WORDS", 5)
    found = word_importances(model, TEXT, MAX_TOKENS, 1)
    assert [word for word, _ in found] == ["the", "film", "and", "marvellous", "."]
    expected = [importance for _, importance in every[:2] + every[-3:]]
    assert [importance for _, importance in found] == pytest.approx(expected, abs=TOLERANCE)


def test_the_log_odds_are_those_of_the_probability_and_stay_finite_where_it_is_one():
    z = [[0.3, -1.0, 2.0], [1.5, 0.0, -0.25]]
    for label in range(3):
        for row, found in zip(z, log_odds(torch.tensor(z), label).tolist(), strict=True):
            p = math.exp(row[label]) / sum(map(math.exp, row))
            assert found == pytest.approx(math.log(p / (1 - p)), abs=1e-6)
    sure = torch.tensor([[-60.0, 60.0]])
    assert sure.softmax(dim=1)[0, 1] == 1 and log_odds(sure, 1).item() == 120 and log_odds(sure, 0).item() == -120


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=ANYTHING)
def test_any_text_at_all_can_be_weighed(encoders, text):
    for kind, head in [("bilm", "mean"), ("bert", "cls")]:
        model = classifier(encoders, kind, head)
        found = word_importances(model, text, 23, 0)
        assert all(word and math.isfinite(importance) for word, importance in found) and len(found) <= 23


@pytest.fixture(scope="module")
def runs(tmp_path_factory, encoders):
    """Transfer runs: the oracle's, and of a biLM and a BERT that know nothing; and a bag of n-grams."""
    path = tmp_path_factory.mktemp("runs")
    for name, model in [("oracle", polarity_classifier(encoders)), ("bilm", classifier(encoders, "bilm", "mean")),
                        ("bert", classifier(encoders, "bert", "cls"))]:
        run = load_run(encoders / name)
        shape = dict(head="cls" if name == "bert" else "mean", pool="mean", head_size=5, dropout=0.3)
        config = {"kind": "transfer", "model": shape, "max_tokens": MAX_TOKENS, "encoder": run.config}
        save_run(path / name, config, model.state_dict(), {**run.files, "results.json": to_json({})})
    make_bag(path / "bag")
    return path


def test_an_answer_is_followed_by_the_words_that_spoke_for_it_and_against_it(runs, capsys):
    texts = ["dull , dreadful , and a marvellous plot", "a marvellous , witty triumph , not dull"]
    code, out, err = answer(capsys, runs / "oracle", *texts, "--words")
    assert code == 0 and not err and len(out) == 6
    plain = answer(capsys, runs / "oracle", *texts)[1]
    assert [out[0], out[3]] == plain and plain[0].startswith("negative") and plain[1].startswith("positive")
    assert re.match(r'  for it:  "(dull|dreadful)" \+\d\.\d\d  "(dull|dreadful)" \+\d\.\d\d', out[1])
    assert re.match(r'  against it:  "marvellous" -\d\.\d\d', out[2])
    assert re.match(r'  for it:  "(marvellous|witty|triumph)" \+\d\.\d\d', out[4])
    assert re.match(r'  against it:  "dull" -\d\.\d\d', out[5])
    for line in out[1:3] + out[4:]:
        shown = [float(weight) for weight in re.findall(r" ([+-]\d\.\d\d)", line)]
        assert [abs(weight) for weight in shown] == sorted(map(abs, shown), reverse=True) and 0.0 not in shown


def test_in_json_the_words_stand_in_order_beside_the_same_answer(runs, capsys):
    text = "Don't miss this [MASK]: marvellous!"
    plain = json.loads(answer(capsys, runs / "oracle", "--json", text)[1][0])
    (line,) = answer(capsys, runs / "oracle", "--json", "--words", text)[1]
    told = json.loads(line)
    words = told.pop("words")
    assert told == plain
    assert [word for word, _ in words] == "don 't miss this [ mask ] : marvellous !".split()
    assert max(words, key=lambda word: word[1])[0] == "marvellous"


@pytest.mark.parametrize("run", ["oracle", "bilm", "bert"])
def test_any_text_is_weighed_alone_as_in_any_company(runs, capsys, run):
    alone = [json.loads(answer(capsys, runs / run, "--words", "--json", "--", text)[1][0]) for text in STRANGE]
    code, together, _ = answer(capsys, runs / run, "--words", "--json", "--batch-size", "9", "--", *STRANGE)
    assert code == 0 and len(together) == len(STRANGE)
    for one, other in zip(alone, map(json.loads, together)):
        assert [word for word, _ in one["words"]] == [word for word, _ in other["words"]]
        for (_, here), (_, there) in zip(one["words"], other["words"]):
            assert here == pytest.approx(there, abs=TOLERANCE)
    told = {text: [word for word, _ in one["words"]] for text, one in zip(STRANGE, alone)}
    assert told[""] == [] and told["ok"] == ["ok"]
    if run == "bert":  # which has seen neither a minus nor so long a word
        assert told["-1"] == ["[UNK]", "1"] and set(told["x" * 1_000_000]) == {"[UNK]"}
    else:
        assert told["-1"] == ["-", "1"] and told["x" * 1_000_000] == ["x" * 1_000_000]


@pytest.mark.parametrize("run", ["oracle", "bilm", "bert"])
def test_words_are_shown_on_short_lines_that_are_safe_for_any_terminal(runs, capsys, run):
    code, out, _ = answer(capsys, runs / run, "--words", "--", *STRANGE)
    assert code == 0 and max(map(len, out)) < 200 and all(line.isprintable() for line in out)
    assert sum(not line.startswith("  ") for line in out) == len(STRANGE)
    empty = out.index("no answer  (an empty text)")
    assert not out[empty + 1].startswith("  ")


def test_a_text_that_no_word_moved_by_itself_says_so():
    assert list(weightiest([("a", 0.0049), ("film", -0.0049)])) == ["  no word moved it by itself"]


def test_lines_of_stdin_are_weighed_as_they_come_and_one_that_is_no_text_has_no_words(runs, capsys, monkeypatch):
    feed(monkeypatch, b"a marvellous film\r\n\nna\xefve\nmarvellous\n")
    code, out, err = answer(capsys, runs / "oracle", "--words")
    assert code == 3 and "line 3 of stdin is not UTF-8" in err[-1]
    answers = [i for i, line in enumerate(out) if not line.startswith("  ")]
    assert len(answers) == 4 and answers[2] == answers[1] + 1 and answers[3] == answers[2] + 1
    assert out[answers[1]] == "no answer  (an empty text)" and out[answers[2]].startswith("no answer  (line 3 of stdin")
    assert all(out[i + 1].startswith('  for it:  "marvellous" +') for i in (answers[0], answers[3]))


@pytest.mark.parametrize("flags, code, told", [
    (["oracle", "--word", "a film"], 2, "did you mean --words?"), (["--words=5", "oracle", "a film"], 2, "--words"),
    (["bag", "--words", "a film"], 4, "bag has no encoder"), (["nowhere", "--words", "a film"], 4, "no such directory"),
])  # fmt: skip
def test_what_cannot_be_asked_is_said_in_one_line(runs, capsys, monkeypatch, flags, code, told):
    monkeypatch.chdir(runs)
    found, out, err = answer(capsys, *flags)
    assert found == code and not out and told in err[-1]
