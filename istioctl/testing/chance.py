"""How far a count may lie from its expectation before chance is no excuse any more."""

from functools import lru_cache
from math import exp, lgamma, log

FALSE_ALARM = 1e-6
"""The probability with which a right share is called wrong, both sides together."""


@lru_cache(maxsize=1024)
def bounds(times: int, share: float) -> tuple[int, int]:
    """The counts, first to last, that `times` calls may have of something with probability `share` (binomial)."""
    if share <= 0 or share >= 1:
        return (round(times * share),) * 2
    masses = [_mass(count, times, share) for count in range(times + 1)]
    return _tail(masses), times - _tail(masses[::-1])


def _tail(masses: list[float]) -> int:
    """How many of the first masses together are too improbable."""
    total = 0.0
    for count, mass in enumerate(masses):
        total += mass
        if total > FALSE_ALARM / 2:
            return count
    return len(masses) - 1


def _mass(count: int, times: int, share: float) -> float:
    ways = lgamma(times + 1) - lgamma(count + 1) - lgamma(times - count + 1)
    return exp(ways + count * log(share) + (times - count) * log(1 - share))
