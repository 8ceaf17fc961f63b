"""Claims about `python -m finetune.prompt`: all that was asked is told, nothing is chosen, labels teach what they say,
and errors are a line."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from bert_runs import make_bert, make_tokenizer
from encoder_runs import make_static, save_run

from finetune.prompt.__main__ import Settings, main
from finetune.prompt.tune import tune
from minitransfer.apparatus.commands import run_command
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.sample import reviews
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, SEP_ID, train_wordpiece
from minitransfer.transfer.labels import split_validation
from minitransfer.transfer.prompts import SAMPLE_PAIRS, TEMPLATES, Template


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A BERT that has learnt nothing, whose pieces hold the words of three of the four pairs."""
    words = " ".join(word for pair in SAMPLE_PAIRS[:3] for word in pair)
    tokenizer = train_wordpiece([f"{words} it was all in all , the film was . in short a just !"] * 9, 200)
    shape = BertConfig(tokenizer.vocab_size, hidden_size=10, num_layers=1, num_heads=5, intermediate_size=9,
                       max_positions=40)
    torch.manual_seed(0)
    return make_bert(tmp_path_factory.mktemp("prompt") / "bert", model=asdict(shape),
                     tensors=MaskedLM(shape).state_dict(), tokenizer=tokenizer.to_json())


def ask(*flags):
    return run_command(main, Settings, [str(flag) for flag in flags])


def test_all_templates_and_pairs_are_told_with_mean_spread_and_worst(run, capsys):
    assert not ask(run, "--data", "sample", "--reviews", "60", "--json")
    found = json.loads(capsys.readouterr().out)
    told = [(answer["template"], answer["words"]) for answer in found["answers"]]
    assert told == [(template, list(pair)) for template in TEMPLATES for pair in SAMPLE_PAIRS[:3]]
    for kind in ("raw", "median"):
        accuracies = [answer[kind] for answer in found["answers"]]
        assert found[kind] == pytest.approx({"mean": np.mean(accuracies), "spread": np.std(accuracies),
                                             "worst": min(accuracies)})
    assert found["labels"] == 0 and found["reviews"] == 60


def test_what_has_learnt_nothing_is_at_chance_and_the_table_says_so(run, capsys):
    assert not ask(run, "--data", "sample")
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert len(lines) == 1 + 4 * 3 + 2 and "3 of 4 pairs of words" in output.err
    assert all(0.4 < float(line.split()[-1].rstrip("%")) / 100 < 0.6 for line in lines[1:13])


def test_the_median_does_not_look_at_a_label(run, capsys, monkeypatch):
    """With every training label turned round the answers are the same."""
    assert not ask(run, "--data", "sample", "--reviews", "40", "--json")
    before = json.loads(capsys.readouterr().out)
    train, test, unsup = reviews()
    turned = ([(text, 1 - label) for text, label in train], test, unsup)
    monkeypatch.setattr("minitransfer.text.sample.reviews", lambda: turned)
    assert not ask(run, "--data", "sample", "--reviews", "40", "--json")
    assert json.loads(capsys.readouterr().out) == before


@pytest.mark.parametrize("flags, message", [
    (("--max-tokens", "9"), "--max-tokens 9 is not within"),
    (("--max-tokens", "41"), "--max-tokens 41 is not within"),
    (("--reviews", "0"), "--reviews"),
    (("--data", "imbd"), "--data"),
])
def test_a_wrong_flag_is_one_line(run, flags, message, capsys):
    assert ask(run, "--data", "sample", *flags) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert message in line


def test_a_run_without_the_words_or_of_another_kind_is_one_line(tmp_path, capsys):
    make_bert(tmp_path / "bert", tokenizer=make_tokenizer().to_json())
    assert ask(tmp_path / "bert", "--data", "sample") > 0
    assert "knows no pair as single pieces" in capsys.readouterr().err
    assert ask(tmp_path / "none", "--data", "sample") > 0
    assert "no run at" in capsys.readouterr().err


@pytest.fixture(scope="module")
def gpt(run, tmp_path_factory):
    """A GPT that has learnt nothing, of the same pieces and with room for more of them."""
    tokenizer = (run / "tokenizer.json").read_text()
    config = {"kind": "gpt", "model": {**json.loads((run / "config.json").read_text())["model"], "max_positions": 130}}
    torch.manual_seed(1)
    network = CausalLM(BertConfig.from_dict(config["model"]))
    return save_run(tmp_path_factory.mktemp("prompt") / "gpt", config, network.state_dict(),
                    {"tokenizer.json": tokenizer})


@pytest.fixture
def few(monkeypatch):
    """Of the reviews without labels, which take the longest, only some."""
    monkeypatch.setattr("finetune.prompt.score.UNLABELLED", 30)


def answer_of(capsys, *flags):
    assert not ask(*flags, "--data", "sample", "--json")
    return json.loads(capsys.readouterr().out)


def test_a_gpt_is_asked_where_the_gap_follows_the_review(gpt, capsys, few):
    found = answer_of(capsys, gpt, "--reviews", "20")
    assert [answer["template"] for answer in found["answers"]] == [text for text in TEMPLATES[:3] for _ in range(3)]


