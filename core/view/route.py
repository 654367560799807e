"""Route configurations: virtual hosts by domain, each with ordered routes. Durations are milliseconds."""

import msgspec

from core.ir.routing import RequestMatch
from core.ir.traffic import HashKey
from core.ir.values import NO_HEADERS, Fault, Headers, Redirect, Respond, Retry, Rewrite
from core.model.config import Origin


class WeightedUpstream(msgspec.Struct, frozen=True):
    upstream: str
    weight: int = 1
    headers: Headers = NO_HEADERS


class MirrorTo(msgspec.Struct, frozen=True):
    upstream: str
    per_million: int


class ForwardTo(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """`timeout` 0: none. `retry` None: never. One upstream or several by weight."""

    upstreams: tuple[WeightedUpstream, ...]
    rewrite: Rewrite = Rewrite()
    timeout: int = 0
    retry: Retry | None = None
    hash_key: HashKey | None = None
    mirrors: tuple[MirrorTo, ...] = ()


class Tunnel(msgspec.Struct, frozen=True, tag=True):
    """Ends an HTTP CONNECT here and carries its bytes to the upstream. Matches CONNECT requests only."""

    upstream: str


Action = ForwardTo | Redirect | Respond | Tunnel


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`operation` names the call in traces. The first route of a virtual host that matches is taken."""

    name: str = ""
    match: RequestMatch = RequestMatch()
    action: Action
    fault: Fault | None = None
    headers: Headers = NO_HEADERS
    operation: str = ""
    origin: Origin | None = None


class VirtualHost(msgspec.Struct, frozen=True):
    """`domains` are compared without case, exact before suffix wildcards before prefix wildcards before "*"."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]


class RouteConfiguration(msgspec.Struct, frozen=True):
    """`any_port`: the port that a request names beside its host makes no difference."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    any_port: bool = False
