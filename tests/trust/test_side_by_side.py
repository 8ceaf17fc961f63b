"""Claims about jobs run at the same time: results and gradients of jobs in turn, and a share of the cores each."""

import threading
import time

import pytest
import torch

from minitransfer.apparatus.runtime import SideBySide
from minitransfer.elmo.bilm import BiLM, BiLMConfig
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.elmo.softmax import CandidateSoftmax, WordSoftmax, sampled_loss


@pytest.fixture(params=[1, 2], ids=["one core", "two cores"])
def any_cores(request):
    """As many threads as the test asks for, and what there was before when it is done."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def four_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_jobs(any_cores):
    with SideBySide(2) as side_by_side:
        for turn in range(5):
            slow, quick = side_by_side(lambda: time.sleep(0.01) or ("slow", turn), lambda: ("quick", turn))
            assert (slow, quick) == (("slow", turn), ("quick", turn))


def test_an_exception_of_either_job_is_raised_and_the_next_call_works(any_cores):
    def fail():
        raise ValueError("no such word")

    with SideBySide(2) as side_by_side:
        for jobs in ((fail, int), (int, fail)):
            with pytest.raises(ValueError, match="no such word"):
                side_by_side(*jobs)
            assert side_by_side(int, str) == [0, ""]


def test_a_failure_waits_for_the_other_job_to_end(four_cores):
    failed, ended = threading.Event(), []

    def fail():
        failed.set()
        raise ValueError

    def go_on():
        failed.wait(10)
        time.sleep(0.05)
        ended.append(True)

    with SideBySide(2) as side_by_side, pytest.raises(ValueError):
        try:
            side_by_side(fail, go_on)
        finally:
            assert ended == [True]


def test_gradients_are_on_or_off_as_for_the_caller(any_cores):
    with SideBySide(2) as side_by_side:
        for enabled in (True, False, True):
            with torch.set_grad_enabled(enabled):
                assert side_by_side(torch.is_grad_enabled, torch.is_grad_enabled) == [enabled, enabled]
                assert torch.is_grad_enabled() == enabled


def threads_while_all_run(jobs: int) -> list[int]:
    """How many threads each job may use; each waits for all the others, so that no two share a worker."""
    meeting = threading.Barrier(jobs)
    with SideBySide(jobs) as side_by_side:
        return side_by_side(*[lambda: meeting.wait(10) >= 0 and torch.get_num_threads()] * jobs)


@pytest.mark.parametrize(("jobs", "share"), [(2, 2), (3, 1), (5, 1)])
def test_jobs_run_at_the_same_time_on_an_equal_share_and_the_caller_keeps_its_own(four_cores, jobs, share):
    assert threads_while_all_run(jobs) == [share] * jobs
    assert torch.get_num_threads() == 4


def test_on_one_core_or_on_a_gpu_the_jobs_run_in_turn_where_they_are():
    before, here = torch.get_num_threads(), threading.get_ident()
    try:
        for cores, device in ((1, None), (1, torch.device("cpu")), (4, torch.device("cuda"))):
            torch.set_num_threads(cores)
            with SideBySide(2, device) as side_by_side:
                assert side_by_side(threading.get_ident, threading.get_ident) == [here, here]
    finally:
        torch.set_num_threads(before)


def test_leaving_ends_the_threads(four_cores):
    before = threading.active_count()
    with SideBySide(2) as side_by_side:
        side_by_side(int, int)
        assert threading.active_count() > before
    assert threading.active_count() == before


@pytest.fixture
def two_workers():
    """Two jobs at the same time, on one thread each as the backward pass is: thread counts may change rounding."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with SideBySide(2) as side_by_side:
        torch.set_num_threads(1)
        yield side_by_side
    torch.set_num_threads(before)


def in_turn(*jobs):
    return [job() for job in jobs]


def gradients_of_shared_words(run_both) -> list[torch.Tensor]:
    """Two jobs that use one result, as both directions use the character CNN's, and then one backward pass."""
    parameter = torch.randn(13, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    shared = parameter * 2
    a, b = run_both(lambda: (shared.tanh() * 3).sum(), lambda: shared.T.cumsum(dim=0).sigmoid().sum())
    (a + b).backward()
    return [parameter.grad]


def gradients_of_jobs_that_go_back_themselves(run_both) -> list[torch.Tensor]:
    """Each job makes its own backward pass, from a copy of the softmax."""
    softmax = WordSoftmax(23, 5)
    with torch.no_grad():
        softmax.weight.copy_(torch.randn(23, 5, generator=torch.Generator().manual_seed(0)))
    h, log_q = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1)), torch.full((23,), -3.0)
    targets = torch.arange(9)
    candidates = CandidateSoftmax(softmax, [targets, targets], torch.tensor([3, 3, 17, 8]))
    run_both(lambda: candidates.copies[0].full_loss(h[0], targets).backward(),
             lambda: sampled_loss(h[1], *candidates.copies[1].parameters(), targets, candidates.negatives,
                                  log_q[candidates.word_ids]).backward())
    candidates.add_gradients()
    return [p.grad for p in candidates.parameters()]


def gradients_of_a_bilm(run_both) -> list[torch.Tensor]:
    """Every layer is in the loss, as when ELMo is fine-tuned: three gradients meet at each layer but the last."""
    torch.manual_seed(0)
    chars = CharCNNConfig(output_size=10, char_size=3, filters=((1, 2), (3, 4)))
    bilm = BiLM(BiLMConfig(vocab_size=23, hidden_size=6, projection_size=5, charcnn=chars))
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]])
    char_ids = torch.randint(1, 200, (21, 5), generator=torch.Generator().manual_seed(1))
    bilm(bilm.charcnn(char_ids).view(3, 7, 10), mask, run_both).square().sum().backward()
    return [p.grad for p in bilm.parameters() if p.grad is not None]


def count_far() -> None:
    x = torch.ones((), requires_grad=True)
    for _ in range(20_000):
        x.neg()


@pytest.mark.parametrize(
    "gradients", [gradients_of_shared_words, gradients_of_jobs_that_go_back_themselves, gradients_of_a_bilm])
def test_gradients_are_bit_for_bit_those_of_jobs_run_in_turn(two_workers, gradients):
    expected = gradients(in_turn)
    for turn in range(20):  # sums that depended on which thread came first would differ now and then
        if turn == 10:  # autograd goes by how much each thread has done in its life, so let the workers do a lot
            two_workers(count_far, count_far)
        found = gradients(two_workers)
        assert len(found) == len(expected) and all(torch.equal(f, e) for f, e in zip(found, expected))
