"""Graders of tasks 1, 2 and 15: skip-gram's gradient, the filters of a character CNN, and the loss of GloVe."""

import math
from collections.abc import Callable

import torch
from elmo_by_loops import strongest_response
from skipgram_by_loops import loss_by_loops
from torch import Tensor
from wrong import WatchAutograd, ask, close, drawn, number, require, several, tensor


def gradients_by_autograd(c: Tensor, o: Tensor, negatives: Tensor) -> list[Tensor]:
    """The gradients of the loss worked out pair by pair: word 0 in the middle, word 1 near it, the others drawn."""
    vectors = torch.zeros(len(negatives) + 2, len(c), dtype=c.dtype)
    vectors[0] = c
    contexts = torch.cat([torch.zeros_like(c).unsqueeze(0), o.unsqueeze(0), negatives])
    vectors.requires_grad_(), contexts.requires_grad_()
    text, reach = torch.tensor([[0, 1]]), torch.tensor([[1, 0]])
    loss, _ = loss_by_loops(vectors, contexts, text, reach, torch.arange(2, len(contexts)), len(negatives))
    of_vectors, of_contexts = torch.autograd.grad(loss, [vectors, contexts])
    return [of_vectors[0], of_contexts[1], of_contexts[2:]]


def skipgram_gradient(function: Callable) -> None:
    D, N = 5, 3
    shapes = (((D,), "the gradient of c"), ((D,), "the gradient of o"), ((N, D), "the gradient of the negatives"))
    c, o, negatives = drawn(D, seed=1), drawn(D, seed=2), drawn(N, D, seed=3)
    expected = gradients_by_autograd(c, o, negatives)
    with WatchAutograd() as watch:
        answer = ask(function, c, o, negatives)
    require(not watch.used, "You let autograd work out the gradient. Here it is to be written down by hand: "
            "d(−log σ(x))/dx is σ(x) − 1, and the chain rule gives the rest.")
    of_c, of_o, of_negatives = several(answer, *shapes)
    require(not all(close(-a, b) for a, b in zip((of_c, of_o, of_negatives), expected)),
            "You return minus the gradient. The gradient points to where the loss grows; a training step subtracts "
            "it, your function does not.")
    factor = float(of_o @ c / (c @ c))
    x = float(torch.sigmoid(c @ o))
    require(close(of_o, (x - 1) * c),
            f"The gradient of o is a multiple of c. The multiple should be σ(c·o) − 1 = {x - 1:.3f}, and yours is "
            f"{factor:.3f}. For d(−log σ(x))/dx is σ(x) − 1: it goes to 0 as the pair is predicted well.")
    sigmoids = torch.sigmoid(negatives @ c)
    require(not close(of_negatives, (sigmoids - 1).unsqueeze(1) * c),
            "You draw the negatives towards c as if they were true neighbours. Their term is −log σ(−c·o_n), with a "
            "minus inside, and d(−log σ(−x))/dx is σ(x).")
    require(not close(of_negatives * N, expected[2]),
            "You take the mean over the negatives. The formula has their sum: each of them counts fully.")
    multiples = [round(float(row @ c / (c @ c)), 3) for row in of_negatives]
    require(close(of_negatives, expected[2]),
            "The gradient of each negative o_n is σ(c·o_n) c, here with σ = "
            f"{[round(s, 3) for s in sigmoids.tolist()]}. Yours are the multiples {multiples} of c.")
    require(not close(of_c, (x - 1) * o), "The gradient of c has only the term of the true pair. c stands in every "
            "term of the loss: add Σ_n σ(c·o_n) o_n.")
    require(close(of_c, expected[0]), "The gradient of c is (σ(c·o) − 1) o + Σ_n σ(c·o_n) o_n. The gradients of o and "
            "of the negatives are right, yours of c is not.")


def responses_by_loops(F: Tensor, b: Tensor, c: Tensor) -> Tensor:
    responses = [strongest_response(rows, bias, c.tolist()) for rows, bias in zip(F.tolist(), b.tolist())]
    return torch.tensor(responses, dtype=torch.float64)


def one_filter(function: Callable, rows: list[float], bias: float, word: list[float]) -> float:
    """The response of one filter to a word whose bytes have embeddings of one dimension."""
    F, b, c = (torch.tensor(numbers, dtype=torch.float64) for numbers in (rows, [bias], word))
    return tensor(ask(function, F.view(1, -1, 1), b, c.view(-1, 1)), (1,), "the response of one filter").item()


