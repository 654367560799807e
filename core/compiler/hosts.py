"""Virtual hosts: which domains stand for a host on a port, and the routes behind them."""

from core.compiler import names
from core.compiler.inputs import ANY_PORT, HTTP_PORT, Inputs
from core.compiler.precedence import service_for
from core.compiler.routing import routes
from core.compiler.scope import Scope
from core.incremental import derived
from core.ir.values import Respond
from core.model.mesh import OutboundMode
from core.model.protocol import Protocol
from core.model.service import Port, Service
from core.view.route import ForwardTo, Route, RouteConfiguration, Tunnel, VirtualHost, WeightedUpstream


@derived
def service_host(inputs: Inputs, scope: Scope, host: str, port: int) -> RouteConfiguration | None:
    """The routes of one service port for any domain: for listeners that only calls to that port can reach."""
    service = service_for(inputs, scope.namespace, host)
    declared = service.port(port) if service is not None else None
    if declared is None or not _speaks_http(declared):
        return None
    name = names.host_port(host, port)
    return RouteConfiguration(name, (VirtualHost(name, ("*",), routes(inputs, scope, host, port)),))


def port_host(inputs: Inputs, scope: Scope, host: str, port: int) -> VirtualHost | None:
    """The virtual host of one host in the route configuration of a port."""
    service = service_for(inputs, scope.namespace, host)
    if not _stands_for(inputs, scope, host, service) or not _routed(service, port):
        return None
    found = routes(inputs, scope, host, port)
    if not found:
        return None
    plain = _names(inputs, scope, host, service)
    domains = (*plain, *(names.host_port(name, port) for name in plain if name != "*"))
    return VirtualHost(names.host_port(host, port), domains, found)


def proxy_hosts(inputs: Inputs, scope: Scope, host: str) -> tuple[VirtualHost, ...]:
    """The virtual hosts of one host, one for each port, in the route configuration of the HTTP forward proxy."""
    service = service_for(inputs, scope.namespace, host)
    if not _stands_for(inputs, scope, host, service):
        return ()
    ports = service.ports if service is not None else (Port("http", HTTP_PORT, Protocol.HTTP),)
    built = (_proxy_host(inputs, scope, host, port) for port in ports if port.protocol is not Protocol.UDP)
    return tuple(virtual_host for virtual_host in built if virtual_host is not None)


def _proxy_host(inputs: Inputs, scope: Scope, host: str, port: Port) -> VirtualHost | None:
    service = service_for(inputs, scope.namespace, host)
    plain = [name for name in _names(inputs, scope, host, service) if name != "*"]
    domains = [names.host_port(name, port.number) for name in plain]
    if port.number == HTTP_PORT:
        domains += plain
    found = routes(inputs, scope, host, port.number) if _speaks_http(port) else ()
    if not domains or (service is None and not found):
        return None
    tunnel = Route(name="connect", action=Tunnel(_tunnel_target(host, port)))
    return VirtualHost(names.host_port(host, port.number), tuple(domains), (tunnel, *found))


def _tunnel_target(host: str, port: Port) -> str:
    """Where the bytes of a CONNECT go: back into this proxy where rules may apply, else straight to the service."""
    if port.protocol.is_http:
        return names.tunnel(port.number)
    return names.tunnel(port.number, host) if port.protocol is Protocol.AUTO else names.outbound(host, port.number)


def _stands_for(inputs: Inputs, scope: Scope, host: str, service: Service | None) -> bool:
    """Whether virtual hosts are made under this name: not for aliases and short forms, the service's host has those."""
    if service is not None:
        return service.key.host == host
    name, dot, namespace = host.removesuffix(".svc").partition(".")
    full = f"{name}.{namespace}.svc.{inputs.mesh.domain_suffix}"
    return not dot or "." in namespace or service_for(inputs, scope.namespace, full) is None


def _speaks_http(port: Port) -> bool:
    return port.protocol.is_http or port.protocol is Protocol.AUTO


def _routed(service: Service | None, port: int) -> bool:
    """Hosts that only rules know are served on port 80 (Istio)."""
    if service is None:
        return port == HTTP_PORT
    declared = service.port(port)
    return declared is not None and _speaks_http(declared)


def _names(inputs: Inputs, scope: Scope, host: str, service: Service | None) -> tuple[str, ...]:
    """The names by which a service is known, and its virtual addresses. No domain may stand twice."""
    if service is None:
        return (host,)
    known = known_names(inputs, scope.namespace, service)
    addresses = (each for each in service.addresses if _means(inputs, scope.namespace, each, service))
    return tuple(dict.fromkeys(map(_in_url, (*known, *addresses))))


def known_names(inputs: Inputs, namespace: str, service: Service) -> tuple[str, ...]:
    """The names by which callers in `namespace` know a service, its host first.

    A name that means another service to them is left out.
    """
    candidates = dict.fromkeys((service.key.host, *_short(inputs, namespace, service), *service.aliases))
    return tuple(name for name in candidates if _means(inputs, namespace, name, service))


def _in_url(name: str) -> str:
    """IPv6 addresses stand in brackets where a port may follow (RFC 3986 §3.2.2)."""
    return f"[{name}]" if ":" in name else name


def _means(inputs: Inputs, namespace: str, name: str, service: Service) -> bool:
    """Whether to these callers `name` is this service, and no other that claims it as well."""
    claims = inputs.services_by_host.get(name)
    if claims in ((), (service.key,)):
        return True
    owner = service_for(inputs, namespace, name)
    return owner is not None and owner.key == service.key


def _short(inputs: Inputs, namespace: str, service: Service) -> tuple[str, ...]:
    """Short forms exist where the host is `name.namespace.svc.<domain suffix>`."""
    stem = f"{service.name}.{service.key.namespace}"
    if service.key.host != f"{stem}.svc.{inputs.mesh.domain_suffix}":
        return ()
    own = (service.name,) if namespace == service.key.namespace else ()
    return (*own, stem, f"{stem}.svc")


@derived
def other_hosts(inputs: Inputs, port: int) -> VirtualHost:
    """What happens to hosts that nobody registered; `port` `ANY_PORT` is the HTTP forward proxy."""
    if inputs.mesh.outbound is OutboundMode.REGISTRY_ONLY:
        return VirtualHost("block_all", ("*",), (Route(name="block_all", action=Respond(502)),))
    forward = Route(name="allow_any", action=ForwardTo(upstreams=(WeightedUpstream(names.PASSTHROUGH),)))
    tunnel = Route(name="connect", action=Tunnel(names.PASSTHROUGH))
    return VirtualHost("allow_any", ("*",), (tunnel, forward) if port == ANY_PORT else (forward,))


def hosts_at(inputs: Inputs, scope: Scope, host: str, port: int) -> tuple[VirtualHost, ...]:
    """All virtual hosts that one host has in the route configuration of `port`."""
    if port == ANY_PORT:
        return proxy_hosts(inputs, scope, host)
    found = port_host(inputs, scope, host, port)
    return () if found is None else (found,)
