"""Workloads: the running things that have a proxy beside them, and how their traffic is captured."""

from typing import Literal

import msgspec

from core.model.labels import NO_LABELS, Labels
from core.model.service import Locality, WorkloadKey


class AppPort(msgspec.Struct, frozen=True):
    """Where the application of a workload answers what arrives at `port` of the workload's address."""

    port: int
    address: str
    target: int


class Explicit(msgspec.Struct, frozen=True, kw_only=True, tag="none"):
    """Capture `none`: nothing is redirected; the proxy has addresses of its own and the application is told of them.

    The proxy binds the workload's address at each port in `app_ports` and passes on to the application there.
    `http_proxy_port` is where the application finds an HTTP forward proxy, on the workload's address.
    `virtual_network` (CIDR) holds this workload's own address for every service: the network's prefix
    with the host bits of the service's first virtual address. None: no such listeners.
    """

    app_ports: tuple[AppPort, ...] = ()
    http_proxy_port: int = 15007
    virtual_network: str | None = None


Interception = Literal["REDIRECT", "TPROXY"]
"""How the kernel leads to a proxy what comes in (Istio's `interceptionMode`): with another address, or as it is."""


class Redirected(msgspec.Struct, frozen=True, kw_only=True, tag="redirect"):
    """Capture `redirect`: the kernel leads every TCP connection from and to the application through the proxy.

    The application listens on the workload's own address and knows of nothing. `dns_port`: where its DNS queries are
    led, 0: nowhere. `mark` (SO_MARK) tells the proxy's own connections from the application's, 0: its user does.
    `transparent`: by TPROXY, and the application sees its caller's address; what the proxy then calls it with carries
    `tproxy_mark`, which must differ from `mark`. `resolver` is whom the proxy asks for names that are not the mesh's,
    as `address:port`; "": the resolvers of its machine.
    """

    outbound_port: int = 15001
    inbound_port: int = 15006
    dns_port: int = 15053
    mark: int = 0
    transparent: bool = False
    tproxy_mark: int = 1337
    resolver: str = ""


class Proxyless(msgspec.Struct, frozen=True, kw_only=True, tag="proxyless"):
    """No proxy: the application is a gRPC client or server that asks the Manager for its configuration by itself.

    It listens on the workload's own address, or on all, at `ports`.
    """

    ports: tuple[int, ...] = ()


class EntryPort(msgspec.Struct, frozen=True):
    """A port of a gateway: what documents call `port` is open at `address`:`target`.

    `public` is the number that clients use, 0: `port` itself, which something in front maps to `target`.
    """

    port: int
    address: str
    target: int
    public: int = 0


Capture = Explicit | Redirected | Proxyless
"""How traffic gets into the proxy, if there is one."""


Role = Literal["sidecar", "gateway"]


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of an application with its proxy. `address` is what others connect to.

    A "gateway" is a proxy alone, through which calls from outside come in at `ports`; it captures nothing.
    """

    key: WorkloadKey
    address: str
    service_account: str = "default"
    labels: Labels = NO_LABELS
    locality: Locality = Locality()
    capture: Capture
    role: Role = "sidecar"
    ports: tuple[EntryPort, ...] = ()

    @property
    def interception(self) -> Interception | Literal["NONE"]:
        """As proxies tell it in the metadata of their node (Istio's `INTERCEPTION_MODE`)."""
        if not isinstance(self.capture, Redirected):
            return "NONE"
        return "TPROXY" if self.capture.transparent else "REDIRECT"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy says of itself in its first xDS request (Envoy `core.v3.Node`); claims, not facts."""

    id: str
    cluster: str = ""
    metadata: dict[str, object] = {}
    user_agent: str = ""


def node_id(workload: Workload, domain_suffix: str) -> str:
    """`sidecar~<ip>~<name>.<namespace>~<namespace>.svc.<suffix>`, as Istio's tools expect it; gateways are routers."""
    namespace = workload.key.namespace
    kind = "router" if workload.role == "gateway" else "sidecar"
    return f"{kind}~{workload.address}~{workload.key}~{namespace}.svc.{domain_suffix}"


def workload_of_node(node: str) -> WorkloadKey | None:
    """The workload that a node id of the form of `node_id` names; None for any other text."""
    parts = node.split("~")
    name, dot, namespace = parts[2].rpartition(".") if len(parts) == 4 else ("", "", "")
    return WorkloadKey(namespace, name) if name and dot and namespace else None
