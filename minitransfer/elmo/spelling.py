"""Part III, chapter 4: the warm start. Can a character CNN be told what words mean before it meets a sentence?

Through the language-model loss alone a character CNN learns slowly what words mean: the signal reaches it through two
LSTM layers. Skip-gram learns it in minutes but cannot spell. So the second teaches the first: the character CNN is fitted
to give, for the spelling of each word, the word's static vector. That is regression from form to meaning (Pinter et al.
2017 did it for unseen words): frequent words are learnt nearly by heart, rare ones from their stems and endings.

Read next: `minitransfer.elmo.mix`.
"""

import torch
from torch import Tensor

from minitransfer.elmo.charcnn import CharCNN


def standardise(vectors: Tensor, counts: Tensor) -> Tensor:
    """Shift and scale static vectors so that over running text each dimension has mean 0 and variance 1 on average.

    One shift for each dimension and one scale for all of them, so that directions, and what they mean, stay as they are.

    Shapes: vectors (V, D), counts (V,) how often each word occurs -> (V, D).
    """
    p = (counts / counts.sum()).unsqueeze(1)
    centred = vectors - (p * vectors).sum(dim=0)
    return centred / (p * centred.square()).sum(dim=0).mean().sqrt()


def spelling_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Average squared distance between what the spelling gives and the static vector.

    loss = Σ_w √n_w · ‖f(spelling of w) − v_w‖² / (D Σ_w √n_w),  n_w the count of w: between each word once and each
    occurrence once.

    Shapes: predicted and target (U, D), weight √n (U,) -> scalar.
    """
    squared = (predicted - target).square().mean(dim=1)
    return (weight * squared).sum() / weight.sum()


def cosine(charcnn: CharCNN, spelling: Tensor, target: Tensor) -> float:
    """Average cosine between the vectors of words worked out from spelling and their static vectors, in [−1, 1]."""
    from minitransfer.elmo.charcnn import word_vectors

    return torch.cosine_similarity(word_vectors(charcnn, spelling), target, dim=1).mean().item()
