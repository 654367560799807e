"""Upstreams as Envoy clusters."""

from collections.abc import Sequence
from typing import assert_never

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from core.envoy import addresses, ads, dns, endpoints, metadata
from core.envoy.any import milliseconds, packed
from core.envoy.filters import dynamic_forward_proxy
from core.envoy.protocols import http_options
from core.envoy.resilience import circuit_breakers, connection_options, outlier_detection, panic_below
from core.envoy.templates import Templates
from core.ir.traffic import Balance, ConnectionPool, ConsistentHash, Outlier
from core.view.upstream import (
    AnyHost,
    Discovered,
    Endpoints,
    HttpVersion,
    Internal,
    LoadAssignment,
    LocalityEndpoints,
    Nowhere,
    Resolved,
    Static,
    Upstream,
)

_Cluster = cluster_pb2.Cluster


def encode(upstream: Upstream) -> bytes:
    """An `Any` of `envoy.config.cluster.v3.Cluster`."""
    return _TEMPLATES.render(*taken_apart(upstream))


class Shape(msgspec.Struct, frozen=True):
    """What is not text of an upstream."""

    endpoints: Endpoints
    http: HttpVersion
    connect_timeout: int
    load_balancer: Balance | ConsistentHash
    pool: ConnectionPool
    outlier: Outlier | None
    port: int
    has_service: bool


def taken_apart(upstream: Upstream) -> tuple[Shape, tuple[str, ...]]:
    service, origins = upstream.service, upstream.origins
    shape = Shape(
        upstream.endpoints,
        upstream.http,
        upstream.pool.connect_timeout or upstream.connect_timeout,
        upstream.load_balancer,
        upstream.pool,
        upstream.outlier,
        upstream.port,
        service is not None,
    )
    config = metadata.path_of(origins[0]) if origins else ""
    named = (service.host, service.name, service.namespace) if service else ()
    return shape, (upstream.name, upstream.subset, config, *named)


def build(shape: Shape, texts: tuple[str, ...]) -> bytes:
    """The same with protobuf alone."""
    name, subset, config, *service = texts
    cluster = _Cluster(
        name=name,
        connect_timeout=milliseconds(shape.connect_timeout),
        circuit_breakers=circuit_breakers(shape.pool),
        typed_extension_protocol_options=http_options(shape.http, shape.pool),
        upstream_connection_options=connection_options(shape.pool.keep_alive) if shape.pool.keep_alive else None,
        outlier_detection=outlier_detection(shape.outlier) if shape.outlier else None,
        common_lb_config=panic_below(shape.outlier) if shape.outlier else None,
        metadata=_metadata(service, subset, config, shape.port),
    )
    cluster.MergeFrom(_located(shape.endpoints, name, shape.load_balancer))
    return packed(cluster)


_TEMPLATES = Templates(build)


def _located(where: Endpoints, name: str, balancer: Balance | ConsistentHash) -> cluster_pb2.Cluster:
    """The fields that say where endpoints come from, and where there may be several how one is chosen."""
    match where:
        case Discovered():
            return _PASSTHROUGH if balancer == Balance("PASSTHROUGH") else _discovered(balancer)
        case Resolved(localities):
            return _resolved(name, localities, balancer)
        case Static(address, port):
            return _fixed(name, addresses.socket(address, port))
        case Internal(listener):
            return _fixed(name, addresses.internal(listener))
        case AnyHost():
            return _ANY_HOST
        case Nowhere():
            return _Cluster(type=_Cluster.STATIC)
        case _:
            assert_never(where)


_PASSTHROUGH = _Cluster(type=_Cluster.ORIGINAL_DST, lb_policy=_Cluster.CLUSTER_PROVIDED)
_ANY_HOST = _Cluster(cluster_type=dynamic_forward_proxy.CLUSTER, lb_policy=_Cluster.CLUSTER_PROVIDED)
_POLICIES = {
    "ROUND_ROBIN": _Cluster.ROUND_ROBIN,
    "LEAST_REQUEST": _Cluster.LEAST_REQUEST,
    "RANDOM": _Cluster.RANDOM,
}


def _discovered(balancer: Balance | ConsistentHash) -> cluster_pb2.Cluster:
    cluster = _Cluster(type=_Cluster.EDS, eds_cluster_config=_Cluster.EdsClusterConfig(eds_config=ads.SOURCE))
    cluster.MergeFrom(_balanced(balancer))
    return cluster


def _resolved(
    name: str, localities: tuple[LocalityEndpoints, ...], balancer: Balance | ConsistentHash
) -> cluster_pb2.Cluster:
    """The load assignment is that of EDS, inside the cluster."""
    cluster = _Cluster(cluster_type=dns.CLUSTER, load_assignment=endpoints.message(LoadAssignment(name, localities)))
    cluster.MergeFrom(_balanced(balancer))
    return cluster


def _balanced(balancer: Balance | ConsistentHash) -> cluster_pb2.Cluster:
    cluster = _Cluster()
    if isinstance(balancer, Balance):
        cluster.lb_policy = _POLICIES[balancer.policy]
    elif balancer.algorithm == "MAGLEV":
        cluster.lb_policy = _Cluster.MAGLEV
        cluster.maglev_lb_config.table_size.value = balancer.size
    else:
        cluster.lb_policy = _Cluster.RING_HASH
        cluster.ring_hash_lb_config.minimum_ring_size.value = balancer.size
    return cluster


def _fixed(name: str, address: address_pb2.Address) -> cluster_pb2.Cluster:
    endpoint = endpoint_components_pb2.Endpoint(address=address)
    locality = endpoint_components_pb2.LocalityLbEndpoints(
        lb_endpoints=[endpoint_components_pb2.LbEndpoint(endpoint=endpoint)]
    )
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=[locality])
    return _Cluster(type=_Cluster.STATIC, load_assignment=assignment)


def _metadata(service: Sequence[str], subset: str, config: str, port: int) -> base_pb2.Metadata | None:
    """As Istio: `services`, `default_original_port`, `subset`, `config`; each only where there is something to say."""
    fields = {name: metadata.text(value) for name, value in (("config", config), ("subset", subset)) if value}
    if service:
        fields["services"] = metadata.records(dict(zip(("host", "name", "namespace"), service, strict=True)))
    if port:
        fields["default_original_port"] = metadata.count(port)
    return metadata.metadata(fields) if fields else None
