"""The sidecar agent: one workload's Envoy and, where asked, its application, from start to stop, as one object.

Composes the other modules and owns the state; decides nothing about traffic. Imports no grpc and no protobuf.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, assert_never

import msgspec

from core.errors import Misconfigured, Unavailable
from core.model.mesh import Mesh
from core.model.workload import Explicit, Redirected, Workload
from proxy import ports, status
from proxy.application import Application
from proxy.bootstrap import bootstrap, encode
from proxy.capture import rights
from proxy.drain import drain
from proxy.envoy_process import Died, Envoy, Files, Ready, Started, Turn, command, remove
from proxy.events import Log
from proxy.health import Admin
from proxy.identity import system_roots
from proxy.identity.authority import Authority, Remote
from proxy.identity.rotation import Rotation
from proxy.identity.secrets import Secrets, write_private
from proxy.process import Command, Exit
from proxy.settings import AgentSettings, Host
from proxy.state import ApplicationState, Phase, State
from proxy.supervise import Restart, Supervisor
from proxy.watched import Watched
from proxy.web.server import Server, server

__all__ = ["SOCKET_PATH_LIMIT", "Agent", "AgentSettings", "Host", "Phase", "State"]

T = TypeVar("T")

SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
"""Bytes in the path of a unix socket (`sun_path`, without its final zero)."""


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
        self._files = Files(Path(settings.directory).absolute())
        self._state = Watched(State(application="none" if command is None else "waiting"))
        self._log: Log = partial(host.log, workload=str(workload.key))
        self._secrets = Secrets(self._files.directory, pair=self._pair())
        self._rotation = self._make_rotation()
        self._application: asyncio.Future[Exit]
        self._hurry = asyncio.Event()
        self._asked_to_quit = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()

    def _pair(self) -> Path | None:
        return self._files.directory / "certs" / "pair.pem" if isinstance(self._settings.identity, Remote) else None

    def _make_rotation(self) -> Rotation | None:
        source = self._settings.identity
        if source is None:
            return None
        authority = Authority(source, pair=self._pair())
        return Rotation(authority, self._secrets, lifetime=self._settings.certificate_lifetime, log=self._log)

    @property
    def state(self) -> State:
        return self._state.value

    @property
    def watched(self) -> Watched[State]:
        """For who wants to hear of every change."""
        return self._state

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

    async def wait_quit(self) -> None:
        """When somebody asked for the end over HTTP."""
        await self._asked_to_quit.wait()

    async def run(self) -> Exit:
        """The whole life: until the application has ended for good, or until cancelled."""
        async with self:
            return await self.wait_application()

    def hurry(self) -> None:
        """When it stops, or if it is stopping: no longer wait for open connections."""
        self._hurry.set()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._check)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(lambda: self._become(phase=Phase.STOPPED, pid=None))
            stack.enter_context(self._own_files())
            group = await stack.enter_async_context(asyncio.TaskGroup())
            self._become(phase=Phase.STARTING)
            await stack.enter_async_context(self._run_identity(group))
            await stack.enter_async_context(self._run_envoy(group))
            await stack.enter_async_context(self._tell_status())
            await stack.enter_async_context(self._run_application(group))
            await stack.enter_async_context(self._drained())
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
                self._become_unless_stopping(phase=Phase.STARTING, pid=pid)
            case Ready():
                self._become_unless_stopping(phase=Phase.READY)
            case Died(was_ready, reason, fix):
                phase = Phase.STARTING if was_ready else Phase.FAILING
                restarts = self.state.restarts + 1
                self._become_unless_stopping(phase=phase, pid=None, reason=reason, fix=fix, restarts=restarts)
            case _:
                assert_never(turn)

    def _become_unless_stopping(self, **changed: object) -> None:
        """An Envoy that starts again while the agent drains makes nobody ready."""
        if self.state.phase is Phase.STOPPING:
            changed.pop("phase", None)
        self._become(**changed)

    def _become(self, **changed: object) -> None:
        self._state.set(msgspec.structs.replace(self.state, **changed))

    def _check(self) -> None:
        """What is cheap to find out before anything is started."""
        for path in (str(self._files.admin), *self._settings.xds_sockets):
            if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
                raise Misconfigured(f"{path} is too long for a unix socket", fix="Choose a shorter state directory.")
        if self._command is not None:
            self._command.program()
        if not self._settings.within:
            ports.check_free(self._addresses())
            rights.check(self._workload.capture)

    def _addresses(self) -> Iterator[ports.Address]:
        """What is bound for certain; what Envoy binds for the services it calls, only the Manager knows."""
        match self._workload.capture:
            case Explicit() as capture if self._workload.role == "sidecar":
                yield from ((self._workload.address, port.port) for port in capture.app_ports)
                yield (self._workload.address, capture.http_proxy_port)
            case Redirected() as capture if self._workload.role == "sidecar":
                yield from (("0.0.0.0", port) for port in (capture.outbound_port, capture.inbound_port))
            case _:
                yield from ((entry.address, entry.target) for entry in self._workload.ports)
        yield from ((self._own_address(), port) for port in self._asked_ports() if port)

    def _own_address(self) -> str:
        """Where this agent answers itself: in a namespace of its own, everywhere."""
        return "0.0.0.0" if isinstance(self._workload.capture, Redirected) else self._workload.address

    def _asked_ports(self) -> tuple[int, ...]:
        return self._settings.ready_port or 0, self._settings.metrics_port or 0

    @contextlib.contextmanager
    def _own_files(self) -> Iterator[None]:
        self._files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files.directory.chmod(0o700)
        remove((*self._files.volatile(), *self._files.logs()))
        write_private(self._files.bootstrap, encode(self._bootstrap()))
        self._files.log.touch(mode=0o600)
        if system_roots.show(self._files.system_roots) is None:
            self._log("agent.no_system_roots")
        try:
            yield
        finally:
            remove((*self._files.volatile(), *(() if self._settings.keep_logs else self._files.logs())))
            self._secrets.remove()
            system_roots.hide(self._files.system_roots)
            with contextlib.suppress(OSError):
                self._files.directory.rmdir()

    def _bootstrap(self) -> dict[str, object]:
        return bootstrap(
            self._workload,
            mesh=self._mesh,
            xds=self._settings.xds or self._settings.xds_sockets,
            admin_socket=str(self._files.admin),
            transport=self._settings.transport,
        )

    @contextlib.asynccontextmanager
    async def _run_identity(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        """Certificates come, and go on coming, while the block runs."""
        if self._rotation is None:
            yield
            return
        async with _beside(group, self._rotation.run()), _beside(group, self._follow(self._rotation)):
            yield

    async def _follow(self, rotation: Rotation) -> None:
        known = rotation.standing.value
        while True:
            known = await rotation.standing.until(lambda standing, known=known: standing != known)  # type: ignore[misc]
            self._become(certificate=known.facts, certificate_expired=known.expired, certificate_problem=known.reason)

    @contextlib.asynccontextmanager
    async def _run_envoy(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        line = command(self._host.envoy.path, files=self._files, knobs=self._settings.envoy)
        line = msgspec.structs.replace(line, argv=(*self._settings.within, *line.argv))
        envoy = Envoy(line, files=self._files, hear=self._hear, log=self._log, lifeline=self._host.lifeline)
        supervisor = Supervisor(envoy, restart=Restart.ALWAYS, log=self._log, pace=self._host.pace)
        async with _beside(group, self._certified(supervisor)):
            yield

    async def _certified(self, supervisor: Supervisor) -> Exit:
        """Envoy would refuse what names the files of a certificate that is not there yet."""
        if self._rotation is not None:
            await self._rotation.standing.until(lambda standing: standing.facts is not None)
        return await supervisor.run(grace=self._settings.envoy_grace)

    @contextlib.asynccontextmanager
    async def _tell_status(self) -> AsyncIterator[None]:
        pages = status.Status(self._workload, admin=self.admin, state=lambda: self.state, quit=self._asked_to_quit.set)
        pages.watch(self._settings.application_ports, self._settings.metrics)
        async with server(pages.pages()) as serving:
            await serving.listen_unix(str(self._files.agent))
            for wish, usual in (
                (self._settings.ready_port, status.READY_PORT),
                (self._settings.metrics_port, status.METRICS_PORT),
            ):
                await self._listen(serving, usual if wish is None else wish)
            yield

    async def _listen(self, serving: Server, port: int) -> None:
        """What was asked for was seen to be free; of the usual ports one may be somebody else's."""
        address = self._own_address()
        try:
            if port:
                await serving.listen(address, port)
        except OSError as error:
            reason, fix = await asyncio.to_thread(ports.taken, address, port)
            self._log("agent.port_taken", address=ports.shown(address, port), reason=reason or str(error), fix=fix)

    @contextlib.asynccontextmanager
    async def _run_application(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        if self._command is None:
            self._application = asyncio.get_running_loop().create_future()
            yield
            return
        async with _beside(group, self._held(self._command)) as self._application:
            yield

    async def _held(self, command: Command) -> Exit:
        if self._settings.hold_application:
            await self._state.until(lambda state: state.phase is Phase.READY)
        program = Application(
            command,
            workload=str(self._workload.key),
            output=self._host.output,
            hear=self._hear_application,
            lifeline=self._host.lifeline,
        )
        restart = self._settings.restart_application
        supervisor = Supervisor(program, restart=restart, log=self._log, pace=self._host.pace)
        return await supervisor.run(grace=self._settings.application_grace)

    def _hear_application(self, application: ApplicationState) -> None:
        self._become(application=application)

    @contextlib.asynccontextmanager
    async def _drained(self) -> AsyncIterator[None]:
        """Calls end before the application does. What is cancelled, or failed, does not wait for them."""
        yield
        longest = self._settings.termination_drain
        if longest <= 0 or self.state.pid is None or self._hurry.is_set():
            return
        least = min(longest, self._settings.drain_minimum)
        work = drain(self.admin, self._workload, least=least, longest=longest, log=self._log)
        draining, hurry = asyncio.create_task(work), asyncio.create_task(self._hurry.wait())
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurry):
            task.cancel()
        await asyncio.wait({draining, hurry})

    async def _late(self, seconds: float) -> Unavailable:
        if self._rotation is not None and (standing := self._rotation.standing.value).facts is None:
            message = f"{self._workload.key} has no certificate after {seconds:g} s"
            return Unavailable(f"{message}: {standing.reason}", fix=standing.fix)
        try:
            state = await self.admin.state()
        except Unavailable:
            state = "no answer on its admin socket"
        message = f"Envoy of {self._workload.key} is not ready after {seconds:g} s ({state})"
        where = " or ".join(self._settings.xds_sockets) or self._settings.xds
        fix = f"Is a Manager answering on {where}? See {self._files.log}."
        return Unavailable(message, fix=fix)


@contextlib.asynccontextmanager
async def _beside(group: asyncio.TaskGroup, work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Runs `work` while the block runs; leaving the block cancels it and waits until it has cleaned up."""
    task = group.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
