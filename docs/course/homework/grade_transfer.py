"""Graders of tasks 9 and 10: rates that fall from layer to layer, and what an encoder has forgotten."""

import math
from collections.abc import Callable

import torch
from elmo_by_loops import minus_log_p
from torch import Tensor
from wrong import ask, drawn, number, require


def layer_rates(function: Callable) -> None:
    G, eta, delta = 4, 0.5, 0.4
    answer = ask(function, G, eta, delta)
    require(isinstance(answer, list | tuple | Tensor) and len(answer) == G,
            f"It should return a list of {G} rates, one for each group.")
    found = [number(rate, "A rate") for rate in answer]
    shown = [round(rate, 4) for rate in found]
    expected = [eta]
    for _ in range(G - 1):
        expected.insert(0, expected[0] * delta)  # one group further down: δ times as fast

    def alike(rates: list[float]) -> bool:
        return all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(found, rates))

    require(not alike(expected[::-1]), f"Your rates {shown} are the wrong way round: the groups nearest to the text "
            "come first, and learn most slowly.")
    require(not alike([rate * delta for rate in expected]), f"Your rates {shown} are one power of δ too small: the "
            "uppermost group, l = G, has δ⁰ = 1, and so the full rate η.")
    require(not alike([eta] * G), f"Your rates {shown} are all alike. Each group learns δ times as fast as the one "
            "above it.")
    require(alike(expected), f"For G = 4, η = 0.5 and δ = 0.4 the rates should be {[round(r, 4) for r in expected]}, "
            f"and yours are {shown}.")


def mean_loss(logits: Tensor, targets: Tensor) -> float:
    """−log p per real token, worked out one after the other."""
    losses = [minus_log_p(z, target) for row, of_row in zip(logits.tolist(), targets.tolist())
              for z, target in zip(row, of_row) if target != 0]
    return sum(losses) / len(losses)


def forgetting(function: Callable) -> None:
    B, T, V = 3, 7, 11
    before, after = 2 * drawn(B, T, V, seed=1), drawn(B, T, V, seed=2)
    targets = torch.randint(1, V, (B, T), generator=torch.Generator().manual_seed(3))
    targets[1, 4:], targets[2, 1:] = 0, 0  # padding

    def answer(*inputs: Tensor) -> float:
        return number(ask(function, *inputs), "Forgetting")

    alike = before[:1, :1].expand(B, T, V)
    require(abs(answer(alike, 0 * after, targets)) > 1e-6, "Where the logits are alike at all tokens, your losses do "
            "not depend on them: the softmax is over the tokens. It is over the vocabulary, the last axis.")
    expected = mean_loss(after, targets) - mean_loss(before, targets)
    found = answer(before, after, targets)
    gap = f"Forgetting should be {expected:.4f} nats here, and yours is {found:.4f}."
    require(abs(found + expected) > 1e-4, f"{gap} It is after − before: positive where the model predicts the text "
            "worse than it did.")
    require(abs(found - mean_loss(after, targets)) > 1e-4, f"{gap} This is the loss afterwards. What was forgotten is "
            "the difference from the loss before.")
    require(abs(found - expected / math.log(2)) > 1e-4, f"{gap} Yours is in bits: take the natural "
            "logarithm.")
    ratio = math.exp(mean_loss(after, targets)) - math.exp(mean_loss(before, targets))
    require(abs(found - ratio) > 1e-4, f"{gap} Yours is a difference of perplexities; take that of the losses.")
    padding = (targets == 0).unsqueeze(-1)
    garbage = torch.where(padding, drawn(B, T, V, seed=4), after)
    require(abs(answer(before, garbage, targets) - found) < 1e-6, f"{gap} It changes with the logits at padding: this "
            "is a mean over padding. Leave out the tokens whose target is 0.")
    real = (targets != 0).sum()
    require(abs(found - expected * float(real) / (B * T)) > 1e-4, f"{gap} You divide by all {B * T} tokens, padding "
            f"among them: this is a mean over padding. {int(real)} of them are real.")
    by_text = [mean_loss(after[b : b + 1], targets[b : b + 1]) - mean_loss(before[b : b + 1], targets[b : b + 1])
               for b in range(B)]
    require(abs(found - sum(by_text) / B) > 1e-4, f"{gap} Yours is the mean of the texts' own means, in which the one "
            "token of the last text counts as much as the seven of the first. The mean is over tokens.")
    require(abs(found - expected) < 1e-4, f"{gap} The loss of a token is −log softmax(logits)[target].")
