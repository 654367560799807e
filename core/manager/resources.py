"""From views to resources ready to be sent: derived functions that encode, each keyed by what it encodes.

Equal views share one encoding, whoever sees them. Route configurations are ropes over a shallow tree of virtual
hosts, so that one changed host costs its path through the tree and not the whole configuration.
"""

from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from core.compiler import names
from core.compiler.captured import outbound_capture
from core.compiler.hosts import hosts_at, other_hosts, service_host
from core.compiler.inbound import inbound_listeners, inbound_upstreams
from core.compiler.inputs import ANY_PORT, Inputs, Path
from core.compiler.nearness import narrowed, narrowed_where_names
from core.compiler.outbound import (
    fixed_upstreams,
    forward_proxy,
    sniffed_listeners,
    sniffed_upstreams,
    tunnel_listener,
    tunnel_upstream,
    virtual_listeners,
)
from core.compiler.precedence import shown_service
from core.compiler.scope import CaptureMode, Near, Scope
from core.compiler.upstreams import load_assignments, upstreams
from core.envoy import clusters, endpoints, listeners, routes, wire
from core.envoy.wire import Rope
from core.incremental import derived
from core.ir.access import Action
from core.manager.refusals import Contribution
from core.manager.xds.resource import Resource
from core.model.config import ConfigKey, Origin
from core.model.protocol import Protocol
from core.model.service import ServiceKey, WorkloadKey
from core.view.access import Check, Policy
from core.view.listener import Listener
from core.view.route import Route, RouteConfiguration, VirtualHost
from core.view.upstream import LoadAssignment, Upstream

Resources = tuple[Resource, ...]


def version_of(body: bytes) -> str:
    return blake2b(body, digest_size=8).hexdigest()


def contributions(origins: Iterable[Origin], digest: bytes) -> tuple[Contribution, ...]:
    return tuple(Contribution(key, digest) for key in dict.fromkeys(origin.config for origin in origins))


# -- clusters ----------------------------------------------------------------------------------------------------------


@derived
def cluster(inputs: Inputs, upstream: Upstream) -> Resource:
    body = clusters.encode(upstream)
    version = version_of(body)
    return Resource(upstream.name, version, body, contributions(upstream.origins, version.encode()))


@derived
def service_clusters(inputs: Inputs, namespace: str, key: ServiceKey, near: Near) -> Resources:
    """None for a service that another one with the same host hides from this namespace.

    All callers share what does not depend on their place: the clusters of most services.
    """
    if (wanted := narrowed_where_names(inputs, namespace, key, near)) != near:
        return service_clusters(inputs, namespace, key, wanted)
    if shown_service(inputs, namespace, key) is None:
        return ()
    sniffed = sniffed_upstreams(inputs, namespace, key.host)
    return tuple(cluster(inputs, upstream) for upstream in (*upstreams(inputs, namespace, key, near), *sniffed))


@derived
def fixed_clusters(inputs: Inputs, capture: CaptureMode) -> Resources:
    return tuple(cluster(inputs, upstream) for upstream in fixed_upstreams(inputs, capture))


@derived
def tunnel_clusters(inputs: Inputs, port: int) -> Resources:
    return (cluster(inputs, tunnel_upstream(inputs, port)),)


@derived
def inbound_clusters(inputs: Inputs, key: WorkloadKey) -> Resources:
    return tuple(cluster(inputs, upstream) for upstream in inbound_upstreams(inputs, key))


# -- endpoints ---------------------------------------------------------------------------------------------------------


@derived
def assignment(inputs: Inputs, value: LoadAssignment) -> Resource:
    body = endpoints.encode(value)
    return Resource(name=value.name, version=version_of(body), body=body)


@derived
def service_endpoints(inputs: Inputs, namespace: str, key: ServiceKey, near: Near) -> Resources:
    """Of callers at `near`; those for whom it makes no difference where they are share one result."""
    if (wanted := narrowed(inputs, namespace, key, near)) != near:
        return service_endpoints(inputs, namespace, key, wanted)
    if shown_service(inputs, namespace, key) is None:
        return ()
    return tuple(assignment(inputs, value) for value in load_assignments(inputs, namespace, key, near))


# -- listeners ---------------------------------------------------------------------------------------------------------


@derived
def listener(inputs: Inputs, value: Listener) -> Resource:
    body = listeners.encode(value)
    return Resource(value.name, version_of(body), body, policies_in(value))


def policies_in(value: Listener) -> tuple[Contribution, ...]:
    """The documents that say who may call, each with all that it says there."""
    return behind(check for chain in value.chains for check in chain.serve.checks)


def behind(checks: Iterable[Check]) -> tuple[Contribution, ...]:
    found: dict[ConfigKey, list[tuple[Action, bool, Policy]]] = {}
    for check in dict.fromkeys(checks):
        for policy in check.policies:
            found.setdefault(policy.origin.config, []).append((check.action, check.dry_run, policy))
    return tuple(Contribution(key, _digest(msgspec.msgpack.encode(parts))) for key, parts in found.items())


