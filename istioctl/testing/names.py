"""A DNS server that knows a few names, in the place of the machine's own: tests must not depend on that. UDP, IPv4."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping

_NXDOMAIN = 3
_A = b"\0\1\0\1"
_TTL = 1


class _Names(asyncio.DatagramProtocol):
    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self.send: Callable[[bytes, tuple[str, int]], None] = lambda *_: None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.send(answer(data, self._addresses), addr)


def answer(query: bytes, addresses: Mapping[str, str]) -> bytes:
    """To the one question in `query` (RFC 1035, section 4); names without an address of the wanted kind are empty."""
    name, end = _name(query)
    question, found = query[12 : end + 4], addresses.get(name.lower())
    wanted = found is not None and query[end : end + 4] == _A
    record = b"\xc0\x0c" + _A + _TTL.to_bytes(4) + b"\0\4" + socket.inet_aton(found) if found and wanted else b""
    flags = bytes((0x84 | query[2] & 1, 0x80 | (0 if found else _NXDOMAIN)))
    return query[:2] + flags + b"\0\1\0" + bytes((int(wanted),)) + b"\0\0\0\0" + question + record


def _name(query: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1


@contextlib.asynccontextmanager
async def names(addresses: Mapping[str, str]) -> AsyncIterator[tuple[str, int]]:
    """Serves on a free port of loopback, and yields where."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: _Names(addresses), local_addr=("127.0.0.1", 0))
    server.send = transport.sendto
    try:
        yield transport.get_extra_info("sockname")
    finally:
        transport.close()
