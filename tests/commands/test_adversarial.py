"""Claims about --adversarial: each text is shifted by so much, in the direction that raises its loss most, and of 0
nothing changes."""

import numpy as np
import pytest
import torch
from corpus_files import few_of_sample
from encoder_runs import make_bert, make_bilm, make_gpt

from finetune.imdb import __main__ as imdb
from finetune.imdb import train as imdb_train
from finetune.imdb.adversarial import adversarial_loss, shift
from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.text import corpora
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.heads import cross_entropy
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")
TEXTS = ["the film was a marvel , the film", "dull", "the the film , and witty ."]
LABELS = torch.tensor([1, 0, 1])
KINDS = ["bilm", "bert", "gpt"]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    make_bilm(path / "bilm"), make_bert(path / "bert"), make_gpt(path / "gpt")
    return path


def classifier(path):
    """A classifier whose encoder can learn, with an output that is not 0, and a batch of the texts above."""
    torch.manual_seed(0)
    encoder = load_encoder(load_run(path), CPU, frozen=False)
    model = Classifier(encoder, head="mean", pool="mean", head_size=5, dropout=0.0).eval()
    torch.nn.init.normal_(model.head.W2.weight)
    return model, encoder.tokenise(TEXTS, 20).batch(np.arange(3))


@torch.no_grad()
def loss_at(model, x, mask):
    return cross_entropy(model.classify_pooled(model.encode_and_pool(x, mask)), LABELS).item()


def test_a_shift_has_the_share_of_each_texts_length_and_the_direction_of_its_gradient():
    x, g = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 4, 5)
    g[0, 1, 2], g[2] = -7e-9, 3.0
    r = shift(x, g, 0.25)
    for text in (0, 2):
        size = sum(v**2 for row in x[text].tolist() for v in row) ** 0.5
        assert r[text].norm().item() == pytest.approx(0.25 * size, rel=1e-5)
    assert r[0, 1, 2] < 0 and (r[0] != 0).sum() == 1 and not r[1].any()
    assert torch.allclose(r[2], r[2, 0, 0].expand(4, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_no_random_shift_of_that_length_raises_the_loss_as_much(encoders, kind):
    model, batch = classifier(encoders / kind)
    x, mask = model.token_vectors(batch).detach(), torch.from_numpy(batch.mask)
    there, here = adversarial_loss(model, batch, LABELS, 1e-2).item(), loss_at(model, x, mask)
    real, random = x * mask.unsqueeze(-1), torch.Generator().manual_seed(1)
    ways = [torch.randn(x.shape, generator=random) * mask.unsqueeze(-1) for _ in range(20)]
    elsewhere = [loss_at(model, x + shift(real, way, 1e-2), mask) for way in ways]
    assert there > max(elsewhere) and there > here


@pytest.mark.parametrize("kind", KINDS)
def test_to_first_order_it_raises_the_loss_by_its_length_times_that_of_the_gradient(encoders, kind):
    """The gradient by differences, one number of the token vectors after the other."""
    model, batch = classifier(encoders / kind)
    x, mask = model.token_vectors(batch).detach().double(), torch.from_numpy(batch.mask)
    model.double()
    model.token_vectors = lambda batch: x
    slopes = torch.zeros_like(x)
    for place in (x * mask.unsqueeze(-1)).nonzero().tolist():
        step = torch.zeros_like(x)
        step[tuple(place)] = 1e-5
        slopes[tuple(place)] = (loss_at(model, x + step, mask) - loss_at(model, x - step, mask)) / 2e-5
    epsilon, here = 1e-5, loss_at(model, x, mask)
    expected = sum(epsilon * (x[i] * mask[i].unsqueeze(-1)).norm() * slopes[i].norm() for i in range(3)).item()
    assert adversarial_loss(model, batch, LABELS, epsilon).item() - here == pytest.approx(expected, rel=1e-2)


def test_its_gradient_reaches_all_that_learns(encoders):
    model, batch = classifier(encoders / "bilm")
    adversarial_loss(model, batch, LABELS, 0.1).backward()
    for name, p in model.named_parameters():
        assert not p.requires_grad or p.grad is not None and p.grad.abs().sum() > 0, name


@pytest.fixture
def few_reviews(tmp_path, monkeypatch):
    """The built-in reviews, of the test half every twentieth."""
    few = few_of_sample(tmp_path, 20)
    monkeypatch.setattr(corpora, "load_reviews", lambda *a, **k: few)


def run(encoder, out, *flags):
    argv = ["--data", "sample", "--encoder", str(encoder), "--out", str(out), "--labels", "40", "--batch-size", "7",
            "--epochs", "2", "--max-tokens", "24", "--mode", "finetune", "--patience", "0", *flags]
    return run_command(imdb.main, imdb.Settings, argv)


def test_of_epsilon_0_a_run_is_what_it_was_and_of_another_it_is_not(encoders, few_reviews, tmp_path, monkeypatch):
    assert run(encoders / "bilm", tmp_path / "none") == 0
    with monkeypatch.context() as patched:
        patched.setattr(imdb_train, "adversarial_loss", lambda *a: 1 / 0)
        assert run(encoders / "bilm", tmp_path / "zero", "--adversarial", "0") == 0
    assert run(encoders / "bilm", tmp_path / "shifted", "--adversarial", "0.05") == 0
    none, zero, shifted = (load_run(tmp_path / name) for name in ("none", "zero", "shifted"))
    assert none.tensors.keys() == shifted.tensors.keys() and shifted.config["adversarial"] == 0.05
    assert all(torch.equal(none.tensors[name], zero.tensors[name]) for name in none.tensors)
    assert not all(torch.equal(none.tensors[name], shifted.tensors[name]) for name in none.tensors)


@pytest.mark.parametrize(("flags", "told"), [
    (["--mode", "frozen", "--adversarial", "0.1"], "--adversarial: a frozen encoder does not learn"),
    (["--adversarial", "-1"], "--adversarial"), (["--adversarial", "nan"], "--adversarial")])
def test_what_cannot_be_is_refused(encoders, tmp_path, capsys, flags, told):
    try:
        code = run(encoders / "bilm", tmp_path / "run", *flags)
    except SystemExit as left:
        code = left.code
    assert code == 2 and told in capsys.readouterr().err and not (tmp_path / "run").exists()
