"""How far a count may be from its share by chance alone."""

import math
from typing import NamedTuple

SIGMAS = 4.0
"""A count this many standard deviations off comes about once in 16,000 runs (binomial, by the normal distribution)."""


class Bounds(NamedTuple):
    """From the least to the most that is believed."""

    least: int
    most: int

    def __contains__(self, count: object) -> bool:
        return isinstance(count, int) and self.least <= count <= self.most

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


def bounds(share: float, number: int) -> Bounds:
    """For `number` calls of which each has the chance `share`."""
    spread = SIGMAS * math.sqrt(number * share * (1 - share))
    return Bounds(max(0, math.floor(share * number - spread)), min(number, math.ceil(share * number + spread)))