def filter_response(function: Callable) -> None:
    seen = one_filter(function, [1.0], 0.0, [0.5, 2.0, 1.0])
    require(abs(seen - 2) < 1e-4, "A filter of width 1 with the weight 1 responds to the bytes 0.5, 2 and 1 with these "
            f"numbers, and should keep the largest, 2. Yours gives {seen:.3f}: take the maximum over the windows, and "
            "neither mean nor sum.")
    seen = one_filter(function, [1.0], -1.0, [0.5])
    require(abs(seen) < 1e-4, f"A response of 0.5 under a bias of −1 should give relu(0.5 − 1) = 0. Yours gives "
            f"{seen:.3f}: add the bias first, then take relu.")
    seen = one_filter(function, [1.0, 10.0], 0.0, [1.0, 2.0])
    require(abs(seen - 21) < 1e-4, "The filter (1, 10) meets the bytes 1, 2 with 1 · 1 + 10 · 2 = 21, its first weight "
            f"on the first byte of the window. Yours gives {seen:.3f}.")
    seen = one_filter(function, [1.0, -10.0], 0.0, [1.0, 2.0])
    require(abs(seen - 2) < 1e-4, "The filter (1, −10) responds most where its window begins at the last byte, with "
            f"zeros behind it: 1 · 2 − 10 · 0 = 2. Yours gives {seen:.3f}: a window begins at each byte, at the last "
            "one too.")
    seen = one_filter(function, [-10.0, 1.0], 0.0, [1.0, 2.0])
    require(abs(seen) < 1e-4, "The filter (−10, 1) has no positive response to the bytes 1, 2, so relu gives 0. Yours "
            f"gives {seen:.3f}: zeros stand behind the word only, no window begins before its first byte.")
    seen = one_filter(function, [-1.0], 2.0, [5.0])
    require(abs(seen) < 1e-4, "The filter (−1) with bias 2 responds to the byte 5 with 2 − 5, so relu gives 0. Yours "
            f"gives {seen:.3f}: no window may begin behind the last byte, where there is nothing but padding.")
    F, b = drawn(4, 3, 2, seed=1), drawn(4, seed=2)
    for length in (7, 2, 1):
        c = drawn(length, 2, seed=length)
        found = tensor(ask(function, F, b, c), (4,), f"the responses of 4 filters to a word of {length} bytes")
        require(close(found, responses_by_loops(F, b, c)),
                f"The responses of four filters of width 3 to a word of {length} bytes are not those of the formula, "
                "worked out window by window. Is F_j · […] a sum over both the w bytes and the E dimensions?")


def glove_loss(function: Callable) -> None:
    V, D, x_max = 5, 3, 6.0
    w, w_, b, b_ = drawn(V, D, seed=1), drawn(V, D, seed=2), drawn(V, seed=3), drawn(V, seed=4)
    X = torch.tensor([[0, 4, 1, 0, 9], [4, 2, 0, 3, 0], [1, 0, 0, 7, 2], [0, 3, 7, 1, 0], [9, 0, 2, 0, 0]]).double()

    def loss(weight: Callable[[float], float] = lambda x: min(1.0, (x / x_max) ** 0.75), biases: float = 1.0,
             target: Callable[[float], float] = math.log, swapped: bool = False) -> float:
        """The sum, pair by pair, with one part replaced."""
        total = 0.0
        for i in range(V):
            for j in range(V):
                if (x := X[i, j].item()) > 0:
                    product = sum(p * q for p, q in zip(w[i].tolist(), w_[j].tolist()))
                    bias = b[j] + b_[i] if swapped else b[i] + b_[j]
                    total += weight(x) * (product + biases * bias.item() - target(x)) ** 2
        return total

    answer = ask(function, w, w_, b, b_, X, x_max)
    require(not isinstance(answer, Tensor) or bool(answer.isfinite().all()), "The loss is not finite: where X_ij = 0 "
            "there is no logarithm, and 0 · ∞ is no number. Leave those pairs out.")
    found, expected, pairs = number(answer, "The loss"), loss(), int((X > 0).sum())
    gap = f"The loss should be {expected:.4f} here, and yours is {found:.4f}."
    for value, complaint in (
        (loss(weight=lambda x: 1.0), "The weights f(X_ij) are missing: rare pairs, whose counts say little, count as "
         "much as frequent ones."),
        (loss(weight=lambda x: (x / x_max) ** 0.75), "A weight is above 1: from x_max on it stays at 1, or the most "
         "frequent words would decide everything."),
        (loss(weight=lambda x: min(1.0, x / x_max)), "The power ¾ is missing in f."),
        (loss(biases=0.0), "The biases are missing. They take up how frequent each of the two words is."),
        (loss(swapped=True), "The biases are the wrong way round: b_i belongs to the word i, b̃_j to the context j."),
        (loss(target=lambda x: x), "The products are compared with counts. They are fitted to their logarithms."),
        (loss(target=lambda x: math.log(1 + x)), "You take log(1 + X_ij). Pairs that were never met are left out, so "
         "no 1 has to be added."),
        (expected / pairs, "Yours is the mean over the pairs. J is their sum."),
        (expected / 2, "Yours is half of the sum. J has no ½."),
    ):
        require(abs(found - value) > 1e-4, f"{gap} {complaint}")
    require(abs(found - expected) < 1e-4, f"{gap} It is the sum, pair by pair, of f(X_ij) times the squared error of "
            "w_i·w̃_j + b_i + b̃_j against log X_ij, where X_ij > 0.")
