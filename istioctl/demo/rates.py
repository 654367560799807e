"""From what counters say at two moments to rates, shares and quantiles. Knows nothing of proxies but their names."""

from collections import Counter, deque
from collections.abc import Mapping
from itertools import pairwise

from istioctl.demo.prometheus import Sample, Series

INFINITE = float("inf")


def increase(before: Sample, after: Sample) -> Sample:
    """How much was counted between two samples of one proxy.

    A counter that went down began anew in between (the proxy was restarted), so all that it shows is new; one that is
    gone counts nothing. As Prometheus' `increase` does it, without its extrapolation.
    """
    grown = ((series, value - before.get(series, 0.0), value) for series, value in after.items())
    return {series: value if delta < 0 else delta for series, delta, value in grown if delta}


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """The value below which `share` (0 to 1) of what was observed lies; None when nothing was.

    `buckets`: upper bound to the number of observations up to it (cumulative, `inf` included). Linear within a bucket;
    beyond the last finite bound it is that bound. As Prometheus' `histogram_quantile`.
    """
    ordered = sorted(buckets.items())
    total = ordered[-1][1] if ordered else 0.0
    if total <= 0:
        return None
    rank = share * total
    lower, below = 0.0, 0.0
    for upper, count in ordered:
        if count >= rank and count > below:
            return lower if upper == INFINITE else lower + (upper - lower) * (rank - below) / (count - below)
        lower, below = upper, max(below, count)
    return lower


class Window:
    """What several proxies counted lately. The owner of their samples; `length` in seconds.

    A proxy's first sample is where counting starts: what it had counted before was not seen to happen.
    """

    def __init__(self, length: float) -> None:
        self._length = length
        self._seen: dict[str, deque[tuple[float, Sample]]] = {}

    def observe(self, proxies: Mapping[str, Sample], *, at: float) -> None:
        """What the proxies that answered said at the time `at` (seconds, any origin)."""
        for name, sample in proxies.items():
            self._seen.setdefault(name, deque()).append((at, sample))
        for name, samples in list(self._seen.items()):
            while (
                samples
                and samples[0][0] < at - self._length
                and (len(samples) < 2 or samples[1][0] <= at - self._length)
            ):
                samples.popleft()
            if not samples:
                del self._seen[name]

    def counted(self) -> Sample:
        """The increase of every series, all proxies together."""
        total: Counter[Series] = Counter()
        for samples in self._seen.values():
            for (_, before), (_, after) in pairwise(samples):
                total.update(increase(before, after))
        return dict(total)

    def seconds(self) -> float:
        """How long the increase took; 0 before the second sample."""
        spans = [samples[-1][0] - samples[0][0] for samples in self._seen.values()]
        return max(spans, default=0.0)
