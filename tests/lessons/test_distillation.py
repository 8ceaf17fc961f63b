"""Claims of minitransfer/bert/distillation.py: the loss is the formula by plain loops, and only the student learns."""

import math
from dataclasses import replace

import pytest
import torch

from minitransfer.bert.distillation import DistillationConfig, Student
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.bert.softmax import ROWS, kl_divergence_sum

CONFIG = DistillationConfig(soft=1.7, masked=0.6, cosine=2.3, temperature=1.9)
SHAPE = BertConfig(vocab_size=13, hidden_size=6, num_layers=5, num_heads=3, intermediate_size=7, max_positions=11,
                   dropout=0.0)


def make_teacher(seed=1):
    torch.manual_seed(seed)
    teacher = MaskedLM(SHAPE)
    for p in teacher.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return teacher


@pytest.fixture
def texts():
    torch.manual_seed(2)
    token_ids, labels = torch.randint(0, 13, (3, 7)), torch.full((3, 7), IGNORE_INDEX)
    for b, t, w in ((0, 2, 5), (0, 6, 1), (2, 0, 12)):
        labels[b, t] = w
    return token_ids, labels


def by_loops(student, teacher, token_ids, labels):
    """The loss number by number, from states and logits of the two networks."""
    x, y = teacher.bert(token_ids)[-1].tolist(), student.bert(token_ids)[-1].tolist()
    z_teacher, z_student, τ = teacher(token_ids).tolist(), student(token_ids).tolist(), CONFIG.temperature

    def softmax(z, temperature):
        powers = [math.exp(a / temperature) for a in z]
        return [power / sum(powers) for power in powers]

    soft = hard = cosine = M = 0
    for b in range(3):
        for t in range(7):
            dot, xx, yy = (sum(u * v for u, v in zip(*pair)) for pair in
                           ((x[b][t], y[b][t]), (x[b][t], x[b][t]), (y[b][t], y[b][t])))
            cosine += (1 - dot / math.sqrt(xx * yy)) / 21
            if labels[b, t] != IGNORE_INDEX:
                p, q = softmax(z_teacher[b][t], τ), softmax(z_student[b][t], τ)
                soft += sum(p_w * math.log(p_w / q_w) for p_w, q_w in zip(p, q))
                hard -= math.log(softmax(z_student[b][t], 1.0)[int(labels[b, t])])
                M += 1
    return 1.7 * τ**2 * soft / M + 0.6 * hard / M + 2.3 * cosine


def test_the_loss_is_the_formula(texts):
    teacher = make_teacher()
    student = Student(make_teacher(), CONFIG, dropout=0.0)
    assert student.loss(*texts).item() == pytest.approx(by_loops(student, teacher, *texts), rel=1e-4)


def answers(N, V=11):
    torch.manual_seed(N)
    return torch.randn(N, V, requires_grad=True), 3 * torch.randn(N, V)


@pytest.mark.parametrize("N", [1, ROWS, 2 * ROWS + 5])
def test_the_divergence_is_its_sum_and_its_gradient_the_difference_of_two_softmaxes(N):
    z, s = answers(N)
    found = kl_divergence_sum(z, s, 1.7)
    expected, gradient = 0.0, torch.zeros(N, 11)
    for n in range(N):
        p, q = ([math.exp(a / 1.7) for a in row.tolist()] for row in (s[n], z[n]))
        p, q = [a / sum(p) for a in p], [a / sum(q) for a in q]
        expected += sum(p_v * math.log(p_v / q_v) for p_v, q_v in zip(p, q))
        gradient[n] = torch.tensor([(q_v - p_v) / 1.7 for p_v, q_v in zip(p, q)])
    assert found.item() == pytest.approx(expected, rel=1e-5)
    (0.3 * found).backward()
    torch.testing.assert_close(z.grad, 0.3 * gradient, rtol=1e-4, atol=1e-6)


SURE, UNSURE = [200.0, -200.0, 0.0], [0.0, 2.0, -1.0]  # e^−200 is below float32's least number


@pytest.mark.parametrize("z, s", [(UNSURE, SURE), (SURE[::-1], UNSURE), (SURE[::-1], SURE)])
def test_the_divergence_is_right_where_somebody_is_so_sure_that_other_pieces_have_no_probability(z, s):
    p, log_q = torch.tensor(s).double().softmax(0), torch.tensor(z).double().log_softmax(0)
    expected = (p * (torch.tensor(s).double().log_softmax(0) - log_q)).sum().item()
    assert kl_divergence_sum(torch.tensor([z]), torch.tensor([s]), 1.0).item() == pytest.approx(expected, rel=1e-5)


def test_the_divergence_in_bfloat16_is_that_of_the_same_numbers_in_float32():
    z, s = answers(3 * ROWS, 300)
    z, s = z.detach().bfloat16().requires_grad_(), s.bfloat16()
    found, expected = kl_divergence_sum(z, s, 2.0), kl_divergence_sum(z.float(), s.float(), 2.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=2e-3)  # a probability has 8 bits


def test_of_no_answers_the_divergence_is_zero():
    z, s = answers(0)
    assert kl_divergence_sum(z, s, 2.0).item() == 0.0


def test_with_nothing_masked_it_is_zero_and_finite(texts):
    loss = Student(make_teacher(), CONFIG, dropout=0.0).loss(texts[0], torch.full((3, 7), IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0


def test_a_student_begins_with_every_second_layer_and_all_that_is_no_layer():
    teacher, student = make_teacher(), Student(make_teacher(), CONFIG, dropout=0.1)
    assert student.config == replace(SHAPE, num_layers=2, dropout=0.1)
    its = teacher.state_dict()
    for name, tensor in student.state_dict().items():
        for mine, of_teacher in (("blocks.1.", "blocks.2."), ("blocks.0.", "blocks.0.")):
            name = name.replace(mine, of_teacher) if mine in name else name
        assert torch.equal(tensor, its[name]), name


def test_a_student_that_is_its_teacher_has_nothing_left_to_learn_but_the_masked_pieces(texts):
    student = Student(make_teacher(), replace(CONFIG, masked=0.0), dropout=0.0)
    student._teacher = (MaskedLM(student.config),)
    student._teacher[0].load_state_dict(student.state_dict())
    assert student.loss(*texts).item() == pytest.approx(0.0, abs=1e-5)


def test_the_teacher_does_not_learn_and_is_not_saved(texts):
    teacher = make_teacher()
    before = {name: t.clone() for name, t in teacher.state_dict().items()}
    student = Student(teacher, CONFIG, dropout=0.2)
    student.train().loss(*texts, generator=torch.Generator().manual_seed(0)).backward()
    torch.optim.SGD(student.parameters(), 0.1).step()
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())
    assert student.state_dict().keys() == MaskedLM(student.config).state_dict().keys()


def test_a_teacher_of_one_layer_has_no_half():
    with pytest.raises(ValueError, match="no half"):
        Student(MaskedLM(replace(SHAPE, num_layers=1)), CONFIG, 0.0)
