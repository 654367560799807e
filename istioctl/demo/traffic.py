"""The rows of the demo's table: how each version of each service does, by what the sidecars count (Istio's metrics).

Calls, success and latency are what *callers'* sidecars saw (`reporter="source"`): injected faults, timeouts and
refusals are part of it. That they were encrypted is what the sidecars of the called saw (`reporter="destination"`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from istioctl.demo.prometheus import Sample, Series
from istioctl.demo.rates import quantile

REQUESTS = "istio_requests_total"
LATENCY = "istio_request_duration_milliseconds_bucket"
NAMES = (REQUESTS, LATENCY)

UNKNOWN = "unknown"
NOBODY = "-"
"""The version of calls that never reached one: the caller's sidecar answered itself (a fault, or nobody was there)."""


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One version of one service. None: there was nothing to compute it from.

    `rate` in requests per second; `success` and `mutual` are shares (0 to 1); `p50` and `p99` in milliseconds.
    """

    service: str
    version: str
    rate: float = 0.0
    success: float | None = None
    p50: float | None = None
    p99: float | None = None
    mutual: float | None = None


Key = tuple[str, str]


class _Sums:
    """What was counted for one row; the sums of `rows`."""

    def __init__(self) -> None:
        self.requests = self.good = self.arrived = self.mutual = 0.0
        self.buckets: defaultdict[float, float] = defaultdict(float)

    def add(self, series: Series, count: float) -> None:
        if series.name == LATENCY:
            if series.label("reporter") == "source":
                self.buckets[float(series.label("le") or "inf")] += count
        elif series.label("reporter") == "source":
            self.requests += count
            self.good += count if _succeeded(series) else 0.0
        else:
            self.arrived += count
            self.mutual += count if series.label("connection_security_policy") == "mutual_tls" else 0.0


def rows(counted: Sample, *, seconds: float, known: Iterable[Key] = ()) -> tuple[Row, ...]:
    """A row for each version that was called, and for each of `known`, called or not. In order of the names."""
    sums: dict[Key, _Sums] = {key: _Sums() for key in known}
    for series, count in counted.items():
        if key := _key(series):
            sums.setdefault(key, _Sums()).add(series, count)
    kept = _worth_showing(sums, frozenset(known))
    return tuple(_row(key, kept[key], seconds) for key in sorted(kept))


def _worth_showing(sums: Mapping[Key, _Sums], known: frozenset[Key]) -> dict[Key, _Sums]:
    """Versions that went away are dropped once nobody calls them."""
    return {key: each for key, each in sums.items() if key in known or each.requests or each.arrived}


def _key(series: Series) -> Key | None:
    service = series.label("destination_service_name")
    if service in ("", UNKNOWN):
        return None
    version = series.label("destination_version")
    return service, NOBODY if version in ("", UNKNOWN) else version


def _succeeded(series: Series) -> bool:
    """Not a server's failure; 0 is a connection that ended before an answer. For gRPC its own status decides."""
    if series.label("request_protocol") == "grpc" and (status := series.label("grpc_response_status")):
        return status == "0"
    code = series.label("response_code")
    return not code.startswith("5") and code != "0"


def _row(key: Key, sums: _Sums, seconds: float) -> Row:
    service, version = key
    return Row(
        service=service,
        version=version,
        rate=sums.requests / seconds if seconds else 0.0,
        success=_share(sums.good, sums.requests),
        p50=quantile(0.5, sums.buckets),
        p99=quantile(0.99, sums.buckets),
        mutual=_share(sums.mutual, sums.arrived),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
