"""Traffic policies of a DestinationRule: load balancing, connection pools, outlier detection, TLS."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec

from core.diagnostics import Severity
from core.ir.traffic import (
    UNLIMITED,
    Balance,
    ConnectionPool,
    ConsistentHash,
    HashCookie,
    HashHeader,
    HashKey,
    HashQuery,
    HashSourceIp,
    KeepAlive,
    LoadBalancer,
    Outlier,
    PortPolicy,
    TrafficPolicy,
)
from core.ir.values import INHERIT, Inherit
from core.kinds import headers, names, scalars
from core.kinds.findings import DEPRECATED, Context
from core.kinds.kind import Spec
from core.kinds.networking import clienttls, locality
from core.kinds.networking.clienttls import ClientTlsSpec
from core.kinds.networking.http_route import PortSpec
from core.kinds.networking.locality import LocalitySpec
from core.model.config import Origin
from core.model.locality import LocalityPolicy

LARGEST_RING = 8 * 1024 * 1024
LARGEST_MAGLEV = 5_000_011
"""Envoy's own limits (`RingHashLbConfig.minimum_ring_size`, `MaglevLbConfig.table_size`)."""

DEFAULT_MAGLEV = 65_537
DEFAULT_RING = 1024
_MOST = 2**31 - 1


class RingHashSpec(Spec, frozen=True):
    minimum_ring_size: int | None = None


class MaglevSpec(Spec, frozen=True):
    table_size: int | None = None


class CookieSpec(Spec, frozen=True):
    name: str = ""
    path: str = ""
    ttl: str | None = None

    later: ClassVar[Mapping[str, Severity]] = {"attributes": Severity.WARNING}


class ConsistentHashSpec(Spec, frozen=True):
    http_header_name: str | None = None
    http_cookie: CookieSpec | None = None
    use_source_ip: bool | None = None
    http_query_parameter_name: str | None = None
    ring_hash: RingHashSpec | None = None
    maglev: MaglevSpec | None = None
    minimum_ring_size: int | None = None


class LoadBalancerSpec(Spec, frozen=True):
    simple: Literal["UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM", "PASSTHROUGH"] | None = None
    consistent_hash: ConsistentHashSpec | None = None
    locality_lb_setting: LocalitySpec | None = None

    later: ClassVar[Mapping[str, Severity]] = {
        "zoneAwareLbSetting": Severity.WARNING,
        "warmup": Severity.WARNING,
        "warmupDurationSecs": Severity.WARNING,
    }


class KeepAliveSpec(Spec, frozen=True):
    probes: int = 0
    time: str | None = None
    interval: str | None = None


class TcpPoolSpec(Spec, frozen=True):
    max_connections: int = 0
    connect_timeout: str | None = None
    max_connection_duration: str | None = None
    tcp_keepalive: KeepAliveSpec | None = None

    later: ClassVar[Mapping[str, Severity]] = {"idleTimeout": Severity.WARNING}


class HttpPoolSpec(Spec, frozen=True):
    http1_max_pending_requests: int = 0
    http2_max_requests: int = 0
    max_requests_per_connection: int = 0
    max_retries: int = 0
    max_concurrent_streams: int = 0
    idle_timeout: str | None = None
    h2_upgrade_policy: Literal["DEFAULT", "UPGRADE", "DO_NOT_UPGRADE"] = "DEFAULT"
    use_client_protocol: bool = False

    later: ClassVar[Mapping[str, Severity]] = {"http2KeepAlive": Severity.WARNING}


class ConnectionPoolSpec(Spec, frozen=True):
    tcp: TcpPoolSpec | None = None
    http: HttpPoolSpec | None = None


class OutlierSpec(Spec, frozen=True):
    consecutive_5xx_errors: int | None = None
    consecutive_gateway_errors: int | None = None
    split_external_local_origin_errors: bool = False
    consecutive_local_origin_failures: int | None = None
    interval: str | None = None
    base_ejection_time: str | None = None
    max_ejection_percent: int = 0
    min_health_percent: int = 0

    later: ClassVar[Mapping[str, Severity]] = {
        "consecutiveErrors": Severity.WARNING,
        "outlierDetectionHttpErrorCodes": Severity.WARNING,
    }


