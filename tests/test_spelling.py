"""Claims about the warm start: loss and solved projection are their formulas, and spelling comes to tell meaning."""

import pytest
import torch

from minitransfer.elmo.charcnn import CharCNN, CharCNNConfig
from minitransfer.elmo.spelling import cosine, solve_projection, spelling_loss
from minitransfer.text.words import spell_all

U, D = 13, 7


def test_the_loss_is_the_weighted_mean_of_the_squared_distances():
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, U, D, generator=generator)
    weight = torch.arange(1.0, U + 1).sqrt()
    total = 0.0
    for u in range(U):
        total += (u + 1) ** 0.5 * sum((f - v) ** 2 for f, v in zip(predicted[u].tolist(), target[u].tolist()))
    expected = total / (D * sum((u + 1) ** 0.5 for u in range(U)))
    assert spelling_loss(predicted, target, weight).item() == pytest.approx(expected)
    assert spelling_loss(target, target, weight).item() == 0


def test_scaling_all_counts_changes_nothing_and_an_uncounted_word_is_not_learnt():
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.randn(2, U, D, generator=generator)
    weight = torch.arange(float(U))
    loss = spelling_loss(predicted, target, weight)
    assert spelling_loss(predicted, target, 3 * weight).item() == pytest.approx(loss.item())
    assert spelling_loss(predicted[1:], target[1:], weight[1:]).item() == pytest.approx(loss.item())


def test_the_cosine_is_averaged_over_words():
    torch.manual_seed(0)
    charcnn = CharCNN(CharCNNConfig(output_size=D, char_size=3, filters=((1, 4), (2, 5))))
    spelling = torch.from_numpy(spell_all(["a", "word", "<unk>"]))
    with torch.no_grad():
        vectors = charcnn(spelling)
    signs = torch.tensor([[2.0], [-0.5], [3.0]])
    assert cosine(charcnn, spelling, vectors * signs) == pytest.approx((1 - 1 + 1) / 3, abs=1e-6)


def a_language() -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """Words, spelling and vectors, where meaning is stem plus ending, so that a new pairing can be understood."""
    stems, endings = ["walk", "sing", "glow", "drum", "plum"], ["s", "ed", "ing", "er", ""]
    words = [stem + ending for stem in stems for ending in endings]
    meaning = torch.randn(len(stems), 1, D) + torch.randn(1, len(endings), D)
    return words, torch.from_numpy(spell_all(words)), meaning.view(-1, D)


def test_no_projection_fits_better_than_the_one_that_is_solved_for():
    """The objective is convex, so where its gradient is zero it is least; autograd says where that is."""
    torch.manual_seed(0)
    words, spelling, target = a_language()
    charcnn = CharCNN(CharCNNConfig(output_size=D, char_size=6, filters=((1, 5), (2, 16))))
    for convolution in charcnn.convolutions:
        torch.nn.init.normal_(convolution.bias)  # as they begin, so few filters would hardly answer
    filters = [p.clone() for convolution in charcnn.convolutions for p in convolution.parameters()]
    weight, ridge = torch.arange(1.0, len(words) + 1), 1e-2
    solve_projection(charcnn, spelling, target, weight, ridge)

    f, v, n = charcnn.respond(spelling).double().detach(), target.double(), weight.double() / weight.sum()
    centred = f - (n.unsqueeze(1) * f).sum(dim=0)
    variance = (n.unsqueeze(1) * centred.square()).sum(dim=0).mean()
    P, b = (p.detach().double().requires_grad_() for p in (charcnn.project.weight, charcnn.project.bias))
    objective = (n * (f @ P.T + b - v).square().sum(dim=1)).sum() + ridge * variance * P.square().sum()
    gradients = torch.autograd.grad(objective, (P, b))
    assert max(g.abs().max().item() for g in gradients) < 1e-5
    assert P.abs().max() > 0.1 and (f > 0).double().mean() > 0.2
    after = [p for convolution in charcnn.convolutions for p in convolution.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(filters, after)) and len(after) == 4


def test_a_solved_projection_gives_the_vectors_of_the_words_it_was_solved_for():
    torch.manual_seed(0)
    words, spelling, target = a_language()
    charcnn = CharCNN(CharCNNConfig(output_size=D, char_size=6, filters=((2, 200), (3, 400))))
    before = cosine(charcnn, spelling, target)
    solve_projection(charcnn, spelling, target, torch.ones(len(words)))
    assert abs(before) < 0.3 and cosine(charcnn, spelling, target) > 0.99


def test_a_character_cnn_learns_the_vectors_of_words_and_of_a_word_it_never_saw():
    torch.manual_seed(0)
    words, spelling, target = a_language()
    seen = torch.tensor([word != "singer" for word in words])
    charcnn = CharCNN(CharCNNConfig(output_size=D, char_size=6, filters=((1, 8), (2, 16), (3, 24))))
    before, before_unseen = (cosine(charcnn, spelling[which], target[which]) for which in (seen, ~seen))
    optimizer = torch.optim.Adam(charcnn.parameters(), lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        spelling_loss(charcnn(spelling[seen]), target[seen], torch.ones(int(seen.sum()))).backward()
        optimizer.step()
    assert abs(before) < 0.3 and cosine(charcnn, spelling[seen], target[seen]) > 0.9
    assert cosine(charcnn, spelling[~seen], target[~seen]) > max(0.6, before_unseen + 0.3)
