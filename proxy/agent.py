"""The sidecar agent: one workload's Envoy and, where asked, its application, from start to stop, as one object.

Composes the other modules and owns the state; decides nothing about traffic. Imports no grpc and no protobuf.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, assert_never

import msgspec

from core.errors import Misconfigured, Unavailable
from core.model.mesh import Mesh
from core.model.workload import Workload
from proxy import ports
from proxy.application import Application
from proxy.binary import Binary
from proxy.bootstrap import Transport, bootstrap, encode
from proxy.envoy_process import Died, Envoy, Files, Knobs, Ready, Started, Turn, command, remove, write_private
from proxy.events import Log, Output, discard, silent
from proxy.health import Admin
from proxy.lifeline import Lifeline
from proxy.process import Command, Exit
from proxy.supervise import Pace, Restart, Supervisor
from proxy.watched import Watched

SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
"""Bytes in the path of a unix socket (`sun_path`, without its final zero)."""


class Phase(StrEnum):
    """Where an agent stands. FAILING: Envoy ended before it was ready; it is tried again."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    FAILING = "failing"
    STOPPING = "stopping"
    STOPPED = "stopped"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """`pid` is Envoy's while it runs; `reason` and `fix` say why it ended last; `restarts` counts since the start."""

    phase: Phase = Phase.NEW
    pid: int | None = None
    restarts: int = 0
    reason: str = ""
    fix: str = ""


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is this agent's own. Times are seconds.

    `directory` is made (0700) and emptied by the agent. `xds_socket` is the Manager's unix socket for this workload.
    `termination_drain`: how long open connections may end by themselves when the agent stops (Istio: 5).
    """

    directory: str
    xds_socket: str
    transport: Transport = Transport.DELTA
    envoy: Knobs = Knobs()
    termination_drain: float = 0.0
    envoy_grace: float = 5.0
    application_grace: float = 5.0
    restart_application: Restart = Restart.ON_FAILURE
    keep_logs: bool = False


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the agents of one process share. Without a `lifeline`, descendants of a killed agent's programs live on."""

    envoy: Binary
    lifeline: Lifeline | None = None
    log: Log = silent
    output: Output = discard
    pace: Pace = Pace()


