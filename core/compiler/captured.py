"""The outbound side in capture `redirect`: what a proxy does with connections that were meant for somebody else.

The layout is Istio's: `virtualOutbound` accepts everything, and hands over to the listener that stands for the
original destination: `<address>_<port>` for one service, else `0.0.0.0_<port>` for all that HTTP can tell apart.
"""

import msgspec

from core.compiler import names
from core.compiler.hosts import known_names
from core.compiler.inputs import Inputs
from core.compiler.outbound import port_chains, tcp_ports
from core.compiler.precedence import effective, policy_for, service_for
from core.compiler.scope import NOWHERE, Near
from core.compiler.upstreams import load_assignments, reachable, upstreams
from core.ir.traffic import Balance
from core.model.mesh import OutboundMode
from core.model.protocol import Protocol
from core.model.service import Port, Resolution, Service, ServiceKey, WorkloadKey
from core.model.workload import Redirected
from core.view.listener import (
    HTTP_BYTES,
    PLAIN_HTTP,
    Captured,
    ChainMatch,
    FilterChain,
    HttpChain,
    Listener,
    NamedRoutes,
    Socket,
    TcpChain,
)
from core.view.route import WeightedUpstream
from core.view.security import NO_TLS, Automatic, ClientSecurity
from core.view.upstream import LoadAssignment, OriginalDestination, Upstream

ANY_ADDRESS = "0.0.0.0"

# -- what accepts ------------------------------------------------------------------------------------------------------


def outbound_capture(inputs: Inputs, key: WorkloadKey) -> Listener | None:
    """Where the kernel leads the application's connections; None in other captures.

    What is meant for this port itself comes from no application: it would come back for ever.
    """
    workload = inputs.workloads.get(key)
    if workload is None or not isinstance(workload.capture, Redirected):
        return None
    port = workload.capture.outbound_port
    loop = FilterChain(
        name="virtualOutbound-trafficloop", match=ChainMatch(port=port), serve=_bytes_to(names.BLACK_HOLE)
    )
    return Listener(
        name=names.VIRTUAL_OUTBOUND,
        bind=Socket(ANY_ADDRESS, port),
        direction="outbound",
        chains=(loop, _unknown(inputs, name="virtualOutbound-catchall-tcp")),
        access_log=inputs.mesh.access_log,
        original=True,
    )


def _unknown(inputs: Inputs, *, name: str = "") -> FilterChain:
    """For connections that no service claims."""
    allowed = inputs.mesh.outbound is OutboundMode.ALLOW_ANY
    return FilterChain(name=name, serve=_bytes_to(names.PASSTHROUGH if allowed else names.BLACK_HOLE))


def _bytes_to(upstream: str) -> TcpChain:
    return TcpChain(stat_prefix=upstream, upstreams=(WeightedUpstream(upstream),))


# -- by port -----------------------------------------------------------------------------------------------------------


def port_listener(inputs: Inputs, namespace: str, port: int) -> Listener:
    """For a port on all addresses: HTTP by its hosts, TLS by the name it asks for (SNI), anything else to whoever has
    no address to be told apart by.

    Of several such services the platforms' comes first, then the oldest (Istio).
    """
    claims = _claims(inputs, namespace, port)
    named = tuple(_by_name(inputs, namespace, *claim) for claim in claims if claim[1].protocol in _NAMES_ITSELF)
    others = (
        _chains(service.key.host, claimed)[-1] for service, claimed in claims if claimed.protocol not in _NAMES_ITSELF
    )
    rest = next(others, _unknown(inputs))
    chains = (*named, rest)
    if inputs.http_hosts.branches((port,)):
        chains = _with_http(_http(f"outbound_{ANY_ADDRESS}_{port}", str(port)), named, rest)
    return _taking_over(inputs, ANY_ADDRESS, port, chains=chains)


_NAMES_ITSELF = frozenset({Protocol.TLS, Protocol.HTTPS})


def _claims(inputs: Inputs, namespace: str, number: int) -> list[tuple[Service, Port]]:
    found = (inputs.services.get(key) for key in inputs.unaddressed_by_port.get(number))
    shown = [each for each in found if each is not None and service_for(inputs, namespace, each.key.host) == each]
    ports = ((each, each.port(number)) for each in sorted(shown, key=_rank))
    return [(service, port) for service, port in ports if port is not None]


def _by_name(inputs: Inputs, namespace: str, service: Service, port: Port) -> FilterChain:
    """A name that means this service to callers in `namespace` means no other one: no chain stands twice."""
    match = ChainMatch(transport="tls", server_names=known_names(inputs, namespace, service))
    return FilterChain(match=match, serve=_bytes_to(names.outbound(service.key.host, port.number)))


def _with_http(http: HttpChain, named: tuple[FilterChain, ...], rest: FilterChain) -> tuple[FilterChain, ...]:
    """Where TLS is looked at, what it offers by ALPN must not be taken for HTTP that can be read."""
    if not named:
        return (FilterChain(match=HTTP_BYTES, serve=http), rest)
    return (
        FilterChain(match=ChainMatch(transport="plain", protocols=PLAIN_HTTP), serve=http),
        msgspec.structs.replace(rest, match=ChainMatch(transport="plain")),
        *named,
        msgspec.structs.replace(rest, match=ChainMatch(transport="tls")),
    )


def _rank(service: Service) -> tuple[bool, float, ServiceKey]:
    return bool(service.key.declared_by), service.created, service.key


