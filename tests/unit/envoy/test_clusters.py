"""What a cluster says, read back with protobuf."""

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2 as any_host_pb2
from envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict
from msgspec.structs import replace

from core.envoy import clusters
from core.envoy.filters import dynamic_forward_proxy
from core.envoy.names import CLUSTER
from core.envoy.testing import catalogue
from core.ir.traffic import UNLIMITED, Balance, ConnectionPool, ConsistentHash, HashSourceIp, KeepAlive, Outlier
from core.model.service import Locality
from core.view.upstream import (
    AnyHost,
    Discovered,
    Endpoint,
    Endpoints,
    HttpVersion,
    Internal,
    LocalityEndpoints,
    Nowhere,
    Resolved,
    Static,
    Upstream,
)

HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(upstream: Upstream) -> cluster_pb2.Cluster:
    envelope = Any.FromString(clusters.encode(upstream))
    assert envelope.type_url == CLUSTER
    return cluster_pb2.Cluster.FromString(envelope.value)


def discovered(
    pool: ConnectionPool | None = None, balancer: Balance | ConsistentHash | None = None, outlier: Outlier | None = None
) -> cluster_pb2.Cluster:
    return cluster(
        Upstream(
            name="x",
            endpoints=Discovered(),
            pool=pool or ConnectionPool(),
            load_balancer=balancer or Balance(),
            outlier=outlier,
        )
    )


def options(http: HttpVersion, pool: ConnectionPool) -> http_protocol_options_pb2.HttpProtocolOptions:
    message = cluster(Upstream(name="x", endpoints=Discovered(), http=http, pool=pool))
    return http_protocol_options_pb2.HttpProtocolOptions.FromString(
        message.typed_extension_protocol_options[HTTP].value
    )


def test_discovered() -> None:
    """Endpoints come over the same stream, and Envoy waits for them as long as it takes."""
    message = discovered()
    assert message.type == cluster_pb2.Cluster.EDS
    source = message.eds_cluster_config.eds_config
    assert source.HasField("ads")
    assert source.HasField("initial_fetch_timeout")
    assert source.initial_fetch_timeout.ToMilliseconds() == 0
    assert message.connect_timeout.ToMilliseconds() == 10_000
    assert message.lb_policy == cluster_pb2.Cluster.LEAST_REQUEST


def test_fixed_endpoints() -> None:
    """A static endpoint is a socket, an internal one a listener of the same proxy; nowhere has none at all."""

    def address(endpoints: Endpoints) -> object:
        message = cluster(Upstream(name="x", endpoints=endpoints))
        assert message.type == cluster_pb2.Cluster.STATIC
        found = [e.endpoint.address for place in message.load_assignment.endpoints for e in place.lb_endpoints]
        return [MessageToDict(one) for one in found]

    assert address(Static("127.0.0.1", 80)) == [{"socketAddress": {"address": "127.0.0.1", "portValue": 80}}]
    assert address(Internal("l")) == [{"envoyInternalAddress": {"serverListenerName": "l"}}]
    assert address(Nowhere()) == []


def test_weights_of_localities_count_where_a_rule_says_so() -> None:
    """Beside what outlier detection sets; not for what keeps to the original destination, which Envoy would refuse."""
    plain = Upstream(name="x", endpoints=Discovered())
    shared = replace(plain, by_locality=True)
    assert not cluster(plain).HasField("common_lb_config")
    assert cluster(shared).common_lb_config.HasField("locality_weighted_lb_config")
    watched = cluster(replace(shared, outlier=Outlier(min_health_percent=40))).common_lb_config
    assert watched.HasField("locality_weighted_lb_config")
    assert watched.healthy_panic_threshold.value == 40
    kept = cluster(replace(shared, load_balancer=Balance("PASSTHROUGH"))).common_lb_config
    assert not kept.HasField("locality_weighted_lb_config")


