"""Where the workloads of a mesh under test are, and how one gets there; on this host's loopback, as in capture `none`.

All else about such a mesh (Manager, agents, echoes, rules, calls) is the same wherever it is.
"""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from core.model.service import WorkloadKey
from core.model.workload import AppPort, Interception
from core.simulate import Call
from istioctl.testing.wrapping import dialled, through
from platforms.local.plan import Plan
from platforms.local.settings import CaptureMode

Place = tuple[str, int]


class Ground(Protocol):
    """`lay` comes first. Sockets belong to who gets them."""

    @property
    def capture(self) -> CaptureMode: ...

    @property
    def interception(self) -> Interception: ...

    async def lay(self, planned: Plan) -> None:
        """Makes room for these workloads."""

    def within(self, key: WorkloadKey) -> tuple[str, ...]:
        """The words that run a program beside the application of this workload."""
        ...

    async def listen(self, key: WorkloadKey, port: AppPort) -> socket.socket:
        """The application's, for this port."""
        ...

    async def listen_outside(self) -> tuple[int, list[socket.socket]]:
        """Where a server that is no part of the mesh listens, and its port: the one on 127.0.0.1."""
        ...

    def way(self, call: Call, place: Place, inside: ssl.SSLContext | None) -> AbstractAsyncContextManager[Place]:
        """Where to connect to come to `place` as the caller would, within TLS if asked."""
        ...


class OnHost:
    """Everybody has addresses of loopback, which everybody reaches."""

    capture: CaptureMode = "none"
    interception: Interception = "REDIRECT"

    async def lay(self, planned: Plan) -> None:
        """There is room."""

    def within(self, key: WorkloadKey) -> tuple[str, ...]:
        return ()

    async def listen(self, key: WorkloadKey, port: AppPort) -> socket.socket:
        return socket.create_server((port.address, port.target))

    async def listen_outside(self) -> tuple[int, list[socket.socket]]:
        listening = socket.create_server(("127.0.0.1", 0))
        return listening.getsockname()[1], [listening]

    @contextlib.asynccontextmanager
    async def way(self, call: Call, place: Place, inside: ssl.SSLContext | None) -> AsyncIterator[Place]:
        if inside is None:
            yield place
            return
        async with through(lambda: dialled(socket.socket(), place, inside)) as entrance:
            yield entrance
