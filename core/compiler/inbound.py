"""Inbound: how a proxy receives calls for the workload beside it and hands them over.

In capture `none` each port has a listener of its own; in `redirect` one listener has the chains of all ports, and
some for connections to ports that no service knows. What a port does with its callers is the same in both (`chains`).
"""

import msgspec

from core.compiler import chains, names
from core.compiler.access import access
from core.compiler.inputs import Inputs
from core.compiler.peers import Peers, peers
from core.model.protocol import Protocol
from core.model.service import Port, Service, WorkloadKey
from core.model.workload import Capture, Explicit, Proxyless, Redirected, Workload
from core.view.listener import FilterChain, Listener, Socket, TcpChain
from core.view.route import WeightedUpstream
from core.view.upstream import Endpoints, HttpVersion, OriginalDestination, ServiceRef, Static, Upstream

ANY_ADDRESS = "0.0.0.0"
OWN_SOURCE = "127.0.0.6"
"""From where the proxy calls its application in capture `redirect`: rules let such connections pass (Istio)."""


class Served(msgspec.Struct, frozen=True):
    """A port of the workload, what it is for, and where the application answers."""

    number: int
    service: Service
    port: Port
    application: Endpoints


def inbound_listeners(inputs: Inputs, key: WorkloadKey) -> tuple[Listener, ...]:
    """What callers of this workload find."""
    workload = inputs.workloads.get(key)
    if workload is None or workload.role == "gateway":
        return ()
    demanded = peers(inputs, key.namespace)
    if isinstance(workload.capture, Redirected):
        return (_virtual_inbound(inputs, workload, workload.capture, demanded),)
    return tuple(_own_listener(inputs, workload, each, demanded) for each in _served(inputs, key))


def inbound_upstreams(inputs: Inputs, key: WorkloadKey) -> tuple[Upstream, ...]:
    """The application behind each port."""
    timeout = inputs.mesh.connect_timeout
    known = tuple(
        Upstream(
            name=names.inbound(each.number),
            endpoints=each.application,
            http=_http_version(each.port.protocol),
            connect_timeout=timeout,
            service=ServiceRef(each.service.key.host, each.service.name, each.service.key.namespace),
            port=each.port.number,
        )
        for each in _served(inputs, key)
    )
    return (*known, *_anywhere(inputs, key))


def _anywhere(inputs: Inputs, key: WorkloadKey) -> tuple[Upstream, ...]:
    workload = inputs.workloads.get(key)
    if workload is None or workload.role == "gateway" or not isinstance(workload.capture, Redirected):
        return ()
    return (
        Upstream(
            name=names.INBOUND_PASSTHROUGH,
            endpoints=_where_it_was_meant_to_go(workload.capture),
            http="follow",
            connect_timeout=inputs.mesh.connect_timeout,
        ),
    )


def _terms(inputs: Inputs, workload: Workload, demanded: Peers, port: int) -> chains.Terms:
    mode, domain = demanded.at(workload.labels, port), inputs.mesh.trust_domain
    return chains.Terms(mode, domain, access(inputs, workload.key))


# -- capture none ------------------------------------------------------------------------------------------------------


def _own_listener(inputs: Inputs, workload: Workload, served: Served, demanded: Peers) -> Listener:
    return Listener(
        name=names.listener(workload.address, served.number),
        bind=Socket(workload.address, served.number),
        direction="inbound",
        chains=chains.declared(served.number, served.port, _terms(inputs, workload, demanded, served.number)),
        access_log=inputs.mesh.access_log,
    )


# -- capture redirect --------------------------------------------------------------------------------------------------


