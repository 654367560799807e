"""What gRPC applications without a proxy see: the same rules, less what their own xDS client does not know.

Everything is left out here knowingly, never refused by them: docs/reference/proxyless-grpc.md lists it. Not for bytes.
"""

from collections.abc import Iterator
from itertools import product

from msgspec.structs import replace

from core.compiler import names
from core.compiler.access import access
from core.compiler.hosts import known_names, service_host
from core.compiler.inbound import claimed_ports
from core.compiler.inputs import Inputs
from core.compiler.peers import peers
from core.compiler.precedence import service_for
from core.compiler.scope import NOWHERE, Near, Scope
from core.compiler.upstreams import Reachable, assigned, reachable, upstreams
from core.ir.routing import RequestMatch
from core.ir.values import NO_HEADERS, Exact, Prefix, Present, Regex, Rewrite, StringMatch, ValueMatch
from core.kinds.regexes import matches_whole
from core.model.protocol import Protocol
from core.model.service import Service, ServiceKey, WorkloadKey
from core.model.workload import Proxyless
from core.view.proxyless import GrpcServer, Target
from core.view.route import ForwardTo, Route, RouteConfiguration, VirtualHost
from core.view.security import NO_TLS, Automatic, MeshServer, Originate
from core.view.upstream import Discovered, LoadAssignment, Upstream

MOST_ABSENT = 4
"""Conditions on headers that must not match, in one match: each of them doubles the routes."""

MOST_RETRIES = 4
"""gRPC makes no more (gRFC A6), and complains in its log of whoever asks for them."""

EVERY_ADDRESS = ("0.0.0.0", "[::]")
"""A server that listens on all addresses asks by one of these."""


# -- calling -----------------------------------------------------------------------------------------------------------


def targets(inputs: Inputs, namespace: str, key: ServiceKey) -> tuple[Target, ...]:
    """Every name by which callers in `namespace` know the service, with each port that may carry gRPC."""
    service = _shown(inputs, namespace, key)
    if service is None:
        return ()
    return tuple(
        Target(names.host_port(name, port.number), names.host_port(key.host, port.number))
        for port in service.ports
        if port.protocol.is_http or port.protocol is Protocol.AUTO
        for name in known_names(inputs, namespace, service)
        if "*" not in name
    )


def would_be(target: str, namespace: str, domain_suffix: str) -> str:
    """The upstream that `target` would stand for to callers in `namespace`, if there were such a service."""
    host, _, port = target.rpartition(":") if ":" in target else (target, "", "")
    name, _, other = host.removesuffix(".svc").partition(".")
    full = host if "." in other else f"{name}.{other or namespace}.svc.{domain_suffix}"
    return names.outbound(full, int(port) if port.isdecimal() else 0)


def target_routes(inputs: Inputs, scope: Scope, key: ServiceKey) -> tuple[RouteConfiguration, ...]:
    """One for each port of the service; whatever name was called, it stands for the one service."""
    service = _shown(inputs, scope.namespace, key)
    ports = service.ports if service is not None else ()
    found = (service_host(inputs, scope, key.host, port.number) for port in ports)
    return tuple(_understood(each) for each in found if each is not None)


def _shown(inputs: Inputs, namespace: str, key: ServiceKey) -> Service | None:
    """None where another service with the same host hides it."""
    service = service_for(inputs, namespace, key.host)
    return service if service is not None and service.key == key else None


def _understood(configuration: RouteConfiguration) -> RouteConfiguration:
    (host,) = configuration.virtual_hosts
    routes = tuple(each for route in host.routes for each in grpc_routes(route))
    return RouteConfiguration(configuration.name, (VirtualHost(host.name, host.domains, routes),))


def grpc_routes(route: Route) -> Iterator[Route]:
    """The route as gRPC follows it: none where no call of gRPC can match, several where one cannot say it all.

    Answers without an upstream stay: gRPC fails such calls (UNAVAILABLE), which is better than to send them elsewhere.
    """
    action = route.action
    if isinstance(action, ForwardTo):
        plain = tuple(replace(each, headers=NO_HEADERS) for each in action.upstreams)
        retry = replace(action.retry, attempts=min(action.retry.attempts, MOST_RETRIES)) if action.retry else None
        action = replace(action, upstreams=plain, rewrite=Rewrite(), mirrors=(), retry=retry)
    for match in _matches(route.match):
        yield replace(route, match=match, action=action, headers=NO_HEADERS, operation="")