@pytest.mark.parametrize("network", [MaskedLM, CausalLM])
def test_the_loss_of_tuning_is_the_formula_and_some_steps_bring_it_down(network):
    """L = −log (exp z_y / (exp z⁺ + exp z⁻)), of the validation set; pieces 6 make class 1."""
    torch.manual_seed(2)
    shape = BertConfig(23, hidden_size=10, num_layers=2, num_heads=5, intermediate_size=9, max_positions=20)
    model = network(shape)
    model.bert.embeddings.tokens.weight.data.mul_(20)  # so that the two words differ before anything is learned
    rng, labels, positive, negative = np.random.default_rng(0), np.arange(60) % 2, 20, 21
    questions = [np.array([CLS_ID, *[7 - y] * (3 + i % 5), *rng.integers(8, 20, 2), MASK_ID, 5, SEP_ID])
                 for i, y in enumerate(labels)]
    barely = Settings.of(run="any", labels=60, epochs=1, learning_rate=1e-9, batch_size=7)
    found = tune(model, questions, labels, [positive, negative], barely, "fp32")
    losses = []
    for i in split_validation(np.arange(60), labels, barely.seed)[1]:
        gap = questions[i].tolist().index(MASK_ID) - (network is CausalLM)
        z = model(torch.from_numpy(questions[i])[None])[0, gap].tolist()
        both = math.exp(z[positive]) + math.exp(z[negative])
        losses.append(-math.log(math.exp(z[positive if labels[i] else negative]) / both))
    assert len(losses) == 12 and np.std(losses) > 0.01
    assert found["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-4) and found["epochs"] == 1
    learning = Settings.of(run="any", labels=60, epochs=12, learning_rate=2e-2, batch_size=7)
    after = tune(network(shape), questions, labels, [positive, negative], learning, "fp32")
    assert after["validation_loss"] < 0.3 < found["validation_loss"] and after["validation_accuracy"] == 1


@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_with_labels_one_template_and_pair_are_tuned_and_the_same_seed_has_the_same_answer(
        run, gpt, capsys, few, kind):
    flags = ({"bert": run, "gpt": gpt}[kind], "--reviews", "30", "--labels", "20", "--epochs", "2")
    first, again, other = (answer_of(capsys, *flags, *more) for more in ((), (), ("--seed", "1")))
    [answer] = first["answers"]
    assert (answer["template"], answer["words"]) == (TEMPLATES[0], SAMPLE_PAIRS[0])
    assert first == again and first["validation_loss"] != other["validation_loss"]
    assert first["labels"] == 20 and first["epochs_run"] == 2 and 0 <= first["validation_accuracy"] <= 1
    assert not ask(*flags, "--data", "sample")
    assert "tuned on 20 labels, epoch" in capsys.readouterr().out


def test_examples_train_nothing_and_are_answered_by_each_pair(gpt, capsys, few):
    with_them, without, other = (answer_of(capsys, gpt, "--reviews", "20", *flags) for flags in (
        ("--examples", "4"), (), ("--examples", "4", "--seed", "1")))
    assert with_them["examples"] == 4 and without["examples"] == 0 and with_them["labels"] == 0
    told = [[(answer["template"], answer["words"]) for answer in found["answers"]] for found in (with_them, without)]
    assert told[0] == told[1] and len({json.dumps(found["answers"]) for found in (with_them, without, other)}) == 3


@pytest.mark.parametrize("flags, message", [
    (("--labels", "20", "--examples", "4"), "--labels trains the network"),
    (("--epochs", "3"), "--epochs is for tuning"),
    (("--learning-rate", "0.1"), "--learning-rate is for tuning"),
    (("--seed", "1"), "--seed decides which reviews are labelled or shown"),
    (("--labels", "7"), "--labels 7 cannot be chosen"),
    (("--labels", "20000"), "--labels 20000 cannot be chosen"),
    (("--examples", "5"), "--examples 5: as many are shown of each class"),
    (("--examples", "40"), "the templates and 40 examples need"),
    (("--examples", "40"), "use fewer --examples"),
])
def test_a_wrong_use_of_labels_is_one_line(gpt, flags, message, capsys):
    assert ask(gpt, "--data", "sample", *flags) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert message in line


def test_a_rate_at_which_nothing_is_a_number_is_one_line(gpt, capsys):
    assert ask(gpt, "--data", "sample", "--labels", "4", "--epochs", "2", "--learning-rate", "1e38") == 5
    told = capsys.readouterr().err
    assert "use a smaller --learning-rate" in told and "--out" not in told  # it has none


def test_a_run_that_was_never_asked_for_a_piece_is_one_line(tmp_path, capsys):
    static = make_static(tmp_path / "static", ["<pad>", "<unk>", "<eos>"], torch.randn(3, 2))
    assert ask(static, "--data", "sample") == 4
    assert "holds a run of kind 'static', which cannot be asked for a piece" in capsys.readouterr().err


@pytest.mark.parametrize("n", [2, 6])
def test_as_many_examples_are_shown_of_each_class_in_an_order_that_the_seed_decides(gpt, few, monkeypatch, capsys, n):
    shown, original = [], Template.fill
    monkeypatch.setattr(Template, "fill", lambda *all: shown.append(all[3]) or original(*all))
    for seed in ("0", "0", "1"):
        answer_of(capsys, gpt, "--reviews", "3", "--examples", n, "--seed", seed)
    asked = [[(text.tolist(), answer) for text, answer in examples] for examples in shown]
    first, again, other = (asked[i * len(asked) // 3] for i in range(3))
    answers = [answer for _, answer in first]
    assert len(answers) == n and {answers.count(answer) for answer in answers} == {n // 2} and len(set(answers)) == 2
    assert first == again != other