def _virtual_inbound(inputs: Inputs, workload: Workload, capture: Redirected, demanded: Peers) -> Listener:
    served = _served(inputs, workload.key)
    return Listener(
        name=names.VIRTUAL_INBOUND,
        bind=Socket(ANY_ADDRESS, capture.inbound_port),
        direction="inbound",
        chains=(
            _loop(capture.inbound_port),
            *(
                chains.only_at(each.number, chain)
                for each in served
                for chain in chains.declared(each.number, each.port, _terms(inputs, workload, demanded, each.number))
            ),
            *_undeclared(inputs, workload, demanded, known={capture.inbound_port, *(each.number for each in served)}),
        ),
        access_log=inputs.mesh.access_log,
        original=True,
        transparent=capture.transparent,
        mark=capture.tproxy_mark if capture.transparent else 0,
    )


def _loop(port: int) -> FilterChain:
    """Nobody means the listener's own port: who calls it would be led back to it for ever."""
    nowhere = TcpChain(stat_prefix=names.BLACK_HOLE, upstreams=(WeightedUpstream(names.BLACK_HOLE),))
    return chains.only_at(port, FilterChain(name="virtualInbound-blackhole", serve=nowhere))


def _undeclared(inputs: Inputs, workload: Workload, demanded: Peers, *, known: set[int]) -> tuple[FilterChain, ...]:
    """Ports of the application that no service knows are reached as well, on the same terms."""
    singled_out = (port for port in demanded.ports(workload.labels) if port not in known)
    return (
        *(
            chains.only_at(port, chain)
            for port in singled_out
            for chain in chains.undeclared(_terms(inputs, workload, demanded, port))
        ),
        *chains.undeclared(_terms(inputs, workload, demanded, 0)),
    )


# -- who is behind -----------------------------------------------------------------------------------------------------


def _served(inputs: Inputs, key: WorkloadKey) -> tuple[Served, ...]:
    """Each port with the service port it serves; where several do, the oldest service's."""
    workload = inputs.workloads.get(key)
    if workload is None or workload.role == "gateway":
        return ()
    claims = sorted(_claims(inputs, key), key=lambda claim: (claim[1].created, claim[1].key, claim[2].number))
    by_number = {number: (service, port) for number, service, port in reversed(claims)}
    found = _applications(workload.capture, by_number)
    return tuple(Served(number, *by_number[number], at) for number, at in found.items() if number in by_number)


def claimed_ports(inputs: Inputs, key: WorkloadKey) -> frozenset[int]:
    """The workload's ports that some service knows."""
    return frozenset(number for number, _, _ in _claims(inputs, key))


def _applications(capture: Capture, claimed: dict[int, tuple[Service, Port]]) -> dict[int, Endpoints]:
    if isinstance(capture, Proxyless):
        return {}
    if isinstance(capture, Explicit):
        return {app.port: Static(app.address, app.target) for app in capture.app_ports}
    # Nobody means the proxy's own port (`_loop`), even if a service names it.
    return dict.fromkeys(sorted(claimed.keys() - {capture.inbound_port}), _where_it_was_meant_to_go(capture))


def _where_it_was_meant_to_go(capture: Redirected) -> OriginalDestination:
    """With TPROXY the application sees its caller's address, so that nothing but a mark tells who sends.

    Elsewhere the address does, and a proxy that is known by its user may have no right to mark anything.
    """
    if capture.transparent:
        return OriginalDestination(mark=capture.tproxy_mark)
    return OriginalDestination(source=OWN_SOURCE)


def _claims(inputs: Inputs, key: WorkloadKey) -> list[tuple[int, Service, Port]]:
    found = []
    for instance_key in inputs.instances_by_workload.get(key):
        service = inputs.services.get(instance_key.service)
        instance = inputs.instances.get(instance_key)
        for port in service.ports if service is not None and instance is not None else ():
            number = instance.port(port.name) if instance is not None else None
            if service is not None and number is not None and port.protocol is not Protocol.UDP:
                found.append((number, service, port))
    return found


def _http_version(protocol: Protocol) -> HttpVersion:
    """The application is spoken to as its caller spoke, unless the port says HTTP/2."""
    if protocol.is_http2:
        return "http2"
    return "follow" if protocol.is_http or protocol is Protocol.AUTO else "none"
