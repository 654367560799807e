"""Under which keys the World's indexes list a service. The indexes are the World's; nothing here changes them."""

import msgspec

from core.compiler.inputs import ANY_PORT, last_octet
from core.model.protocol import Protocol
from core.model.service import Port, Service


def lower_case(service: Service) -> Service:
    """Names are compared without regard to case (RFC 4343); here they have one spelling."""
    aliases, addresses = _lowered(service.aliases), _lowered(service.addresses)
    if (aliases, addresses) == (service.aliases, service.addresses):
        return service
    return msgspec.structs.replace(service, aliases=aliases, addresses=addresses)


def _lowered(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.lower() for name in names))


def names_of(service: Service) -> set[str]:
    """By which callers may know it."""
    return {service.key.host, *service.aliases, *service.addresses}


def octets(service: Service) -> set[int]:
    """The last ones of its IPv4 addresses."""
    return {octet for address in service.addresses if (octet := last_octet(address)) is not None}


def _speaks_http(port: Port) -> bool:
    return port.protocol.is_http or port.protocol is Protocol.AUTO


def directory_ports(service: Service) -> set[int]:
    """The HTTP forward proxy lists every service, a port only those that may speak HTTP on it."""
    return {ANY_PORT, *(port.number for port in service.ports if _speaks_http(port))}


def http_ports(service: Service) -> set[int]:
    """Those that speak HTTP by declaration."""
    return {port.number for port in service.ports if port.protocol.is_http}


def open_ports(service: Service) -> set[int]:
    """Of a declared service without an address: those where it is not told apart by HTTP, or not by declaration."""
    if service.addresses or not service.key.declared_by:
        return set()
    known = (port for port in service.ports if not port.protocol.is_http and port.protocol is not Protocol.UDP)
    return {port.number for port in known}
