"""The chance that two samples differ as much as they do though nothing distinguishes what they are taken from."""

from __future__ import annotations

import math


def chance(has: int, total: int, other_has: int, other_total: int) -> float:
    """Return the two-sided probability of Fisher's exact test: twice that of the side that was seen.

    Args:
        has: members of one sample that have a trait.
        total: members of this sample.
        other_has: members of the other sample that have it.
        other_total: members of the other sample.
    """
    if has * other_total < other_has * total:
        has, total, other_has, other_total = other_has, other_total, has, total
    return min(1.0, 2 * _at_least(has, total, other_has, other_total))


def least_chance(total: int, other_total: int) -> float:
    """Return the probability of the greatest difference: all of one sample have a trait, and none of the other."""
    return min(1.0, 2 * math.exp(-_log_choose(total + other_total, total)))


def _at_least(has: int, total: int, other_has: int, other_total: int) -> float:
    """Return the probability of so many or more of those that have a trait in the first sample."""
    having = has + other_has
    most = min(having, total)
    term = math.exp(
        _log_choose(total, has) + _log_choose(other_total, other_has) - _log_choose(total + other_total, having)
    )
    whole = term
    for count in range(has, most):
        term *= (having - count) * (total - count) / ((count + 1) * (other_total - having + count + 1))
        whole += term
    return whole


def _log_choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)
