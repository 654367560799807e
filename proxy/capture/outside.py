"""The way from pods to the rest of the world: what leaves their network is accepted on the host, and goes on there.

Connections go where they were meant for; DNS queries that proxies cannot answer go to the host's resolver.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from proxy.capture.relay import Streams

_ORIGINAL_DESTINATION = 80
"""getsockopt(2): SO_ORIGINAL_DST of netfilter."""
_PORT = 53
_MOST = 256
_PATIENCE = 1.5
"""Seconds for an answer; proxies wait for 2."""
_REFUSED = 5
"""RCODE of DNS (RFC 1035, section 4.1.1)."""


async def connect(client: asyncio.StreamWriter) -> Streams:
    """To where the client meant to go."""
    raw = client.get_extra_info("socket").getsockopt(socket.SOL_IP, _ORIGINAL_DESTINATION, 16)
    port, address = struct.unpack("!2xH4s8x", raw)
    return await asyncio.open_connection(socket.inet_ntoa(address), port)


@contextlib.asynccontextmanager
async def resolving(queries: socket.socket, *, resolver: tuple[str, int] | None = None) -> AsyncIterator[None]:
    """Answers what is asked on this socket by asking the resolver, for the time of the block; None: the host's."""
    queries.setblocking(False)
    forwarder = _Forwarder(resolver or (nameserver(), _PORT))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: forwarder, sock=queries)
    forwarder.send = transport.sendto
    try:
        yield
    finally:
        transport.close()


def nameserver(file: Path = Path("/etc/resolv.conf")) -> str:
    """The first that is named there, or the host itself (resolv.conf(5))."""
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            if line.split()[:1] == ["nameserver"] and len(line.split()) > 1:
                return line.split()[1]
    return "127.0.0.1"


class _Forwarder(asyncio.DatagramProtocol):
    """Each query is asked from a port of its own; what nobody answers is refused."""

    def __init__(self, resolver: tuple[str, int]) -> None:
        self._resolver = resolver
        self._asking: set[asyncio.Task[None]] = set()
        self.send: Callable[[bytes, tuple[str, int]], None] = lambda *_: None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) < 12 or len(self._asking) >= _MOST:
            return
        task = asyncio.get_running_loop().create_task(self._answer(data, addr))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._asking:
            task.cancel()

    async def _answer(self, query: bytes, asker: tuple[str, int]) -> None:
        answer = refused(query)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                answer = await _asked(query, self._resolver)
        self.send(answer, asker)


def refused(query: bytes) -> bytes:
    """The query sent back as an answer that says no."""
    flags = bytes((query[2] | 0x80, _REFUSED))
    return query[:2] + flags + query[4:]


class _Reply(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.found.done():
            self.found.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.found.done():
            self.found.set_exception(exc)


async def _asked(query: bytes, resolver: tuple[str, int]) -> bytes:
    loop = asyncio.get_running_loop()
    transport, reply = await loop.create_datagram_endpoint(_Reply, remote_addr=resolver)
    try:
        transport.sendto(query)
        return await reply.found
    finally:
        transport.close()
