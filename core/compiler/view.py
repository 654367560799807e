"""Everything one proxy sees, by name: what the simulator follows and tools print. Computes nothing of its own."""

from core.compiler import names
from core.compiler.captured import (
    address_listeners,
    captured_assignments,
    captured_upstreams,
    outbound_capture,
    port_listener,
)
from core.compiler.dns import ALL_HOSTS, name_record
from core.compiler.gateways import front_routes, fronts, gateway_listeners, gateway_secrets
from core.compiler.hosts import hosts_at, other_hosts, service_host
from core.compiler.inbound import inbound_listeners, inbound_upstreams
from core.compiler.inputs import ANY_PORT, HTTP_PORT, Inputs
from core.compiler.nearness import asked_by, asked_of_callers
from core.compiler.outbound import (
    fixed_upstreams,
    forward_proxy,
    sniffed_listeners,
    sniffed_upstreams,
    tcp_ports,
    tunnel_listener,
    tunnel_upstream,
    virtual_listeners,
)
from core.compiler.precedence import service_for
from core.compiler.scope import Scope, scope_of
from core.compiler.upstreams import load_assignments, upstreams
from core.errors import NotFound
from core.model.service import Service, ServiceKey, WorkloadKey
from core.view.dns import NameRecord
from core.view.listener import Listener
from core.view.route import RouteConfiguration, VirtualHost
from core.view.secret import Shown
from core.view.upstream import LoadAssignment, Upstream


class ProxyView:
    """A proxy's listeners, route configurations, upstreams and endpoints. Raises `NotFound` for unknown workloads."""

    def __init__(self, inputs: Inputs, key: WorkloadKey) -> None:
        workload = inputs.workloads.get(key)
        if workload is None:
            raise NotFound(f"no workload {key}", fix="list the workloads of the mesh file or platform")
        self._inputs = inputs
        self.workload = workload
        self.scope: Scope = scope_of(workload, label_names(inputs), near_labels(inputs))

    def listeners(self) -> tuple[Listener, ...]:
        inputs, key = self._inputs, self.workload.key
        if self.workload.role == "gateway":
            return gateway_listeners(inputs, key)
        outbound = (forward_proxy(inputs, key), outbound_capture(inputs, key))
        found = self._redirected_listeners() if self._redirected else self._tunnel_listeners()
        return (*inbound_listeners(inputs, key), *(each for each in outbound if each is not None), *found)

    def _tunnel_listeners(self) -> tuple[Listener, ...]:
        inputs, key, namespace = self._inputs, self.workload.key, self.scope.namespace
        return (
            *(tunnel_listener(inputs, port) for port in http_ports(inputs)),
            *(item for host in self._hosts() for item in sniffed_listeners(inputs, namespace, host)),
            *(item for service in self._services() for item in virtual_listeners(inputs, key, service)),
        )

    def _redirected_listeners(self) -> tuple[Listener, ...]:
        inputs, namespace = self._inputs, self.scope.namespace
        ports = sorted({*http_ports(inputs), *open_ports(inputs)})
        return (
            *(port_listener(inputs, namespace, port) for port in ports),
            *(item for service in self._services() for item in address_listeners(inputs, namespace, service)),
        )

    def name_records(self) -> tuple[NameRecord, ...]:
        """What this proxy answers to DNS queries; nothing where none are led to it."""
        hosts = self._inputs.http_hosts.below(ALL_HOSTS) if self.scope.dns_port else ()
        records = (name_record(self._inputs, self.scope.namespace, host) for host in hosts)
        return tuple(record for record in records if record is not None)

    def routes(self, name: str) -> RouteConfiguration | None:
        """The route configuration `http_proxy`, `<port>` or `<host>:<port>`; of a gateway `http.<port>` and so on."""
        if self.workload.role == "gateway":
            found = (front for front in fronts(self._inputs, self.workload.key) if front.name == name)
            return next((front_routes(self._inputs, self.scope, front) for front in found), None)
        if name == names.FORWARD_PROXY_ROUTES:
            return self._port_routes(name, ANY_PORT)
        if name.isdigit():
            return self._port_routes(name, int(name))
        host, _, port = name.rpartition(":")
        return service_host(self._inputs, self.scope, host, int(port)) if port.isdigit() else None

    def secrets(self) -> tuple[Shown, ...]:
        """What this proxy may ask the Manager for; only gateways do."""
        return gateway_secrets(self._inputs, self.workload.key)

    def upstreams(self) -> dict[str, Upstream]:
        inputs, namespace = self._inputs, self.scope.namespace
        if self.workload.role == "gateway":
            called = (each for key in self._services() for each in upstreams(inputs, namespace, key, self.scope.near))
            return {each.name: each for each in (*fixed_upstreams(inputs, self.scope.capture), *called)}
        found = (
            *fixed_upstreams(inputs, self.scope.capture),
            *inbound_upstreams(inputs, self.workload.key),
            *(self._redirected_upstreams() if self._redirected else self._tunnel_upstreams()),
        )
        return {upstream.name: upstream for upstream in found}

    def _tunnel_upstreams(self) -> tuple[Upstream, ...]:
        inputs, namespace = self._inputs, self.scope.namespace
        return (
            *(tunnel_upstream(inputs, port) for port in http_ports(inputs)),
            *(item for host in self._hosts() for item in sniffed_upstreams(inputs, namespace, host)),
            *(item for service in self._services() for item in upstreams(inputs, namespace, service, self.scope.near)),
        )

    def _redirected_upstreams(self) -> tuple[Upstream, ...]:
        inputs, namespace, near = self._inputs, self.scope.namespace, self.scope.near
        return tuple(item for key in self._services() for item in captured_upstreams(inputs, namespace, key, near))

    def endpoints(self) -> dict[str, LoadAssignment]:
        of = captured_assignments if self._redirected else load_assignments
        namespace, near = self.scope.namespace, self.scope.near
        found = (of(self._inputs, namespace, service, near) for service in self._services())
        return {assignment.name: assignment for group in found for assignment in group}

    @property
    def _redirected(self) -> bool:
        return self.scope.capture == "redirect"

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


def open_ports(inputs: Inputs) -> frozenset[int]:
    """The ports on which some service of undeclared or other protocol has no address to be known by."""
    return frozenset(
        port.number for service in inputs.services.values() if _open(service) for port in tcp_ports(service)
        if not port.protocol.is_http
    )  # fmt: skip


def _open(service: Service) -> bool:
    return bool(service.key.declared_by) and not service.addresses


def label_names(inputs: Inputs) -> frozenset[str]:
    """The labels of callers that some rule asks for."""
    rules = inputs.route_rules.values()
    matches = (match for rule in rules for route in rule.http for match in route.matches)
    return frozenset(name for match in matches for name, _ in match.source.labels)


def near_labels(inputs: Inputs) -> frozenset[str] | None:
    """The labels of callers by which some rule says who is near; None: it makes no difference where callers are."""
    return asked_of_callers(inputs.mesh, (asked_by(policy, inputs.mesh) for policy in inputs.policies.values()))
