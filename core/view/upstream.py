"""Upstreams (Envoy: clusters) and their endpoints. Durations are milliseconds."""

from typing import Literal

import msgspec

from core.ir.traffic import Balance, ConnectionPool, ConsistentHash, Outlier
from core.model.config import Origin
from core.model.service import Locality
from core.view.security import NO_TLS, ClientSecurity


class Discovered(msgspec.Struct, frozen=True, tag=True):
    """Endpoints are a resource of their own (`LoadAssignment`), named like the upstream."""


class Static(msgspec.Struct, frozen=True, tag=True):
    address: str
    port: int


class Internal(msgspec.Struct, frozen=True, tag=True):
    """Another listener of the same proxy, by name, without a socket."""

    listener: str


class OriginalDestination(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wherever the connection was meant to go before it was redirected here.

    `source` binds the own side to an address ("" lets the kernel choose), `mark` is put on the socket (0: none): rules
    of capture let such connections pass (Istio: 127.0.0.6 and 1337).
    """

    source: str = ""
    mark: int = 0


class AnyHost(msgspec.Struct, frozen=True, tag=True):
    """Whatever host the request names, looked up in DNS (Envoy: dynamic forward proxy)."""


class Nowhere(msgspec.Struct, frozen=True, tag=True):
    """No endpoints, ever: calls fail at once."""


class Endpoint(msgspec.Struct, frozen=True):
    """`workload`: who is there, as `core.model.peer.Peer` writes it.

    `mutual`: a proxy of the mesh is there and speaks mutual TLS on this port (Envoy: metadata `tlsMode: istio`)."""

    address: str
    port: int
    weight: int = 1
    health: Literal["HEALTHY", "DRAINING"] = "HEALTHY"
    workload: str = ""
    mutual: bool = False


class LocalityEndpoints(msgspec.Struct, frozen=True):
    """`priority` 0 is used first, without gaps; `weight` is the sum of the endpoints' unless a rule says otherwise."""

    locality: Locality
    endpoints: tuple[Endpoint, ...]
    priority: int = 0
    weight: int = 1


class Resolved(msgspec.Struct, frozen=True, tag=True):
    """Names that the proxy itself looks up in DNS, again and again; all addresses behind a name are used."""

    localities: tuple[LocalityEndpoints, ...] = ()


Endpoints = Discovered | Static | Internal | OriginalDestination | AnyHost | Nowhere | Resolved

HttpVersion = Literal["none", "http1", "http2", "follow"]
"""What is spoken upstream: no HTTP at all, HTTP/1.1, HTTP/2, or what the client spoke."""


class ServiceRef(msgspec.Struct, frozen=True):
    """Which service an upstream stands for; shown by tools and used in telemetry."""

    host: str
    name: str
    namespace: str


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is `outbound|<port>|<subset>|<host>`, `inbound|<port>||`, PassthroughCluster or BlackHoleCluster.

    `by_locality`: a locality is chosen first, by its weight, and then one of its endpoints.
    """

    name: str
    endpoints: Endpoints
    http: HttpVersion = "none"
    connect_timeout: int = 10_000
    load_balancer: Balance | ConsistentHash = Balance()
    by_locality: bool = False
    pool: ConnectionPool = ConnectionPool()
    outlier: Outlier | None = None
    security: ClientSecurity = NO_TLS
    service: ServiceRef | None = None
    subset: str = ""
    port: int = 0
    origins: tuple[Origin, ...] = ()


class LoadAssignment(msgspec.Struct, frozen=True):
    """The endpoints of the upstream of the same name."""

    name: str
    localities: tuple[LocalityEndpoints, ...] = ()
