"""Endpoints that stand in a ServiceEntry (Istio `WorkloadEntry`, inline)."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from core.diagnostics import Severity
from core.ir.declared import DeclaredEndpoint, DeclaredPort
from core.kinds import names
from core.kinds.findings import UNSUPPORTED, Context
from core.kinds.kind import Spec
from core.model.config import Origin
from core.model.service import Locality, Resolution

_HEAVIEST = 2**32 - 1
_UNIX = "unix://"


class EndpointSpec(Spec, frozen=True):
    address: str = ""
    ports: dict[str, int] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    locality: str = ""
    weight: int = 0

    later: ClassVar[Mapping[str, Severity]] = {"network": Severity.WARNING, "serviceAccount": Severity.WARNING}


def lower(
    context: Context,
    specs: tuple[EndpointSpec, ...],
    at: Origin,
    *,
    ports: tuple[DeclaredPort, ...],
    resolution: Resolution,
) -> tuple[DeclaredEndpoint, ...]:
    known = tuple(declared.port.name for declared in ports)
    found = tuple(_endpoint(context, spec, at.at(i), known, resolution) for i, spec in enumerate(specs))
    if sum(endpoint.weight for endpoint in found) > _HEAVIEST:
        context.error(at, f"the weights of all endpoints may add up to {_HEAVIEST} at most")
    return found


def _endpoint(
    context: Context, spec: EndpointSpec, at: Origin, known: tuple[str, ...], resolution: Resolution
) -> DeclaredEndpoint:
    _check_address(context, spec.address, at.at("address"), resolution)
    return DeclaredEndpoint(
        address=spec.address.lower(),
        ports=_ports(context, spec.ports, at.at("ports"), known),
        labels=names.labels(context, spec.labels, at.at("labels")),
        locality=_locality(context, spec.locality, at.at("locality")),
        weight=_weight(context, spec.weight, at.at("weight")),
    )


def _check_address(context: Context, text: str, at: Origin, resolution: Resolution) -> None:
    if not text:
        context.error(at, "an endpoint needs an address", fix="for example address: 10.0.0.1")
    elif text.startswith(_UNIX) and resolution is Resolution.DNS:
        context.error(at, f"with resolution DNS an address must be a name or an IP address, not {text[:80]!r}")
    elif text.startswith(_UNIX):
        message = "sockets of this machine are not supported yet"
        context.error(at, message, fix="let the application listen on an IP address", code=UNSUPPORTED)
    elif names.is_ip(text):
        return
    elif resolution is Resolution.DNS:
        if not names.is_host(text.removesuffix(".")):
            message = f"{text[:80]!r} is neither a host name nor an IP address"
            context.error(at, message, fix="for example api.example.com")
    else:
        message = f"with resolution STATIC an address must be an IP address, not {text[:80]!r}"
        context.error(at, message, fix="write resolution: DNS for names")


def _ports(context: Context, ports: dict[str, int], at: Origin, known: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    for name, number in ports.items():
        if name not in known:
            message = f"the service has no port named {name[:80]!r}; it has {', '.join(known) or 'none'}"
            context.error(at.at(name), message, fix="use the name of a port of this document")
        names.port(context, number, at.at(name))
    return tuple(sorted(ports.items()))


def _locality(context: Context, text: str, at: Origin) -> Locality:
    if text.count("/") > 2:
        context.error(at, f"a locality must be region/zone/subzone, not {text[:80]!r}")
    return Locality.parse(text)


def _weight(context: Context, weight: int, at: Origin) -> int:
    """As in Istio, 0 is what is there when nothing is said: 1."""
    if not 0 <= weight <= _HEAVIEST:
        context.error(at, f"the weight must be from 0 to {_HEAVIEST}, not {weight}")
    return weight or 1
