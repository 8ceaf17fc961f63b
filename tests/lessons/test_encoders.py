"""Claims about encoders: what they read from a run, that frozen means frozen, and what does not fit is refused
unbuilt."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from encoder_runs import BILM, WORDS, make_bilm, make_static, save_run

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.elmo.bilm import BiLM
from minitransfer.text.words import SPECIAL_WORDS, spell
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")


def loaded(path):
    return load_encoder(load_run(path), CPU)


def test_a_bilm_encoder_gives_the_layers_of_the_bilm_that_was_saved(tmp_path):
    encoder = loaded(make_bilm(tmp_path))
    torch.manual_seed(0)
    bilm = BiLM(BILM)  # with the weights that make_bilm drew
    words = ["film", "never-seen", "ça"]
    spelling = torch.zeros(3, 24, dtype=torch.int64)
    for row, word in zip(spelling, words):
        row[: len(spell(word))] = torch.tensor(spell(word))
    x = bilm.charcnn(spelling)
    assert torch.allclose(encoder.token_table(words), x, atol=1e-6)
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert torch.allclose(encoder.encode(x[None], mask), bilm(x[None], mask), atol=1e-6)
    assert (encoder.num_layers, encoder.hidden_size) == (3, 14)


def test_static_vectors_are_standardised_over_running_text_and_unknown_words_are_zero(tmp_path):
    vectors = torch.arange(15.0).view(5, 3).square()
    encoder = loaded(make_static(tmp_path, WORDS, vectors))
    centred = vectors - vectors.mean(0)  # every word counts equally often
    expected = centred / centred.square().mean(0).mean().sqrt()
    table = encoder.token_table(["film", "unheard-of", "the"])
    assert torch.allclose(table, torch.stack([expected[4], torch.zeros(3), expected[3]]), atol=1e-6)
    assert torch.equal(encoder.encode(table[None], torch.tensor([[True, True, False]]))[0, 0, 2], torch.zeros(3))


@pytest.mark.parametrize("make", [make_bilm, lambda path: make_static(path, WORDS, torch.randn(5, 3))])
def test_a_frozen_encoder_stays_in_evaluation_mode_and_without_gradients(tmp_path, make):
    encoder = loaded(make(tmp_path))
    around = torch.nn.Sequential(encoder).train()
    assert not any(module.training for module in encoder.modules()) and around.training
    assert not any(p.requires_grad for p in encoder.parameters())


def test_a_run_that_is_no_encoder_is_named_with_what_is_needed(tmp_path):
    path = save_run(tmp_path, {"kind": "transfer"}, {"a": torch.ones(1)}, {})
    told = "kind 'transfer', but an encoder is of kind 'bilm' or 'bert' or 'gpt' or 'static'"
    with pytest.raises(CheckpointError, match=told):
        loaded(path)


def test_a_vocabulary_that_does_not_belong_to_the_vectors_is_named_with_both_sizes(tmp_path):
    run = load_run(make_static(tmp_path, WORDS, torch.randn(5, 3)))
    run.files["vocab.txt"] = "\n".join([*WORDS, "more"]).encode()
    with pytest.raises(CheckpointError, match="6 words, but there are 5 vectors"):
        load_encoder(run, CPU)
    run.files["vocab.txt"] = b"the\nfilm\n"
    with pytest.raises(CheckpointError, match="vocab.txt is damaged"):
        load_encoder(run, CPU)


def test_a_vocabulary_that_does_not_belong_to_the_bilm_is_named_with_both_sizes(tmp_path):
    run = load_run(make_bilm(tmp_path))
    run.files["vocab.txt"] = "\n".join(SPECIAL_WORDS).encode()
    with pytest.raises(CheckpointError, match="vocab_size is 5, but the vocabulary has 3 words"):
        load_encoder(run, CPU)


@pytest.mark.parametrize("change", [
    {"hidden_size": 10**9}, {"hidden_size": 10**15}, {"hidden_size": 12}, {"hidden_size": -1}, {"hidden_size": "11"},
    {"num_layers": 10**9}, {"num_layers": 1}, {"projection_size": 10**9}, {"vocab_size": 10**12}, {"unheard_of": 1},
    {"charcnn": {**asdict(BILM)["charcnn"], "num_highways": 10**9}},
    {"charcnn": {**asdict(BILM)["charcnn"], "filters": [[10**9, 10**3]]}}, {"charcnn": None},
])  # fmt: skip
def test_a_config_that_the_weights_cannot_fill_is_refused_before_anything_of_its_size_is_built(tmp_path, change):
    run = load_run(make_bilm(tmp_path))
    run.config["model"] |= change
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_encoder(run, CPU)


@pytest.mark.parametrize("change", [{"hidden_size": 10**9}, {"hidden_size": 4}, {"hidden_size": None}, {}])
def test_static_vectors_of_another_width_than_their_config_says_are_refused(tmp_path, change):
    run = load_run(make_static(tmp_path, WORDS, torch.randn(5, 3)))
    run.config["model"] = change
    with pytest.raises(CheckpointError):
        load_encoder(run, CPU)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    run = load_run(make_bilm(tmp_path))
    run.tensors["charcnn.project.weight"][2, 1] = np.nan
    with pytest.raises(CheckpointError, match="not all finite"):
        load_encoder(run, CPU)
