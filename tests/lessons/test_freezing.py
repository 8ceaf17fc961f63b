"""Claims about freezing: each mode lets learn what it says, at the rate it says, and nothing else moves by a bit."""

import numpy as np
import pytest
import torch
from encoder_runs import BILM, make_bilm, make_oracle

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.text.words import spell
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.encoders import BiLMEncoder
from minitransfer.transfer.examples import TokenExamples, classify
from minitransfer.transfer.freezing import (
    encoder_parameter_groups,
    group_rates,
    learning_depth,
    unfreeze_top,
)
from minitransfer.transfer.heads import cross_entropy
from minitransfer.transfer.loading import load_encoder

CPU = torch.device("cpu")


@pytest.fixture
def encoder(tmp_path) -> BiLMEncoder:
    return load_encoder(load_run(make_bilm(tmp_path / "bilm")), CPU, frozen=False)


@pytest.mark.parametrize("mode, depths", [
    ("frozen", [0, 0, 0, 0, 0]),
    ("top", [2, 2, 2, 2, 2]),
    ("gradual", [0, 1, 2, 3, 3]),
    ("finetune", [3, 3, 3, 3, 3]),
    ("scratch", [3, 3, 3, 3, 3]),
])  # fmt: skip
def test_each_mode_says_how_many_of_three_groups_learn_in_each_epoch(mode, depths):
    assert [learning_depth(mode, 3, 2, epoch) for epoch in range(5)] == depths


def test_more_groups_than_there_are_cannot_learn():
    assert learning_depth("top", 3, 7, 0) == 3


def test_rates_fall_by_the_same_factor_from_layer_to_layer_down():
    """η_l = η δ^(G − l)"""
    assert group_rates(4, 0.5, 0.4) == pytest.approx([0.5 * 0.4**3, 0.5 * 0.4**2, 0.5 * 0.4, 0.5])
    assert group_rates(3, 0.1, 1.0) == [0.1] * 3


def test_groups_hold_each_parameter_once_the_character_cnn_first(encoder):
    groups = encoder.groups()
    listed = [p for group in groups for p in group]
    assert len(groups) == BILM.num_layers + 1 == encoder.num_layers
    charcnn = encoder.bilm.charcnn
    filters = [charcnn.chars.weight, *charcnn.convolutions.parameters()]  # never learn from a task
    assert len(listed) == len(set(listed)) == len(list(encoder.parameters())) - len(filters)
    assert not any(p.requires_grad for p in filters)
    assert {id(p) for p in groups[0]} == {id(p) for p in charcnn.parameters()} - {id(p) for p in filters}
    for k in (0, 1):  # both directions of a layer together
        expected = [p for stack in encoder.bilm.stacks() for module in (stack.lstms[k], stack.projections[k])
                    for p in module.parameters()]
        assert {id(p) for p in groups[1 + k]} == {id(p) for p in expected}


def test_static_vectors_are_one_group(tmp_path):
    encoder = load_encoder(load_run(make_oracle(tmp_path / "oracle")), CPU, frozen=False)
    assert [len(group) for group in encoder.groups()] == [1] and encoder.tokens_learn


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_what_is_above_the_line_learns_and_what_is_below_does_not(encoder, depth):
    unfreeze_top(encoder, 3)  # the line may move either way
    unfreeze_top(encoder, depth)
    assert [{p.requires_grad for p in group} for group in encoder.groups()] == [{k >= 3 - depth} for k in range(3)]
    assert encoder.tokens_learn == (depth == 3)


