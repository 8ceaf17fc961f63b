"""Claims about the softmax over words: the full loss is −log softmax, and the sampled one approaches it."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from minitransfer.elmo.softmax import STEP, CandidateSoftmax, WordSoftmax, draw, proposal, sampled_loss

N, P, V = 13, 5, 23


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def softmax() -> WordSoftmax:
    torch.manual_seed(0)
    softmax = WordSoftmax(V, P).double()
    with torch.no_grad():
        softmax.bias.copy_(torch.randn(V, generator=generator(1)))  # a bias of zero could be forgotten unseen
    return softmax


def states_and_targets() -> tuple[Tensor, Tensor]:
    h = torch.randn(N, P, generator=generator(2), dtype=torch.float64)
    return h, torch.randint(0, V, (N,), generator=generator(3))


def logit(softmax: WordSoftmax, h: Tensor, w: int) -> float:
    return sum(a * b for a, b in zip(h.tolist(), softmax.weight[w].tolist())) + softmax.bias[w].item()


@pytest.mark.parametrize("chunk", [1, 5, 13, 1024])
def test_the_full_loss_is_the_sum_of_minus_log_softmax_in_any_chunks(softmax, chunk):
    h, targets = states_and_targets()
    expected = 0.0
    for state, target in zip(h, targets.tolist()):
        logits = [logit(softmax, state, w) for w in range(V)]
        expected -= math.log(math.exp(logits[target]) / sum(map(math.exp, logits)))
    assert softmax.full_loss(h, targets, chunk).item() == pytest.approx(expected)


@pytest.mark.parametrize(("rows", "words"), [(1, 1), (3, 4), (512, 2048)])
def test_the_log_partition_is_the_log_of_the_sum_of_all_exponentials_in_any_blocks(softmax, rows, words):
    h, _ = states_and_targets()
    expected = [math.log(sum(math.exp(logit(softmax, state, w)) for w in range(V))) for state in h]
    assert softmax.log_partition(h, rows, words).tolist() == pytest.approx(expected)
    assert softmax.log_partition(50 * h, rows, words).isfinite().all() and softmax.log_partition(h[:0]).shape == (0,)


def test_no_tokens_lose_nothing(softmax):
    h, targets = states_and_targets()
    assert softmax.full_loss(h[:0], targets[:0]).item() == 0.0


def test_a_softmax_that_knows_nothing_has_the_size_of_its_vocabulary_for_perplexity(softmax):
    h, targets = states_and_targets()
    with torch.no_grad():
        softmax.weight.zero_(), softmax.bias.zero_()
    assert math.exp(softmax.full_loss(h, targets).item() / N) == pytest.approx(V)


def sampled_by_loops(softmax: WordSoftmax, h: Tensor, targets: Tensor, negatives: list[int], q: list[float]) -> float:
    """Choose among the target and the distinct negatives that are not the target, each by its chance to be drawn."""
    total, K = 0.0, len(negatives)
    chance = [1 - (1 - q_w) ** K for q_w in q]
    for state, target in zip(h, targets.tolist()):
        candidates = {target, *negatives}
        score = {w: math.exp(logit(softmax, state, w)) / chance[w] for w in candidates}
        total -= math.log(score[target] / sum(score.values()))
    return total / len(targets)


def test_the_sampled_loss_is_a_choice_among_the_target_and_the_distinct_negatives(softmax):
    h, targets = states_and_targets()
    log_q = proposal(torch.arange(V)).double()
    negatives = [3, 7, 7, 22, int(targets[0]), int(targets[5]), 9]  # one drawn twice, and two accidental hits
    expected = sampled_by_loops(softmax, h, targets, negatives, log_q.exp().tolist())
    found = sampled_loss(h, *softmax.parameters(), targets, torch.tensor(negatives), log_q).item()
    assert found == pytest.approx(expected)


def test_a_negative_that_is_the_target_is_left_out(softmax):
    h, _ = states_and_targets()
    log_q = proposal(torch.arange(V)).double()
    target = torch.full((N,), 4)
    only_hits = sampled_loss(h, *softmax.parameters(), target, torch.tensor([4, 4, 4]), log_q)
    assert only_hits.item() == 0.0  # nothing is left to choose from
    (gradient,) = torch.autograd.grad(only_hits, softmax.weight)
    assert not gradient.any()


def test_numbers_of_negatives_are_rounded_up_so_that_products_have_few_shapes(softmax, monkeypatch):
    h, targets = states_and_targets()
    shapes, linear = set(), F.linear
    monkeypatch.setattr(F, "linear", lambda h, W, b: shapes.add(tuple(W.shape)) or linear(h, W, b))
    for K in (1, 4, 17):
        sampled_loss(h, *softmax.parameters(), targets, torch.arange(K), proposal(torch.arange(V)).double())
    assert shapes == {(STEP, P)}


def gradients(softmax: WordSoftmax, h: Tensor, loss: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, [h, softmax.weight, softmax.bias])])


def zipf_problem() -> tuple[WordSoftmax, Tensor, Tensor, Tensor]:
    """A thousand words, some far more frequent than others, in states that know a good part of what comes."""
    torch.manual_seed(0)
    vocab_size, frequency = 1000, 1 / torch.arange(1, 1001).double()
    targets = torch.multinomial(frequency, 400, replacement=True)
    softmax = WordSoftmax(vocab_size, 16).double()
    h = (softmax.weight[targets] * 3 + torch.randn(400, 16) * 0.5).detach().requires_grad_()
    with torch.no_grad():
        softmax.bias.copy_(frequency.log())
    return softmax, h, targets, proposal(frequency * 10_000).double()


def test_the_sampled_gradient_points_where_the_full_gradient_does():
    softmax, h, targets, log_q = zipf_problem()
    full = gradients(softmax, h, softmax.full_loss(h, targets) / len(targets))
    closeness = []
    for K in (30, 300, 3000):
        negatives = draw(log_q, K, generator(K))
        sampled = gradients(softmax, h, sampled_loss(h, *softmax.parameters(), targets, negatives, log_q))
        closeness.append(torch.cosine_similarity(full, sampled, dim=0).item())
    assert closeness[0] < closeness[1] < closeness[2] and closeness[1] > 0.9 and closeness[2] > 0.99


def test_with_every_word_drawn_the_sampled_loss_is_the_full_one_in_value_and_gradient():
    """Also for words that are expected many times over: the correction stops at a chance of one."""
    softmax, h, targets, log_q = zipf_problem()
    negatives = torch.cat([torch.arange(1000), draw(log_q, 99_000, generator())])
    full = softmax.full_loss(h, targets) / len(targets)
    sampled = sampled_loss(h, *softmax.parameters(), targets, negatives, log_q)
    assert sampled.item() == pytest.approx(full.item(), rel=1e-3)
    assert torch.allclose(gradients(softmax, h, sampled), gradients(softmax, h, full), atol=1e-4)


def test_the_gradient_of_a_word_met_often_is_the_same_bits_every_time_on_any_number_of_threads():
    """A run that is resumed ends as one that was never stopped only if equal steps are equal in the last bit."""
    torch.manual_seed(0)
    softmax, before = WordSoftmax(V, 16), torch.get_num_threads()
    h, targets = torch.randn(5000, 16), torch.randint(0, V, (5000,))
    log_q = proposal(torch.ones(V))
    torch.set_num_threads(2)
    try:
        losses = [sampled_loss(h, *softmax.parameters(), targets, targets[:9], log_q) for _ in range(8)]
        found = [torch.autograd.grad(loss, softmax.weight)[0] for loss in losses]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(gradient, found[0]) for gradient in found)


def test_the_proposal_is_a_distribution_over_counts_plus_one_to_a_power():
    counts = torch.tensor([0, 5, 5, 1000, 17])
    for power in (0.75, 1.0):
        raw = [(c + 1) ** power for c in counts.tolist()]
        log_q = proposal(counts, power)
        assert log_q.dtype == torch.float32 and log_q.exp().sum().item() == pytest.approx(1)
        assert log_q.tolist() == pytest.approx([math.log(x / sum(raw)) for x in raw], rel=1e-5)


def test_words_are_drawn_as_often_as_the_proposal_says():
    log_q, draws = proposal(torch.arange(22) ** 2), 100_000
    seen = torch.bincount(draw(log_q, draws, generator()), minlength=22).double()
    expected = draws * log_q.double().exp()
    assert seen.sum() == draws and draw(log_q, 7, generator()).dtype == torch.int64
    assert ((seen - expected) ** 2 / expected).sum() < 46.8  # exceeded once in a thousand with 21 degrees of freedom
    assert torch.equal(draw(log_q, 7, generator(1)), draw(log_q, 7, generator(1)))


def test_a_softmax_cut_down_to_its_candidates_has_the_loss_and_the_gradients_of_the_whole(softmax):
    """Two copies, as two directions have them: their gradients add up."""
    log_q, word_ids = proposal(torch.arange(V)).double(), torch.tensor([1, 3, 4, 6])
    h = torch.randn(7, P, generator=generator(4), dtype=torch.float64)
    targets, negatives = word_ids[[0, 3, 3, 1, 0, 2, 0]], word_ids[[1, 3, 3, 0]]
    whole = [sampled_loss(x, *softmax.parameters(), targets, negatives, log_q) for x in (h, 2 * h)]
    sum(whole).backward()
    expected = [p.grad for p in softmax.parameters()]
    softmax.zero_grad()

    candidates = CandidateSoftmax(softmax, [targets.view(1, 7), targets.view(7, 1)], negatives)
    word_ids, places = candidates.word_ids, candidates.places(targets)
    assert word_ids.tolist() == [0, 1, 3, 4, 6] and candidates.places(torch.tensor([0, 6])).tolist() == [0, 4]
    cut = [sampled_loss(x, *copy.parameters(), places, candidates.negatives, log_q[word_ids])
           for copy, x in zip(candidates.copies, (h, 2 * h))]
    sum(cut).backward()
    assert [loss.item() for loss in cut] == pytest.approx([loss.item() for loss in whole])
    assert all(p.grad is None for p in softmax.parameters())
    candidates.add_gradients()
    for p, whole_gradient in zip(candidates.parameters(), expected):
        assert torch.allclose(p.grad, whole_gradient[word_ids]) and p.grad.abs().sum() > 0
        assert not whole_gradient[[2, 5]].any()  # no candidates
