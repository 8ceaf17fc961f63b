"""Claims about BERT in transfer: [CLS] is read as the lecture says, every mode runs, and no text sees its batch."""

import json

import numpy as np
import pytest
import torch
from corpus_files import few_of_sample
from encoder_runs import make_bert, make_bilm, save_run

from finetune.imdb import __main__ as imdb
from finetune.predict import answer as predict
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.text import corpora
from minitransfer.text.wordpiece import SPECIAL_PIECES, WordPiece
from minitransfer.transfer import stopping
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.features import frozen_pass, pool_tokens
from minitransfer.transfer.heads import ClsHead
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")
TEXTS = ["A marvellous film, and witty.", "", "Dull.", "the film " * 60, "[MASK] [CLS] is text"]
SHORT = ("--labels", "40", "--batch-size", "7", "--epochs", "3", "--max-tokens", "64")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    make_bert(path / "bert")
    make_bilm(path / "bilm")
    return path


@pytest.fixture
def encoder(encoders):
    return load_encoder(load_run(encoders / "bert"), CPU)


@pytest.fixture(scope="module", autouse=True)
def few_reviews(tmp_path_factory):
    """The built-in reviews, of the test half every tenth."""
    few = few_of_sample(tmp_path_factory.mktemp("data"), 10)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(corpora, "load_reviews", lambda *a, **k: few)
        yield


def run(encoder, out, *flags):
    argv = ["--data", "sample", "--encoder", str(encoder), "--out", str(out), *SHORT, *flags]
    return run_command(imdb.main, imdb.Settings, argv)


def weights(path):
    return load_run(path).tensors


def test_layers_of_looked_up_pieces_are_those_of_the_network_itself(encoder):
    texts = encoder.tokenise(TEXTS[:1], 64)
    token_ids = torch.from_numpy(texts.token_ids[0].astype(np.int64))[None]
    mask = torch.ones_like(token_ids, dtype=torch.bool)
    table = encoder.token_table(texts.tokens)
    assert torch.equal(encoder.encode(table[token_ids], mask), encoder.bert(token_ids))


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_a_text_has_the_same_features_alone_and_in_any_company(encoder, pool):
    together = frozen_pass(encoder, encoder.tokenise(TEXTS, 64), pool, device=CPU)
    for i, text in enumerate(TEXTS):
        alone = frozen_pass(encoder, encoder.tokenise([text], 64), pool, device=CPU)[0]
        assert torch.allclose(together[i], alone, atol=1e-5)


def test_positions_that_pretraining_never_used_are_not_read(encoders, tmp_path):
    whole = load_run(encoders / "bert")
    short = save_run(tmp_path / "bert", {**whole.config, "training": {"seq_length": 23}}, whole.tensors, whole.files)
    assert load_encoder(load_run(short), CPU).max_tokens == 23
    argv = ["--data", "sample", "--encoder", str(short), "--out", str(tmp_path / "run"), "--labels", "40",
            "--epochs", "1"]
    assert run_command(imdb.main, imdb.Settings, argv) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["max_tokens"] == 23


def test_the_cls_pool_is_the_state_of_the_first_token_in_each_layer():
    layers = torch.randn(3, 2, 5, 7)
    pooled = pool_tokens(layers, torch.ones(2, 5, dtype=torch.bool), "cls")
    assert pooled.shape == (2, 3, 7)
    for b in range(2):
        for k in range(3):
            assert pooled[b, k].tolist() == layers[k, b, 0].tolist()


def test_the_cls_head_is_one_matrix_on_the_last_layer(encoder):
    """logits = W h_[CLS] + b"""
    model = Classifier(encoder, head="cls", pool="cls", head_size=5, dropout=0.5).eval()
    assert isinstance(model.head, ClsHead) and model.mix is None
    torch.nn.init.normal_(model.head.W.weight)
    torch.nn.init.normal_(model.head.W.bias)
    features = torch.randn(4, 3, 18)
    W, b = model.head.W.weight.tolist(), model.head.W.bias.tolist()
    expected = [[sum(w * h for w, h in zip(W[i], text[-1].tolist())) + b[i] for i in range(2)] for text in features]
    assert torch.allclose(model(features), torch.tensor(expected), atol=1e-5)


