"""Upstreams as Envoy clusters."""

from collections.abc import Iterator, Sequence
from typing import assert_never

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from msgspec.structs import replace

from core.envoy import addresses, ads, dns, endpoints, metadata, transport_sockets
from core.envoy.any import milliseconds, packed
from core.envoy.filters import dynamic_forward_proxy
from core.envoy.protocols import http_options
from core.envoy.resilience import circuit_breakers, connection_options, outlier_detection, panic_below
from core.envoy.templates import Templates
from core.ir.traffic import Balance, ConnectionPool, ConsistentHash, Outlier
from core.model.identity import SpiffeId
from core.view.security import Automatic, ClientSecurity, MeshClient
from core.view.upstream import (
    AnyHost,
    Discovered,
    Endpoints,
    HttpVersion,
    Internal,
    LoadAssignment,
    LocalityEndpoints,
    Nowhere,
    OriginalDestination,
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
    by_locality: bool
    pool: ConnectionPool
    outlier: Outlier | None
    security: ClientSecurity
    port: int
    has_service: bool


def taken_apart(upstream: Upstream) -> tuple[Shape, tuple[str, ...]]:
    service, origins = upstream.service, upstream.origins
    security, secured = _without_texts(upstream.security)
    shape = Shape(
        upstream.endpoints,
        upstream.http,
        upstream.pool.connect_timeout or upstream.connect_timeout,
        upstream.load_balancer,
        upstream.by_locality,
        upstream.pool,
        upstream.outlier,
        security,
        upstream.port,
        service is not None,
    )
    config = metadata.path_of(origins[0]) if origins else ""
    named = (service.host, service.name, service.namespace) if service else ()
    return shape, (upstream.name, upstream.subset, config, *secured, *named)


def _without_texts(security: ClientSecurity) -> tuple[ClientSecurity, tuple[str, ...]]:
    match security:
        case Automatic(mesh=mesh):
            bare, texts = _bare(mesh)
            return Automatic(mesh=bare), texts
        case MeshClient():
            return _bare(security)
        case _:
            return security, ()


def _bare(mesh: MeshClient) -> tuple[MeshClient, tuple[str, ...]]:
    """Most services have one identity, and differ in it."""
    match mesh.identities:
        case (SpiffeId(trust_domain, path),):
            return replace(mesh, sni="", identities=(SpiffeId(trust_domain, ""),)), (mesh.sni, path)
        case _:
            return replace(mesh, sni=""), (mesh.sni,)


def _with_texts(security: ClientSecurity, texts: Iterator[str]) -> ClientSecurity:
    match security:
        case Automatic(mesh=mesh):
            return Automatic(mesh=_clad(mesh, texts))
        case MeshClient():
            return _clad(security, texts)
        case _:
            return security


def _clad(mesh: MeshClient, texts: Iterator[str]) -> MeshClient:
    sni = next(texts)
    match mesh.identities:
        case (SpiffeId(trust_domain, ""),):
            return replace(mesh, sni=sni, identities=(SpiffeId(trust_domain, next(texts)),))
        case _:
            return replace(mesh, sni=sni)


def build(shape: Shape, texts: tuple[str, ...]) -> bytes:
    """The same with protobuf alone."""
    name, subset, config, *rest = texts
    remaining = iter(rest)
    security, service = _with_texts(shape.security, remaining), tuple(remaining)
    cluster = _Cluster(
        name=name,
        connect_timeout=milliseconds(shape.connect_timeout),
        circuit_breakers=circuit_breakers(shape.pool),
        typed_extension_protocol_options=http_options(shape.http, shape.pool, shape.security),
        upstream_connection_options=connection_options(shape.pool.keep_alive) if shape.pool.keep_alive else None,
        outlier_detection=outlier_detection(shape.outlier) if shape.outlier else None,
        common_lb_config=_common(shape),
        metadata=_metadata(service, (name, subset, config), shape),
    )
    cluster.MergeFrom(_located(shape.endpoints, name, shape.load_balancer))
    cluster.MergeFrom(transport_sockets.client(security))
    return packed(cluster)


_TEMPLATES = Templates(build)


def _common(shape: Shape) -> cluster_pb2.Cluster.CommonLbConfig | None:
    config = panic_below(shape.outlier) if shape.outlier else _Cluster.CommonLbConfig()
    if shape.by_locality and shape.load_balancer != Balance("PASSTHROUGH"):
        config.locality_weighted_lb_config.SetInParent()
    return config if shape.outlier or shape.by_locality else None


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
        case OriginalDestination():
            return _original_destination(where)
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
    # Names that are looked up are nothing a connection could have been meant for.
    "PASSTHROUGH": _Cluster.LEAST_REQUEST,
}


def _original_destination(where: OriginalDestination) -> cluster_pb2.Cluster:
    cluster = _Cluster(type=_Cluster.ORIGINAL_DST, lb_policy=_Cluster.CLUSTER_PROVIDED)
    if where.source:
        cluster.upstream_bind_config.source_address.CopyFrom(addresses.socket(where.source, 0).socket_address)
    if where.mark:
        cluster.upstream_bind_config.socket_options.extend((addresses.mark(where.mark), addresses.PORT_AT_BIND))
    return cluster


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


def _metadata(service: Sequence[str], names: tuple[str, str, str], shape: Shape) -> base_pb2.Metadata | None:
    """As Istio: `services`, `default_original_port`, `subset`, `config`; each only where there is something to say.

    For telemetry, `service` says the same in one text, `unnamed` where calls to no service go (";PassthroughCluster;"),
    and `mesh` that proxies of the mesh are there.
    """
    name, subset, config = names
    fields = {name: metadata.text(value) for name, value in (("config", config), ("subset", subset)) if value}
    if service:
        fields["service"] = metadata.text(";".join(service))
        fields["services"] = metadata.records(dict(zip(("host", "name", "namespace"), service, strict=True)))
    elif isinstance(shape.endpoints, AnyHost | OriginalDestination | Nowhere):
        fields["unnamed"] = metadata.text(f";{name};")
    if shape.port:
        fields["default_original_port"] = metadata.count(shape.port)
    if isinstance(shape.security, Automatic | MeshClient):
        fields["mesh"] = metadata.text("true")
    return metadata.metadata(fields) if fields else None
