"""Outbound listeners in capture `none`: the HTTP forward proxy, what its tunnels lead into, and virtual addresses.

Also the upstreams that every proxy has. What capture `redirect` has instead is in `captured`.
"""

import ipaddress

import msgspec

from core.compiler import names
from core.compiler.inputs import Inputs, last_octet
from core.compiler.precedence import service_for
from core.compiler.scope import CaptureMode
from core.incremental import derived
from core.model.mesh import OutboundMode
from core.model.protocol import Protocol
from core.model.service import Port, Service, ServiceKey, WorkloadKey
from core.model.workload import Capture, Explicit
from core.view.listener import (
    HTTP_BYTES,
    FilterChain,
    HttpChain,
    InProcess,
    Listener,
    NamedRoutes,
    Socket,
    TcpChain,
)
from core.view.route import WeightedUpstream
from core.view.security import MESH_TCP
from core.view.upstream import AnyHost, Endpoints, Internal, Nowhere, OriginalDestination, Upstream


@derived
def fixed_upstreams(inputs: Inputs, capture: CaptureMode) -> tuple[Upstream, ...]:
    """The upstreams that every proxy has: for hosts nobody registered, and for calls that lead nowhere."""
    timeout = inputs.mesh.connect_timeout
    nowhere = Upstream(name=names.BLACK_HOLE, endpoints=Nowhere(), connect_timeout=timeout)
    if inputs.mesh.outbound is OutboundMode.REGISTRY_ONLY:
        return (nowhere,)
    anywhere: Endpoints = OriginalDestination() if capture == "redirect" else AnyHost()
    return (nowhere, Upstream(name=names.PASSTHROUGH, endpoints=anywhere, http="follow", connect_timeout=timeout))


def tunnel_upstream(inputs: Inputs, port: int) -> Upstream:
    """From the HTTP forward proxy into the listener that serves all HTTP hosts of a port."""
    return _tunnel(names.tunnel(port), names.listener("0.0.0.0", port))


def tunnel_listener(inputs: Inputs, port: int) -> Listener:
    """Serves what arrives in tunnels to HTTP services on `port`, by the same rules as everything else."""
    return Listener(
        name=names.listener("0.0.0.0", port),
        bind=InProcess(),
        direction="outbound",
        chains=(FilterChain(serve=_http(inputs, f"outbound_0.0.0.0_{port}", str(port))),),
        access_log=inputs.mesh.access_log,
    )


def sniffed_upstreams(inputs: Inputs, namespace: str, host: str) -> tuple[Upstream, ...]:
    """From the HTTP forward proxy into the listeners of a host's undeclared ports."""
    return tuple(
        _tunnel(names.tunnel(port.number, host), names.listener(host, port.number))
        for port in tcp_ports(service_for(inputs, namespace, host))
        if port.protocol is Protocol.AUTO
    )


def sniffed_listeners(inputs: Inputs, namespace: str, host: str) -> tuple[Listener, ...]:
    """Serves what arrives in tunnels to a host's undeclared ports: HTTP by its rules, anything else as bytes."""
    return tuple(
        Listener(
            name=names.listener(host, port.number),
            bind=InProcess(),
            direction="outbound",
            chains=_chains(inputs, host, port),
            access_log=inputs.mesh.access_log,
        )
        for port in tcp_ports(service_for(inputs, namespace, host))
        if port.protocol is Protocol.AUTO
    )


def _tunnel(name: str, listener: str) -> Upstream:
    return Upstream(name=name, endpoints=Internal(listener))


def forward_proxy(inputs: Inputs, key: WorkloadKey) -> Listener | None:
    """The HTTP forward proxy on the workload's own address."""
    workload = inputs.workloads.get(key)
    if workload is None or not isinstance(workload.capture, Explicit):
        return None
    port = workload.capture.http_proxy_port
    chain = HttpChain(
        stat_prefix=names.FORWARD_PROXY_ROUTES,
        routes=NamedRoutes(names.FORWARD_PROXY_ROUTES),
        forward_proxy=True,
        any_host=inputs.mesh.outbound is OutboundMode.ALLOW_ANY,
    )
    return Listener(
        name=names.listener(workload.address, port),
        bind=Socket(workload.address, port),
        direction="outbound",
        chains=(FilterChain(serve=chain),),
        access_log=inputs.mesh.access_log,
    )


