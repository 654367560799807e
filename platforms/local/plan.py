"""From a mesh file to what exists: workloads, services, instances and the commands to launch. Pure, no I/O."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from core.diagnostics import Diagnostic, Severity
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.mesh import Mesh
from core.model.peer import WORKLOAD_NAME
from core.model.protocol import Protocol
from core.model.service import Health, Instance, InstanceKey, Port, Service, ServiceKey, WorkloadKey
from core.model.workload import AppPort, Capture, Explicit, Interception, Proxyless, Redirected, Workload
from platforms.local.addresses import HTTP_PROXY_PORT, Addresses, Allocator
from platforms.local.codes import Code
from platforms.local.meshfile import (
    GatewaySpec,
    Listens,
    MeshFile,
    PortSpec,
    Runs,
    SecretSpec,
    ServiceSpec,
    WorkloadSpec,
)
from platforms.local.plan_gateway import DOOR, gateway
from platforms.local.settings import CaptureMode

Environment = tuple[tuple[str, str], ...]

_REFERENCE = re.compile(r"\$(\$)?\(([A-Za-z_][A-Za-z0-9_]*)\)")


MARK, MARK_BESIDE_TPROXY = 1337, 1336
"""What proxies mark their connections with where capture is `redirect`; the second one where 1337 is TPROXY's own."""


RESOLVER = "198.19.255.254:5353"
"""Where proxies in pods ask for names that are not the mesh's: a port that is not captured (`proxy.capture.wire`)."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A command to keep running for a workload.

    A change of `command`, `env` or `directory` asks for a restart. `discovery` tells of the services around and changes
    whenever one comes or goes: new processes get the newest, running ones are left alone.
    `directory` is relative to the mesh file's own.
    """

    workload: WorkloadKey
    command: tuple[str, ...]
    env: Environment
    discovery: Environment
    directory: str

    def environment(self) -> dict[str, str]:
        """Everything to add to the launcher's own environment; what the file says wins."""
        return dict(self.discovery) | dict(self.env)

    def needs_restart(self, running: "Launch") -> bool:
        """Whether the process that was started for `running` is out of date."""
        return (self.command, self.env, self.directory) != (running.command, running.env, running.directory)


