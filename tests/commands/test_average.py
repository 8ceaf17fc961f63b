"""Claims about `python -m finetune.average`: its mean and grid are those of plain loops, and it mixes no strangers."""

import itertools
import json
import math

import numpy as np
import pytest
import safetensors.torch
import torch
from commands import last_line
from corpus_files import few_of_sample
from encoder_runs import make_oracle, make_static, save_run

import finetune.bag.__main__
import finetune.compare.__main__
import finetune.imdb.__main__
from finetune.average.__main__ import Settings, main
from finetune.average.average import choose_weights, geometric_mean, grid
from finetune.reports import LOGITS, logits_file
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.durable import to_json
from minitransfer.text import corpora
from minitransfer.transfer.classifier import load_classifier, max_tokens_of
from minitransfer.transfer.examples import predict
from minitransfer.transfer.labels import choose_labelled, split_validation

CLASSES = ["bad", "fair", "good"]
LABELS = {"validation": [2, 0, 1, 1, 0, 2, 0], "test": [1, 0, 2, 2, 0]}


def average(out, *runs, flags=()):
    """The exit code of the command."""
    return run_command(main, Settings, [*map(str, runs), "--out", str(out), *flags])


def results(path):
    return json.loads((path / "results.json").read_text())


def weights_of(path):
    return load_run(path, "average").tensors["weights"].tolist()


def by_hand(path, draw, labels=40, told=None, logits=None, **changes):
    """A run of three classes with logits drawn from a seed, and hardly anything else."""
    torch.manual_seed(draw)
    of = [tensor for y in LABELS.values() for tensor in (torch.randn(len(y), 3) * 2, torch.tensor(y))]
    config = {"kind": "bag", "data": {"name": "sample", "train": "a", "test": "b"}, "seed": 1, "trial": None,
              "classes": CLASSES, **changes}
    found = told or {"mode": "bag", "data": "sample", "labels": labels, "seconds_encoding": 1.5,
                     "seconds_training": 2.25}
    files = {"results.json": to_json(found), LOGITS: logits_file(*of) if logits is None else logits}
    return save_run(path, config, {"weights": torch.zeros(1)}, {k: v for k, v in files.items() if v})


def mean_by_loops(logits, weights):
    """p_i(y) = Π_k p_{k,i}(y)^{w_k} / Z_i, as lists of lists."""
    found = []
    for i in range(len(logits[0])):
        product = [1.0] * len(logits[0][i])
        for z, w in zip(logits, weights):
            total = sum(math.exp(x) for x in z[i])
            for y, x in enumerate(z[i]):
                product[y] *= (math.exp(x) / total) ** w
        found.append([p / sum(product) for p in product])
    return found


def loss_by_loops(logits, weights, labels):
    return -sum(math.log(p[y]) for p, y in zip(mean_by_loops(logits, weights), labels)) / len(labels)


def grid_by_loops(num_runs, steps):
    """All ways to divide the steps, by trying all numbers."""
    return [shares for shares in itertools.product(range(steps + 1), repeat=num_runs) if sum(shares) == steps]


@pytest.mark.parametrize("num_runs, steps", [(2, 10), (3, 7), (4, 3), (5, 1)])
def test_the_grid_divides_the_steps_in_every_way_once(num_runs, steps):
    found = list(grid(num_runs, steps))
    assert found == grid_by_loops(num_runs, steps)
    assert len(found) == Settings.of(runs=tuple("abcde"[:num_runs]), steps=steps).num_weightings


def test_the_geometric_mean_by_plain_loops():
    logits, weights = torch.randn(4, 6, 3) * 3, [0.5, 0.2, 0.0, 0.3]
    p = geometric_mean(logits, torch.tensor(weights, dtype=torch.float64)).exp()
    np.testing.assert_allclose(p, mean_by_loops(logits.tolist(), weights), atol=1e-6)


def test_models_that_agree_say_together_what_each_says():
    z = torch.randn(5, 3)
    shifted = torch.stack([z, z + 7.0, z - torch.arange(5.0).unsqueeze(1)])  # the same probabilities
    p = geometric_mean(shifted, torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64))
    torch.testing.assert_close(p.exp(), z.double().softmax(dim=1), atol=1e-6, rtol=0)


