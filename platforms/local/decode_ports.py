"""Ports of a service and the addresses on which a workload already listens."""

import ipaddress
import re
from collections.abc import Sequence

from core.model.protocol import Protocol, named_protocol, select_protocol
from platforms.local.codes import Code
from platforms.local.meshfile import Listener, Listens, PortSpec
from platforms.local.names import DNS_LABEL
from platforms.local.reader import Reader, suggest

PORT_FIELDS = ("name", "port", "targetPort", "protocol", "appProtocol")

_SHORT = re.compile(r"(?P<port>[0-9]{1,5})(:(?P<target>[0-9]{1,5}))?(/(?P<protocol>[A-Za-z0-9._/-]+))?")
_ADDRESS = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
_MESH_NETWORKS = tuple(map(ipaddress.ip_network, ("127.16.0.0/12", "127.64.0.0/10", "240.240.0.0/21")))
_PROTOCOLS = tuple(protocol.value for protocol in Protocol if protocol is not Protocol.AUTO)


def ports(reader: Reader) -> tuple[PortSpec, ...]:
    """`"number/protocol"`, `"number:target/protocol"`, a number, or a mapping with `PORT_FIELDS`."""
    result: list[PortSpec] = []
    for item in reader.items():
        port = _long(item) if item.is_mapping else _short(item, result)
        if port is None:
            continue
        _check_unique(item, port, result)
        result.append(port)
    return tuple(result)


def address(reader: Reader, known: Sequence[PortSpec]) -> Listens:
    """One `"ip:port"`, for a service with one port."""
    if len(known) != 1:
        example = ", ".join(f'{port.number}: "127.0.0.1:{port.target}"' for port in known)
        fix = f"write {{{example}}}" if known else "add `ports` to the service, or remove `address`"
        reader.fail(Code.BAD_VALUE, f"one address, but the service has {len(known)} ports", fix=fix)
        return Listens()
    found = _listener(reader, known[0])
    return Listens((found,) if found else ())


def addresses(reader: Reader, known: Sequence[PortSpec]) -> Listens:
    """`{port: "ip:port"}` with an entry for every port of the service."""
    by_number = {str(port.number): port for port in known}
    entries = reader.fields(tuple(by_number))
    for number in by_number.keys() - entries.keys():
        fix = f'add `{number}: "127.0.0.1:{number}"`'
        reader.fail(Code.MISSING, f"where is port {number} answered?", fix=fix)
    found = [_listener(entries[number], port) for number, port in by_number.items() if number in entries]
    listeners = tuple(listener for listener in found if listener)
    _check_targets(reader, listeners, {port.number: port.target for port in known})
    return Listens(listeners)


def _short(reader: Reader, before: Sequence[PortSpec]) -> PortSpec | None:
    text = reader.text()
    if text is None:
        return None
    match = _SHORT.fullmatch(text)
    numbers = [int(match[name]) for name in ("port", "target") if match[name]] if match else []
    if match is None or not all(0 < number < 65536 for number in numbers):
        fix = "write port/protocol, for example 9080/http, or port:targetPort/protocol"
        reader.fail(Code.BAD_VALUE, f"{text!r} is not a port", fix=fix)
        return None
    protocol = _declared(reader, match["protocol"]) if match["protocol"] else select_protocol(numbers[0])
    taken = {port.name for port in before}
    name = "port" if protocol is Protocol.AUTO or not match["protocol"] else protocol.value
    unique = name if name != "port" and name not in taken else f"{name}-{numbers[0]}"
    return PortSpec(name=unique, number=numbers[0], target=numbers[-1], protocol=protocol)


def _long(reader: Reader) -> PortSpec | None:
    fields = reader.fields(PORT_FIELDS)
    if "port" not in fields:
        reader.fail(Code.MISSING, "`port` is missing", fix="add `port: 9080`")
        return None
    number = fields["port"].integer(1, 65535)
    name = fields["name"].matching(DNS_LABEL, "the name of a port", example="http-web") if "name" in fields else None
    target = fields["targetPort"].integer(1, 65535) if "targetPort" in fields else number
    if number is None or target is None:
        return None
    protocol = _protocol(fields, number, name or "")
    return PortSpec(name=name or f"port-{number}", number=number, target=target, protocol=protocol)


def _protocol(fields: dict[str, Reader], number: int, name: str) -> Protocol:
    """`appProtocol` beside `protocol: TCP` as in Kubernetes; either alone names the protocol; else the port's name."""
    if "protocol" in fields and "appProtocol" in fields:
        transport = fields["protocol"].choice(("TCP", "UDP")) or "TCP"
        declared = _declared(fields["appProtocol"], fields["appProtocol"].text())
        return Protocol.UDP if transport == "UDP" else declared
    given = fields.get("appProtocol") or fields.get("protocol")
    if given:
        return _declared(given, given.text())
    return select_protocol(number, name=name)


def _declared(reader: Reader, text: str | None) -> Protocol:
    if text is None:
        return Protocol.TCP
    found = named_protocol(text)
    if found is None:
        reader.fail(Code.BAD_VALUE, f"{text!r} is not a protocol", fix=suggest(text.lower(), _PROTOCOLS))
    return found or Protocol.TCP


def _check_unique(reader: Reader, port: PortSpec, before: Sequence[PortSpec]) -> None:
    if any(other.number == port.number for other in before):
        reader.fail_key(Code.TWICE, f"the service already has a port {port.number}", fix="remove one of them")
    elif any(other.name == port.name for other in before):
        reader.fail_key(Code.TWICE, f"the service already has a port named {port.name!r}", fix="rename one of them")


def _listener(reader: Reader, port: PortSpec) -> Listener | None:
    text = reader.text()
    if text is None:
        return None
    match = _ADDRESS.fullmatch(text)
    host = _ip(match["v6"] or match["v4"]) if match else None
    if match is None or host is None or not 0 < int(match["port"]) < 65536:
        fix = f'write for example "127.0.0.1:{port.target}"'
        reader.fail(Code.BAD_VALUE, f"{text!r} is not an IP address with a port", fix=fix)
        return None
    if any(host in network for network in _MESH_NETWORKS):
        fix = "have the application listen on 127.0.0.1"
        reader.fail(Code.BAD_VALUE, f"{text!r} is among the addresses that the mesh gives out itself", fix=fix)
        return None
    return Listener(port.number, str(host), int(match["port"]))


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("127.0.0.1" if text == "localhost" else text)
    except ValueError:
        return None


def _check_targets(reader: Reader, listeners: Sequence[Listener], targets: dict[int, int]) -> None:
    """The proxy tells ports apart by `targetPort`: two that share one cannot be answered in two places."""
    answered: dict[int, Listener] = {}
    for listener in listeners:
        other = answered.setdefault(targets[listener.port], listener)
        if (other.address, other.target) != (listener.address, listener.target):
            message = f"ports {other.port} and {listener.port} share the targetPort {targets[listener.port]}"
            reader.fail(Code.EXCLUSIVE, message, fix="give them one address, or different targetPorts")
