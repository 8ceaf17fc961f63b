"""Parts III and IV, around inspecting: geometry. How alike are two vectors, and where is a cloud widest?

The angle between two vectors says how alike they are, however long each is. But an angle means little by itself: in
many encoders all vectors lean one way, so that any two words look alike. What counts is how much more alike the
vectors of one word are than those of words drawn at random. And to see a cloud of points one looks at it from where
it is widest.

Read next: `pretrain.inspect.pmi`.
"""

import torch
from torch import Tensor


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle between each vector of `a` and each of `b`; 0 for a vector of zeros.

    cos(a_i, b_j) = a_i · b_j / (|a_i| |b_j|)

    Shapes: a (N, D), b (M, D) -> (N, M) float64, in which a vector and itself give 1 to fifteen digits.
    """
    a, b = (x.double() / x.double().norm(dim=1, keepdim=True).clamp(min=1e-12) for x in (a, b))
    return a @ b.T


def pairs(similarity: Tensor) -> Tensor:
    """What stands above the diagonal of a square of similarities: each pair once, (N (N − 1) / 2,)."""
    N = len(similarity)
    i, j = torch.triu_indices(N, N, offset=1)
    return similarity[i, j]


def self_similarity(h: Tensor) -> tuple[float, float, float]:
    """How alike the N vectors of one word are at one layer: the mean over all pairs, the least and the greatest.

    SelfSim(w) = 1/(N² − N) Σ_i Σ_{j≠i} cos(h_i, h_j)              (Ethayarajh 2019, definition 1)

    Static vectors have 1; the less, the more a vector owes to its sentence. Of vectors of words drawn at random the
    same mean is what the layer's own leaning gives to any pair: Ethayarajh subtracts it (section 3.4).

    Shapes: h (N, D). Raises: ValueError for fewer than two vectors.
    """
    if len(h) < 2:
        raise ValueError(f"{len(h)} vectors make no pair")
    similarity = pairs(cosines(h, h))
    return similarity.mean().item(), similarity.min().item(), similarity.max().item()


def nearest(similarity: Tensor, groups: Tensor, how_many: int) -> list[list[int]]:
    """For each row the most similar columns of another group, nearest first; fewer if there are not so many.

    Shapes: similarity (N, N), groups int64 (N,), such as the document that each occurrence is from.
    """
    same = groups.unsqueeze(0) == groups.unsqueeze(1)
    ranked = similarity.masked_fill(same, -torch.inf).sort(dim=1, descending=True, stable=True)
    return [[j for j, s in zip(columns, values) if s > -torch.inf]
            for columns, values in zip(ranked.indices[:, :how_many].tolist(), ranked.values[:, :how_many].tolist())]


def principal_components(h: Tensor, k: int = 2) -> tuple[Tensor, Tensor]:
    """Where each point lies along the k directions in which points differ most, and how much of all that is.

    X = h − mean(h) = U S Vᵀ,   P = X V_k = U_k S_k,   share_c = S_c² / Σ S²          (Pearson 1901, by the SVD)

    A direction may be turned round without harm; each is taken so that its largest entry is positive, and the
    picture is then the same everywhere. Shares are zeros where all points are one.

    Shapes: h (N, D) -> P (N, k), share (k,), both float64. Raises: ValueError for fewer than k points or dimensions.
    """
    if min(h.shape) < k:
        raise ValueError(f"{len(h)} points of {h.shape[1]} dimensions have no {k} components")
    X = h.double() - h.double().mean(dim=0)
    U, S, Vt = torch.linalg.svd(X, full_matrices=False)
    sign = Vt[:k].gather(1, Vt[:k].abs().argmax(dim=1, keepdim=True)).sign().squeeze(1)
    variance = S.square()
    if variance.sum() <= 1e-18 * h.double().square().sum():  # what differs is rounding
        return torch.zeros(len(h), k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)
    return U[:, :k] * S[:k] * sign, variance[:k] / variance.sum()


def far_apart(points: Tensor, how_many: int) -> list[int]:
    """Choose points that are far from one another: the outermost, then each time the farthest from those chosen.

    Shapes: points (N, k) -> at most `how_many` different places in it, and one alone where all points are one.
    """
    chosen = [int(points.norm(dim=1).argmax())]
    distance = torch.cdist(points, points)
    while len(chosen) < min(how_many, len(points)):
        gap = distance[chosen].amin(dim=0)
        if gap.max() <= 0:
            break
        chosen.append(int(gap.argmax()))
    return chosen
