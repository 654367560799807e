"""Everything one proxy sees, by name: what the simulator follows and tools print. Computes nothing of its own."""

from core.compiler import names
from core.compiler.hosts import hosts_at, other_hosts, service_host
from core.compiler.inbound import inbound_listeners, inbound_upstreams
from core.compiler.inputs import ANY_PORT, HTTP_PORT, Inputs
from core.compiler.outbound import (
    fixed_upstreams,
    forward_proxy,
    sniffed_listeners,
    sniffed_upstreams,
    tunnel_listener,
    tunnel_upstream,
    virtual_listeners,
)
from core.compiler.precedence import service_for
from core.compiler.scope import Scope, scope_of
from core.compiler.upstreams import load_assignments, upstreams
from core.errors import NotFound
from core.model.service import ServiceKey, WorkloadKey
from core.view.listener import Listener
from core.view.route import RouteConfiguration, VirtualHost
from core.view.upstream import LoadAssignment, Upstream


class ProxyView:
    """A proxy's listeners, route configurations, upstreams and endpoints. Raises `NotFound` for unknown workloads."""

    def __init__(self, inputs: Inputs, key: WorkloadKey) -> None:
        workload = inputs.workloads.get(key)
        if workload is None:
            raise NotFound(f"no workload {key}", fix="list the workloads of the mesh file or platform")
        self._inputs = inputs
        self.workload = workload
        self.scope: Scope = scope_of(workload, label_names(inputs))

    def listeners(self) -> tuple[Listener, ...]:
        inputs, key, namespace = self._inputs, self.workload.key, self.scope.namespace
        proxy = forward_proxy(inputs, key)
        return (
            *inbound_listeners(inputs, key),
            *((proxy,) if proxy is not None else ()),
            *(tunnel_listener(inputs, port) for port in http_ports(inputs)),
            *(item for host in self._hosts() for item in sniffed_listeners(inputs, namespace, host)),
            *(item for service in self._services() for item in virtual_listeners(inputs, key, service)),
        )

    def routes(self, name: str) -> RouteConfiguration | None:
        """The route configuration `http_proxy`, `<port>` or `<host>:<port>`."""
        if name == names.FORWARD_PROXY_ROUTES:
            return self._port_routes(name, ANY_PORT)
        if name.isdigit():
            return self._port_routes(name, int(name))
        host, _, port = name.rpartition(":")
        return service_host(self._inputs, self.scope, host, int(port)) if port.isdigit() else None

    def upstreams(self) -> dict[str, Upstream]:
        inputs, namespace = self._inputs, self.scope.namespace
        found = (
            *fixed_upstreams(inputs),
            *inbound_upstreams(inputs, self.workload.key),
            *(tunnel_upstream(inputs, port) for port in http_ports(inputs)),
            *(item for host in self._hosts() for item in sniffed_upstreams(inputs, namespace, host)),
            *(item for service in self._services() for item in upstreams(inputs, namespace, service)),
        )
        return {upstream.name: upstream for upstream in found}

    def endpoints(self) -> dict[str, LoadAssignment]:
        found = (load_assignments(self._inputs, self.scope.namespace, service) for service in self._services())
        return {assignment.name: assignment for group in found for assignment in group}

    def _services(self) -> tuple[ServiceKey, ...]:
        """Those that exist for this proxy, and that no other one with the same host hides."""
        inputs, namespace = self._inputs, self.scope.namespace
        owners = {key: service_for(inputs, namespace, key.host) for key in sorted(inputs.services.keys())}
        return tuple(key for key, owner in owners.items() if owner is not None and owner.key == key)

    def _hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key.host for key in self._services()))

    def _port_routes(self, name: str, port: int) -> RouteConfiguration:
        virtual_hosts: list[VirtualHost] = []
        for host in self._inputs.http_hosts.below((port,)):
            virtual_hosts.extend(hosts_at(self._inputs, self.scope, host, port))
        return RouteConfiguration(name, (*virtual_hosts, other_hosts(self._inputs, port)))


def http_ports(inputs: Inputs) -> tuple[int, ...]:
    """All port numbers on which some service speaks HTTP by declaration; hosts that only rules know do on port 80."""
    ports = (port for service in inputs.services.values() for port in service.ports)
    ruled = {HTTP_PORT} if inputs.route_rules.values() else set()
    return tuple(sorted({port.number for port in ports if port.protocol.is_http} | ruled))


def label_names(inputs: Inputs) -> frozenset[str]:
    """The labels of callers that some rule asks for."""
    rules = inputs.route_rules.values()
    matches = (match for rule in rules for route in rule.http for match in route.matches)
    return frozenset(name for match in matches for name, _ in match.source.labels)
