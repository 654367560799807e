"""Passes connections on from a listening socket to wherever `connect` leads: the bridge between host and pods.

Keeps half-closed connections half-closed, reads no faster than the other side takes, and lets no more than so many in.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[asyncio.StreamWriter], Awaitable[Streams]]
"""Given the client, opens the way on."""

MOST = 4096
"""Connections of one relay at a time; one more is refused."""
_CHUNK = 64 * 1024
_CONNECT_TIMEOUT = 5.0


class Relay:
    """`proxy_protocol`: announces each client by a PROXY header, version 1."""

    def __init__(self, connect: Connect, *, proxy_protocol: bool = False) -> None:
        self._connect = connect
        self._announces = proxy_protocol
        self._open = 0

    async def serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        if self._open >= MOST:
            back.transport.abort()
            return
        self._open += 1
        try:
            await self._bridge(near, back)
        finally:
            self._open -= 1

    async def _bridge(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.closing(_Abort(back)) as ends:
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    far, forth = await self._connect(back)
            except (OSError, TimeoutError):
                return
            ends.add(forth)
            if self._announces:
                forth.write(header(back))
            with contextlib.suppress(OSError, ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pump(near, forth))
                    group.create_task(_pump(far, back))
                ends.finish()


class _Abort:
    """Closes what it is given: in order once all went well, at once (TCP reset) otherwise."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writers = [writer]
        self._fine = False

    def add(self, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)

    def finish(self) -> None:
        self._fine = True

    def close(self) -> None:
        for writer in self._writers:
            if self._fine:
                writer.close()
            else:
                _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """So that the other side sees a failure and no regular end."""
    tcp = writer.get_extra_info("socket")
    if tcp is not None and tcp.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        target.write(chunk)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()


def header(client: asyncio.StreamWriter) -> bytes:
    """The PROXY protocol's line for this connection (haproxy.org, `proxy-protocol.txt`, section 2.1)."""
    source, here = client.get_extra_info("peername"), client.get_extra_info("sockname")
    if not source or not here or ":" in source[0]:
        return b"PROXY UNKNOWN\r\n"
    return f"PROXY TCP4 {source[0]} {here[0]} {source[1]} {here[1]}\r\n".encode()


@contextlib.asynccontextmanager
async def relayed(listening: socket.socket, relay: Relay) -> AsyncIterator[None]:
    """Serves for the time of the block. The socket is closed with it; open connections are broken off."""
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        task.add_done_callback(serving.discard)
        # Python 3.11 prints a traceback for a connection whose task ends as cancelled.
        with contextlib.suppress(asyncio.CancelledError):
            await relay.serve(reader, writer)

    server = await asyncio.start_server(accept, sock=listening, backlog=1024)
    try:
        yield
    finally:
        server.close()
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)