def test_what_one_takes_to_be_impossible_the_mean_does_not_answer():
    """One model is sure of a class, another has 1e-30 for it: their arithmetic mean would still say one half."""
    logits = torch.tensor([[[9.0, 0.0, 0.0]], [[-69.0, 0.0, 0.0]]])
    p = geometric_mean(logits, torch.tensor([0.5, 0.5], dtype=torch.float64)).exp()
    assert p[0, 0] < 1e-12 and p.sum() == pytest.approx(1)


@pytest.mark.parametrize("num_runs, steps", [(2, 10), (3, 5)])
def test_the_weights_are_those_of_the_lowest_validation_loss_by_plain_loops(num_runs, steps):
    labels = torch.tensor([0, 3, 1, 1, 2, 0, 3, 2, 2])
    torch.manual_seed(4)
    logits = torch.randn(num_runs, 9, 4) + torch.nn.functional.one_hot(labels, 4)
    tried = [[share / steps for share in shares] for shares in grid_by_loops(num_runs, steps)]
    best = min(tried, key=lambda weights: loss_by_loops(logits.tolist(), weights, labels.tolist()))
    assert choose_weights(logits, labels, steps).tolist() == best and max(best) < 1


@pytest.fixture(scope="module")
def few_reviews(tmp_path_factory):
    return few_of_sample(tmp_path_factory.mktemp("data"), 5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, few_reviews):
    """A bag, a frozen oracle, and one that is fine-tuned: 40 labels of seed 2 each."""
    path = tmp_path_factory.mktemp("runs")
    make_oracle(path / "oracle")
    shared = ["--data", "sample", "--labels", "40", "--seed", "2"]
    oracle = ["--encoder", str(path / "oracle"), "--epochs", "2"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(corpora, "load_reviews", lambda *a, **k: few_reviews)
        for name, door, flags in (("bag", finetune.bag.__main__, []), ("frozen", finetune.imdb.__main__, oracle),
                                  ("tuned", finetune.imdb.__main__, [*oracle, "--mode", "finetune"])):
            assert run_command(door.main, door.Settings, [*shared, *flags, "--out", str(path / name)]) == 0
    return path


def test_a_run_keeps_the_logits_of_the_reviews_it_chose_by_and_was_scored_on(trained, few_reviews):
    chosen = choose_labelled(few_reviews.train_labels, 40, 2)
    _, held_out = split_validation(chosen, few_reviews.train_labels, 2)
    texts = {"validation": [few_reviews.train_texts[i] for i in held_out], "test": few_reviews.test_texts}
    labels = {"validation": few_reviews.train_labels[held_out], "test": few_reviews.test_labels}
    for name in ("bag", "frozen", "tuned"):
        run = load_run(trained / name)
        kept, told = safetensors.torch.load(run.files[LOGITS]), results(trained / name)
        for part in texts:
            assert kept[f"{part}_labels"].tolist() == labels[part].tolist()
            right = (kept[part].argmax(dim=1) == kept[f"{part}_labels"]).float().mean().item()
            assert right == pytest.approx(told[f"{part}_accuracy"])
            if name != "bag":
                model = load_classifier(run, torch.device("cpu"))
                p = predict(model, model.encoder.tokenise(texts[part], max_tokens_of(run.config, model.encoder)))
                torch.testing.assert_close(kept[part].softmax(dim=1), p, atol=1e-5, rtol=0)


def test_an_average_is_that_of_plain_loops_over_what_its_runs_kept(trained, tmp_path, capsys):
    names = ["bag", "frozen", "tuned"]
    assert average(tmp_path / "all", *(trained / name for name in names)) == 0
    kept = [safetensors.torch.load((trained / name / LOGITS).read_bytes()) for name in names]
    z = {part: [of[part].tolist() for of in kept] for part in ("validation", "test")}
    labels = {part: kept[0][f"{part}_labels"].tolist() for part in z}
    tried = [[share / 10 for share in shares] for shares in grid_by_loops(3, 10)]
    weights = min(tried, key=lambda tried: loss_by_loops(z["validation"], tried, labels["validation"]))
    told = results(tmp_path / "all")
    assert weights_of(tmp_path / "all") == weights == [run["weight"] for run in told["runs"]]
    for part in z:
        p = mean_by_loops(z[part], weights)
        right = sum(row.index(max(row)) == y for row, y in zip(p, labels[part])) / len(p)
        assert told[f"{part}_accuracy"] == pytest.approx(right)
    assert told["validation_loss"] == pytest.approx(loss_by_loops(z["validation"], weights, labels["validation"]))
    assert told["validation_loss"] <= min(results(trained / name)["validation_loss"] for name in names) + 1e-6
    of_runs = [results(trained / name) for name in names]
    assert [run["test_accuracy"] for run in told["runs"]] == pytest.approx([of["test_accuracy"] for of in of_runs])
    assert told["seconds_encoding"] == pytest.approx(sum(of["seconds_encoding"] for of in of_runs))
    assert told["seconds"] == pytest.approx(told["seconds_encoding"] + told["seconds_training"])
    assert (told["mode"], told["labels"], told["seed"], told["data"]) == ("average", 40, 2, "sample")
    assert told.keys() >= of_runs[1].keys()
    out = capsys.readouterr().out
    assert "the best of 66 weightings" in out and "(scored once)" in out


def test_the_labels_of_the_test_half_decide_no_weight(tmp_path):
    runs, turned = [by_hand(tmp_path / f"run {draw}", draw) for draw in (1, 2)], []
    for draw, run in enumerate(runs, start=1):
        kept = safetensors.torch.load((run / LOGITS).read_bytes())
        kept["test_labels"] = 2 - kept["test_labels"]
        turned.append(by_hand(tmp_path / f"turned {draw}", draw, logits=safetensors.torch.save(kept)))
    assert average(tmp_path / "as it is", *runs) == 0 and average(tmp_path / "turned", *turned) == 0
    assert weights_of(tmp_path / "as it is") == weights_of(tmp_path / "turned")


def test_twice_it_gives_the_same_bits_and_is_not_overwritten(trained, tmp_path, capsys):
    runs = [trained / "tuned", trained / "bag"]
    assert average(tmp_path / "a", *runs) == 0 and average(tmp_path / "b", *runs) == 0
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    first, second = ({name: value for name, value in results(tmp_path / of).items() if "seconds" not in name}
                     for of in ("a", "b"))
    assert first == second
    assert average(tmp_path / "a", *runs) == 2 and "is not empty" in last_line(capsys)
    assert average(tmp_path / "a", *runs, flags=["--resume"]) == 0
    assert "already complete" in capsys.readouterr().out
    assert average(tmp_path / "a", *runs, flags=["--resume", "--steps", "4"]) == 4
    assert "steps: 10 there, 4 now" in last_line(capsys)


def test_its_line_stands_in_a_comparison(trained, tmp_path, capsys):
    assert average(tmp_path / "mean", trained / "tuned", trained / "bag") == 0
    flags = ["--draw", str(tmp_path / "mean" / "results.jsonl"), "--out", str(tmp_path / "drawn")]
    compare = finetune.compare.__main__
    capsys.readouterr()
    assert run_command(compare.main, compare.Settings, flags) == 0
    accuracy = f"{100 * results(tmp_path / 'mean')['test_accuracy']:.1f}"
    assert "--steps" not in (tmp_path / "mean" / "results.jsonl").read_text()
    assert average(tmp_path / "finer", trained / "tuned", trained / "bag", flags=["--steps", "12"]) == 0
    assert "bag --steps 12 --out" in (tmp_path / "finer" / "results.jsonl").read_text()
    assert f"| oracle finetune + bag, average | {accuracy} |" in capsys.readouterr().out


def test_trials_are_averaged_among_themselves(tmp_path, capsys):
    runs = [by_hand(tmp_path / str(draw), draw, trial=5) for draw in (1, 2)]
    assert average(tmp_path / "mean", *runs) == 0
    assert "development accuracy" in capsys.readouterr().out and results(tmp_path / "mean")["trial"] == 5


@pytest.mark.parametrize("changes, told", [
    ({"data": {"name": "sample", "train": "x", "test": "b"}}, "has other reviews than"),
    ({"labels": 20}, "has another number of labels than"),
    ({"seed": 2}, "has another --seed, so another validation slice than"),
    ({"trial": 5}, "has another --trial than"),
    ({"classes": ["bad", "good", "fair"]}, "has other classes than"),
    ({"classes": ["good", "good", "bad"]}, "two classes have one name"),
    ({"kind": "bilm"}, "of kind 'bilm', which classifies nothing"),
    ({"logits": b""}, "has no logits.safetensors"),
    ({"told": {"labels": 40}}, "does not tell what was learned from"),
    ({"told": ["labels"]}, "does not tell what was learned from"),
])  # fmt: skip
def test_runs_that_do_not_belong_together_are_refused_in_one_line(tmp_path, capsys, changes, told):
    runs = [by_hand(tmp_path / "first", 1), by_hand(tmp_path / "second", 2, **changes)]
    assert average(tmp_path / "out", *runs) == 4
    assert told in last_line(capsys) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags, told", [
    (["a"], "1 run is no average"),
    (["a", "b", "./a"], "./a is given twice"),
    (["a", "b", "c", "d", "--steps", "200"], "have 1,373,701 weightings"),
    (["a", "b", "--steps", "0"], "--steps: must be"),
    ([], "RUN"),
])  # fmt: skip
def test_what_cannot_be_averaged_is_said_before_any_run_is_read(tmp_path, capsys, flags, told):
    assert run_command(main, Settings, [*flags, "--out", str(tmp_path / "out")]) == 2
    assert told in last_line(capsys)


