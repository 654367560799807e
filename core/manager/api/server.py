"""Serves an ASGI application on a unix socket that only its owner may open. Knows nothing about what is served."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from core.errors import Misconfigured

PATIENCE = 2
"""Seconds that requests under way may still take once the server is told to stop."""


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


@asynccontextmanager
async def serve(app: ASGIApp, socket_path: Path) -> AsyncIterator[None]:
    """Accepts requests while the context is open; the socket is gone afterwards.

    Raises `Misconfigured` when the path is too long for a socket or another process is serving there.
    """
    listener = _listen(socket_path)
    server = _Server(_config(app))
    task = asyncio.create_task(server.serve([listener]), name="config-api")
    try:
        await _ready(server, task)
        yield
    finally:
        server.should_exit = True
        try:
            await task
        finally:
            _remove(listener, socket_path)


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
