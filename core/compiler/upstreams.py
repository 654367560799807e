"""Upstreams: one for each port and subset of a service, with the policy that holds for it, and their endpoints."""

from collections.abc import Iterator
from typing import NamedTuple, TypeVar, assert_never

from msgspec.structs import replace

from core.compiler import names
from core.compiler.inputs import Inputs
from core.compiler.nearness import Candidate, in_force, placed
from core.compiler.peers import Peers, peers
from core.compiler.precedence import Policy, effective, policy_for
from core.compiler.scope import NOWHERE, Near
from core.ir.security import MeshTls, MutualTls, PlainBytes, ServerTls
from core.ir.traffic import INHERIT_ALL, Balance, ConnectionPool, LoadBalancer, Subset, TrafficPolicy
from core.ir.values import Inherit
from core.model.config import Origin
from core.model.identity import SpiffeId
from core.model.locality import Distribute, LocalityPolicy
from core.model.mesh import Mesh
from core.model.peer import Peer
from core.model.protocol import Protocol
from core.model.service import Health, Instance, Port, Resolution, Service, ServiceKey
from core.view.security import MESH_TCP, NO_TLS, Automatic, ClientSecurity, MeshClient, Originate
from core.view.upstream import (
    Discovered,
    Endpoint,
    HttpVersion,
    LoadAssignment,
    Resolved,
    ServiceRef,
    Upstream,
)

T = TypeVar("T")

Ready = tuple[Instance, Peers | None]
"""An instance that may be called, and where a proxy of the mesh is there, what it demands of callers."""


def upstreams(inputs: Inputs, namespace: str, key: ServiceKey, near: Near = NOWHERE) -> tuple[Upstream, ...]:
    """All upstreams of a service as callers in `namespace` see it; UDP ports have none.

    Where the callers are makes a difference only if names are looked up.
    """
    service = inputs.services.get(key)
    if service is None:
        return ()
    policy = policy_for(inputs, namespace, key)
    callers = _Callers(inputs.mesh, inputs.identities.get(key), near)
    # Where names are looked up, endpoints are part of the upstream; else it must not change when they do.
    looked_up = _ready(inputs, key) if service.resolution is Resolution.DNS else None
    return tuple(
        _upstream(service, port, (policy, subset), looked_up, callers)
        for port in service.ports
        if port.protocol is not Protocol.UDP
        for subset in (None, *policy.subsets)
    )


class _Callers(NamedTuple):
    """What all callers of a service have in common, rules aside."""

    mesh: Mesh
    identities: tuple[SpiffeId, ...]
    near: Near


def _upstream(
    service: Service,
    port: Port,
    ruled: tuple[Policy, Subset | None],
    looked_up: list[Ready] | None,
    callers: _Callers,
) -> Upstream:
    policy, subset = ruled
    blocks = effective(policy, port.number, subset)
    pool = _resolve(blocks.connection_pool, ConnectionPool())
    subset_name = subset.name if subset else ""
    http = _http_version(port.protocol, pool)
    mesh = _mesh_client(service, port, subset_name, callers, http)
    locality = in_force(blocks, callers.mesh)
    return Upstream(
        name=names.outbound(service.key.host, port.number, subset_name),
        endpoints=_endpoints(looked_up, port, subset, (locality, callers.near)),
        http=http,
        connect_timeout=pool.connect_timeout or callers.mesh.connect_timeout,
        load_balancer=_balancer(blocks),
        by_locality=isinstance(locality, Distribute),
        pool=pool,
        outlier=_resolve(blocks.outlier, None),
        security=_security(blocks, service, mesh, callers, http),
        service=ServiceRef(service.key.host, service.name, service.key.namespace),
        subset=subset_name,
        port=port.number,
        origins=(*_origins(policy, blocks, subset), *((service.origin,) if service.origin else ())),
    )


def _endpoints(
    looked_up: list[Ready] | None, port: Port, subset: Subset | None, place: tuple[LocalityPolicy, Near]
) -> Discovered | Resolved:
    if looked_up is None:
        return Discovered()
    return Resolved(placed(_candidates(port, subset, looked_up), *place))


def _security(
    blocks: TrafficPolicy, service: Service, mesh: MeshClient, callers: _Callers, http: HttpVersion
) -> ClientSecurity:
    """Without a rule mutual TLS with those who have it, among the platform's services: who declares one knows best."""
    match blocks.tls:
        case PlainBytes():
            return NO_TLS
        case MeshTls(sni=sni, identities=identities):
            return replace(mesh, sni=sni or mesh.sni, identities=identities or mesh.identities)
        case ServerTls() as tls:
            return _originate(tls, service.key.host if http == "none" else "")
        case Inherit():
            return Automatic(mesh=mesh) if callers.mesh.auto_mtls and not service.key.declared_by else NO_TLS
        case _:
            assert_never(blocks.tls)


