"""Inbound: how a proxy receives calls for the workload beside it and hands them over."""

from core.compiler import names
from core.compiler.inputs import Inputs
from core.model.protocol import Protocol
from core.model.service import Port, Service, WorkloadKey
from core.model.workload import AppPort
from core.view.listener import FilterChain, HttpChain, Listener, Socket, TcpChain
from core.view.route import ForwardTo, Route, RouteConfiguration, VirtualHost, WeightedUpstream
from core.view.upstream import HttpVersion, ServiceRef, Static, Upstream


def inbound_listeners(inputs: Inputs, key: WorkloadKey) -> tuple[Listener, ...]:
    """One listener for each port on which some service expects this workload."""
    workload = inputs.workloads.get(key)
    if workload is None:
        return ()
    return tuple(
        Listener(
            name=names.listener(workload.address, app.port),
            bind=Socket(workload.address, app.port),
            direction="inbound",
            chains=_chains(app.port, port),
            access_log_file=inputs.mesh.access_log_file,
        )
        for app, _, port in _served(inputs, key)
    )


def inbound_upstreams(inputs: Inputs, key: WorkloadKey) -> tuple[Upstream, ...]:
    """The application behind each inbound listener."""
    timeout = inputs.mesh.connect_timeout
    return tuple(
        Upstream(
            name=names.inbound(app.port),
            endpoints=Static(app.address, app.target),
            http=_http_version(port.protocol),
            connect_timeout=timeout,
            service=ServiceRef(service.key.host, service.name, service.key.namespace),
            port=port.number,
        )
        for app, service, port in _served(inputs, key)
    )


def _served(inputs: Inputs, key: WorkloadKey) -> tuple[tuple[AppPort, Service, Port], ...]:
    """Each port of the application with the service port it serves; where several do, the oldest service's."""
    workload = inputs.workloads.get(key)
    if workload is None:
        return ()
    claims = sorted(_claims(inputs, key), key=lambda claim: (claim[1].created, claim[1].key, claim[2].number))
    by_number = {number: (service, port) for number, service, port in reversed(claims)}
    return tuple((app, *by_number[app.port]) for app in workload.capture.app_ports if app.port in by_number)


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


def _chains(number: int, port: Port) -> tuple[FilterChain, ...]:
    upstream = names.inbound(number)
    http = HttpChain(stat_prefix=f"inbound_0.0.0.0_{number}", routes=_routes(number, port))
    tcp = TcpChain(stat_prefix=upstream, upstreams=(WeightedUpstream(upstream),))
    if port.protocol.is_http:
        return (FilterChain(serve=http),)
    if port.protocol is Protocol.AUTO:
        return FilterChain(sniffed="http", serve=http), FilterChain(serve=tcp)
    return (FilterChain(serve=tcp),)


def _routes(number: int, port: Port) -> RouteConfiguration:
    upstream = names.inbound(number)
    route = Route(name="default", action=ForwardTo(upstreams=(WeightedUpstream(upstream),)))
    return RouteConfiguration(upstream, (VirtualHost(f"inbound|http|{port.number}", ("*",), (route,)),))


def _http_version(protocol: Protocol) -> HttpVersion:
    """The application is spoken to as its caller spoke, unless the port says HTTP/2."""
    if protocol.is_http2:
        return "http2"
    return "follow" if protocol.is_http or protocol is Protocol.AUTO else "none"
