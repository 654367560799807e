"""Services, workloads and documents in few words; everything not said is ordinary."""

from collections.abc import Mapping, Sequence

import yaml

from core.kinds.decode import decode
from core.manager.pusher import Pusher
from core.manager.world import World
from core.model.change import Change, ConfigPut, InstancePut, SecretPut, ServicePut, WorkloadPut
from core.model.config import Document
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.protocol import select_protocol
from core.model.secret import Secret
from core.model.service import Health, Instance, InstanceKey, Port, Service, ServiceKey, WorkloadKey
from core.model.workload import AppPort, EntryPort, Explicit, Redirected, Workload

SUFFIX = "svc.cluster.local"


def service_key(name: str) -> ServiceKey:
    """`reviews`, `reviews.shop`, or `shop/host.example.com` for a service that has a host of its own."""
    namespace, slash, host = name.partition("/")
    if slash:
        return ServiceKey(namespace, host)
    name, _, namespace = name.partition(".")
    return ServiceKey(namespace or "default", f"{name}.{namespace or 'default'}.{SUFFIX}")


def workload_key(name: str) -> WorkloadKey:
    """`shell`, or `shell.shop`."""
    name, _, namespace = name.partition(".")
    return WorkloadKey(namespace or "default", name)


def service(
    name: str, *ports: str, addresses: Sequence[str] = (), aliases: Sequence[str] = (), created: float = 0.0
) -> Service:
    """Ports as a mesh file writes them: `80/http`, `9000`; `80/http` if none is given."""
    key = service_key(name)
    return Service(
        key=key,
        name=key.host.partition(".")[0],
        ports=tuple(_port(text) for text in ports or ("80/http",)),
        addresses=tuple(addresses),
        aliases=tuple(aliases),
        created=created,
    )


def _port(text: str) -> Port:
    number, _, protocol = text.partition("/")
    return Port(f"p{number}", int(number), select_protocol(int(number), app_protocol=protocol))


def instance(
    of: str,
    address: str,
    *,
    labels: Mapping[str, str] = {},
    health: Health = Health.HEALTHY,
    workload: str = "",
    account: str = "",
) -> Instance:
    """Of a service; it is named by its address and listens on the ports of the service.

    With an `account` a proxy is there, and shows that service account of the service's namespace.
    """
    ports = tuple((f"p{number}", number) for number in (80, 8080, 9000, 9080))
    return Instance(
        key=InstanceKey(service_key(of), address),
        address=address,
        ports=ports,
        labels=Labels.of(labels),
        health=health,
        workload=workload_key(workload) if workload else None,
        identity=SpiffeId.of("cluster.local", namespace=service_key(of).namespace, service_account=account)
        if account
        else None,
    )


def workload(name: str, *, number: int = 1, virtual: str = "", labels: Mapping[str, str] = {}) -> Workload:
    """`number` makes its addresses; `virtual` is its network (CIDR), "" for none."""
    ports = tuple(AppPort(port, f"127.32.0.{number}", port) for port in (80, 8080, 9000, 9080))
    capture = Explicit(app_ports=ports, virtual_network=virtual or None)
    return Workload(key=workload_key(name), address=f"127.16.0.{number}", labels=Labels.of(labels), capture=capture)


def redirected(name: str, *, number: int = 1, labels: Mapping[str, str] = {}) -> Workload:
    """A workload in capture `redirect`; `number` makes its address."""
    return Workload(key=workload_key(name), address=f"10.1.0.{number}", labels=Labels.of(labels), capture=Redirected())


def gateway(name: str, *ports: int, number: int = 200, labels: Mapping[str, str] = {}) -> Workload:
    """A gateway workload that opens `ports` (80 and 443 if none is given), each 8000 higher."""
    return Workload(
        key=workload_key(name),
        address=f"127.16.0.{number}",
        labels=Labels.of(labels or {"istio": "ingressgateway"}),
        capture=Explicit(),
        role="gateway",
        ports=tuple(EntryPort(port, "127.0.0.1", 8000 + port, 8000 + port) for port in ports or (80, 443)),
    )


def documents(text: str, *, namespace: str = "default") -> tuple[Document, ...]:
    """From YAML. Raises `ValueError` when a document cannot be read."""
    decoded = decode(text, file="test.yaml", default_namespace=namespace)
    if decoded.diagnostics:
        raise ValueError("\n".join(map(str, decoded.diagnostics)))
    return decoded.documents


def document(kind: str, name: str, spec: object, *, namespace: str = "default") -> Document:
    """Of the networking group; `spec` is plain data."""
    content = {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    (found,) = documents(yaml.safe_dump(content))
    return found


Fact = Service | Instance | Workload | Document | Secret


def change(fact: Fact) -> Change:
    """The change that says so."""
    match fact:
        case Service():
            return ServicePut(fact)
        case Instance():
            return InstancePut(fact)
        case Workload():
            return WorkloadPut(fact)
        case Document():
            return ConfigPut(fact)
        case Secret():
            return SecretPut(fact)


class Plane:
    """A World and a Pusher, without a platform and without proxies."""

    def __init__(self, *facts: Fact) -> None:
        self.world = World()
        self.pusher = Pusher(self.world)
        self.told(*facts)

    def told(self, *facts: Fact) -> None:
        """Tells the facts and settles."""
        for fact in facts:
            self.pusher.apply(change(fact))
        self.pusher.settle()

    def connected(self, *workloads: str) -> None:
        """The proxies of these workloads come for their groups."""
        for name in workloads:
            self.pusher.groups(workload_key(name))
        self.pusher.settle()
