"""Traffic policies: how connections to a service are made, spread and limited. Durations are milliseconds."""

from typing import Literal

import msgspec

from core.ir.security import ClientTls
from core.ir.values import INHERIT, Inherit
from core.model.config import Origin
from core.model.labels import NO_LABELS, Labels
from core.model.locality import LocalityPolicy

UNLIMITED = 2**32 - 1
"""Istio's default for every limit of a connection pool."""


class Balance(msgspec.Struct, frozen=True, tag=True):
    """A load balancer that looks at nothing in the request."""

    policy: Literal["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PASSTHROUGH"] = "LEAST_REQUEST"


class HashHeader(msgspec.Struct, frozen=True, tag=True):
    name: str


class HashCookie(msgspec.Struct, frozen=True, tag=True):
    """`ttl` None: only read; 0: a session cookie is made."""

    name: str
    path: str = ""
    ttl: int | None = None


class HashSourceIp(msgspec.Struct, frozen=True, tag=True):
    pass


class HashQuery(msgspec.Struct, frozen=True, tag=True):
    name: str


HashKey = HashHeader | HashCookie | HashSourceIp | HashQuery


class ConsistentHash(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Requests with the same key go to the same endpoint. `size`: minimum ring size, or the Maglev table's."""

    key: HashKey
    algorithm: Literal["RING_HASH", "MAGLEV"] = "RING_HASH"
    size: int = 1024


LoadBalancer = Balance | ConsistentHash


class KeepAlive(msgspec.Struct, frozen=True):
    """TCP keep-alive: number of probes, idle time and interval in whole seconds; 0: the system's."""

    probes: int = 0
    time: int = 0
    interval: int = 0


class ConnectionPool(msgspec.Struct, frozen=True, kw_only=True):
    """Limits per upstream. Durations 0: the default; other fields without an `UNLIMITED` default, 0: no limit."""

    max_connections: int = UNLIMITED
    connect_timeout: int = 0
    max_connection_duration: int = 0
    keep_alive: KeepAlive | None = None
    max_pending_requests: int = UNLIMITED
    max_requests: int = UNLIMITED
    max_requests_per_connection: int = 0
    max_retries: int = UNLIMITED
    max_concurrent_streams: int = 0
    http_idle_timeout: int = 0
    http2: Literal["DEFAULT", "UPGRADE", "DO_NOT_UPGRADE", "FOLLOW_CLIENT"] = "DEFAULT"


class Outlier(msgspec.Struct, frozen=True, kw_only=True):
    """When an endpoint is put aside for a while. 0 turns a criterion off; below `min_health_percent` none is."""

    consecutive_5xx: int = 5
    consecutive_gateway_errors: int = 0
    split_local_errors: bool = False
    consecutive_local_failures: int = 5
    interval: int = 10_000
    base_ejection_time: int = 30_000
    max_ejection_percent: int = 10
    min_health_percent: int = 0


class TrafficPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks are inherited or replaced as a whole, never merged field by field.

    `locality` is a part of the load balancer's block; where that block does not say it, the mesh decides.
    """

    load_balancer: LoadBalancer | Inherit = INHERIT
    locality: LocalityPolicy | Inherit = INHERIT
    connection_pool: ConnectionPool | Inherit = INHERIT
    outlier: Outlier | Inherit = INHERIT
    tls: ClientTls | Inherit = INHERIT


INHERIT_ALL = TrafficPolicy()


class PortPolicy(msgspec.Struct, frozen=True):
    port: int
    policy: TrafficPolicy


class Subset(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    labels: Labels = NO_LABELS
    policy: TrafficPolicy = INHERIT_ALL
    ports: tuple[PortPolicy, ...] = ()
    origin: Origin


class DestinationPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What one document says of a host (fully qualified or wildcard)."""

    host: str
    policy: TrafficPolicy = INHERIT_ALL
    ports: tuple[PortPolicy, ...] = ()
    subsets: tuple[Subset, ...] = ()
    visible_to: tuple[str, ...] = ("*",)
    created: float = 0.0
    origin: Origin