def _matches(match: RequestMatch) -> Iterator[RequestMatch]:
    """Calls of gRPC are POST by http, and have no query; by which name they were made is not looked at."""
    if match.query or match.authority is not None or len(match.without_headers) > MOST_ABSENT:
        return
    if not is_grpc_call(match):
        return
    bare = replace(match, method=None, scheme=None)
    for absent in product(*(_ways_to_differ(name, value) for name, value in match.without_headers)):
        yield replace(bare, without_headers=absent)


def is_grpc_call(match: RequestMatch) -> bool:
    """Whether method and scheme are those that gRPC goes by."""
    return _holds(match.method, "POST") and _holds(match.scheme, "http")


def _ways_to_differ(name: str, value: ValueMatch) -> tuple[tuple[str, ValueMatch], ...]:
    """To gRPC a missing header does not differ from anything, so that is said apart (gRFC A28 has no word for both)."""
    missing = (name, Present())
    return (missing,) if isinstance(value, Present) else (missing, (name, value))


def _holds(condition: StringMatch | None, value: str) -> bool:
    match condition:
        case None:
            return True
        case Exact(wanted):
            return value == wanted
        case Prefix(wanted):
            return value.startswith(wanted)
        case Regex(pattern):
            return matches_whole(pattern, value)


def grpc_upstreams(inputs: Inputs, namespace: str, key: ServiceKey) -> tuple[Upstream, ...]:
    """Those that gRPC can call: not by names that are looked up, nor by TLS with roots of a rule's own."""
    if _shown(inputs, namespace, key) is None:
        return ()
    mutual = {each.name for each in reachable(inputs, namespace, key) if _is_mutual(each)}
    return tuple(
        _secured(each, mutual=each.name in mutual)
        for each in upstreams(inputs, namespace, key)
        if isinstance(each.endpoints, Discovered) and not isinstance(each.security, Originate)
    )


def _secured(upstream: Upstream, *, mutual: bool) -> Upstream:
    """An upstream of gRPC has one kind of security for all of its endpoints."""
    security = upstream.security
    if not isinstance(security, Automatic):
        return upstream
    return replace(upstream, security=security.mesh if mutual else NO_TLS)


def grpc_assignments(
    inputs: Inputs, namespace: str, key: ServiceKey, near: Near = NOWHERE
) -> tuple[LoadAssignment, ...]:
    """Where mutual TLS is chosen automatically, endpoints that do not have it are left out beside those that do."""
    if _shown(inputs, namespace, key) is None:
        return ()
    automatic = {each.name for each in upstreams(inputs, namespace, key) if isinstance(each.security, Automatic)}
    found = (_secured_alike(each, automatic) for each in reachable(inputs, namespace, key))
    return tuple(assigned(each, inputs.mesh, near) for each in found)


def _secured_alike(found: Reachable, automatic: set[str]) -> Reachable:
    if found.name not in automatic or not _is_mutual(found):
        return found
    return found._replace(candidates=[each for each in found.candidates if each.endpoint.mutual])


def _is_mutual(found: Reachable) -> bool:
    return any(each.endpoint.mutual for each in found.candidates)


# -- being called ------------------------------------------------------------------------------------------------------


def grpc_servers(inputs: Inputs, key: WorkloadKey) -> tuple[GrpcServer, ...]:
    """For each address and port at which the application of this workload may listen for a service of its own.

    A gRPC server takes either plain connections or TLS, so that PERMISSIVE is plain: callers of the mesh know
    (`Instance.proxyless`).
    """
    workload = inputs.workloads.get(key)
    if workload is None or not isinstance(workload.capture, Proxyless):
        return ()
    demanded, claimed = peers(inputs, key.namespace), claimed_ports(inputs, key)
    mutual = MeshServer(trust_domain=inputs.mesh.trust_domain)
    return tuple(
        GrpcServer(
            address=address,
            port=port,
            security=mutual if demanded.at(workload.labels, port) == "STRICT" else NO_TLS,
            checks=access(inputs, key).grpc,
        )
        for port in workload.capture.ports
        if port in claimed
        for address in (workload.address, *EVERY_ADDRESS)
    )