class Agent:
    """`async with Agent(...) as agent:` runs the workload's Envoy (and `command`); leaving it stops them in order.

    Entering raises `Misconfigured` when something is wrong beforehand (a port taken, a path too long); it does not wait
    for Envoy: `wait_ready` does. Events go to the host's log with the field `workload`. Enter and leave it in one task,
    in a thread that lives as long as the agent: on Linux the children die with the thread that started them.
    """

    def __init__(
        self, workload: Workload, *, mesh: Mesh, settings: AgentSettings, host: Host, command: Command | None = None
    ) -> None:
        self._workload = workload
        self._mesh = mesh
        self._settings = settings
        self._host = host
        self._command = command
        self._files = Files(Path(settings.directory))
        self._state = Watched(State())
        self._log: Log = partial(host.log, workload=str(workload.key))
        self._application: asyncio.Future[Exit]
        self._stack = contextlib.AsyncExitStack()

    @property
    def state(self) -> State:
        return self._state.value

    @property
    def files(self) -> Files:
        return self._files

    @property
    def admin(self) -> Admin:
        """Envoy's admin interface, for tools and tests."""
        return Admin(str(self._files.admin))

    async def wait_ready(self, seconds: float) -> None:
        """Returns when Envoy has its first configuration and listens.

        Raises `Misconfigured` with Envoy's own reason as soon as Envoy ends before it was ready (it is tried again all
        the same), and `Unavailable` after `seconds`, which mostly means that no Manager answers.
        """
        try:
            async with asyncio.timeout(seconds):
                state = await self._state.until(lambda state: state.phase is not Phase.STARTING)
        except TimeoutError:
            raise await self._late(seconds) from None
        if state.phase is not Phase.READY:
            raise Misconfigured(f"Envoy of {self._workload.key}: {state.reason or state.phase}", fix=state.fix)

    async def wait_application(self) -> Exit:
        """When the application has ended for good (by its restart policy). Without an application: never."""
        await asyncio.wait([self._application])
        return self._application.result()

    async def run(self) -> Exit:
        """The whole life: until the application has ended for good, or until cancelled."""
        async with self:
            return await self.wait_application()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._check)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(lambda: self._become(phase=Phase.STOPPED, pid=None))
            stack.enter_context(self._own_files())
            group = await stack.enter_async_context(asyncio.TaskGroup())
            self._become(phase=Phase.STARTING)
            await stack.enter_async_context(self._run_envoy(group))
            await stack.enter_async_context(self._run_application(group))
            stack.callback(lambda: self._become(phase=Phase.STOPPING))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    def _hear(self, turn: Turn) -> None:
        """An Envoy that had been ready is simply starting again; one that never was has something wrong with it."""
        match turn:
            case Started(pid):
                self._become(phase=Phase.STARTING, pid=pid)
            case Ready():
                self._become(phase=Phase.READY)
            case Died(was_ready, reason, fix):
                phase = Phase.STARTING if was_ready else Phase.FAILING
                self._become(phase=phase, pid=None, reason=reason, fix=fix, restarts=self.state.restarts + 1)
            case _:
                assert_never(turn)

    def _become(self, **changed: object) -> None:
        self._state.set(msgspec.structs.replace(self.state, **changed))

    def _check(self) -> None:
        """What is cheap to find out before anything is started."""
        for path in (str(self._files.admin), self._settings.xds_socket):
            if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
                raise Misconfigured(f"{path} is too long for a unix socket", fix="Choose a shorter state directory.")
        if self._command is not None:
            self._command.program()
        ports.check_free(self._addresses())

    def _addresses(self) -> Iterator[ports.Address]:
        """What Envoy will bind for certain; what it binds for the services it calls, only the Manager knows."""
        capture = self._workload.capture
        yield from ((self._workload.address, port.port) for port in capture.app_ports)
        yield (self._workload.address, capture.http_proxy_port)

    @contextlib.contextmanager
    def _own_files(self) -> Iterator[None]:
        self._files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files.directory.chmod(0o700)
        remove((*self._files.volatile(), *self._files.logs()))
        write_private(self._files.bootstrap, encode(self._bootstrap()))
        self._files.log.touch(mode=0o600)
        try:
            yield
        finally:
            remove((*self._files.volatile(), *(() if self._settings.keep_logs else self._files.logs())))
            with contextlib.suppress(OSError):
                self._files.directory.rmdir()

    def _bootstrap(self) -> dict[str, object]:
        return bootstrap(
            self._workload,
            mesh=self._mesh,
            xds_socket=self._settings.xds_socket,
            admin_socket=str(self._files.admin),
            transport=self._settings.transport,
        )

    @contextlib.asynccontextmanager
    async def _run_envoy(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        line = command(self._host.envoy.path, files=self._files, knobs=self._settings.envoy)
        envoy = Envoy(line, files=self._files, hear=self._hear, log=self._log, lifeline=self._host.lifeline)
        supervisor = Supervisor(envoy, restart=Restart.ALWAYS, log=self._log, pace=self._host.pace)
        async with _beside(group, supervisor.run(grace=self._settings.envoy_grace)):
            yield
            await self._drain()

    @contextlib.asynccontextmanager
    async def _run_application(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        if self._command is None:
            self._application = asyncio.get_running_loop().create_future()
            yield
            return
        name = str(self._workload.key)
        program = Application(self._command, workload=name, output=self._host.output, lifeline=self._host.lifeline)
        restart = self._settings.restart_application
        supervisor = Supervisor(program, restart=restart, log=self._log, pace=self._host.pace)
        async with _beside(group, supervisor.run(grace=self._settings.application_grace)) as self._application:
            yield

    async def _drain(self) -> None:
        """Envoy tells its clients to go elsewhere (GOAWAY, `connection: close`), and open connections may end."""
        if self._settings.termination_drain <= 0 or self.state.pid is None:
            return
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(self._settings.termination_drain):
                reply = await self.admin.post("/drain_listeners?graceful&skip_exit")
                self._log("envoy.draining", answer=reply.text.strip())
                await self._no_connections()

    async def _no_connections(self) -> None:
        while await self._connections():  # noqa: ASYNC110 - Envoy tells nobody
            await asyncio.sleep(0.05)

    async def _connections(self) -> int:
        """`server.total_connections` would lag behind by up to 5 s, Envoy's flush interval."""
        found = await self.admin.stats(r"^listener\..*\.downstream_cx_active$")
        return sum(count for name, count in found.items() if not name.startswith("listener.admin."))

    async def _late(self, seconds: float) -> Unavailable:
        try:
            state = await self.admin.state()
        except Unavailable:
            state = "no answer on its admin socket"
        message = f"Envoy of {self._workload.key} is not ready after {seconds:g} s ({state})"
        fix = f"Is a Manager answering on {self._settings.xds_socket}? See {self._files.log}."
        return Unavailable(message, fix=fix)


@contextlib.asynccontextmanager
async def _beside(group: asyncio.TaskGroup, work: Coroutine[Any, Any, Exit]) -> AsyncIterator[asyncio.Task[Exit]]:
    """Runs `work` while the block runs; leaving the block cancels it and waits until it has cleaned up."""
    task = group.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
