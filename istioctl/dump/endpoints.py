"""Endpoints: where calls end, and who is fit to be called. Columns are those of Istio's `proxy-config endpoint`.

`/clusters` knows who was ejected by outlier detection; a configuration dump alone does not.
"""

from collections.abc import Iterator

import msgspec

from istioctl.dump.reading import Dump, Filters, Item
from istioctl.dump.shapes import Address

HEADERS = ("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER")

HEALTHY, UNKNOWN = "HEALTHY", "UNKNOWN"
OK, FAILED, NOT_KNOWN = "OK", "FAILED", "-"


class Endpoint(msgspec.Struct, frozen=True, rename="camel"):
    """One row. `status` is Envoy's `HealthStatus`, `outlier_check` is "-" where that is not known."""

    address: str
    port: int
    status: str
    outlier_check: str
    cluster: str

    @property
    def fitness(self) -> str:
        return "healthy" if self.status == HEALTHY and self.outlier_check != FAILED else "unhealthy"


class _Host(msgspec.Struct, frozen=True):
    address: Address = Address()


class _LbEndpoint(msgspec.Struct, frozen=True):
    endpoint: _Host = _Host()
    health_status: str = UNKNOWN


class _Locality(msgspec.Struct, frozen=True):
    lb_endpoints: tuple[_LbEndpoint, ...] = ()


class _Assignment(msgspec.Struct, frozen=True):
    cluster_name: str = ""
    endpoints: tuple[_Locality, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    endpoint_config: _Assignment = _Assignment()


class _Endpoints(msgspec.Struct, frozen=True):
    static_endpoint_configs: tuple[_Entry, ...] = ()
    dynamic_endpoint_configs: tuple[_Entry, ...] = ()


class _Health(msgspec.Struct, frozen=True):
    eds_health_status: str = UNKNOWN
    failed_outlier_check: bool = False
    failed_active_health_check: bool = False

    @property
    def status(self) -> str:
        return "UNHEALTHY" if self.failed_active_health_check else self.eds_health_status


class _HostStatus(msgspec.Struct, frozen=True):
    address: Address = Address()
    health_status: _Health = _Health()


class _ClusterStatus(msgspec.Struct, frozen=True):
    name: str = ""
    host_statuses: tuple[_HostStatus, ...] = ()


def items(dump: Dump, filters: Filters) -> list[Item]:
    found = _of_statuses(dump, dump.statuses) if dump.statuses is not None else _of_assignments(dump)
    listed = sorted((each.cluster, str(address), each, address) for address, each in found if _wanted(each, filters))
    return [
        Item(each, ((str(address), each.status, each.outlier_check, each.cluster),)) for _, _, each, address in listed
    ]


def _wanted(each: Endpoint, filters: Filters) -> bool:
    exact = filters.wants(port=each.port, address=each.address, status=each.fitness)
    return exact and filters.cluster in each.cluster


def _of_statuses(dump: Dump, statuses: tuple[msgspec.Raw, ...]) -> Iterator[tuple[Address, Endpoint]]:
    for cluster in (dump.read(raw, _ClusterStatus) for raw in statuses):
        for host in cluster.host_statuses:
            check = FAILED if host.health_status.failed_outlier_check else OK
            yield host.address, _endpoint(host.address, cluster.name, host.health_status.status, check)


def _of_assignments(dump: Dump) -> Iterator[tuple[Address, Endpoint]]:
    found = dump.part("EndpointsConfigDump", _Endpoints)
    for entry in (*found.static_endpoint_configs, *found.dynamic_endpoint_configs):
        for each in (each for locality in entry.endpoint_config.endpoints for each in locality.lb_endpoints):
            address, cluster = each.endpoint.address, entry.endpoint_config.cluster_name
            yield address, _endpoint(address, cluster, each.health_status, NOT_KNOWN)


def _endpoint(address: Address, cluster: str, status: str, check: str) -> Endpoint:
    return Endpoint(address=address.host, port=address.port, status=status, outlier_check=check, cluster=cluster)
