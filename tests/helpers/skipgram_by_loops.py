"""The loss of skip-gram once more, worked out pair by pair: what the step on whole blocks must agree with."""

from torch import Tensor
from torch.nn.functional import logsigmoid


def loss_by_loops(vectors: Tensor, contexts: Tensor, token_ids: Tensor, reach: Tensor, negatives: Tensor,
                  per_pair: int) -> tuple[Tensor, int]:
    """The formula summed over all pairs, and how many pairs there are.

    The expectation over p is the mean over the negatives that were drawn; each pair has `per_pair` of them.
    """
    total, pairs = vectors.new_zeros(()), 0
    for row, far in zip(token_ids.tolist(), reach.tolist()):
        for t in range(len(row)):
            for u in range(len(row)):
                if u == t or abs(u - t) > far[t]:
                    continue
                c = vectors[row[t]]
                total = total - logsigmoid(c @ contexts[row[u]])
                for n in negatives.tolist():
                    total = total - per_pair / len(negatives) * logsigmoid(-(c @ contexts[n]))
                pairs += 1
    return total, pairs
