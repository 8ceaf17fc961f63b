"""Claims about heads: each is the lecture's formula, recomputed here word by word, and padding never matters."""

import math

import pytest
import torch

from minitransfer.transfer.heads import BiLSTMHead, MeanPoolHead, cross_entropy


def product(matrix, vector):
    return [sum(w * x for w, x in zip(row, vector)) for row in matrix]


def lstm(cell, xs):
    """The states of a one-layer LSTM over a list of vectors, gates in torch's order i, f, g, o."""
    H = cell.hidden_size
    W, U, b = cell.weight_ih_l0.tolist(), cell.weight_hh_l0.tolist(), (cell.bias_ih_l0 + cell.bias_hh_l0).tolist()
    h, c, states = [0.0] * H, [0.0] * H, []
    for x in xs:
        gates = [u + v + w for u, v, w in zip(product(W, x), product(U, h), b)]
        i, f, o = ([1 / (1 + math.exp(-z)) for z in gates[k * H : (k + 1) * H]] for k in (0, 1, 3))
        g = [math.tanh(z) for z in gates[2 * H : 3 * H]]
        c = [f[j] * c[j] + i[j] * g[j] for j in range(H)]
        h = [o[j] * math.tanh(c[j]) for j in range(H)]
        states.append(h)
    return states


def test_the_mean_head_is_the_lectures_formula():
    """logits = W2 tanh(W1 ELMo(x)) + b"""
    torch.manual_seed(0)
    head, x = MeanPoolHead(7, 3, num_classes=5), torch.randn(4, 7)
    assert head.W1.bias is None  # the lecture has a single b
    expected = []
    for row in x.tolist():
        hidden = [math.tanh(z) for z in product(head.W1.weight.tolist(), row)]
        expected.append([z + b for z, b in zip(product(head.W2.weight.tolist(), hidden), head.W2.bias.tolist())])
    assert torch.allclose(head(x), torch.tensor(expected), atol=1e-6)


def test_the_mean_head_begins_as_a_straight_line():
    """Both matrices begin at a tenth of 1 / √(inputs), within which torch draws them, and so tanh is not yet bent."""
    torch.manual_seed(0)
    head, x = MeanPoolHead(256, 64), torch.randn(50, 256)
    for matrix in (head.W1.weight, head.W2.weight):
        largest = 0.1 / math.sqrt(matrix.shape[1])
        assert 0.9 * largest < matrix.abs().max() <= largest
    once, thrice = (head(k * x).detach() - head.W2.bias.detach() for k in (1, 3))
    assert torch.allclose(thrice, 3 * once, rtol=0.03, atol=0.03 * float(thrice.abs().max()))


def test_the_bilstm_head_reads_each_text_in_both_directions_from_its_own_ends():
    torch.manual_seed(1)
    head = BiLSTMHead(3, 2, num_classes=5)
    lengths = [4, 1, 3]
    x = torch.randn(3, 6, 3)
    mask = torch.arange(6) < torch.tensor(lengths).unsqueeze(1)
    for row, length, logits in zip(x.tolist(), lengths, head(x, mask)):
        words = row[:length]
        ahead, back = lstm(head.ahead, words), lstm(head.back, words[::-1])[::-1]
        mean = [sum(state[j] for state in ahead) / length for j in range(2)]
        mean += [sum(state[j] for state in back) / length for j in range(2)]
        expected = [z + b for z, b in zip(product(head.W.weight.tolist(), mean), head.W.bias.tolist())]
        assert torch.allclose(logits, torch.tensor(expected), atol=1e-5)


def test_what_stands_in_the_padding_and_how_long_it_is_does_not_matter_to_the_bilstm_head():
    torch.manual_seed(2)
    head, text = BiLSTMHead(5, 3), torch.randn(4, 5)
    alone = head(text.unsqueeze(0), torch.ones(1, 4, dtype=torch.bool))
    padded = torch.full((2, 9, 5), 1e3)
    padded[1, :4] = text
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[1, :4] = mask[0, :8] = True
    assert torch.allclose(head(padded, mask)[1], alone[0], atol=1e-6)


def test_a_text_without_tokens_gets_the_bias_and_no_nan():
    head = BiLSTMHead(5, 3)
    logits = head(torch.randn(2, 1, 5), torch.tensor([[False], [True]]))
    assert torch.equal(logits[0], head.W.bias) and logits.isfinite().all()


@pytest.mark.parametrize("head", [MeanPoolHead(7, 3, dropout=0.5), BiLSTMHead(7, 3, dropout=0.5)])
def test_dropout_is_on_in_training_only(head):
    x = torch.ones(2, 11, 7)
    inputs = (x, torch.ones(2, 11, dtype=torch.bool)) if isinstance(head, BiLSTMHead) else (x[:, 0],)
    assert not torch.equal(head.train()(*inputs), head(*inputs))
    assert torch.equal(head.eval()(*inputs), head(*inputs))


def test_the_loss_is_the_surprise_at_the_right_class_in_nats():
    """L = −Σ_i y_i log softmax(logits)_i, mean over texts"""
    logits, labels = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]]), torch.tensor([2, 1])
    expected = 0.0
    for row, label in zip(logits.tolist(), labels.tolist()):
        softmax = [math.exp(z) / sum(map(math.exp, row)) for z in row]
        expected -= sum((i == label) * math.log(p) for i, p in enumerate(softmax)) / 2
    assert cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_knowing_nothing_is_the_logarithm_of_the_number_of_classes_for_each_class():
    """Class 0 counts as any other: nothing is taken for padding."""
    for label in range(3):
        assert cross_entropy(torch.zeros(1, 3), torch.tensor([label])).item() == pytest.approx(math.log(3))