def test_a_run_that_has_not_finished_is_refused(tmp_path, capsys):
    runs = [by_hand(tmp_path / "first", 1), by_hand(tmp_path / "second", 2)]
    (runs[1] / "manifest.json").unlink()
    assert average(tmp_path / "out", *runs) == 4
    assert "has not finished" in last_line(capsys)


def forged(**changes):
    tensors = {"validation": torch.randn(7, 3), "validation_labels": torch.tensor(LABELS["validation"]),
               "test": torch.randn(5, 3), "test_labels": torch.tensor(LABELS["test"])}
    return safetensors.torch.save({name: value for name, value in (tensors | changes).items() if value is not None})


@pytest.mark.parametrize("logits", [
    b"no safetensors", forged(test=None), forged(test=torch.randn(4, 3)), forged(test=torch.randn(5, 2)),
    forged(validation=torch.full((7, 3), math.nan)), forged(test=torch.ones(5, 3, dtype=torch.int64)),
    forged(test_labels=torch.tensor([0, 1, 2, 3, 0])), forged(test_labels=torch.ones(5)),
    forged(test=torch.randn(0, 3), test_labels=torch.zeros(0, dtype=torch.int64)),
    forged(test_labels=torch.tensor(1)),
], ids=lambda forged: str(len(forged)))  # fmt: skip
def test_forged_logits_are_refused_in_one_line(tmp_path, capsys, logits):
    runs = [by_hand(tmp_path / "first", 1), by_hand(tmp_path / "second", 2, logits=logits)]
    assert average(tmp_path / "out", *runs) == 4
    assert "logits.safetensors is damaged" in last_line(capsys)


def test_other_labels_of_reviews_that_are_said_to_be_the_same_are_noticed(tmp_path, capsys):
    other = forged(validation_labels=torch.tensor([0, 0, 1, 1, 0, 2, 0]))
    runs = [by_hand(tmp_path / "first", 1), by_hand(tmp_path / "second", 2, logits=other)]
    assert average(tmp_path / "out", *runs) == 4
    assert "other reviews held out or scored" in last_line(capsys)


def test_static_vectors_are_no_member(tmp_path, capsys):
    make_static(tmp_path / "static", ["<pad>", "<unk>", "<eos>", "good"], torch.randn(4, 3))
    assert average(tmp_path / "out", by_hand(tmp_path / "first", 1), tmp_path / "static") == 4
    assert "'static'" in last_line(capsys)
