"""How a cluster protects itself and its endpoints: limits, keep-alive, putting bad endpoints aside."""

from functools import lru_cache

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from core.envoy.any import milliseconds, number
from core.ir.traffic import ConnectionPool, KeepAlive, Outlier


@lru_cache(maxsize=256)
def circuit_breakers(pool: ConnectionPool) -> circuit_breaker_pb2.CircuitBreakers:
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=number(pool.max_connections),
        max_pending_requests=number(pool.max_pending_requests),
        max_requests=number(pool.max_requests),
        max_retries=number(pool.max_retries),
        track_remaining=True,
    )
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds])


def connection_options(keep_alive: KeepAlive) -> cluster_pb2.UpstreamConnectionOptions:
    fields = {
        "keepalive_probes": keep_alive.probes,
        "keepalive_time": keep_alive.time,
        "keepalive_interval": keep_alive.interval,
    }
    given = {name: number(value) for name, value in fields.items() if value}
    return cluster_pb2.UpstreamConnectionOptions(tcp_keepalive=address_pb2.TcpKeepalive(**given))


def outlier_detection(outlier: Outlier) -> outlier_detection_pb2.OutlierDetection:
    """Only by consecutive failures, as Istio: by success rate never."""
    local = outlier.consecutive_local_failures if outlier.split_local_errors else 0
    return outlier_detection_pb2.OutlierDetection(
        interval=milliseconds(outlier.interval),
        base_ejection_time=milliseconds(outlier.base_ejection_time),
        max_ejection_percent=number(outlier.max_ejection_percent),
        consecutive_5xx=_limit(outlier.consecutive_5xx),
        enforcing_consecutive_5xx=_enforce(outlier.consecutive_5xx),
        consecutive_gateway_failure=_limit(outlier.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure=_enforce(outlier.consecutive_gateway_errors),
        split_external_local_origin_errors=outlier.split_local_errors,
        consecutive_local_origin_failure=_limit(local),
        enforcing_consecutive_local_origin_failure=_enforce(local),
        enforcing_success_rate=number(0),
        enforcing_local_origin_success_rate=number(0),
    )


def panic_below(outlier: Outlier) -> cluster_pb2.Cluster.CommonLbConfig:
    """Envoy ignores who was put aside when fewer than this many percent are left; 0: never."""
    threshold = percent_pb2.Percent(value=outlier.min_health_percent)
    return cluster_pb2.Cluster.CommonLbConfig(healthy_panic_threshold=threshold)


def _limit(consecutive: int) -> UInt32Value | None:
    return number(consecutive) if consecutive else None


def _enforce(consecutive: int) -> UInt32Value:
    return number(100 if consecutive else 0)
