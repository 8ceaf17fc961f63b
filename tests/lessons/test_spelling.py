"""Claims about the warm start: the projection is the best there is, and spelling comes to tell meaning."""

import signal

import pytest
import torch

from minitransfer.apparatus.errors import Stopped
from minitransfer.elmo.charcnn import CharCNN, CharCNNConfig
from minitransfer.elmo.spelling import cosine, solve_projection
from minitransfer.text.words import spell_all

D = 7


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
    charcnn = CharCNN(CharCNNConfig(output_size=D, char_size=6, filters=((1, 5), (2, 16)))).double()
    for convolution in charcnn.convolutions:
        torch.nn.init.normal_(convolution.bias)  # as they begin, so few filters would hardly answer
    filters = [p.clone() for convolution in charcnn.convolutions for p in convolution.parameters()]
    weight, ridge = torch.arange(1.0, len(words) + 1), 1e-2
    solve_projection(charcnn, spelling, target, weight, ridge)

    f, v = charcnn.carry(charcnn.respond(spelling)).double().detach(), target.double()
    n = weight.double() / weight.sum()
    centred = f - (n.unsqueeze(1) * f).sum(dim=0)
    variance = (n.unsqueeze(1) * centred.square()).sum(dim=0).mean()
    P, b = (p.detach().double().requires_grad_() for p in (charcnn.project.weight, charcnn.project.bias))
    objective = (n * (f @ P.T + b - v).square().sum(dim=1)).sum() + ridge * variance * P.square().sum()
    gradients = torch.autograd.grad(objective, (P, b))
    assert max(g.abs().max().item() for g in gradients) < 1e-10
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


def test_what_is_solved_for_some_words_holds_for_a_word_of_their_stems_and_endings():
    torch.manual_seed(0)
    words, spelling, target = a_language()
    seen = torch.tensor([word != "singer" for word in words])
    charcnn = CharCNN(CharCNNConfig(output_size=D, char_size=6, filters=((2, 200), (3, 400))))
    before = cosine(charcnn, spelling[~seen], target[~seen])
    solve_projection(charcnn, spelling[seen], target[seen], torch.ones(int(seen.sum())))
    assert cosine(charcnn, spelling[seen], target[seen]) > 0.99
    assert cosine(charcnn, spelling[~seen], target[~seen]) > max(0.6, before + 0.3)


def test_words_weigh_as_much_as_they_are_said_to_and_not_more():
    """Scaling all weights changes nothing, and a word of no weight might as well not be there."""
    words, spelling, target = a_language()
    solved = []
    for rows, weight in ((slice(None), 1.0), (slice(None), 7.0), (slice(4, None), 1.0)):
        torch.manual_seed(0)
        charcnn = CharCNN(CharCNNConfig(output_size=D, char_size=6, filters=((1, 5), (2, 16)))).double()
        n = torch.arange(len(words)).clamp(min=3) - 3.0  # of the first four words nothing
        solve_projection(charcnn, spelling[rows], target[rows], weight * n[rows], ridge=1e-2)
        solved.append(charcnn.project.weight)
    assert torch.allclose(solved[0], solved[1]) and torch.allclose(solved[0], solved[2])


def test_asked_to_stop_it_leaves_the_projection_as_it_was():
    words, spelling, target = a_language()
    charcnn, told = CharCNN(CharCNNConfig(output_size=D, char_size=6, filters=((1, 5),))), []
    before = charcnn.project.weight.clone()

    def stop(n):
        told.append(n)
        raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        solve_projection(charcnn, spelling, target, torch.ones(len(words)), advance=stop)
    assert told == [len(words)] and torch.equal(before, charcnn.project.weight)
