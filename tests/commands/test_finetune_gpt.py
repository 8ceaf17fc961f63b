"""Claims about a GPT in transfer: its head reads the last token, every mode runs, and no text sees its batch."""

import pytest
import torch
from encoder_runs import make_bert, make_gpt

from finetune.imdb import __main__ as imdb
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.encoders import GptEncoder
from minitransfer.transfer.features import frozen_pass, pool_tokens
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")
TEXTS = ["A marvellous film, and witty.", "", "Dull.", "the film " * 60, "[MASK] [CLS] is text"]
LENGTHS = torch.tensor([7, 4, 1])


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    make_gpt(path / "gpt"), make_bert(path / "bert")
    return path


@pytest.fixture
def encoder(encoders):
    return load_encoder(load_run(encoders / "gpt"), CPU)


def run(encoder, out, *flags):
    argv = ["--data", "sample", "--encoder", str(encoder), "--out", str(out), "--labels", "24", "--batch-size", "7",
            "--epochs", "1", "--max-tokens", "24", *flags]
    return run_command(imdb.main, imdb.Settings, argv)


def some_texts(encoder):
    mask = torch.arange(7) < LENGTHS.unsqueeze(1)
    return torch.randn(3, 7, encoder.hidden_size) * mask.unsqueeze(-1), mask


def test_the_last_pool_is_the_state_of_each_texts_own_last_token_in_each_layer(encoder):
    x, mask = some_texts(encoder)
    layers = encoder.encode(x, mask)
    pooled = pool_tokens(layers, mask, "last")
    for b, length in enumerate(LENGTHS.tolist()):
        for k in range(encoder.num_layers):
            assert pooled[b, k].tolist() == layers[k, b, length - 1].tolist()


def test_what_the_last_head_reads_is_the_last_layer_of_the_last_token(encoder):
    """logits = W h_T + b, T the text's own last token"""
    x, mask = some_texts(encoder)
    h = encoder.encode(x, mask)[-1]
    last = torch.stack([h[b, length - 1] for b, length in enumerate(LENGTHS.tolist())])
    assert isinstance(encoder, GptEncoder) and torch.allclose(encoder.encode_one(x, mask), last, atol=1e-6)
    model = Classifier(encoder, head="last", pool="last", head_size=5, dropout=0.5).eval()
    torch.nn.init.normal_(model.head.W.weight)
    assert model.mix is None
    logits = model.classify_pooled(model.encode_and_pool(x, mask))
    assert torch.allclose(logits, last @ model.head.W.weight.T, atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_a_text_has_the_same_features_alone_and_in_any_company(encoder, pool):
    together = frozen_pass(encoder, encoder.tokenise(TEXTS, 64), pool, device=CPU)
    for i, text in enumerate(TEXTS):
        alone = frozen_pass(encoder, encoder.tokenise([text], 64), pool, device=CPU)[0]
        assert torch.allclose(together[i], alone, atol=1e-5)


def test_two_texts_that_begin_alike_differ_only_from_where_they_part(encoder):
    first, second = (encoder.tokenise([text], 64) for text in ("the film was dull .", "the film was a marvel ."))
    layers = [encoder.encode(encoder.token_table(t.tokens)[torch.from_numpy(t.token_ids[0]).long()][None],
                             torch.ones(1, len(t.token_ids[0]), dtype=torch.bool))[:, 0] for t in (first, second)]
    shared = next(t for t, (a, b) in enumerate(zip(first.token_ids[0], second.token_ids[0])) if a != b)
    assert shared >= 4 and torch.allclose(layers[0][:, :shared], layers[1][:, :shared], atol=1e-5)
    assert not torch.allclose(layers[0][-1, shared], layers[1][-1, shared], atol=0.1)


@pytest.mark.parametrize(("mode", "head"), [
    ("frozen", "last"), ("frozen", "mean"), ("top", "last"), ("finetune", "last"), ("gradual", "last"),
    ("scratch", "last"), ("finetune", "mean"), pytest.param("frozen", "bilstm", marks=pytest.mark.slow)])
def test_every_mode_runs_and_moves_what_it_says(encoders, tmp_path, mode, head):
    assert run(encoders / "gpt", tmp_path / "run", "--mode", mode, "--head", head, "--patience", "0",
               *(("--epochs", "2") if mode == "gradual" else ())) == 0
    before, after = load_run(encoders / "gpt").tensors, load_run(tmp_path / "run").tensors
    moved = {part: not torch.equal(after[f"encoder.bert.{part}"], before[f"bert.{part}"])
             for part in ("embeddings.tokens.weight", "blocks.0.qkv.weight", "blocks.1.qkv.weight")}
    assert list(moved.values()) == {"frozen": [False] * 3, "top": [False, False, True],
                                    "gradual": [False, False, True]}.get(mode, [True] * 3)


@pytest.mark.parametrize(("kind", "head", "told"), [
    ("gpt", "cls", "--head cls takes a [CLS] token that sees the whole text"),
    ("bert", "last", "--head last takes a last token in which a text is gathered")])
def test_a_head_that_reads_one_token_is_for_the_network_that_gathers_a_text_there(
        encoders, tmp_path, capsys, kind, head, told):
    assert run(encoders / kind, tmp_path / "run", "--head", head) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "run").exists()