_LATER: Mapping[str, Severity] = {
    "tunnel": Severity.ERROR,
    "proxyProtocol": Severity.ERROR,
    "retryBudget": Severity.WARNING,
}


class BlocksSpec(Spec, frozen=True):
    """The blocks that a policy and its settings for single ports have in common."""

    load_balancer: LoadBalancerSpec | None = None
    connection_pool: ConnectionPoolSpec | None = None
    outlier_detection: OutlierSpec | None = None
    tls: ClientTlsSpec | None = None


class PortPolicySpec(BlocksSpec, frozen=True):
    port: PortSpec | None = None


class TrafficPolicySpec(BlocksSpec, frozen=True):
    port_level_settings: tuple[PortPolicySpec, ...] = ()

    later: ClassVar[Mapping[str, Severity]] = _LATER


def lower(
    context: Context, spec: TrafficPolicySpec, at: Origin, *, wider: TrafficPolicySpec | None = None
) -> tuple[TrafficPolicy, tuple[PortPolicy, ...]]:
    """The policy for all ports, and those for single ports. `wider` is what a subset's policy inherits from."""
    if spec == TrafficPolicySpec() and not context.findings.touch(at):
        context.error(at, "trafficPolicy needs at least one field", fix="add loadBalancer, or take it out")
    ports: dict[int, PortPolicy] = {}
    for i, one in enumerate(spec.port_level_settings):
        here = at.at("portLevelSettings").at(i)
        number = names.port(context, one.port.number if one.port else 0, here.at("port").at("number"))
        if number in ports and number:
            context.error(here.at("port"), f"port {number} is set twice", fix="keep one")
        _check_failover(context, one, here)
        ports[number] = PortPolicy(number, _blocks(context, one, here))
    _check_failover(context, spec, at, wider=wider)
    return _blocks(context, spec, at), tuple(ports.values())


def _check_failover(context: Context, spec: BlocksSpec, at: Origin, *, wider: BlocksSpec | None = None) -> None:
    setting = spec.load_balancer.locality_lb_setting if spec.load_balancer else None
    watched = spec.outlier_detection or (wider and wider.outlier_detection)
    if setting is not None and setting.fails_over and not watched:
        message = "failover needs outlierDetection: without it all endpoints count as near"
        at = at.at("loadBalancer").at("localityLbSetting")
        context.warn(at, message, fix="add outlierDetection: {}")


def _blocks(context: Context, spec: BlocksSpec, at: Origin) -> TrafficPolicy:
    if spec.load_balancer and spec.load_balancer.simple == "PASSTHROUGH" and spec.outlier_detection:
        message = "outlierDetection has no effect with PASSTHROUGH, which looks at no endpoints"
        context.warn(at.at("outlierDetection"), message, fix="take one of them out")
    balancer, pool, outlier = spec.load_balancer, spec.connection_pool, spec.outlier_detection
    return TrafficPolicy(
        load_balancer=_balancer(context, balancer, at.at("loadBalancer")) if balancer else INHERIT,
        locality=_locality(context, balancer, at.at("loadBalancer")) if balancer else INHERIT,
        connection_pool=_pool(context, pool, at.at("connectionPool")) if pool else INHERIT,
        outlier=_outlier(context, outlier, at.at("outlierDetection")) if outlier else INHERIT,
        tls=clienttls.lower(context, spec.tls, at.at("tls")) if spec.tls else INHERIT,
    )


def _balancer(context: Context, spec: LoadBalancerSpec, at: Origin) -> LoadBalancer:
    if spec.simple and spec.consistent_hash:
        context.error(at, "simple and consistentHash exclude each other", fix="keep one")
    if spec.consistent_hash:
        return _consistent_hash(context, spec.consistent_hash, at.at("consistentHash"))
    match spec.simple:
        case "LEAST_CONN":
            message = "LEAST_CONN is deprecated"
            context.warn(at.at("simple"), message, fix="write LEAST_REQUEST, which it means", code=DEPRECATED)
            return Balance("LEAST_REQUEST")
        case None | "UNSPECIFIED":
            return Balance()
        case policy:
            return Balance(policy)


