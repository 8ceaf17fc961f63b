"""Claims about the geometry of vectors: each formula is worked out again by plain loops or in another way."""

import math

import pytest
import torch

from pretrain.inspect.geometry import (
    cosines,
    far_apart,
    nearest,
    principal_components,
    self_similarity,
)

N, D = 7, 5


def points(n=N, d=D, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + 1


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def test_cosines_by_plain_loops_and_none_with_a_vector_of_zeros():
    a, b = points(), torch.cat([points(3, seed=1), torch.zeros(1, D)])
    found = cosines(a, b)
    assert found.shape == (N, 4) and found[:, 3].tolist() == [0.0] * N
    for i in range(N):
        for j in range(3):
            assert found[i, j].item() == pytest.approx(cosine(a[i].tolist(), b[j].tolist()), abs=1e-12)


def test_self_similarity_is_the_mean_over_all_ordered_pairs():
    h = points()
    found = [cosine(h[i].tolist(), h[j].tolist()) for i in range(N) for j in range(N) if i != j]
    assert self_similarity(h) == pytest.approx((sum(found) / (N * N - N), min(found), max(found)), abs=1e-12)
    assert self_similarity(h[:1].expand(4, D)) == pytest.approx((1, 1, 1), abs=1e-12)
    with pytest.raises(ValueError, match="1 vectors"):
        self_similarity(h[:1])


def test_the_nearest_are_of_other_documents_and_in_order():
    h, groups = points(), torch.tensor([0, 0, 1, 2, 2, 2, 0])
    similarity = cosines(h, h)
    for i, found in enumerate(nearest(similarity, groups, 4)):
        others = [j for j in range(N) if groups[j] != groups[i]]
        assert found == sorted(others, key=lambda j: -similarity[i, j].item())[:4]
    assert nearest(similarity, torch.zeros(N), 3) == [[]] * N


def test_principal_components_are_those_of_the_covariance():
    h = points(11)
    X = (h - h.mean(dim=0)).double()
    values, vectors = torch.linalg.eigh(X.T @ X / 11)  # another way: eigenvectors, the largest last
    P, share = principal_components(h)
    torch.testing.assert_close(share, values.flip(0)[:2] / values.sum(), atol=1e-6, rtol=0)
    torch.testing.assert_close(P.abs(), (X @ vectors.flip(1)[:, :2]).abs(), atol=1e-5, rtol=0)
    for c in range(2):
        direction = torch.linalg.lstsq(X, P[:, c]).solution  # P = X v gives v back
        assert direction[direction.abs().argmax()] > 0


def test_of_points_in_a_plane_no_distance_is_lost():
    flat = points(9, 2) @ torch.linalg.qr(points(D, 2, seed=2))[0].T  # a plane in five dimensions
    P, share = principal_components(flat)
    torch.testing.assert_close(torch.cdist(P, P).float(), torch.cdist(flat, flat), atol=1e-4, rtol=0)
    assert share.sum().item() == pytest.approx(1)


def test_points_that_are_one_have_no_components_and_are_chosen_once():
    P, share = principal_components(points(1).expand(6, D))
    assert not P.any() and not share.any() and far_apart(P, 4) == [0]
    with pytest.raises(ValueError, match="1 points of 5"):
        principal_components(points(1))


def test_each_point_chosen_is_the_farthest_from_those_before():
    P = points(13, 2)
    chosen = far_apart(P, 5)
    assert chosen[0] == max(range(13), key=lambda i: P[i].norm().item()) and len(set(chosen)) == 5
    for k in range(1, 5):
        gaps = [min((P[i] - P[c]).norm().item() for c in chosen[:k]) for i in range(13)]
        assert gaps[chosen[k]] == pytest.approx(max(gaps))
    assert sorted(far_apart(P, 99)) == list(range(13))
