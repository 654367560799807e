"""Services and the instances behind them, as every platform reports them. No platform's own words."""

from enum import StrEnum

import msgspec

from core.model.config import Origin
from core.model.identity import SpiffeId
from core.model.labels import NO_LABELS, Labels
from core.model.protocol import Protocol


class ServiceKey(msgspec.Struct, frozen=True, order=True):
    """A service is known by its host name within a namespace.

    `declared_by` is the name of the document that declares it, "" for what a platform reports: both may know a host.
    """

    namespace: str
    host: str
    declared_by: str = ""


class Port(msgspec.Struct, frozen=True):
    """One port of a service; `name` is unique in the service and links it to the ports of instances."""

    name: str
    number: int
    protocol: Protocol = Protocol.AUTO


class Resolution(StrEnum):
    """How the addresses of instances become known: they are IP addresses, or each proxy looks names up in DNS."""

    ADDRESSES = "addresses"
    DNS = "dns"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can be called by name.

    `name` is the short name, `host` (in the key) the fully qualified one; only a document may declare a wildcard host.
    `aliases` are further full host names. `addresses` are virtual IPs; a service may have none. `created` is seconds
    since the epoch, 0 when unknown. `visible_to` lists namespaces, "*" is everyone. `origin` is the declaring document.
    """

    key: ServiceKey
    name: str
    ports: tuple[Port, ...]
    aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    labels: Labels = NO_LABELS
    created: float = 0.0
    resolution: Resolution = Resolution.ADDRESSES
    visible_to: tuple[str, ...] = ("*",)
    origin: Origin | None = None

    def port(self, number: int) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)


class Health(StrEnum):
    """Whether an instance may be called. `UNKNOWN` is treated as not ready."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    UNKNOWN = "unknown"


class Locality(msgspec.Struct, frozen=True, order=True):
    """Where something runs; each part may be empty. Envoy: `config.core.v3.Locality`."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> "Locality":
        """From `region/zone/subzone`; missing parts are empty."""
        region, zone, subzone = (*text.split("/", 2), "", "", "")[:3]
        return cls(region, zone, subzone)

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}/{self.subzone}".rstrip("/")


class WorkloadKey(msgspec.Struct, frozen=True, order=True):
    """A workload is known by its name within a namespace (a replica is a workload of its own)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"


class InstanceKey(msgspec.Struct, frozen=True, order=True):
    """One instance of one service; `id` is the platform's own stable name for it."""

    service: ServiceKey
    id: str


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A running copy of a service. `ports` maps the service's port names to the numbers it listens on.

    `address` is an IP address, or a name where the service's `resolution` is DNS. `identity` is whom a proxy of this
    mesh shows there; None: no proxy is there, and nobody to speak mutual TLS with. `proxyless`: the application
    speaks it by itself (gRPC), and takes either plain connections or mutual TLS, never both.
    """

    key: InstanceKey
    address: str
    ports: tuple[tuple[str, int], ...]
    labels: Labels = NO_LABELS
    locality: Locality = Locality()
    weight: int = 1
    health: Health = Health.HEALTHY
    identity: SpiffeId | None = None
    workload: WorkloadKey | None = None
    proxyless: bool = False

    def port(self, name: str) -> int | None:
        return next((number for port, number in self.ports if port == name), None)