def _locality(context: Context, spec: LoadBalancerSpec, at: Origin) -> LocalityPolicy | Inherit:
    return locality.lower(context, spec.locality_lb_setting, at.at("localityLbSetting"))


def _consistent_hash(context: Context, spec: ConsistentHashSpec, at: Origin) -> ConsistentHash:
    keys = _keys(context, spec, at)
    if len(keys) != 1:
        context.error(
            at,
            "consistentHash needs exactly one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName",
            fix="keep one" if keys else "add one, for example useSourceIp: true",
        )
    key = keys[0] if keys else HashSourceIp()
    sizes = (spec.ring_hash, spec.maglev, spec.minimum_ring_size)
    if sum(size is not None for size in sizes) > 1:
        context.error(at, "ringHash, maglev and minimumRingSize exclude each other", fix="keep one")
    if spec.maglev:
        return ConsistentHash(key=key, algorithm="MAGLEV", size=_maglev(context, spec.maglev, at.at("maglev")))
    return ConsistentHash(key=key, size=_ring(context, spec, at))


def _keys(context: Context, spec: ConsistentHashSpec, at: Origin) -> list[HashKey]:
    keys: list[HashKey] = []
    if spec.http_header_name is not None:
        keys.append(HashHeader(headers.name(context, spec.http_header_name, at.at("httpHeaderName"))))
    if spec.http_cookie is not None:
        keys.append(_cookie(context, spec.http_cookie, at.at("httpCookie")))
    if spec.use_source_ip:
        keys.append(HashSourceIp())
    if spec.http_query_parameter_name is not None:
        if not spec.http_query_parameter_name:
            context.error(at.at("httpQueryParameterName"), "the name of the query parameter must not be empty")
        keys.append(HashQuery(spec.http_query_parameter_name))
    return keys


def _cookie(context: Context, spec: CookieSpec, at: Origin) -> HashCookie:
    headers.name(context, spec.name, at.at("name"))
    headers.value(context, spec.path, at.at("path"))
    if spec.ttl is None:
        return HashCookie(spec.name, spec.path)
    zero = scalars.nanoseconds(spec.ttl) == 0
    return HashCookie(spec.name, spec.path, 0 if zero else scalars.duration(context, spec.ttl, at.at("ttl")))


def _ring(context: Context, spec: ConsistentHashSpec, at: Origin) -> int:
    if spec.minimum_ring_size is not None:
        fix = "use ringHash: {minimumRingSize: …}"
        context.warn(at.at("minimumRingSize"), "minimumRingSize is deprecated here", fix=fix, code=DEPRECATED)
        return _ring_size(context, spec.minimum_ring_size, at.at("minimumRingSize"))
    size = spec.ring_hash.minimum_ring_size if spec.ring_hash else None
    return DEFAULT_RING if size is None else _ring_size(context, size, at.at("ringHash").at("minimumRingSize"))


def _ring_size(context: Context, size: int, at: Origin) -> int:
    """0 means the default, as in Istio."""
    if not 0 <= size <= LARGEST_RING:
        context.error(at, f"minimumRingSize must be from 0 to {LARGEST_RING}, not {size}")
    return size or DEFAULT_RING


def _maglev(context: Context, spec: MaglevSpec, at: Origin) -> int:
    size = DEFAULT_MAGLEV if spec.table_size is None else spec.table_size
    if not 2 <= size <= LARGEST_MAGLEV or not _is_prime(size):
        message = f"tableSize must be a prime number of at most {LARGEST_MAGLEV}, not {size}"
        context.error(at.at("tableSize"), message, fix=f"for example {DEFAULT_MAGLEV}")
    return size


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _pool(context: Context, spec: ConnectionPoolSpec, at: Origin) -> ConnectionPool:
    if spec.tcp is None and spec.http is None:
        context.error(at, "connectionPool needs tcp or http", fix="add one, or take it out")
    return _http_pool(context, spec.http, at.at("http"), _tcp_pool(context, spec.tcp, at.at("tcp")))