def test_names_to_look_up() -> None:
    """Envoy looks every name up by itself, as often as DNS says; after a failure soon again."""
    far = LocalityEndpoints(Locality("r", "z"), (Endpoint("eu.example.com", 80, 3), Endpoint("10.0.0.1", 81)), 0, 4)
    message = cluster(Upstream(name="x", endpoints=Resolved((far,)), load_balancer=Balance("RANDOM")))
    assert message.lb_policy == cluster_pb2.Cluster.RANDOM
    kind = dns_cluster_pb2.DnsCluster.FromString(message.cluster_type.typed_config.value)
    assert kind.respect_dns_ttl
    assert not kind.all_addresses_in_single_endpoint
    assert kind.dns_refresh_rate.ToSeconds() == 60
    failed = kind.dns_failure_refresh_rate
    assert (failed.base_interval.ToSeconds(), failed.max_interval.ToSeconds()) == (1, 60)
    assert not kind.HasField("typed_dns_resolver_config")  # whom it asks, its bootstrap says
    (place,) = message.load_assignment.endpoints
    sockets = [e.endpoint.address.socket_address for e in place.lb_endpoints]
    assert [(each.address, each.port_value) for each in sockets] == [("eu.example.com", 80), ("10.0.0.1", 81)]
    assert [e.load_balancing_weight.value for e in place.lb_endpoints] == [3, 1]
    assert (place.locality.region, place.locality.zone) == ("r", "z")


def test_any_host() -> None:
    """The cluster for unknown hosts and the HTTP filter that feeds it describe one and the same cache."""
    message = cluster(Upstream(name="x", endpoints=AnyHost()))
    assert message.lb_policy == cluster_pb2.Cluster.CLUSTER_PROVIDED
    of_cluster = any_host_pb2.ClusterConfig.FromString(message.cluster_type.typed_config.value)
    of_filter = dynamic_forward_proxy_pb2.FilterConfig.FromString(dynamic_forward_proxy.FILTER.typed_config.value)
    assert of_cluster.dns_cache_config == of_filter.dns_cache_config


def test_limits() -> None:
    """Limits are the pool's, unlimited by default, and what is left of them is shown in the statistics."""
    (limits,) = discovered().circuit_breakers.thresholds
    assert limits.max_connections.value == limits.max_retries.value == UNLIMITED
    assert limits.track_remaining
    pool = ConnectionPool(max_connections=1, max_pending_requests=2, max_requests=3, max_retries=0)
    (limits,) = discovered(pool).circuit_breakers.thresholds
    numbers = (limits.max_connections, limits.max_pending_requests, limits.max_requests, limits.max_retries)
    assert [number.value for number in numbers] == [1, 2, 3, 0]
    assert limits.HasField("max_retries")


def test_connections() -> None:
    """The pool's connect timeout wins over the upstream's; keep-alive of zeros means the system's own values."""
    message = discovered(ConnectionPool(connect_timeout=1500, keep_alive=KeepAlive(time=60)))
    assert message.connect_timeout.ToMilliseconds() == 1500
    probing = message.upstream_connection_options.tcp_keepalive
    assert probing.keepalive_time.value == 60
    assert not probing.HasField("keepalive_probes")
    assert not discovered().HasField("upstream_connection_options")


def test_http_versions() -> None:
    """Each version is said in Envoy's words; without HTTP nothing is said."""
    plain = ConnectionPool()
    assert options("http1", plain).explicit_http_config.WhichOneof("protocol_config") == "http_protocol_options"
    assert options("http2", plain).explicit_http_config.WhichOneof("protocol_config") == "http2_protocol_options"
    follow = options("follow", plain).use_downstream_protocol_config
    assert follow.HasField("http_protocol_options")
    assert follow.HasField("http2_protocol_options")
    assert not cluster(Upstream(name="x", endpoints=Discovered())).typed_extension_protocol_options