class Exposition(msgspec.Struct, frozen=True, kw_only=True):
    """Where an application tells its own metrics (Prometheus' text), seen from its agent."""

    address: str
    port: int
    path: str


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """Where the application of a workload answers: in the network of the host, or in the workload's own pod.

    What arrives at `port` of the workload is for `address`:`target` there.
    """

    workload: WorkloadKey
    place: Literal["host", "pod"]
    ports: tuple[AppPort, ...]
    metrics: Exposition | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a mesh file brings into being. The health of `instances` is `UNKNOWN` until somebody looked."""

    mesh: Mesh = Mesh()
    services: tuple[Service, ...] = ()
    instances: tuple[Instance, ...] = ()
    workloads: tuple[Workload, ...] = ()
    launches: tuple[Launch, ...] = ()
    secrets: tuple[SecretSpec, ...] = ()
    applications: tuple[Application, ...] = ()


def unheeded(file: MeshFile | None, capture: CaptureMode) -> Iterator[Diagnostic]:
    """What of the file means nothing in this capture."""
    named = [f"{service.name}/{spec.name}" for service in file.services for spec in service.workloads
             if spec.proxyless] if file else []  # fmt: skip
    if capture == "redirect" and named:
        yield Diagnostic(
            code=Code.NO_EFFECT,
            severity=Severity.WARNING,
            message=f"in capture redirect `proxyless` has no effect: {', '.join(named)} stand behind sidecars",
            fix="leave it out, or run the mesh without --capture redirect",
        )


def plan(
    file: MeshFile, allocator: Allocator, *, capture: CaptureMode = "none", interception: Interception = "REDIRECT"
) -> Plan:
    """Numbers come from `allocator`, which keeps them over edits of the file."""
    suffix = file.mesh.domain_suffix
    placed = [(service, spec, key) for service in file.services for spec in service.workloads
              for key in service.replicas(spec)]  # fmt: skip
    callable_services = tuple(service for service in file.services if service.ports)
    keys = [*(key for _, _, key in placed), *(spec.key for spec in file.gateways)]
    addresses = allocator.addresses(keys, (service.key(suffix) for service in callable_services))
    site = _Site(file.mesh, addresses, callable_services, capture, interception)
    return Plan(
        mesh=file.mesh,
        services=tuple(map(site.service, callable_services)),
        instances=tuple(site.instance(*place) for place in placed if place[0].ports),
        workloads=(
            *(site.workload(*place) for place in placed),
            *(site.gateway(spec, allocator) for spec in file.gateways),
        ),
        secrets=file.secrets,
        launches=tuple(launch for place in placed for launch in site.launch(*place)),
        applications=tuple(site.application(*place) for place in placed),
    )


def labels(service: ServiceSpec, spec: WorkloadSpec) -> Labels:
    """With what replicas have in common, if there is but one: another one must not change it."""
    return Labels.of({WORKLOAD_NAME: f"{service.name}-{spec.name}", **spec.labels.as_dict()})


class _Site(msgspec.Struct, frozen=True):
    """What all parts of one plan look things up in."""

    mesh: Mesh
    addresses: Addresses
    services: tuple[ServiceSpec, ...]
    capture: CaptureMode
    interception: Interception

    def address(self, key: WorkloadKey) -> str:
        return self.addresses.pod(key) if self.capture == "redirect" else self.addresses.workload(key)

    def service(self, spec: ServiceSpec) -> Service:
        key = self.key(spec)
        ports = tuple(Port(port.name, port.number, port.protocol) for port in spec.ports)
        addresses = (self.addresses.service(key),)
        return Service(key=key, name=spec.name, ports=ports, addresses=addresses, labels=spec.labels)

    def instance(self, service: ServiceSpec, spec: WorkloadSpec, key: WorkloadKey) -> Instance:
        return Instance(
            key=InstanceKey(self.key(service), key.name),
            address=self.address(key),
            ports=tuple((port.name, port.target) for port in service.ports),
            labels=labels(service, spec),
            locality=spec.locality,
            weight=spec.weight,
            health=Health.UNKNOWN,
            identity=SpiffeId.of(self.mesh.trust_domain, namespace=key.namespace, service_account=spec.service_account),
            workload=key,
            proxyless=self.is_proxyless(spec),
        )

    def workload(self, service: ServiceSpec, spec: WorkloadSpec, key: WorkloadKey) -> Workload:
        return Workload(
            key=key,
            address=self.address(key),
            service_account=spec.service_account,
            labels=labels(service, spec),
            locality=spec.locality,
            capture=self.captured(service, spec, key),
        )

    def gateway(self, spec: GatewaySpec, allocator: Allocator) -> Workload:
        address = self.address(spec.key)
        return gateway(spec, address, door=address if self.capture == "redirect" else DOOR, free=allocator.door)

    def is_proxyless(self, spec: WorkloadSpec) -> bool:
        """In pods every workload has a sidecar: what is led there has to be taken by somebody."""
        return spec.proxyless and self.capture == "none"

    def captured(self, service: ServiceSpec, spec: WorkloadSpec, key: WorkloadKey) -> Capture:
        if self.is_proxyless(spec):
            ports = (port.target for port in service.ports if port.protocol is not Protocol.UDP)
            return Proxyless(ports=tuple(dict.fromkeys(ports)))
        if self.capture == "redirect":
            return redirected(spec.interception or self.interception)
        return Explicit(
            app_ports=self.app_ports(service, spec, key),
            http_proxy_port=HTTP_PROXY_PORT,
            virtual_network=self.addresses.network(key),
        )

    def application(self, service: ServiceSpec, spec: WorkloadSpec, key: WorkloadKey) -> Application:
        """In a pod the application listens on the pod's own address; what somebody else starts stays outside."""
        ports = self.app_ports(service, spec, key)
        in_pod = self.capture == "redirect" and isinstance(spec.application, Runs)
        return Application(
            workload=key, place="pod" if in_pod else "host", ports=ports, metrics=self.exposition(spec, key)
        )

    def exposition(self, spec: WorkloadSpec, key: WorkloadKey) -> Exposition | None:
        """At the address that the application is told to listen on; agent and application of a pod share its loopback.

        What somebody else started is where its first port is.
        """
        if spec.metrics is None:
            return None
        address = "127.0.0.1"
        if isinstance(spec.application, Runs):
            address = address if self.capture == "redirect" else self.listening(spec, key)
        elif spec.application.listeners:
            address = spec.application.listeners[0].address
        return Exposition(address=address, port=spec.metrics.port, path=spec.metrics.path)

    def app_ports(self, service: ServiceSpec, spec: WorkloadSpec, key: WorkloadKey) -> tuple[AppPort, ...]:
        ports = [port for port in service.ports if port.protocol is not Protocol.UDP]
        if isinstance(spec.application, Runs):
            own = self.listening(spec, key)
            return tuple(dict.fromkeys(AppPort(port.target, own, port.target) for port in ports))
        where = {listener.port: listener for listener in spec.application.listeners}
        found = [(port.target, where[port.number]) for port in ports if port.number in where]
        return tuple(dict.fromkeys(AppPort(port, at.address, at.target) for port, at in found))

    def listening(self, spec: WorkloadSpec, key: WorkloadKey) -> str:
        """Where an application that is started here listens: behind its proxy, or in its place."""
        if self.capture == "redirect":
            return self.addresses.pod(key)
        return self.addresses.workload(key) if spec.proxyless else self.addresses.twin(key)

    def launch(self, service: ServiceSpec, spec: WorkloadSpec, key: WorkloadKey) -> Iterator[Launch]:
        if isinstance(spec.application, Listens):
            return
        discovery = self.discovery(key)
        env = self.own(service, spec, key) | dict(spec.application.env)
        known = discovery | env
        yield Launch(
            workload=key,
            command=tuple(expand(word, known) for word in spec.application.command),
            env=tuple((name, expand(value, known)) for name, value in env.items()),
            discovery=tuple(discovery.items()),
            directory=spec.application.directory,
        )

    def own(self, service: ServiceSpec, spec: WorkloadSpec, key: WorkloadKey) -> dict[str, str]:
        """Where this application is to listen, and where its way out is."""
        env = {"APP_IP": "0.0.0.0"}
        if self.is_proxyless(spec):
            env = {"APP_IP": self.listening(spec, key)}
        elif self.capture == "none":
            proxy = f"http://{self.addresses.workload(key)}:{HTTP_PROXY_PORT}"
            env = {"APP_IP": self.addresses.twin(key), "http_proxy": proxy, "HTTP_PROXY": proxy}
        if service.ports:
            env["PORT"] = str(service.ports[0].target)
        return env | {f"PORT_{variable(port.name)}": str(port.target) for port in service.ports}

    def discovery(self, client: WorkloadKey) -> dict[str, str]:
        """`{SVC}_SERVICE_HOST/_PORT` for the client's namespace, `{SVC}_{NAMESPACE}_…` for the others.

        In capture `none` they are the proxy's own, so they are not to be reached through the HTTP proxy once more.
        """
        near = [service for service in self.services if service.namespace == client.namespace]
        far = [service for service in self.services if service.namespace != client.namespace]
        env: dict[str, str] = {}
        for service in far:
            env |= self.variables(client, service, variable(f"{service.name}_{service.namespace}"))
        for service in near:
            env |= self.variables(client, service, variable(service.name))
        if self.capture == "redirect":
            return env
        own = [self.addresses.service_for(client, self.key(service)) for service in self.services]
        direct = ",".join(("127.0.0.1", "localhost", *own))
        return env | {"no_proxy": direct, "NO_PROXY": direct}

    def variables(self, client: WorkloadKey, service: ServiceSpec, prefix: str) -> dict[str, str]:
        address = self.address_for(client, service)
        env = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(service.ports[0].number)}
        return env | {f"{prefix}_SERVICE_PORT_{variable(port.name)}": str(port.number) for port in service.ports}

    def address_for(self, client: WorkloadKey, service: ServiceSpec) -> str:
        key = self.key(service)
        return self.addresses.service(key) if self.capture == "redirect" else self.addresses.service_for(client, key)

    def key(self, service: ServiceSpec) -> ServiceKey:
        return service.key(self.mesh.domain_suffix)


def redirected(interception: Interception) -> Redirected:
    """The capture of a workload in a pod."""
    if interception == "TPROXY":
        return Redirected(mark=MARK_BESIDE_TPROXY, transparent=True, resolver=RESOLVER)
    return Redirected(mark=MARK, resolver=RESOLVER)


def variable(name: str) -> str:
    """A name as part of an environment variable."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def expand(text: str, env: dict[str, str]) -> str:
    """Replaces `$(NAME)` where the name is known; `$$(NAME)` stands for itself (Kubernetes' rule for `command`)."""

    def one(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        return env.get(found[2], found[0])

    return _REFERENCE.sub(one, text)


def search_domains(namespace: str, domain_suffix: str) -> tuple[str, ...]:
    """Where the programs of a pod look for short names, as in Kubernetes."""
    return (f"{namespace}.svc.{domain_suffix}", f"svc.{domain_suffix}", domain_suffix)


__all__ = [
    "MARK",
    "Application",
    "Environment",
    "Launch",
    "Plan",
    "PortSpec",
    "expand",
    "plan",
    "search_domains",
    "variable",
]
