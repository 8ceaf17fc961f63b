"""Claims about runs in Python: what is encoded and predicted is what formulas say, and scikit-learn can use it."""

import inspect
import json
import pickle
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from classifier_runs import make_bag
from encoder_runs import make_bert, make_bilm, make_oracle, save_run
from predictions import answer

import minitransfer
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.errors import CheckpointError, MinitransferError, UsageError
from minitransfer.text.sample import reviews
from minitransfer.transfer import api
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.features import frozen_pass
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")
TEXTS = ["the film, a triumph", "dull", "a film of the bank and of the river, on and on", "", "film"]
ENCODERS = ["bilm", "bert", "oracle"]
HEADS = {"mean": ("bilm", "mean-max"), "bilstm": ("oracle", "mean"), "cls": ("bert", "cls")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Encoders that have learned nothing, classifiers of each head over them, and a bag."""
    path = tmp_path_factory.mktemp("runs")
    make_bilm(path / "bilm"), make_bert(path / "bert"), make_oracle(path / "oracle"), make_bag(path / "bag")
    for head, (encoder, pool) in HEADS.items():
        run, model = load_run(path / encoder), dict(head=head, pool=pool, head_size=5, dropout=0.1)
        torch.manual_seed(3)
        classifier = Classifier(load_encoder(run, CPU), **model)
        with torch.no_grad():
            for p in classifier.head.parameters():
                p.normal_(std=0.4)
            if head == "mean":
                classifier.standardise.mean.normal_(), classifier.standardise.std.uniform_(0.5, 2)
            if head != "cls":
                classifier.mix.w.normal_(), classifier.mix.gamma.fill_(1.5)
        config = {"kind": "transfer", "model": model, "max_tokens": 33, "encoder": run.config,
                  "classes": ["negative", "positive"]}
        save_run(path / head, config, classifier.state_dict(), run.files)
    return path


@pytest.mark.parametrize("name", ENCODERS)
def test_a_text_is_encoded_as_the_mean_over_its_tokens_and_layers(runs, name):
    """x = 1/(L+1) Σ_k 1/T Σ_t h_{t,k}, by plain loops, whatever stands beside the text in its batch."""
    encoder = minitransfer.load(runs / name)
    found = encoder.encode(TEXTS)
    assert found.dtype == np.float32 and found.shape == (5, {"bilm": 14, "bert": 18, "oracle": 7}[name])
    for text, x in zip(TEXTS, found):
        tokens, layers = encoder.layers(text)
        assert layers.shape == (len(layers), len(tokens), found.shape[1]) and layers.dtype == np.float32
        for i in range(found.shape[1]):
            total = sum(float(layers[k, t, i]) for k in range(len(layers)) for t in range(len(tokens)))
            assert x[i] == pytest.approx(total / max(1, len(layers) * len(tokens)), abs=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_layers_are_the_encoders_own_under_the_names_of_its_tokens(runs, name):
    tokens, layers = minitransfer.load(str(runs / name)).layers("The film, bank")
    encoder = load_encoder(load_run(runs / name), CPU)
    batch = encoder.tokenise(["The film, bank"], 99).batch(np.array([0]))
    with torch.no_grad():
        x = encoder.token_table(batch.tokens)[torch.from_numpy(batch.token_ids)]
        expected = encoder.encode(x, torch.from_numpy(batch.mask))[:, 0]
    assert np.allclose(layers, expected.numpy(), atol=1e-6) and len(layers) == {"bilm": 3, "bert": 3, "oracle": 1}[name]
    if name != "bert":
        assert tokens == ["the", "film", ",", "bank"]
    else:
        assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and "the" in tokens


@pytest.mark.parametrize("name", ENCODERS)
def test_encode_gives_what_a_new_frozen_classifier_mixes_and_with_layer_one_of_its_layers(runs, name):
    encoder = load_encoder(load_run(runs / name), CPU)
    features = frozen_pass(encoder, encoder.tokenise(TEXTS, 70), "mean", device=CPU, log_every=1e9)  # (N, L + 1, D)
    model = Classifier(encoder, head="mean", pool="mean", head_size=3, dropout=0.0)
    with torch.no_grad():
        mixed = model.mix(model.standardise(features).transpose(0, 1))
    assert np.allclose(minitransfer.load(runs / name).encode(TEXTS), mixed.numpy(), atol=1e-5)
    for k in range(encoder.num_layers):
        found = minitransfer.load(runs / name, layer=k).encode(TEXTS)
        assert np.allclose(found, features[:, k].numpy(), atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_head_and_softmax_make_the_probabilities_of_what_a_classifier_encodes(runs, head):
    classifier = minitransfer.load(runs / head)
    x, p = torch.from_numpy(classifier.encode(TEXTS)), classifier.predict_proba(TEXTS)
    own = load_run(runs / head).tensors
    if head == "mean":
        logits = torch.tanh(x @ own["head.W1.weight"].T) @ own["head.W2.weight"].T + own["head.W2.bias"]
    else:
        logits = x @ own["head.W.weight"].T + own["head.W.bias"]
    assert np.allclose(p, logits.softmax(dim=-1).numpy(), atol=1e-5) and p.shape == (5, 2)
    assert list(classifier.predict(TEXTS)) == [["negative", "positive"][row.argmax()] for row in p]
    assert list(classifier.classes_) == ["negative", "positive"] and len(set(p[:, 0])) > 2


@pytest.mark.parametrize("run", [*HEADS, "bag"])
def test_a_classifier_says_in_python_what_the_command_says(runs, run, capsys):
    texts = ["the film, a triumph", "very good", "bad"]
    classifier = minitransfer.load(runs / run)
    code, lines, _ = answer(capsys, runs / run, "--json", *texts)
    assert code == 0
    for line, label, p in zip(map(json.loads, lines), classifier.predict(texts), classifier.predict_proba(texts),
                              strict=True):
        assert line["label"] == label and line["probability"] == pytest.approx(p.max(), abs=2e-6)


def test_a_bag_adds_up_the_weights_of_its_words_and_pairs_each_once(runs):
    """make_bag weighs good 0, bad 1, "very good" 2, and b is 0: p = σ(Σ weights)."""
    p = minitransfer.load(runs / "bag").predict_proba(["bad bad, very good", "good", "", "very\ngood"])
    assert np.allclose(p[:, 1], 1 / (1 + np.exp([-3.0, 0, 0, -2])), atol=1e-6) and np.allclose(p.sum(1), 1)


@pytest.mark.parametrize("run", [*ENCODERS, *HEADS])
def test_a_single_string_gives_one_row_and_no_texts_give_none(runs, run):
    loaded = minitransfer.load(runs / run)
    assert np.allclose(loaded.encode(TEXTS[0]), loaded.encode(TEXTS[:1])[0], atol=1e-6)
    assert loaded.encode([]).shape == (0, len(loaded.encode("film")))
    assert np.allclose(loaded.encode(np.array(TEXTS)), loaded.encode(iter(TEXTS)), atol=1e-6)
    if run in HEADS:
        assert loaded.predict("film") in ("negative", "positive") and loaded.predict_proba("film").shape == (2,)
        assert loaded.predict([]).shape == (0,) and loaded.predict_proba([]).shape == (0, 2)


def test_texts_are_cleaned_and_shortened_as_those_of_a_corpus_are(runs):
    encoder = minitransfer.load(runs / "bilm", max_tokens=4)
    assert encoder.layers("bad<br /><br />fi\u200blm cafe\u0301")[0] == ["bad", "film", "caf\u00e9"]
    assert encoder.layers("one two three four five six")[0] == ["one", "two", "five", "six"]


@pytest.mark.parametrize("run, options, told", [
    ("bilm", {"layer": 3}, "layers 0 to 2"),
    ("bilm", {"layer": -1}, "layers 0 to 2"),
    ("bilm", {"layer": True}, "layers 0 to 2"),
    ("bilm", {"layer": 1.0}, "layers 0 to 2"),
    ("bilm", {"max_tokens": "a"}, "max_tokens is 'a'"),
    ("bert", {"max_tokens": 9.0}, "encodes 3 to 70"),
    ("bilm", {"max_tokens": 0}, "encodes 1 or more"),
    ("bert", {"max_tokens": 2}, "encodes 3 to 70"),
    ("bert", {"max_tokens": 71}, "encodes 3 to 70"),
    ("bilm", {"device": "gpu"}, "choose one of auto, cpu, cuda"),
    ("bilm", {"layers": 1}, "no option 'layers'"),
    ("mean", {"layer": 1}, "no option 'layer'"),
    ("bag", {"max_tokens": 9}, "there are run, device"),
])  # fmt: skip
def test_an_option_that_cannot_be_meant_is_refused_in_one_line(runs, run, options, told):
    with pytest.raises(UsageError) as refused:
        minitransfer.load(runs / run, **options)
    assert told in str(refused.value) and ". Fix: " in str(refused.value) and "\n" not in str(refused.value)


class Table(list):
    """As a table of pandas is, going through it gives the names of its columns."""

    columns = ("text",)


@pytest.mark.parametrize("texts, told", [
    (None, "of type NoneType"), (b"film", "of type bytes"), (["film", 7], "text 1 is of type int"),
    ([["film"]], "text 0 is of type list"), (3.5, "of type float"), ({"text": "film"}, "of type dict"),
    (["film", float("nan")], "text 1 is of type float"), ({"film"}, "of type set"),
    ({"a": 1}.keys(), "of type dict_keys"), (np.array("film"), "of type ndarray"), (Table(["text"]), "of type Table"),
])  # fmt: skip
@pytest.mark.parametrize("method", ["encode", "predict", "predict_proba", "transform"])
def test_what_is_no_text_is_named_by_its_place(runs, method, texts, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        getattr(minitransfer.load(runs / "mean"), method)(texts)


def test_a_directory_without_a_run_is_refused_at_once_and_a_run_of_another_kind_by_its_class(runs, tmp_path):
    with pytest.raises(CheckpointError, match="no such directory"):
        minitransfer.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="kind 'mean'|kind 'transfer'"):
        api.FrozenEncoder(runs / "mean").encode("film")
    damaged = {"weights": torch.zeros(2), "b": torch.zeros(())}
    save_run(tmp_path / "bag", {"kind": "bag"}, damaged, {"ngrams.txt": "one\ntwo\nthree\n"})
    with pytest.raises(CheckpointError, match="do not fit together"):
        minitransfer.load(tmp_path / "bag")


def test_options_can_be_seen_set_and_copied_and_what_is_sent_elsewhere_is_read_there(runs):
    encoder = minitransfer.load(runs / "bilm", layer=1)
    assert encoder.get_params() == {"run": runs / "bilm", "layer": 1, "max_tokens": None, "device": "auto"}
    copy = pickle.loads(data := pickle.dumps(encoder))
    assert len(data) < 1000 and np.array_equal(copy.encode(TEXTS), encoder.encode(TEXTS))
    assert not np.allclose(copy.set_params(layer=2).encode(TEXTS), encoder.encode(TEXTS))
    assert copy.set_params(run=runs / "oracle", layer=None).encode("film").shape == (7,)
    assert repr(copy).startswith("FrozenEncoder(run=") and encoder.fit(TEXTS, [0] * 5) is encoder
    with pytest.raises(UsageError, match="no option 'depth'"):
        copy.set_params(depth=2)


def test_a_frozen_encoder_is_a_step_of_a_pipeline(runs):
    pytest.importorskip("sklearn")
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (train, test, _) = reviews()
    texts, labels = zip(*train[:200])
    encoder = minitransfer.load(runs / "oracle")
    assert clone(encoder).get_params() == encoder.get_params() and clone(encoder) is not encoder
    pipeline = make_pipeline(encoder, StandardScaler(), LogisticRegression()).fit(texts, labels)
    texts, labels = zip(*test[:200])
    assert pipeline.score(texts, labels) > 0.75  # the oracle's first dimension is the polarity of each word
    by_hand = pipeline[1:].predict_proba(encoder.encode(texts))
    assert np.allclose(pipeline.predict_proba(texts), by_hand, atol=1e-5)
    search = GridSearchCV(make_pipeline(minitransfer.load(runs / "bilm"), LogisticRegression()),
                          {"frozenencoder__layer": [0, 2]}, cv=2).fit(texts[:40], labels[:40])
    assert search.best_params_["frozenencoder__layer"] in (0, 2)
    alone = make_pipeline(minitransfer.load(runs / "mean")).fit(texts, labels)  # a classifier that has learned already
    assert alone.predict(texts[:3]).shape == (3,)


def test_python_begins_without_torch_and_help_tells_of_both_functions():
    program = "import sys, minitransfer; print('torch' in sys.modules, 'argparse' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False False\n"
    told = pydoc.render_doc(minitransfer, renderer=pydoc.plaintext)
    for name in ("load(run, **options)", "run(command, **flags)", "encode(texts)", "layers(text)",
                 "predict(texts)", "predict_proba(texts)", "classes_"):
        assert name in told
    for kind in (api.FrozenEncoder, api.TextClassifier, api.BagOfNgrams):
        for name, _ in inspect.getmembers(kind, callable):
            assert name.startswith("_") or inspect.getdoc(getattr(kind, name))


def test_every_error_is_of_one_class_that_a_caller_can_catch():
    assert issubclass(UsageError, MinitransferError) and issubclass(CheckpointError, MinitransferError)
    with pytest.raises(MinitransferError) as caught:
        minitransfer.load(Path("nowhere"))
    assert caught.value.what and caught.value.fix