@derived
def virtual_listeners(inputs: Inputs, key: WorkloadKey, service_key: ServiceKey) -> tuple[Listener, ...]:
    """Listeners on the workload's own address for a service, one for each port."""
    workload, service = inputs.workloads.get(key), inputs.services.get(service_key)
    network = _network(workload.capture) if workload is not None else None
    if workload is None or service is None or network is None:
        return ()
    owned = _own_address(inputs, key.namespace, service)
    if owned is None or service_for(inputs, key.namespace, service_key.host) != service:
        return ()
    address = virtual_address(network, owned)
    if service_key.declared_by and _taken(inputs, service, namespace=key.namespace, network=network):
        return ()
    return tuple(
        Listener(
            name=names.listener(address, port.number),
            bind=Socket(address, port.number),
            direction="outbound",
            chains=_chains(inputs, service_key.host, port),
            access_log=inputs.mesh.access_log,
        )
        for port in tcp_ports(service)
    )


def _network(capture: Capture) -> str | None:
    return capture.virtual_network if isinstance(capture, Explicit) else None


def _own_address(inputs: Inputs, namespace: str, service: Service) -> str | None:
    """The first virtual address that to these callers is no other service's. The networks of workloads are IPv4."""
    addresses = (address for address in service.addresses if ":" not in address)
    return next((address for address in addresses if service_for(inputs, namespace, address) == service), None)


def _taken(inputs: Inputs, service: Service, *, namespace: str, network: str) -> bool:
    """Whether a declared service's address falls together with that of a service that comes before it.

    A platform keeps its services apart; whoever writes a document need not know how large these networks are. In
    networks of less than 256 addresses there is no telling, so declared services have none there.
    """
    address = _own_address(inputs, namespace, service)
    octet = last_octet(address) if address is not None else None
    if address is None or octet is None or ipaddress.IPv4Network(network).prefixlen > _SMALLEST_NETWORK:
        return True
    found = (inputs.services.get(key) for key in inputs.services_by_octet.get(octet))
    before = [other for other in found if other is not None and _rank(other) < _rank(service)]
    wanted = virtual_address(network, address)
    return any(wanted == _listening_at(inputs, other, namespace=namespace, network=network) for other in before)


_SMALLEST_NETWORK = 24


def _rank(service: Service) -> tuple[bool, float, ServiceKey]:
    """Platforms first, then the oldest."""
    return bool(service.key.declared_by), service.created, service.key


def _listening_at(inputs: Inputs, service: Service, *, namespace: str, network: str) -> str | None:
    own = _own_address(inputs, namespace, service)
    shown = service_for(inputs, namespace, service.key.host) == service
    return virtual_address(network, own) if shown and own is not None else None


def virtual_address(network: str, service_address: str) -> str:
    """The address within a workload's `network` (CIDR) that stands for a service's virtual address.

    >>> virtual_address("127.65.8.0/21", "240.240.0.3")
    '127.65.8.3'
    """
    own = ipaddress.IPv4Network(network)
    host_bits = int(ipaddress.IPv4Address(service_address)) & int(own.hostmask)
    return str(own.network_address + host_bits)


def tcp_ports(service: Service | None) -> tuple[Port, ...]:
    """Those that proxies serve: all but UDP."""
    return () if service is None else tuple(p for p in service.ports if p.protocol is not Protocol.UDP)


def _chains(inputs: Inputs, host: str, port: Port) -> tuple[FilterChain, ...]:
    called = names.host_port(host, port.number)
    return port_chains(host, port, http=_http(inputs, f"outbound_{called}", called))


def port_chains(host: str, port: Port, *, http: HttpChain) -> tuple[FilterChain, ...]:
    """What a listener that only calls to this port can reach does with them; `http` has its routes."""
    upstream = names.outbound(host, port.number)
    tcp = TcpChain(stat_prefix=upstream, upstreams=(WeightedUpstream(upstream),))
    if port.protocol.is_http:
        return (FilterChain(serve=http),)
    if port.protocol is Protocol.AUTO:
        # The upstream is the same as for HTTP, which is what it says it carries.
        other = msgspec.structs.replace(tcp, protocols=MESH_TCP)
        return FilterChain(match=HTTP_BYTES, serve=http), FilterChain(serve=other)
    return (FilterChain(serve=tcp),)


def _http(inputs: Inputs, stat_prefix: str, routes: str) -> HttpChain:
    any_host = inputs.mesh.outbound is OutboundMode.ALLOW_ANY
    return HttpChain(stat_prefix=stat_prefix, routes=NamedRoutes(routes), any_host=any_host)
