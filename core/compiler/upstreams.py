"""Upstreams: one for each port and subset of a service, with the policy that holds for it, and their endpoints."""

from collections import defaultdict
from typing import TypeVar

from core.compiler import names
from core.compiler.inputs import Inputs
from core.compiler.precedence import Policy, effective, policy_for
from core.ir.traffic import INHERIT_ALL, Balance, ConnectionPool, LoadBalancer, Subset, TrafficPolicy
from core.ir.values import Inherit
from core.model.config import Origin
from core.model.protocol import Protocol
from core.model.service import Health, Instance, Locality, Port, Resolution, Service, ServiceKey
from core.view.upstream import (
    Discovered,
    Endpoint,
    HttpVersion,
    LoadAssignment,
    LocalityEndpoints,
    Resolved,
    ServiceRef,
    Upstream,
)

T = TypeVar("T")


def upstreams(inputs: Inputs, namespace: str, key: ServiceKey) -> tuple[Upstream, ...]:
    """All upstreams of a service as callers in `namespace` see it; UDP ports have none."""
    service = inputs.services.get(key)
    if service is None:
        return ()
    policy = policy_for(inputs, namespace, key)
    timeout = inputs.mesh.connect_timeout
    # Where names are looked up, endpoints are part of the upstream; else it must not change when they do.
    looked_up = _ready(inputs, key) if service.resolution is Resolution.DNS else None
    return tuple(
        _upstream(service, port, (policy, subset), looked_up, timeout)
        for port in service.ports
        if port.protocol is not Protocol.UDP
        for subset in (None, *policy.subsets)
    )


def _upstream(
    service: Service,
    port: Port,
    ruled: tuple[Policy, Subset | None],
    looked_up: list[Instance] | None,
    connect_timeout: int,
) -> Upstream:
    policy, subset = ruled
    blocks = effective(policy, port.number, subset)
    pool = _resolve(blocks.connection_pool, ConnectionPool())
    subset_name = subset.name if subset else ""
    return Upstream(
        name=names.outbound(service.key.host, port.number, subset_name),
        endpoints=Discovered() if looked_up is None else Resolved(_localities(port, subset, looked_up)),
        http=_http_version(port.protocol, pool),
        connect_timeout=pool.connect_timeout or connect_timeout,
        load_balancer=_balancer(blocks),
        pool=pool,
        outlier=_resolve(blocks.outlier, None),
        service=ServiceRef(service.key.host, service.name, service.key.namespace),
        subset=subset_name,
        port=port.number,
        origins=(*_origins(policy, blocks, subset), *((service.origin,) if service.origin else ())),
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


def load_assignments(inputs: Inputs, namespace: str, key: ServiceKey) -> tuple[LoadAssignment, ...]:
    """The endpoints of every upstream of a service, in the order of `upstreams`; none where names are looked up."""
    service = inputs.services.get(key)
    if service is None or service.resolution is Resolution.DNS:
        return ()
    subsets = (None, *policy_for(inputs, namespace, key).subsets)
    ready = _ready(inputs, key)
    return tuple(
        LoadAssignment(
            names.outbound(key.host, port.number, subset.name if subset else ""), _localities(port, subset, ready)
        )
        for port in service.ports
        if port.protocol is not Protocol.UDP
        for subset in subsets
    )


def _ready(inputs: Inputs, key: ServiceKey) -> list[Instance]:
    found = (inputs.instances.get(instance) for instance in inputs.instances_by_service.get(key))
    return [i for i in found if i is not None and i.health is Health.HEALTHY]


def _localities(port: Port, subset: Subset | None, ready: list[Instance]) -> tuple[LocalityEndpoints, ...]:
    groups: dict[Locality, dict[tuple[str, int], Endpoint]] = defaultdict(dict)
    for instance in ready:
        number = instance.port(port.name)
        if number is None or (subset is not None and not instance.labels.select(subset.labels)):
            continue
        workload = str(instance.workload) if instance.workload else ""
        endpoint = Endpoint(instance.address, number, instance.weight, "HEALTHY", workload)
        groups[instance.locality].setdefault((instance.address, number), endpoint)
    return tuple(
        LocalityEndpoints(locality, tuple(group.values()), 0, sum(e.weight for e in group.values()))
        for locality, group in sorted(groups.items())
    )