def test_http_limits() -> None:
    """Idle time, age, requests and streams per connection; what is not limited is not mentioned."""
    pool = ConnectionPool(
        http_idle_timeout=1500, max_connection_duration=2500, max_requests_per_connection=3, max_concurrent_streams=4
    )
    found = options("http2", pool)
    assert found.common_http_protocol_options.idle_timeout.ToMilliseconds() == 1500
    assert found.common_http_protocol_options.max_connection_duration.ToMilliseconds() == 2500
    assert found.common_http_protocol_options.max_requests_per_connection.value == 3
    assert found.explicit_http_config.http2_protocol_options.max_concurrent_streams.value == 4
    assert not options("http2", ConnectionPool()).HasField("common_http_protocol_options")


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"])
def test_balance(policy: str) -> None:
    """Balancers keep their names."""
    balancer = next(b for b in catalogue.BALANCERS if isinstance(b, Balance) and b.policy == policy)
    assert discovered(balancer=balancer).lb_policy == cluster_pb2.Cluster.LbPolicy.Value(policy)


def test_passthrough() -> None:
    """Passing through goes where the caller was going: no endpoints are discovered."""
    message = discovered(balancer=Balance("PASSTHROUGH"))
    assert message.type == cluster_pb2.Cluster.ORIGINAL_DST
    assert message.lb_policy == cluster_pb2.Cluster.CLUSTER_PROVIDED
    assert not message.HasField("eds_cluster_config")


def test_consistent_hash() -> None:
    """The size is the smallest ring, or that of Maglev's table."""
    ring = discovered(balancer=ConsistentHash(key=HashSourceIp(), size=7))
    assert (ring.lb_policy, ring.ring_hash_lb_config.minimum_ring_size.value) == (cluster_pb2.Cluster.RING_HASH, 7)
    table = discovered(balancer=ConsistentHash(key=HashSourceIp(), algorithm="MAGLEV", size=7))
    assert (table.lb_policy, table.maglev_lb_config.table_size.value) == (cluster_pb2.Cluster.MAGLEV, 7)


def test_outlier_defaults() -> None:
    """Only consecutive failures put an endpoint aside, and never does a panic bring it back unasked."""
    message = discovered(outlier=Outlier())
    assert MessageToDict(message.outlier_detection, preserving_proto_field_name=True) == {
        "consecutive_5xx": 5,
        "enforcing_consecutive_5xx": 100,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_consecutive_local_origin_failure": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "10s",
        "base_ejection_time": "30s",
        "max_ejection_percent": 10,
    }
    assert message.common_lb_config.HasField("healthy_panic_threshold")
    assert message.common_lb_config.healthy_panic_threshold.value == 0
    assert not discovered().HasField("outlier_detection")
    assert not discovered().HasField("common_lb_config")


def test_outlier_criteria() -> None:
    """0 turns a criterion off; local failures count for themselves only where they are split off."""
    outlier = Outlier(
        consecutive_5xx=0, consecutive_gateway_errors=3, split_local_errors=True, consecutive_local_failures=4
    )
    found = discovered(outlier=outlier).outlier_detection
    assert found.enforcing_consecutive_5xx.value == 0
    assert found.HasField("enforcing_consecutive_5xx")
    assert (found.consecutive_gateway_failure.value, found.enforcing_consecutive_gateway_failure.value) == (3, 100)
    assert found.split_external_local_origin_errors
    assert found.consecutive_local_origin_failure.value == 4
    assert found.enforcing_consecutive_local_origin_failure.value == 100


def test_metadata() -> None:
    """Tools read service, port, subset and the configuring document from the metadata, as in Istio."""
    upstream = Upstream(
        name="x",
        endpoints=Discovered(),
        service=catalogue.SERVICE,
        subset="v2",
        port=9080,
        origins=(catalogue.ORIGIN,),
    )
    assert MessageToDict(cluster(upstream).metadata.filter_metadata["istio"]) == {
        "service": f"{catalogue.HOST};reviews;default",
        "services": [{"host": catalogue.HOST, "name": "reviews", "namespace": "default"}],
        "default_original_port": 9080,
        "subset": "v2",
        "config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews",
    }
    assert not discovered().HasField("metadata")
