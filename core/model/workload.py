"""Workloads: the running things that have a proxy beside them, and how their traffic is captured."""

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


Capture = Explicit
"""How traffic gets into the proxy; the alternatives form a union (capture `redirect` joins it)."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of an application with its proxy. `address` is what others connect to."""

    key: WorkloadKey
    address: str
    service_account: str = "default"
    labels: Labels = NO_LABELS
    locality: Locality = Locality()
    capture: Capture


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy says of itself in its first xDS request (Envoy `core.v3.Node`); claims, not facts."""

    id: str
    cluster: str = ""
    metadata: dict[str, object] = {}
    user_agent: str = ""


def node_id(workload: Workload, domain_suffix: str) -> str:
    """`sidecar~<ip>~<name>.<namespace>~<namespace>.svc.<suffix>`, as Istio's tools expect it."""
    namespace = workload.key.namespace
    return f"sidecar~{workload.address}~{workload.key}~{namespace}.svc.{domain_suffix}"


def workload_of_node(node: str) -> WorkloadKey | None:
    """The workload that a node id of the form of `node_id` names; None for any other text."""
    parts = node.split("~")
    name, dot, namespace = parts[2].rpartition(".") if len(parts) == 4 else ("", "", "")
    return WorkloadKey(namespace, name) if name and dot and namespace else None
