"""Calls of clients that know nothing of it go a way of our own, through a local port: by mutual TLS, or from elsewhere.

For tests only.
"""

import asyncio
import contextlib
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from core.manager.ca.authority import Authority
from core.manager.ca.root import make_root
from core.manager.ca.storage import open_root
from core.manager.ca.testing import identity, issued, nameless
from core.manager.paths import identity_directory
from core.simulate import Call
from core.simulate.accept import OFFERED
from proxy.capture.relay import Streams

Dial = Callable[[], Awaitable[Streams]]

CALLER = identity("caller", namespace="elsewhere")
"""Whose certificates are shown."""

_PATIENCE = 2.0
"""Seconds. Who speaks no TLS may keep waiting for what he would understand."""

_DAYS = 2 * 24 * 3600.0


def older(state: Path) -> None:
    """Makes the root of a mesh that is about to start, so long ago that its certificates can be over."""
    open_root(identity_directory(state), trust_domain=CALLER.trust_domain, now=time.time() - _DAYS)


def wrapping(authority: Authority, call: Call) -> ssl.SSLContext:
    """TLS as proxies speak it, with the certificate that the call wants; the other side has to show one of the mesh."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.roots)
    context.set_alpn_protocols(list(OFFERED[call.protocol]))
    match call.shown:
        case "mesh":
            _show(context, issued(CALLER, authority))
        case "foreign":
            _show(context, issued(CALLER, Authority(make_root(CALLER.trust_domain, now=time.time()))))
        case "expired":
            _show(context, issued(CALLER, authority.at(lambda: time.time() - _DAYS / 2), lifetime=3600))
        case "elsewhere":
            _show(context, issued(identity("caller", trust_domain="elsewhere.example"), authority))
        case "nameless":
            _show(context, nameless(authority))
        case _:
            pass
    return context


def _show(context: ssl.SSLContext, pair: tuple[str, str]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write("".join(pair))
        file.flush()
        context.load_cert_chain(file.name)


async def dialled(end: socket.socket, place: tuple[str, int], inside: ssl.SSLContext | None) -> Streams:
    """Connects this socket, within TLS if asked. Raises `OSError`, for errors of TLS as well."""
    end.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(end, place)
    except OSError:
        end.close()
        raise
    if inside is None:
        return await asyncio.open_connection(sock=end)
    return await asyncio.open_connection(sock=end, ssl=inside, server_hostname="", ssl_handshake_timeout=_PATIENCE)


@contextlib.asynccontextmanager
async def through(dial: Dial) -> AsyncIterator[tuple[str, int]]:
    """A port of this host: who connects to it is passed on to where `dial` leads."""
    lines: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        lines.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await _joined(reader, writer, dial)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)


async def _joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dial: Dial) -> None:
    """Until one side has nothing more to say."""
    far_reader, far_writer = await dial()
    try:
        async with asyncio.TaskGroup() as both:
            there = both.create_task(_pass_on(reader, far_writer))
            back = both.create_task(_pass_on(far_reader, writer))
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            back.cancel()
    finally:
        far_writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