def test_the_optimiser_gets_each_group_at_its_own_rate_and_biases_do_not_decay(encoder):
    unfreeze_top(encoder, 2)
    listed = encoder_parameter_groups(encoder, learning_rate=0.1, layer_decay=0.5, weight_decay=0.3)
    rate = {id(p): group["initial_lr"] for group in listed for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in listed for p in group["params"]}
    bottom, middle, top = encoder.groups()
    assert not any(id(p) in rate for p in bottom)  # frozen
    assert {rate[id(p)] for p in middle} == {0.05} and {rate[id(p)] for p in top} == {0.1}
    assert all(decay[id(p)] == (0.3 if p.ndim > 1 else 0) for p in middle + top)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_words_get_gradients_only_when_they_learn(encoder, depth):
    unfreeze_top(encoder, depth)
    known = encoder.look_up(["film", "the", "never-seen"])
    assert encoder.token_vectors(known).requires_grad == (depth == 3) and not known.requires_grad
    assert not encoder.token_table(["film"]).requires_grad


def test_looked_up_words_have_the_vectors_that_the_character_cnn_gives_them(encoder):
    words = ["film", "the", "never-seen", "ça"]
    spelled = torch.stack([encoder.bilm.charcnn(torch.tensor([spell(word)]))[0] for word in words])
    assert torch.allclose(encoder.token_table(words), spelled, atol=1e-6)
    found = encoder.token_vectors(encoder.look_up(words))  # by way of half precision
    assert ((found - spelled).norm(dim=1) < 1e-3 * spelled.norm(dim=1)).all()


def test_a_classification_after_a_step_sees_the_words_as_they_now_are(encoder):
    """The vectors of words are kept from one batch to the next, but not across a change."""
    unfreeze_top(encoder, 3)
    model = Classifier(encoder, head="mean", pool="mean", head_size=4, dropout=0.0).eval()
    texts = encoder.tokenise(["the film", "never seen the film the film"], 9)
    examples = TokenExamples(texts)
    before = classify(model, examples, np.arange(2))
    optimizer = torch.optim.AdamW(encoder.groups()[0], lr=0.1, fused=True)
    model(examples.batch(np.arange(2))).square().sum().backward()
    optimizer.step()
    after = classify(model, examples, np.arange(2))
    assert not torch.allclose(before, after)
    again = Classifier(encoder, head="mean", pool="mean", head_size=4, dropout=0.0).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(after, classify(again, examples, np.arange(2)))


@pytest.mark.parametrize("frozen", [False, True])
def test_an_encoder_that_learns_is_read_with_dropout_and_a_frozen_one_never(tmp_path, frozen):
    run = load_run(make_bilm(tmp_path / "bilm"))
    run.config["model"]["dropout"] = 0.5
    encoder = load_encoder(run, CPU, frozen)
    model = Classifier(encoder, head="mean", pool="mean", head_size=4, dropout=0.0)  # the head drops nothing
    x, mask = torch.randn(2, 5, encoder.hidden_size), torch.ones(2, 5, dtype=torch.bool)

    def logits(training, seed):
        torch.manual_seed(seed)
        model.train(training)
        return model.classify_pooled(model.encode_and_pool(x, mask))

    assert torch.equal(logits(True, 1), logits(True, 1))
    assert torch.equal(logits(True, 1), logits(True, 2)) == frozen
    assert torch.equal(logits(True, 1), logits(False, 1)) == frozen
    assert torch.equal(logits(False, 1), logits(False, 2))


def test_tokens_that_stand_in_many_places_learn_the_same_bits_each_time_though_threads_share_the_work(encoder):
    encoder.set_dropout(0.0)
    model = Classifier(encoder, head="mean", pool="mean", head_size=5, dropout=0.0).train()
    texts = encoder.tokenise(["the film was the worst of the worst " * 30] * 40, 240)
    batch, labels = texts.batch(np.arange(40)), torch.arange(40) % 2
    before, gradients = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(4):
            model.zero_grad()
            cross_entropy(model(batch), labels).backward()
            gradients.append(encoder.bilm.charcnn.project.weight.grad.clone())
    finally:
        torch.set_num_threads(before)
    assert gradients[0].any() and all(torch.equal(gradients[0], other) for other in gradients[1:])
