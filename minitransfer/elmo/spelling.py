"""Part III, chapter 4: the warm start. Can a character CNN be told what words mean before it meets a sentence?

**Initialisation from static vectors**: before pretraining, the character CNN is fitted to predict, from the spelling
of each word, the skip-gram vector of the word. Through the language-model loss alone it would learn slowly what words
mean, since the gradient reaches it through two LSTM layers. Skip-gram learns that in minutes, but cannot spell. The
fit is a regression from form to meaning (Pinter et al. 2017 did it for words without a vector): frequent words are
learnt nearly by heart, rare ones from their stems and endings.

The filters stay as they were drawn. The best projection over them is a **ridge regression**, a system of linear
equations, solved in the time of a few steps of gradient descent. Thousands of random filters tell most words apart,
and that is enough.

Read next: `minitransfer.elmo.mix`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minitransfer.elmo.charcnn import CharCNN, word_vectors

WORDS_AT_ONCE = 2048  # all responses at once would fill gigabytes, and a few at a time make slow products
RESPONSES_AT_ONCE = 256  # so few that they stay in the processor's cache while their maximum is taken


@torch.no_grad()
def solve_projection(charcnn: CharCNN, spelling: Tensor, target: Tensor, weight: Tensor, ridge: float = 1e-5,
                     advance: Callable[[int], Any] = lambda words: None) -> None:
    """Set the projection of a character CNN by ridge regression on the target vectors, and leave its filters.

    P, b minimise  Σ_w n_w ‖Pᵀ f(w) + b − v_w‖² + λ ‖P‖²:    P = (C + λ I)⁻¹ S,  b = v̄ − Pᵀ f̄

    with C (F, F) the covariance of the F responses f, S (F, D) that of f with the vectors v, f̄ and v̄ the means, each
    word weighted by n_w, Σ_w n_w = 1, and λ = ridge · the mean variance of a response.

    Shapes: spelling (V, bytes) char ids, target v (V, D), weight n (V,), to be brought to a sum of 1.
    `advance` is told the number of words just encoded, and may raise Stopped: then nothing is changed.
    """
    n = weight.double() / weight.double().sum()
    F = charcnn.project.in_features
    C, S = torch.zeros(F, F, dtype=torch.float64), torch.zeros(F, target.shape[1], dtype=torch.float64)
    f_mean = torch.zeros(F, dtype=torch.float64)
    lengths = (spelling != 0).sum(dim=1).clamp(min=1)
    for rows in lengths.argsort(stable=True).split(WORDS_AT_ONCE):
        spelled = spelling[rows, : int(lengths[rows].max())]
        f = torch.cat([charcnn.carry(charcnn.respond(some)) for some in spelled.split(RESPONSES_AT_ONCE)])
        weighted = f * n[rows].to(f.dtype).unsqueeze(1)
        C += weighted.T @ f
        S += weighted.T @ target[rows].to(f.dtype)
        f_mean += weighted.sum(dim=0)
        advance(len(rows))
    v_mean = n @ target.double()
    C.addr_(f_mean, f_mean, alpha=-1)  # covariances from second moments; in place, since C may hold half a gigabyte
    S.addr_(f_mean, v_mean, alpha=-1)
    C.diagonal().add_(ridge * C.diagonal().mean())
    P = torch.linalg.solve(C, S)  # (F, D)
    charcnn.project.weight.copy_(P.T)
    charcnn.project.bias.copy_(v_mean - f_mean @ P)


def cosine(charcnn: CharCNN, spelling: Tensor, target: Tensor) -> float:
    """Average cosine between the vectors of words computed from spelling and their static vectors, in [−1, 1]."""
    return torch.cosine_similarity(word_vectors(charcnn, spelling), target, dim=1).mean().item()