def _tcp_pool(context: Context, spec: TcpPoolSpec | None, at: Origin) -> ConnectionPool:
    if spec is None:
        return ConnectionPool()
    return ConnectionPool(
        max_connections=_count(context, spec.max_connections, at.at("maxConnections")) or UNLIMITED,
        connect_timeout=_time(context, spec.connect_timeout, at.at("connectTimeout")),
        max_connection_duration=_time(context, spec.max_connection_duration, at.at("maxConnectionDuration")),
        keep_alive=_keep_alive(context, spec.tcp_keepalive, at.at("tcpKeepalive")) if spec.tcp_keepalive else None,
    )


def _http_pool(context: Context, spec: HttpPoolSpec | None, at: Origin, pool: ConnectionPool) -> ConnectionPool:
    if spec is None:
        return pool
    if spec.use_client_protocol and spec.h2_upgrade_policy == "UPGRADE":
        context.error(at, "useClientProtocol and h2UpgradePolicy UPGRADE exclude each other", fix="keep one")
    return msgspec.structs.replace(
        pool,
        max_pending_requests=_count(context, spec.http1_max_pending_requests, at.at("http1MaxPendingRequests"))
        or UNLIMITED,
        max_requests=_count(context, spec.http2_max_requests, at.at("http2MaxRequests")) or UNLIMITED,
        max_requests_per_connection=_count(
            context, spec.max_requests_per_connection, at.at("maxRequestsPerConnection")
        ),
        max_retries=_count(context, spec.max_retries, at.at("maxRetries")) or UNLIMITED,
        max_concurrent_streams=_count(context, spec.max_concurrent_streams, at.at("maxConcurrentStreams")),
        http_idle_timeout=_time(context, spec.idle_timeout, at.at("idleTimeout")),
        http2="FOLLOW_CLIENT" if spec.use_client_protocol else spec.h2_upgrade_policy,
    )


def _count(context: Context, number: int, at: Origin) -> int:
    """0 means the default, as in Istio."""
    if not 0 <= number <= _MOST:
        context.error(at, f"{at.path.rsplit('.', 1)[-1]} must be from 0 to {_MOST}, not {number}")
        return 0
    return number


def _time(context: Context, text: str | None, at: Origin) -> int:
    return 0 if text is None else scalars.duration(context, text, at)


def _keep_alive(context: Context, spec: KeepAliveSpec, at: Origin) -> KeepAlive:
    return KeepAlive(
        probes=_count(context, spec.probes, at.at("probes")),
        time=0 if spec.time is None else scalars.seconds(context, spec.time, at.at("time")),
        interval=0 if spec.interval is None else scalars.seconds(context, spec.interval, at.at("interval")),
    )


def _outlier(context: Context, spec: OutlierSpec, at: Origin) -> Outlier:
    if spec.consecutive_local_origin_failures and not spec.split_external_local_origin_errors:
        message = "consecutiveLocalOriginFailures has an effect only with splitExternalLocalOriginErrors: true"
        context.error(at.at("consecutiveLocalOriginFailures"), message, fix="set it, or take this out")
    return Outlier(
        consecutive_5xx=_limit(context, spec.consecutive_5xx_errors, at.at("consecutive5xxErrors"), 5),
        consecutive_gateway_errors=_limit(
            context, spec.consecutive_gateway_errors, at.at("consecutiveGatewayErrors"), 0
        ),
        split_local_errors=spec.split_external_local_origin_errors,
        consecutive_local_failures=_limit(
            context, spec.consecutive_local_origin_failures, at.at("consecutiveLocalOriginFailures"), 5
        ),
        interval=_time(context, spec.interval, at.at("interval")) or 10_000,
        base_ejection_time=_time(context, spec.base_ejection_time, at.at("baseEjectionTime")) or 30_000,
        max_ejection_percent=_percent(context, spec.max_ejection_percent, at.at("maxEjectionPercent")) or 10,
        min_health_percent=_percent(context, spec.min_health_percent, at.at("minHealthPercent")),
    )


def _limit(context: Context, number: int | None, at: Origin, default: int) -> int:
    """Absent means the default, 0 turns the criterion off."""
    return default if number is None else _count(context, number, at)


def _percent(context: Context, number: int, at: Origin) -> int:
    if not 0 <= number <= 100:
        context.error(at, f"{at.path.rsplit('.', 1)[-1]} must be from 0 to 100, not {number}")
        return 0
    return number