@derived
def service_listeners(inputs: Inputs, namespace: str, key: ServiceKey) -> Resources:
    if shown_service(inputs, namespace, key) is None:
        return ()
    return tuple(listener(inputs, value) for value in sniffed_listeners(inputs, namespace, key.host))


@derived
def tunnel_listeners(inputs: Inputs, port: int) -> Resources:
    return (listener(inputs, tunnel_listener(inputs, port)),)


@derived
def workload_listeners(inputs: Inputs, key: WorkloadKey) -> Resources:
    outbound = (forward_proxy(inputs, key), outbound_capture(inputs, key))
    found = (*inbound_listeners(inputs, key), *(each for each in outbound if each is not None))
    return tuple(listener(inputs, value) for value in found)


@derived
def workload_service_listeners(inputs: Inputs, key: WorkloadKey, service: ServiceKey) -> Resources:
    return tuple(listener(inputs, value) for value in virtual_listeners(inputs, key, service))


# -- routes ------------------------------------------------------------------------------------------------------------


class Part(msgspec.Struct, frozen=True, eq=False):
    """Encoded fields, or a rope of such parts. Equal digests are equal content: bodies are never compared."""

    body: bytes | Rope
    digest: bytes
    origins: tuple[Contribution, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and (self.digest, self.origins) == (other.digest, other.origins)

    def __hash__(self) -> int:
        return hash(self.digest)


def _leaf_part(inputs: Inputs, virtual_hosts: Iterable[VirtualHost]) -> Part:
    found = tuple(virtual_hosts)
    body = b"".join(_virtual_host(inputs, each) for each in found)
    return leaf(body, (each.origin for host in found for each in host.routes if each.origin is not None))


def leaf(body: bytes, origins: Iterable[Origin]) -> Part:
    """Encoded fields, and the documents behind them."""
    digest = _digest(body)
    return Part(body, digest, contributions(origins, digest))


def joined(parts: Iterable[Part]) -> Part:
    """The parts one after the other, by reference."""
    found = tuple(parts)
    origins = tuple(origin for part in found for origin in part.origins)
    return Part(Rope(*(part.body for part in found)), _digest(b"".join(part.digest for part in found)), origins)


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


@derived
def route(inputs: Inputs, value: Route) -> bytes:
    return routes.encode_routes((value,))


def _virtual_host(inputs: Inputs, value: VirtualHost) -> bytes:
    encoded = b"".join(route(inputs, each) for each in value.routes)
    return routes.encode_virtual_host(value.name, value.domains, encoded)


@derived
def host_part(inputs: Inputs, scope: Scope, host: str, port: int) -> Part:
    return _leaf_part(inputs, hosts_at(inputs, scope, host, port))


@derived
def hosts_part(inputs: Inputs, scope: Scope, path: Path) -> Part:
    """All virtual hosts at and below a place in the directory of hosts."""
    directory = inputs.http_hosts
    below = [hosts_part(inputs, scope, branch) for branch in directory.branches(path)]
    return joined([*below, *(host_part(inputs, scope, host, path[0]) for host in directory.hosts(path))])


@derived
def port_routes(inputs: Inputs, scope: Scope, port: int) -> Resources:
    """The route configuration `<port>`, or `http_proxy` for `ANY_PORT`."""
    others = _leaf_part(inputs, (other_hosts(inputs, port),))
    name = names.FORWARD_PROXY_ROUTES if port == ANY_PORT else str(port)
    return (_route_configuration(name, joined((hosts_part(inputs, scope, (port,)), others))),)


@derived
def service_routes(inputs: Inputs, scope: Scope, key: ServiceKey) -> Resources:
    """The route configurations `<host>:<port>` of a service: one for each port that some listener serves alone."""
    service = shown_service(inputs, scope.namespace, key)
    if service is None:
        return ()
    ports = (port for port in service.ports if scope.virtual or port.protocol is Protocol.AUTO)
    found = (service_host(inputs, scope, key.host, port.number) for port in ports)
    return tuple(small_configuration(inputs, value) for value in found if value is not None)


def small_configuration(inputs: Inputs, value: RouteConfiguration) -> Resource:
    """One that changes as a whole."""
    settings = routes.ANY_PORT_SETTINGS if value.any_port else routes.SETTINGS
    return _route_configuration(value.name, _leaf_part(inputs, value.virtual_hosts), settings=settings)


def _route_configuration(name: str, part: Part, *, settings: bytes = routes.SETTINGS) -> Resource:
    body = Rope(*routes.wrap(name, (part.body,), wire.size(part.body), settings=settings))
    return versioned(name, part, name=name, body=body)


def versioned(settings: str, part: Part, *, name: str, body: Rope) -> Resource:
    """A resource that consists of `part` and of what `settings` tells; its bytes need not be joined to compare it."""
    return Resource(name=name, version=version_of(settings.encode() + part.digest), body=body, origins=part.origins)