def _mesh_client(service: Service, port: Port, subset: str, callers: _Callers, http: HttpVersion) -> MeshClient:
    return MeshClient(
        sni=names.sni(service.key.host, port.number, subset), identities=callers.identities, protocols=_OFFERED[http]
    )


# What is inside has to be known before the first byte: the other side chooses by it how to read on.
_OFFERED: dict[HttpVersion, tuple[str, ...]] = {
    "none": MESH_TCP,
    "http1": ("istio-http/1.1", "istio"),
    # A gRPC server without a proxy knows no other word than its own.
    "http2": ("istio-h2", "istio", "h2"),
    "follow": ("istio-http/1.1", "istio-h2", "istio"),
}


def _originate(tls: ServerTls, host: str) -> Originate:
    """Requests say by themselves which `host` is meant; bytes do not."""
    return Originate(
        sni=tls.sni or host.removeprefix("*."),
        names=tls.names,
        roots=tls.roots,
        certificate=tls.certificate,
        key=tls.key,
        verify=tls.verify,
    )


def _balancer(blocks: TrafficPolicy) -> LoadBalancer:
    """In capture `none` no connection has an original destination that PASSTHROUGH could keep to."""
    balancer = blocks.load_balancer
    return Balance() if isinstance(balancer, Inherit) or balancer == Balance("PASSTHROUGH") else balancer


def _resolve(block: T | Inherit, default: T) -> T:
    return default if isinstance(block, Inherit) else block


def _origins(policy: Policy, blocks: TrafficPolicy, subset: Subset | None) -> tuple[Origin, ...]:
    if subset is not None:
        return (subset.origin, *policy.origins[:1])
    return () if blocks == INHERIT_ALL else policy.origins[:1]


def _http_version(protocol: Protocol, pool: ConnectionPool) -> HttpVersion:
    if protocol is Protocol.AUTO or (protocol.is_http and pool.http2 == "FOLLOW_CLIENT"):
        return "follow"
    if not protocol.is_http:
        return "none"
    if protocol.is_http2 or pool.http2 == "UPGRADE":
        return "http2"
    return "http1"


def load_assignments(
    inputs: Inputs, namespace: str, key: ServiceKey, near: Near = NOWHERE
) -> tuple[LoadAssignment, ...]:
    """The endpoints of every upstream of a service, in the order of `upstreams`; none where names are looked up."""
    return tuple(assigned(each, inputs.mesh, near) for each in reachable(inputs, namespace, key))


class Reachable(NamedTuple):
    """Who may be called by the upstream of this name, and the rules for it."""

    name: str
    blocks: TrafficPolicy
    candidates: list[Candidate]


def assigned(found: Reachable, mesh: Mesh, near: Near) -> LoadAssignment:
    """The same as callers at `near` are to choose among it."""
    return LoadAssignment(found.name, placed(found.candidates, in_force(found.blocks, mesh), near))


def reachable(inputs: Inputs, namespace: str, key: ServiceKey) -> Iterator[Reachable]:
    """What load assignments are made of, in their order, wherever the callers are."""
    service = inputs.services.get(key)
    if service is None or service.resolution is Resolution.DNS:
        return
    policy, ready = policy_for(inputs, namespace, key), _ready(inputs, key)
    for port in service.ports:
        for subset in (None, *policy.subsets) if port.protocol is not Protocol.UDP else ():
            name = names.outbound(key.host, port.number, subset.name if subset else "")
            yield Reachable(name, effective(policy, port.number, subset), _candidates(port, subset, ready))


def _ready(inputs: Inputs, key: ServiceKey) -> list[Ready]:
    found = (inputs.instances.get(instance) for instance in inputs.instances_by_service.get(key))
    demands = _Demands(inputs)
    return [(i, demands.of(i)) for i in found if i is not None and i.health is Health.HEALTHY]


class _Demands:
    """Looks each namespace up once."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._known: dict[str, Peers] = {}

    def of(self, instance: Instance) -> Peers | None:
        if instance.identity is None:
            return None
        namespace = instance.workload.namespace if instance.workload else instance.key.service.namespace
        if namespace not in self._known:
            self._known[namespace] = peers(self._inputs, namespace)
        return self._known[namespace]


def _speaks_mutual(instance: Instance, mode: MutualTls) -> bool:
    """A gRPC server without a proxy takes one kind of connections only: plain ones while they are allowed."""
    return mode == "STRICT" if instance.proxyless else mode != "DISABLE"


def _candidates(port: Port, subset: Subset | None, ready: list[Ready]) -> list[Candidate]:
    found: list[Candidate] = []
    for instance, demanded in ready:
        number = instance.port(port.name)
        if number is None or (subset is not None and not instance.labels.select(subset.labels)):
            continue
        workload = str(Peer.of(instance.workload, instance.labels)) if instance.workload else ""
        mutual = demanded is not None and _speaks_mutual(instance, demanded.at(instance.labels, number))
        endpoint = Endpoint(instance.address, number, instance.weight, "HEALTHY", workload, mutual)
        found.append(Candidate(endpoint, instance.locality, instance.labels))
    return found
