"""Claims about the character CNN: it is its formula, byte by byte, and a word's vector depends on its bytes alone."""

import pytest
import torch
from elmo_by_loops import sigmoid
from elmo_by_loops import strongest_response as strongest_by_loops
from torch import Tensor

from minitransfer.elmo.charcnn import CharCNN, CharCNNConfig, StrongestResponse, tabulate, word_vectors
from minitransfer.text.words import spell, spell_all

CONFIG = CharCNNConfig(output_size=10, char_size=3, filters=((1, 2), (2, 3), (4, 5)), num_highways=2)
WORDS = ["a", "cat", "<pad>", "catastrophe", "é", "<unk>", "\x00\x00", "x" * 50]


@pytest.fixture
def charcnn() -> CharCNN:
    """With parameters large and unlike: as they begin, most filters keep silent, and silence hides mistakes."""
    charcnn, generator = CharCNN(CONFIG).double(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in charcnn.parameters():
            parameter.normal_(std=0.7, generator=generator)
        charcnn.chars.weight[0] = 0
    return charcnn


def by_loops(charcnn: CharCNN, char_ids: list[int]) -> list[float]:
    """The vector of one word: convolve at each byte, keep the strongest, relu, highways, projection."""
    letters = [charcnn.chars.weight[i].tolist() for i in char_ids] or [[0.0] * CONFIG.char_size]
    h = []
    for convolution, (_, n) in zip(charcnn.convolutions, CONFIG.filters):
        for j in range(n):
            h.append(strongest_by_loops(convolution.weight[j].T.tolist(), convolution.bias[j].item(), letters))
    for highway in charcnn.highways:
        new = affine(highway.both, h)
        gates = [sigmoid(z) for z in new[len(h) :]]
        h = [g * x + (1 - g) * max(0.0, z) for g, x, z in zip(gates, h, new)]
    return affine(charcnn.project, h)


def affine(linear: torch.nn.Linear, x: list[float]) -> list[float]:
    return [b + sum(w * v for w, v in zip(row, x)) for row, b in zip(linear.weight.tolist(), linear.bias.tolist())]


def table(words: list[str], max_bytes: int = 24) -> Tensor:
    return torch.from_numpy(spell_all(words, max_bytes))


def test_the_vector_of_a_word_is_the_formula_worked_out_with_loops(charcnn):
    vectors = charcnn(table(WORDS))
    assert vectors.shape == (len(WORDS), 10)
    for word, vector in zip(WORDS, vectors):
        expected = torch.tensor(by_loops(charcnn, spell(word)), dtype=torch.float64)
        assert torch.allclose(vector, expected, atol=1e-12), word


def test_gradients_are_what_the_loops_change_by_when_a_parameter_is_moved(charcnn):
    words = ["cat", "é", "<unk>", "xxxxx", "catastrophe"]
    charcnn(table(words)).square().sum().backward()

    def loss() -> float:
        return sum(y * y for word in words for y in by_loops(charcnn, spell(word)))

    learned = [charcnn.chars.weight, *(p for c in charcnn.convolutions for p in (c.weight, c.bias))]
    for parameter in learned:
        for place in parameter.grad.flatten().abs().topk(min(7, parameter.numel())).indices.tolist():
            flat, h = parameter.data.view(-1), 1e-6
            flat[place] += h
            above = loss()
            flat[place] -= 2 * h
            below = loss()
            flat[place] += h
            assert (above - below) / (2 * h) == pytest.approx(parameter.grad.flatten()[place].item(), rel=1e-5)


@pytest.mark.parametrize("w, n, max_bytes", [(1, 3, 24), (2, 1, 9), (5, 11, 13), (9, 2, 24)])
def test_going_back_to_the_winners_alone_gives_the_gradients_of_autograd(w, n, max_bytes):
    """Through every window of a plain convolution. The words have no byte twice, so no two windows respond alike."""
    generator = torch.Generator().manual_seed(w)
    c = torch.randn(261, 3, dtype=torch.float64, generator=generator).index_fill_(0, torch.tensor(0), 0.0)
    F = torch.randn(n, 3, w, dtype=torch.float64, generator=generator)
    g = torch.randn(6, n, dtype=torch.float64, generator=generator)
    char_ids, found = table(["stumbled", "word", "it", "é", "<eos>", "a"], max_bytes).long(), []

    def by_convolution(c, F):
        z = torch.nn.functional.conv1d(torch.nn.functional.pad(c[char_ids].transpose(1, 2), (0, w - 1)), F)
        return z.masked_fill((char_ids == 0).unsqueeze(1), -torch.inf).amax(dim=2)

    for strongest in (by_convolution, lambda c, F: StrongestResponse.apply(char_ids, tabulate(c, F))):
        leaves = [c.clone().requires_grad_(), F.clone().requires_grad_()]
        y = strongest(*leaves)
        found.append([y, *torch.autograd.grad(y, leaves, g)])
        found[-1][1][0] = 0  # `nn.Embedding` leaves its padding alone
    assert all(torch.allclose(a, b, atol=1e-12) and b.abs().max() > 0 for a, b in zip(*found))


def test_where_two_windows_respond_alike_the_first_one_has_the_gradient():
    c = torch.zeros(261, 2)
    c[98, 0] = c[99, 1] = 1.0
    c.requires_grad_()
    F = torch.tensor([[[1.0], [1.0]]])
    y = StrongestResponse.apply(torch.tensor([[99, 98, 0]]), tabulate(c, F))
    y.backward(torch.tensor([[3.0]]))
    assert y.item() == 1.0 and c.grad[99].tolist() == [3.0, 3.0] and c.grad.abs().sum() == 6.0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_gradients_have_the_same_bits_each_time(threads):
    torch.manual_seed(0)
    charcnn = CharCNN(CharCNNConfig(33, char_size=7, filters=((1, 5), (3, 129), (6, 67))))
    char_ids, before = table([f"{i:x}{'word' * (i % 4)}" for i in range(301)]), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        losses = [charcnn(char_ids).square().sum() for _ in range(2)]
        first, second = (torch.autograd.grad(loss, list(charcnn.parameters())) for loss in losses)
    finally:
        torch.set_num_threads(before)
    for (name, _), a, b in zip(charcnn.named_parameters(), first, second):
        assert torch.equal(a, b), name
        assert a.any(), name


def test_in_bfloat16_the_values_with_gradients_are_those_without(charcnn):
    charcnn, char_ids = charcnn.float(), table(WORDS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learning = charcnn.respond(char_ids)
        with torch.no_grad():
            assert torch.allclose(learning, charcnn.respond(char_ids), rtol=1e-2)
    assert learning.dtype == torch.float32


@pytest.mark.parametrize("max_bytes", [5, 7, 13, 40])
def test_the_width_of_the_table_cannot_be_seen_in_a_vector(charcnn, max_bytes):
    short = ["a", "cat", "", "<pad>", "<eos>"]
    assert torch.allclose(charcnn(table(short, max_bytes)), charcnn(table(short, 24)), atol=1e-12)


def test_the_other_words_of_the_table_cannot_be_seen_in_a_vector(charcnn):
    together = charcnn(table(WORDS))
    for word, vector in zip(WORDS, together):
        alone = charcnn(torch.tensor([spell(word) or [0]]))
        assert torch.allclose(alone[0], vector, atol=1e-12)
    assert torch.allclose(charcnn(table(WORDS[::-1])), together.flip(0), atol=1e-12)


def test_padding_is_not_the_strongest_even_where_every_byte_answers_less_than_nothing(charcnn):
    """A window over padding alone answers with its bias; were it counted, a wider table would give another vector."""
    with torch.no_grad():
        charcnn.chars.weight[1:] = 1.0
        for convolution in charcnn.convolutions:
            convolution.weight.fill_(-0.5)
            convolution.bias.fill_(2.0)
    seen = charcnn(table(["a", "ab"], 24))
    for word, vector in zip(["a", "ab"], seen):
        assert torch.allclose(vector, torch.tensor(by_loops(charcnn, spell(word))).double(), atol=1e-6)
    assert not torch.allclose(seen[0], charcnn(table(["<pad>"]))[0])


def test_the_empty_word_has_a_finite_vector_and_finite_gradients(charcnn):
    vector = charcnn(table(["<pad>", "cat"]))
    vector.sum().backward()
    assert vector.isfinite().all()
    assert all(p.grad.isfinite().all() for p in charcnn.parameters())
    assert not charcnn.chars.weight.grad[0].any()  # padding stays zero however long one trains


def test_words_that_differ_in_one_byte_or_in_their_order_differ_in_their_vectors(charcnn):
    cat, cut, act = charcnn(table(["cat", "cut", "act"]))
    assert not torch.allclose(cat, cut) and not torch.allclose(cat, act)


def test_a_new_highway_mostly_carries_its_input_through():
    for highway in CharCNN(CONFIG).highways:
        assert (highway.both.bias[10:] == 1).all() and (highway.both.bias[:10] != 1).all()


@pytest.mark.parametrize("chunk", [1, 3, 8, 2048])
def test_the_vectors_of_many_words_come_in_the_order_of_the_words(charcnn, chunk):
    charcnn, spelling = charcnn.float(), table(WORDS)
    vectors = word_vectors(charcnn, spelling, chunk)
    assert vectors.dtype == torch.float32 and not vectors.requires_grad
    assert torch.allclose(vectors, charcnn(spelling), atol=1e-5)


def test_spelling_fed_as_any_integer_type_gives_the_same_vectors(charcnn):
    spelling = table(WORDS)
    assert torch.equal(charcnn(spelling), charcnn(spelling.long()))