def test_what_the_cls_head_reads_is_the_last_layer_of_the_first_token(encoder):
    mask = torch.arange(7) < torch.tensor([7, 4, 1]).unsqueeze(1)
    x = torch.randn(3, 7, encoder.hidden_size) * mask.unsqueeze(-1)
    h = encoder.encode(x, mask)[-1]
    assert torch.allclose(encoder.encode_one(x, mask), h[:, 0], atol=1e-6)
    assert not torch.allclose(h[:2, 0], h[:2, 1], atol=0.1)
    model = Classifier(encoder, head="cls", pool="cls", head_size=5, dropout=0.5).eval()
    torch.nn.init.normal_(model.head.W.weight)
    logits = model.classify_pooled(model.encode_and_pool(x, mask))
    assert torch.allclose(logits, h[:, 0] @ model.head.W.weight.T, atol=1e-5)


@pytest.mark.parametrize("mode", ["frozen", "top", "finetune", "gradual", "scratch"])
@pytest.mark.parametrize("head", ["cls", "mean", "bilstm"])
def test_every_mode_and_head_runs_and_moves_what_it_says(encoders, tmp_path, mode, head):
    assert run(encoders / "bert", tmp_path / "run", "--mode", mode, "--head", head, "--patience", "0") == 0
    before, after = weights(encoders / "bert"), weights(tmp_path / "run")
    part = {"embeddings": "embeddings.tokens.weight", "0": "blocks.0.qkv.weight", "1": "blocks.1.qkv.weight"}
    moved = {name: not torch.equal(after[f"encoder.bert.{tensor}"], before[f"bert.{tensor}"])
             for name, tensor in part.items()}
    learns = {"frozen": (), "top": ("1",), "gradual": ("0", "1"), "finetune": part, "scratch": part}[mode]
    assert moved == {name: name in learns for name in part}


def test_a_run_of_bert_answers_and_says_how_many_pieces_it_read(encoders, tmp_path, capsys):
    assert run(encoders / "bert", tmp_path / "run", "--head", "cls") == 0
    capsys.readouterr()
    argv = [str(tmp_path / "run"), "--json", "--", *TEXTS]
    assert run_command(predict.main, predict.Settings, argv) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["shortened"] for row in told] == [False, False, False, True, False]
    assert told[1]["tokens"] == 2 and told[3]["tokens"] == 64


def test_stopped_and_resumed_a_fine_tuned_bert_ends_with_the_same_bits(encoders, tmp_path):
    flags = ("--mode", "gradual", "--head", "cls", "--save-every", "1e-9")
    assert run(encoders / "bert", tmp_path / "whole", *flags) == 0
    with pytest.MonkeyPatch.context() as patched:
        end, ended = stopping.EarlyStopping.end_epoch, []

        def die_in_the_second(*arguments, **settings):
            ended.append(1)
            return 1 / 0 if len(ended) == 2 else end(*arguments, **settings)

        patched.setattr(stopping.EarlyStopping, "end_epoch", die_in_the_second)
        assert run(encoders / "bert", tmp_path / "cut", *flags) == 1
    assert run(encoders / "bert", tmp_path / "cut", *flags, "--resume") == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("encoder, flags, told", [
    ("bilm", ("--head", "cls"), "has none"),
    ("bert", ("--max-tokens", "71"), "texts of up to 70 tokens"),
    ("bert", ("--max-tokens", "2"), "no room for a piece"),
    ("bert", ("--head", "cls", "--pool", "mean"), "the cls head takes the first token alone"),
])  # fmt: skip
def test_what_an_encoder_cannot_give_is_said_at_once(encoders, tmp_path, capsys, encoder, flags, told):
    assert run(encoders / encoder, tmp_path / "run", *flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and told in line and "Fix: " in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name, content, told", [
    ("tokenizer.json", "{", "tokenizer.json is damaged"),
    (None, None, "has no tokenizer.json"),
])  # fmt: skip
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path, capsys, name, content, told):
    whole = load_run(make_bert(tmp_path / "whole"))
    save_run(tmp_path / "bert", whole.config, whole.tensors, {name: content} if name else {})
    assert run(tmp_path / "bert", tmp_path / "run") == 4
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_tokenizer_of_another_bert_is_named_with_both_sizes(tmp_path, capsys):
    whole = load_run(make_bert(tmp_path / "whole"))
    few = WordPiece([*SPECIAL_PIECES, "a", "##a"])
    save_run(tmp_path / "bert", whole.config, whole.tensors, {"tokenizer.json": few.to_json()})
    assert run(tmp_path / "bert", tmp_path / "run") == 4
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"vocab_size is {whole.config['model']['vocab_size']}" in line and "the vocabulary has 7" in line