def _http(stat_prefix: str, routes: str) -> HttpChain:
    return HttpChain(stat_prefix=stat_prefix, routes=NamedRoutes(routes))


def _taking_over(inputs: Inputs, address: str, port: int, *, chains: tuple[FilterChain, ...]) -> Listener:
    return Listener(
        name=names.listener(address, port),
        bind=Captured(address, port),
        direction="outbound",
        chains=chains,
        access_log=inputs.mesh.access_log,
    )


# -- by address --------------------------------------------------------------------------------------------------------


def address_listeners(inputs: Inputs, namespace: str, key: ServiceKey) -> tuple[Listener, ...]:
    """For each address of a service and each port that HTTP hosts cannot tell apart: TCP, and undeclared ones."""
    service = inputs.services.get(key)
    if service is None:
        return ()
    return tuple(
        _taking_over(inputs, address, number, chains=_chains(key.host, port))
        for port in tcp_ports(service)
        if not port.protocol.is_http
        for address, number in _places(inputs, namespace, service, port)
    )


def _chains(host: str, port: Port) -> tuple[FilterChain, ...]:
    called = names.host_port(host, port.number)
    return port_chains(host, port, http=_http(f"outbound_{called}", called))


def _places(inputs: Inputs, namespace: str, service: Service, port: Port) -> list[tuple[str, int]]:
    if not is_headless(service):
        return [(address, port.number) for address in own_addresses(inputs, namespace, service)]
    instances = (inputs.instances.get(key) for key in inputs.instances_by_service.get(service.key))
    found = ((each.address, each.port(port.name)) for each in instances if each is not None)
    places = ((address, number) for address, number in found if number is not None)
    return [place for place in dict.fromkeys(places) if _heads(inputs, namespace, place) == (service.key, port)]


def own_addresses(inputs: Inputs, namespace: str, service: Service) -> tuple[str, ...]:
    """Those virtual addresses of a service that to callers in `namespace` are no other service's."""
    return tuple(each for each in service.addresses if service_for(inputs, namespace, each) == service)


def is_headless(service: Service) -> bool:
    """Without an address of its own, its callers find the instances by themselves and call one of them."""
    return not service.addresses and not service.key.declared_by and service.resolution is Resolution.ADDRESSES


def _heads(inputs: Inputs, namespace: str, place: tuple[str, int]) -> tuple[ServiceKey, Port] | None:
    """Of several headless services whose instances listen there, the oldest; none where the address is a service's."""
    address, number = place
    if service_for(inputs, namespace, address) is not None:
        return None
    claims: list[tuple[Service, Port]] = []
    for key in inputs.instances_by_address.get(address):
        service, instance = inputs.services.get(key.service), inputs.instances.get(key)
        if service is None or instance is None or not is_headless(service):
            continue
        if service_for(inputs, namespace, service.key.host) == service:
            ports = (port for port in tcp_ports(service) if not port.protocol.is_http)
            claims += [(service, port) for port in ports if instance.port(port.name) == number]
    first = min(claims, key=lambda claim: (_rank(claim[0]), claim[1].number), default=None)
    return (first[0].key, first[1]) if first is not None else None


# -- upstreams ---------------------------------------------------------------------------------------------------------


def captured_upstreams(inputs: Inputs, namespace: str, key: ServiceKey, near: Near = NOWHERE) -> tuple[Upstream, ...]:
    """The upstreams of a service; where nobody is to choose an endpoint, the connection keeps the one it was meant for.

    That is so for headless services, and where a policy says PASSTHROUGH.
    """
    kept = _kept(inputs, namespace, key)
    return tuple(
        _as_meant(inputs, namespace, key, each) if each.name in kept else each
        for each in upstreams(inputs, namespace, key, near)
    )


def captured_assignments(
    inputs: Inputs, namespace: str, key: ServiceKey, near: Near = NOWHERE
) -> tuple[LoadAssignment, ...]:
    """The endpoints of those upstreams that choose one."""
    kept = _kept(inputs, namespace, key)
    return tuple(each for each in load_assignments(inputs, namespace, key, near) if each.name not in kept)


def _kept(inputs: Inputs, namespace: str, key: ServiceKey) -> frozenset[str]:
    """The names of the upstreams that keep to the original destination."""
    service, policy = inputs.services.get(key), policy_for(inputs, namespace, key)
    return frozenset(
        names.outbound(key.host, port.number, subset.name if subset else "")
        for port in tcp_ports(service)
        for subset in (None, *policy.subsets)
        if (service is not None and is_headless(service))
        or effective(policy, port.number, subset).load_balancer == Balance("PASSTHROUGH")
    )


def _as_meant(inputs: Inputs, namespace: str, key: ServiceKey, upstream: Upstream) -> Upstream:
    security = _of_all(inputs, namespace, key, upstream)
    return msgspec.structs.replace(
        upstream, endpoints=OriginalDestination(), load_balancer=Balance(), by_locality=False, security=security
    )


def _of_all(inputs: Inputs, namespace: str, key: ServiceKey, upstream: Upstream) -> ClientSecurity:
    """An endpoint that is not chosen from a list cannot be looked up in it: all have mutual TLS, or none is used."""
    if not isinstance(upstream.security, Automatic):
        return upstream.security
    found = (each for each in reachable(inputs, namespace, key) if each.name == upstream.name)
    endpoints = [candidate.endpoint for each in found for candidate in each.candidates]
    return upstream.security.mesh if endpoints and all(each.mutual for each in endpoints) else NO_TLS
