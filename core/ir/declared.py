"""Services that documents declare: what exists beside the services that platforms report."""

import msgspec

from core.model.config import Origin
from core.model.labels import NO_LABELS, Labels
from core.model.service import Locality, Port, Resolution


class DeclaredPort(msgspec.Struct, frozen=True):
    """`target` is the number that endpoints listen on which do not say otherwise."""

    port: Port
    target: int


class DeclaredEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`address` is an IP address, with resolution DNS also a name. `ports`: the numbers that differ, by port name."""

    address: str
    ports: tuple[tuple[str, int], ...] = ()
    labels: Labels = NO_LABELS
    locality: Locality = Locality()
    weight: int = 1


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What one document declares: a service for each host, all alike. Hosts are literal and in lower case.

    Without endpoints, resolution DNS means each host itself. `visible_to` lists namespaces, "*" is everyone; an empty
    list is nobody.
    """

    hosts: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    ports: tuple[DeclaredPort, ...]
    resolution: Resolution
    endpoints: tuple[DeclaredEndpoint, ...] = ()
    visible_to: tuple[str, ...] = ("*",)
    created: float = 0.0
    origin: Origin
