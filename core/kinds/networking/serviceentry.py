"""ServiceEntry (networking.istio.io): spec, rules and lowering to a `Declaration`. Resolutions STATIC and DNS.

Source of the rules: Istio `ServiceEntry`, "ServiceEntry.Resolution", and what Istio's own validation refuses.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from core.diagnostics import Severity
from core.ir.declared import Declaration, DeclaredPort
from core.ir.lowered import Lowered
from core.kinds import names
from core.kinds.findings import ADDRESS_WANTED, UNSUPPORTED, Context
from core.kinds.kind import Kind, Spec
from core.kinds.networking import serviceendpoint
from core.kinds.networking.serviceendpoint import EndpointSpec
from core.kinds.schema import read
from core.model.config import Document, Origin
from core.model.mesh import Mesh
from core.model.protocol import Protocol, select_protocol
from core.model.service import Port, Resolution

_PROTOCOLS = {protocol.value.upper(): protocol for protocol in Protocol if protocol is not Protocol.AUTO}
_TOLD_APART = (Protocol.HTTPS, Protocol.TLS, Protocol.UDP)
"""Beside HTTP: protocols whose bytes say which host is meant, or that are not proxied at all."""

NOBODY = "~"


class EntryPortSpec(Spec, frozen=True):
    number: int = 0
    protocol: str = ""
    name: str = ""
    target_port: int = 0


class ServiceEntrySpec(Spec, frozen=True):
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ports: tuple[EntryPortSpec, ...] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: tuple[EndpointSpec, ...] = ()
    export_to: tuple[str, ...] = ()

    later: ClassVar[Mapping[str, Severity]] = {
        "workloadSelector": Severity.ERROR,
        # Names of certificates are looked at by TLS to the outside, which does not exist yet.
        "subjectAltNames": Severity.WARNING,
    }


def lower(document: Document, mesh: Mesh) -> Lowered:
    context = Context(document, mesh)
    spec = read(context, ServiceEntrySpec)
    declaration = _declaration(context, spec) if spec else None
    failed = declaration is None or context.findings.failed
    return Lowered(() if failed or declaration is None else (declaration,), context.findings.all())


def _declaration(context: Context, spec: ServiceEntrySpec) -> Declaration:
    at = context.root
    resolution = _resolution(context, spec, at.at("resolution"))
    ports = _ports(context, spec.ports, at.at("ports"))
    hosts = _hosts(context, spec, at.at("hosts"))
    _tcp(context, spec, ports)
    return Declaration(
        hosts=hosts,
        addresses=_addresses(context, spec, at.at("addresses")),
        ports=ports,
        resolution=resolution,
        endpoints=serviceendpoint.lower(
            context, spec.endpoints, at.at("endpoints"), ports=ports, resolution=resolution
        ),
        visible_to=_visible_to(context, spec.export_to, at.at("exportTo")),
        created=context.document.created,
        origin=at,
    )


def _resolution(context: Context, spec: ServiceEntrySpec, at: Origin) -> Resolution:
    match spec.resolution:
        case "STATIC":
            return Resolution.ADDRESSES
        case "DNS":
            return Resolution.DNS
        case other:
            said = "" if other != "NONE" else ", which is also the default,"
            message = f"resolution {other}{said} is not supported yet"
            context.error(at, message, fix="write STATIC with IP addresses, or DNS with names", code=UNSUPPORTED)
    # The document has no effect; nothing more is to be said of its endpoints than must be.
    return Resolution.DNS


# -- hosts -------------------------------------------------------------------------------------------------------------


def _hosts(context: Context, spec: ServiceEntrySpec, at: Origin) -> tuple[str, ...]:
    if not spec.hosts:
        context.error(at, "hosts is required", fix="name a host, for example api.example.com")
    found = tuple(_host(context, text, at.at(i)) for i, text in enumerate(spec.hosts))
    for i, host in enumerate(found):
        if host in found[:i]:
            context.error(at.at(i), f"the host {host[:80]!r} is given twice", fix="keep one of them")
        elif host.startswith("*.") and spec.resolution == "DNS" and not spec.endpoints:
            message = f"a wildcard cannot be looked up in DNS, so the host {host[:80]!r} needs endpoints"
            context.error(at.at(i), message, fix="give endpoints, or name the host in full")
    return found


def _host(context: Context, text: str, at: Origin) -> str:
    """Literally: unlike in rules, a name without a dot belongs to no namespace."""
    lowered = text.lower().removesuffix(".")
    if lowered == "*":
        context.error(at, 'a host may not be "*"', fix="name a host, or a wildcard such as *.example.com")
    elif names.is_ip(lowered):
        context.error(at, f"the host {text[:80]!r} is an address", fix="name a host, and put the address in addresses")
    else:
        names.host_or_wildcard(context, lowered, at)
        if lowered and "." not in lowered and lowered != "localhost" and names.is_host(lowered):
            message = f"the host {text[:80]!r} is meant literally; rules that name it mean one of their own namespace"
            context.warn(at, message, fix="write the full name")
    return lowered


def _tcp(context: Context, spec: ServiceEntrySpec, ports: tuple[DeclaredPort, ...]) -> None:
    """Bytes do not say which host they are for."""
    for i, declared in enumerate(ports):
        port, at = declared.port, context.root.at("ports").at(i)
        if port.protocol.is_http or port.protocol in _TOLD_APART:
            continue
        if len(spec.hosts) > 1:
            tell = context.warn if spec.resolution == "STATIC" else context.error
            message = f"what arrives at port {port.number} does not say for which of the hosts it is"
            tell(at, message, fix="write one document for each host, or declare HTTP or TLS")
        if port.protocol is not Protocol.AUTO and not spec.addresses:
            message = f"without addresses, connections for port {port.number} are told by nothing but that number"
            context.warn(at, message, fix="give the document an address of its own", code=ADDRESS_WANTED)


# -- addresses and ports -----------------------------------------------------------------------------------------------


def _addresses(context: Context, spec: ServiceEntrySpec, at: Origin) -> tuple[str, ...]:
    for i, text in enumerate(spec.addresses):
        address, slash, _ = text.partition("/")
        if not names.is_ip(address):
            context.error(at.at(i), f"{text[:80]!r} is not an IP address", fix="for example 240.240.4.1")
        elif slash and spec.resolution == "DNS":
            context.error(at.at(i), "with resolution DNS an address must be one address, not a network")
        elif slash:
            message = f"the network {text[:80]!r} is not supported yet"
            context.error(at.at(i), message, fix="write single addresses", code=UNSUPPORTED)
        elif text in spec.addresses[:i]:
            context.error(at.at(i), f"the address {text} is given twice", fix="keep one of them")
    return spec.addresses


def _ports(context: Context, specs: tuple[EntryPortSpec, ...], at: Origin) -> tuple[DeclaredPort, ...]:
    if not specs:
        context.warn(at, "without ports nothing can be called", fix="for example {number: 80, name: http}")
    found = tuple(_port(context, spec, at.at(i)) for i, spec in enumerate(specs))
    for i, port in enumerate(found):
        others = [other.port for other in found[:i]]
        if port.port.number and port.port.number in [other.number for other in others]:
            context.error(at.at(i).at("number"), f"port {port.port.number} is given twice", fix="keep one of them")
        if port.port.name and port.port.name in [other.name for other in others]:
            context.error(at.at(i).at("name"), f"the name {port.port.name!r} is given twice", fix="rename one")
    return found


def _port(context: Context, spec: EntryPortSpec, at: Origin) -> DeclaredPort:
    number = names.port(context, spec.number, at.at("number"))
    if not names.is_dns_label(spec.name):
        message = f"the name {spec.name[:80]!r} of the port is not a DNS label" if spec.name else "a port needs a name"
        context.error(at.at("name"), message, fix="for example name: http")
    target = names.port(context, spec.target_port, at.at("targetPort")) if spec.target_port else number
    return DeclaredPort(Port(spec.name, number, _protocol(context, spec, at.at("protocol"))), target)


def _protocol(context: Context, spec: EntryPortSpec, at: Origin) -> Protocol:
    """Without one the port's name declares it, as for any service."""
    if not spec.protocol:
        return select_protocol(spec.number, name=spec.name)
    found = _PROTOCOLS.get(spec.protocol.upper())
    if found is None:
        message = f"the protocol {spec.protocol[:80]!r} is not known"
        context.error(at, message, fix=f"known are {', '.join(sorted(_PROTOCOLS))}")
    return found or Protocol.AUTO


def _visible_to(context: Context, export_to: tuple[str, ...], at: Origin) -> tuple[str, ...]:
    """A declared service may be shown to nobody (`~`), which takes it away without deleting the document."""
    return () if export_to == (NOBODY,) else names.visible_to(context, export_to, at)


KIND = Kind(
    group="networking.istio.io",
    kind="ServiceEntry",
    plural="serviceentries",
    short_names=("se",),
    versions=("v1", "v1beta1", "v1alpha3"),
    spec=ServiceEntrySpec,
    lower=lower,
)
