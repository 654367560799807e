"""Serves an ASGI application: on a unix socket that only its owner may open, or by HTTPS. Knows not what is served."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from core.errors import Misconfigured
from core.manager.api.patience import Opened, PatientProtocol
from core.manager.entrance import Entrance, Strangers

PATIENCE = 2
"""Seconds that requests under way may still take once the server is told to stop."""

MOST_CONNECTIONS = 500
"""By HTTPS, watches included; more are told that the service is unavailable."""

MOST_STRANGERS = 100
"""Of these, by who has not shown a good token yet; when there are more, the eldest are cut off."""


class _Server(uvicorn.Server):
    """Leaves signals to the process it lives in, and says when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    def protocol(self) -> asyncio.Protocol:
        """Of a connection that somebody else has accepted for this server, which is ready."""
        make = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]


@asynccontextmanager
async def serve(app: ASGIApp, socket_path: Path) -> AsyncIterator[None]:
    """Accepts requests while the context is open; the socket is gone afterwards.

    Raises `Misconfigured` when the path is too long for a socket or another process is serving there.
    """
    listener = _listen(socket_path)
    try:
        async with _served(_Server(_config(app)), listener):
            yield
    finally:
        _remove(listener, socket_path)


@asynccontextmanager
async def serve_https(app: ASGIApp, listener: socket.socket, context: ssl.SSLContext) -> AsyncIterator[None]:
    """The same by HTTPS on a bound socket, which is closed afterwards. Clients that dawdle are cut off."""
    config, strangers = _config(app), Strangers(MOST_STRANGERS)
    opened = Opened(strangers)
    config.http = cast(type[PatientProtocol], opened.protocol)
    config.limit_concurrency = MOST_CONNECTIONS
    server = _Server(config)
    goodbyes: list[asyncio.Task[None]] = []
    try:
        async with _served(server), Entrance(context, server.protocol, strangers).open(listener):
            try:
                yield
            finally:
                goodbyes.append(asyncio.create_task(opened.hurry(), name="config-api-goodbye"))
    finally:
        for task in goodbyes:
            task.cancel()
        await opened.abort()
        listener.close()


def bound(host: str, port: int) -> socket.socket:
    """A socket that nobody can connect to yet. Raises `Misconfigured`."""
    return _bound(host, port, socket.SO_REUSEADDR)


def shared(host: str, port: int) -> socket.socket:
    """The same at a port that other processes of this user may share by this function. Raises `Misconfigured`."""
    return _bound(host, port, socket.SO_REUSEPORT)


def _bound(host: str, port: int, option: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        fix = "choose another address or port"
        raise Misconfigured(
            f"cannot serve the config API at {host}:{port}: {error.strerror or error}",
            fix=fix,
        ) from error
    return listener


@asynccontextmanager
async def _served(server: _Server, *listeners: socket.socket) -> AsyncIterator[None]:
    task = asyncio.create_task(server.serve(list(listeners)), name="config-api")
    try:
        await _ready(server, task)
        yield
    finally:
        server.should_exit = True
        await task


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )


async def _ready(server: _Server, task: asyncio.Task[None]) -> None:
    """Also returns when the server ended before it was ready; its error then comes out of the task."""
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if task.done():
        task.result()


def _listen(path: Path) -> socket.socket:
    """Nobody can connect before the server listens, and by then the permissions are set."""
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise _cannot_bind(path, error) from error
    return listener


def _remove(listener: socket.socket, path: Path) -> None:
    listener.close()
    path.unlink(missing_ok=True)


def _cannot_bind(path: Path, error: OSError) -> Misconfigured:
    if error.errno is None:  # Python checks the length itself and sets no number
        return Misconfigured(f"{path} is too long for a unix socket", fix="choose a shorter state directory")
    fix = "another process is serving there; stop it first" if error.errno == errno.EADDRINUSE else ""
    return Misconfigured(f"cannot serve the config API at {path}: {error.strerror}", fix=fix)


def _clear(path: Path) -> None:
    """Removes a socket that a killed process left behind. Whatever else is there stays, and binding fails."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
