"""The bootstrap: who a proxy says it is, and where its configuration comes from."""

from collections.abc import Iterator

import msgspec

from istioctl.dump.reading import Dump, Filters, Item
from istioctl.dump.shapes import Address

HEADERS = ("FIELD", "VALUE")
XDS_CLUSTER = "xds-grpc"


class _Node(msgspec.Struct, frozen=True):
    id: str = ""
    cluster: str = ""
    metadata: dict[str, object] = {}
    locality: dict[str, str] = {}
    user_agent_build_version: dict[str, object] = {}

    @property
    def version(self) -> str:
        """Envoy leaves out a number that is 0."""
        found = self.user_agent_build_version.get("version")
        numbers = found if isinstance(found, dict) else {}
        return ".".join(str(numbers.get(part, 0)) for part in ("major_number", "minor_number", "patch"))


class _Admin(msgspec.Struct, frozen=True):
    address: Address = Address()


class _Host(msgspec.Struct, frozen=True):
    address: Address = Address()


class _LbEndpoint(msgspec.Struct, frozen=True):
    endpoint: _Host = _Host()


class _Locality(msgspec.Struct, frozen=True):
    lb_endpoints: tuple[_LbEndpoint, ...] = ()


class _Assignment(msgspec.Struct, frozen=True):
    endpoints: tuple[_Locality, ...] = ()


class _Cluster(msgspec.Struct, frozen=True):
    name: str = ""
    load_assignment: _Assignment = _Assignment()


class _Static(msgspec.Struct, frozen=True):
    clusters: tuple[_Cluster, ...] = ()


class _XdsServer(msgspec.Struct, frozen=True):
    server_uri: str = ""


class _Bootstrap(msgspec.Struct, frozen=True):
    """Envoy's, or gRPC's (gRFC A27), which has `xds_servers`."""

    xds_servers: tuple[_XdsServer, ...] = ()
    node: _Node = _Node()
    admin: _Admin = _Admin()
    static_resources: _Static = _Static()


class _Entry(msgspec.Struct, frozen=True):
    bootstrap: msgspec.Raw = msgspec.Raw(b"{}")


def items(dump: Dump, filters: Filters) -> list[Item]:
    """One, with a row for each thing that people ask for."""
    raw = dump.part("BootstrapConfigDump", _Entry).bootstrap
    return [Item(raw, tuple(_rows(dump.read(raw, _Bootstrap))))]


def _rows(found: _Bootstrap) -> Iterator[tuple[str, str]]:
    node = found.node
    labels = node.metadata.get("LABELS")
    servers = (
        str(each.endpoint.address)
        for cluster in found.static_resources.clusters
        if cluster.name == XDS_CLUSTER
        for locality in cluster.load_assignment.endpoints
        for each in locality.lb_endpoints
    )
    yield "Node", node.id
    yield "Cluster", node.cluster
    if not found.xds_servers:
        yield "Envoy", node.version
    yield "Service account", str(node.metadata.get("SERVICE_ACCOUNT", "-"))
    yield "Labels", ", ".join(f"{k}={v}" for k, v in labels.items()) if isinstance(labels, dict) else "-"
    yield "Locality", "/".join(filter(None, node.locality.values())) or "-"
    yield "Interception", str(node.metadata.get("INTERCEPTION_MODE", "-"))
    yield "Manager", ", ".join((*servers, *(each.server_uri for each in found.xds_servers))) or "-"
    if not found.xds_servers:
        yield "Admin", str(found.admin.address)
