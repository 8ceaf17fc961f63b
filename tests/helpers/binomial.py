"""Counts of random events: when is one too far from what was expected?"""

import math


def as_often_as(p: float, count: int, of: int) -> bool:
    """Whether a count of independent events of probability p lies within 5 standard deviations √(n p (1 − p)) of n p.

    Outside it lies less than once in a million times. From n = 40,000 on, these bounds are at most one hundredth away
    from p, for 5 √(0.16 / 40,000) = 0.01: close enough to tell 80 % from 81 %.
    """
    assert of >= 40_000
    return abs(count - of * p) <= 5 * math.sqrt(of * p * (1 - p))
