"""Routing rules: for calls to these hosts, which request goes where. Hosts are fully qualified or wildcards."""

import msgspec

from core.ir.values import (
    INHERIT,
    NO_HEADERS,
    Fault,
    Headers,
    Inherit,
    Redirect,
    Respond,
    Retry,
    Rewrite,
    StringMatch,
    ValueMatch,
)
from core.model.config import Origin
from core.model.labels import NO_LABELS, Labels

MESH = "mesh"
"""The gateway name that stands for all sidecars (Istio `VirtualService.gateways`)."""


class Source(msgspec.Struct, frozen=True):
    """Which callers a match is for; settled when compiling, never at run time. `port` 0: any port of the service."""

    labels: Labels = NO_LABELS
    namespace: str = ""
    gateways: tuple[str, ...] = ()
    port: int = 0


ANY_SOURCE = Source()


class RequestMatch(msgspec.Struct, frozen=True, kw_only=True):
    """What must all hold of a request. Header names are lower case; of a repeated header any value will do.

    `without_headers` must not match; a missing header counts as an empty one there.
    """

    path: StringMatch | None = None
    ignore_path_case: bool = False
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: tuple[tuple[str, ValueMatch], ...] = ()
    without_headers: tuple[tuple[str, ValueMatch], ...] = ()
    query: tuple[tuple[str, ValueMatch], ...] = ()


ANY_REQUEST = RequestMatch()


class Match(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    source: Source = ANY_SOURCE
    request: RequestMatch = ANY_REQUEST
    origin: Origin


class Destination(msgspec.Struct, frozen=True):
    """`port` 0: the service's only port, else the port that was called."""

    host: str
    subset: str = ""
    port: int = 0


class Share(msgspec.Struct, frozen=True):
    """A destination's part of the traffic; weights are relative to their sum."""

    destination: Destination
    weight: int = 1
    headers: Headers = NO_HEADERS


class Mirror(msgspec.Struct, frozen=True):
    destination: Destination
    per_million: int = 1_000_000


class Forward(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """`timeout` 0: none. At least one share has a weight above 0."""

    shares: tuple[Share, ...]
    rewrite: Rewrite = Rewrite()
    timeout: int | Inherit = INHERIT
    retry: Retry | Inherit = INHERIT
    mirrors: tuple[Mirror, ...] = ()


Action = Forward | Redirect | Respond


class HttpRoute(msgspec.Struct, frozen=True, kw_only=True):
    """Taken when any of `matches` holds; no match at all means every request."""

    name: str = ""
    matches: tuple[Match, ...] = ()
    action: Action
    fault: Fault | None = None
    headers: Headers = NO_HEADERS
    origin: Origin


class RouteRule(msgspec.Struct, frozen=True, kw_only=True):
    """All routes that one document gives for its hosts; the first route that matches is taken.

    `gateways` names where the rule holds (`MESH`: in sidecars). `visible_to` lists namespaces, "*" is everyone.
    """

    hosts: tuple[str, ...]
    gateways: tuple[str, ...] = (MESH,)
    visible_to: tuple[str, ...] = ("*",)
    http: tuple[HttpRoute, ...]
    created: float = 0.0
    origin: Origin
