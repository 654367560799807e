"""The tables that everything is compiled from, and the indexes over them.

Indexes are inputs on purpose: an index computed as one derived value would make every reader depend on every rule.
Only `World` writes here; derived functions read.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from core.incremental import Graph, Multimap, Table
from core.ir.access import AccessRule
from core.ir.declared import Declaration
from core.ir.gateway import GatewayRule
from core.ir.routing import RouteRule
from core.ir.security import PeerRule
from core.ir.traffic import DestinationPolicy
from core.model.config import ConfigKey
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.mesh import Mesh
from core.model.secret import Secret, SecretKey
from core.model.service import Instance, InstanceKey, Service, ServiceKey, WorkloadKey
from core.model.workload import Workload

ANY_PORT = 0
"""The pseudo port under which every host of the mesh is listed (the HTTP forward proxy serves them all)."""

HTTP_PORT = 80
"""The port on which hosts are served that only rules know (Istio)."""

Path = tuple[int, ...]
"""A place in the directory of hosts: a port, and as many branches as one went down."""

_DEPTH = 3
_FAN_OUT_BITS = 3


class HostDirectory:
    """Which hosts exist on a port, as a tree of fixed depth, so that what is made of all of them has small parts.

    A host's place depends on its name only. Reading a node tracks just that node's children.
    """

    def __init__(self, graph: Graph) -> None:
        self._branches: Multimap[Path, int] = graph.multimap("host_branches")
        self._hosts: Multimap[Path, str] = graph.multimap("hosts")
        self._claims: Counter[tuple[int, str]] = Counter()

    def add(self, port: int, host: str) -> None:
        """As often as a host is added, it has to be discarded."""
        self._claims[port, host] += 1
        path = _path(port, host)
        self._hosts.add(path, host)
        for depth in range(len(path) - 1, 0, -1):
            self._branches.add(path[:depth], path[depth])

    def discard(self, port: int, host: str) -> None:
        self._claims[port, host] -= 1
        if self._claims[port, host]:
            return
        del self._claims[port, host]
        path = _path(port, host)
        self._hosts.discard(path, host)
        for depth in range(len(path) - 1, 0, -1):
            if self.hosts(path[: depth + 1]) or self.branches(path[: depth + 1]):
                return
            self._branches.discard(path[:depth], path[depth])

    def branches(self, path: Path) -> tuple[Path, ...]:
        """The next places below `path`; none at a leaf."""
        return tuple((*path, branch) for branch in self._branches.get(path))

    def hosts(self, path: Path) -> tuple[str, ...]:
        """The hosts at a leaf."""
        return self._hosts.get(path) if len(path) > _DEPTH else ()

    def below(self, path: Path) -> Iterator[str]:
        """All hosts at and below `path`."""
        yield from self.hosts(path)
        for branch in self.branches(path):
            yield from self.below(branch)


def _path(port: int, host: str) -> Path:
    digest = zlib.crc32(host.encode())
    mask = (1 << _FAN_OUT_BITS) - 1
    return (port, *(digest >> _FAN_OUT_BITS * level & mask for level in range(_DEPTH)))


class Inputs:
    """Every input table. Hosts in rules are fully qualified; a wildcard host is "*" or starts with "*.".

    `identities`: whom the proxies of a service's instances show. An index of its own, so that a service's clusters are
    not looked at for every instance that comes or goes.
    `unaddressed_by_port`: declared services without an address of their own, by the ports on which they are known by
    nothing else: those that do not speak HTTP, or not by declaration.
    `grpc_workloads`: those without a proxy, under the one key "".
    """

    def __init__(self) -> None:
        self.graph = Graph()
        table, multimap = self.graph.table, self.graph.multimap
        self._mesh: Table[str, Mesh] = table("mesh")
        self.services: Table[ServiceKey, Service] = table("services")
        self.services_by_host: Multimap[str, ServiceKey] = multimap("services_by_host")
        self.services_by_octet: Multimap[int, ServiceKey] = multimap("services_by_octet")
        self.unaddressed_by_port: Multimap[int, ServiceKey] = multimap("unaddressed_by_port")
        self.http_hosts = HostDirectory(self.graph)
        self.instances: Table[InstanceKey, Instance] = table("instances")
        self.identities: Multimap[ServiceKey, SpiffeId] = multimap("identities")
        self.instances_by_service: Multimap[ServiceKey, InstanceKey] = multimap("instances_by_service")
        self.instances_by_address: Multimap[str, InstanceKey] = multimap("instances_by_address")
        self.instances_by_workload: Multimap[WorkloadKey, InstanceKey] = multimap("instances_by_workload")
        self.workloads: Table[WorkloadKey, Workload] = table("workloads")
        self.workloads_by_namespace: Multimap[str, WorkloadKey] = multimap("workloads_by_namespace")
        self.route_rules: Table[ConfigKey, RouteRule] = table("route_rules")
        self.route_rules_by_host: Multimap[str, ConfigKey] = multimap("route_rules_by_host")
        self.policies: Table[ConfigKey, DestinationPolicy] = table("policies")
        self.policies_by_host: Multimap[str, ConfigKey] = multimap("policies_by_host")
        self.declarations: Table[ConfigKey, Declaration] = table("declarations")
        self.peer_rules: Table[ConfigKey, PeerRule] = table("peer_rules")
        self.peer_rules_by_namespace: Multimap[str, ConfigKey] = multimap("peer_rules_by_namespace")
        self.access_rules: Table[ConfigKey, AccessRule] = table("access_rules")
        self.access_rules_by_target: Multimap[tuple[str, str], ConfigKey] = multimap("access_rules_by_target")
        self.route_rules_by_gateway: Multimap[str, ConfigKey] = multimap("route_rules_by_gateway")
        self.gateways: Table[ConfigKey, GatewayRule] = table("gateways")
        self.gateways_by_label: Multimap[str, ConfigKey] = multimap("gateways_by_label")
        self.gateway_workloads: Multimap[str, WorkloadKey] = multimap("gateway_workloads")
        self.grpc_workloads: Multimap[str, WorkloadKey] = multimap("grpc_workloads")
        self.secrets: Table[SecretKey, Secret] = table("secrets")
        self.secret_problems: Table[SecretKey, str] = table("secret_problems")
        self._mesh.put("", Mesh())

    @property
    def mesh(self) -> Mesh:
        mesh = self._mesh.get("")
        assert mesh is not None
        return mesh

    @mesh.setter
    def mesh(self, mesh: Mesh) -> None:
        self._mesh.put("", mesh)


def label_keys(labels: Labels) -> tuple[str, ...]:
    """Under which keys `gateways_by_label` (with a namespace: `access_rules_by_target`) is asked for what selects a
    workload: "" is what selects all.
    """
    return ("", *(f"{name}={value}" for name, value in labels))


def selector_key(selector: Labels) -> str:
    """Under which of `label_keys` a selector stands: one of its pairs will do."""
    return label_keys(selector)[-1]


def last_octet(address: str) -> int | None:
    """Of an IPv4 address. Addresses that coincide within the networks of workloads share it (`virtual_address`)."""
    octet = address.rpartition(".")[2]
    return int(octet) if ":" not in address and octet.isdecimal() else None


@lru_cache(maxsize=16384)
def wildcards(host: str) -> tuple[str, ...]:
    """The wildcard hosts that cover `host`, most specific first: one key for each suffix, and "*".

    >>> wildcards("a.b.c")
    ('*.b.c', '*.c', '*')
    """
    labels = host.removeprefix("*.").split(".")
    first = 0 if host.startswith("*.") else 1
    suffixes = tuple("*." + ".".join(labels[i:]) for i in range(first, len(labels)))
    return (*(s for s in suffixes if s != host), *(("*",) if host != "*" else ()))
