"""`istioctl up`: from a mesh file to a running mesh and, at Ctrl-C, to nothing left of it."""

import asyncio
import contextlib
import fcntl
import shutil
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path

import msgspec

from core.diagnostics import Diagnostic, has_errors
from core.errors import MeshError, Misconfigured
from core.manager.api import SOCKET
from core.manager.settings import Scalar
from core.manager.settings import Settings as ManagerSettings
from core.model.service import WorkloadKey
from istioctl.local.fleet import Fleet, fleet
from istioctl.local.manager import ManagerProgram
from istioctl.local.talk import Talk
from platforms.local.decode import load
from platforms.local.mesh import LEDGER, follow_plans
from platforms.local.plan import Plan
from platforms.local.registry import FileRegistry
from platforms.local.settings import Settings as LocalSettings
from platforms.local.slots import claimed
from proxy import binary
from proxy.agent import Host
from proxy.lifeline import Lifeline, lifeline
from proxy.supervise import Pace, Restart, Supervisor

_PATIENCE = 30.0
"""Seconds until a mesh that is not ready is reported; it goes on trying."""

_PACE = Pace(cap=2.0)
"""A Manager or a proxy that ends is back within 2 s, however often."""

_FILES = (SOCKET, "config.sqlite", "config.sqlite-wal", "config.sqlite-shm", LEDGER)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`keep`: rules outlive the run. `slot` None: the first free one."""

    mesh_file: Path
    state: Path
    slot: int | None = None
    keep: bool = False
    envoy: str = ""


async def up(options: Options, talk: Talk) -> None:
    """Runs until SIGINT or SIGTERM. Raises `Misconfigured` when the mesh cannot run here."""
    check(options.mesh_file)
    envoy = await asyncio.to_thread(binary.find, options.envoy)
    with claimed(options.slot) as slot, _state(options), lifeline() as line:
        talk.line("mesh", f"{envoy}; slot {slot}; state in {options.state}")
        host = Host(envoy=envoy, lifeline=line, log=talk.event, output=talk.line, pace=_PACE)
        stop = _stop_signal()
        async with (
            _manager(options, slot, talk, line) as manager,
            _plans(options, slot, talk) as registry,
            _agents(options, host, talk) as agents,
        ):
            await _until(stop, _run(agents, registry, manager, talk))
    talk.line(
        "mesh", "stopped; nothing is left behind" if not options.keep else f"stopped; rules are in {options.state}"
    )


def check(mesh_file: Path) -> None:
    """Raises `Misconfigured` with everything that is wrong with the mesh file."""
    decoded = load(mesh_file)
    if has_errors(decoded.diagnostics):
        found = "\n".join(str(diagnostic) for diagnostic in decoded.diagnostics)
        raise Misconfigured(f"{mesh_file} describes no mesh\n{found}", fix="correct the file; nothing was started")


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Runs `work` until it fails or `stop` is set."""
    running, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        stopping.cancel()
        running.result()
    running.cancel()
    await asyncio.wait({running})


@contextlib.contextmanager
def _state(options: Options) -> Iterator[None]:
    """A clean state directory, and none afterwards; with `keep` both stay as they are."""
    path = options.state
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Misconfigured(
            f"the state directory {path} cannot be used: {reason}", fix="give another --state-dir"
        ) from error
    with _alone(path):
        if not options.keep:
            _clear(path)
        try:
            yield
        finally:
            if not options.keep:
                _clear(path)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Raises `Misconfigured` when another mesh uses the state directory."""
    lock = path / "lock"
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fix = "stop it, or give this one its own --state-dir"
            raise Misconfigured(f"another mesh runs with the state directory {path}", fix=fix) from None
        yield
        lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.rmdir()


def _clear(path: Path) -> None:
    for name in ("xds", "proxies"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in _FILES:
        (path / name).unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def _manager(options: Options, slot: int, talk: Talk, line: Lifeline) -> AsyncIterator[ManagerProgram]:
    """The Manager process, kept running while the context is open."""
    local: dict[str, Scalar] = {
        "mesh_file": str(options.mesh_file.resolve()),
        "state": str(options.state),
        "slot": slot,
        "slot_held": True,
    }
    settings = ManagerSettings(state=options.state, platform="local", options=local)
    program = ManagerProgram(settings, log=talk.event, lifeline=line)
    supervisor = Supervisor(program, restart=Restart.ALWAYS, log=talk.event, pace=_PACE)
    running = asyncio.create_task(supervisor.run(grace=3.0), name="manager")
    try:
        yield program
    finally:
        running.cancel()
        await asyncio.wait({running})


@contextlib.asynccontextmanager
async def _plans(options: Options, slot: int, talk: Talk) -> AsyncIterator[FileRegistry]:
    settings = LocalSettings(mesh_file=options.mesh_file, state=options.state, slot=slot, slot_held=True)

    def report(diagnostics: tuple[Diagnostic, ...]) -> None:
        for diagnostic in diagnostics:
            talk.line("mesh file", str(diagnostic))

    async with follow_plans(settings, report=report) as registry:
        yield registry


@contextlib.asynccontextmanager
async def _agents(options: Options, host: Host, talk: Talk) -> AsyncIterator[Fleet]:
    def ended(key: WorkloadKey, error: MeshError) -> None:
        talk.line(str(key), f"does not run: {error} {error.fix}")

    home = options.mesh_file.resolve().parent
    async with fleet(host, root=options.state, home=home, ended=ended) as agents:
        yield agents


async def _run(agents: Fleet, registry: FileRegistry, manager: ManagerProgram, talk: Talk) -> None:
    """Follows the mesh file; says when all of it is ready."""
    watching: asyncio.Task[None] | None = None
    try:
        async for plan in registry.plans():
            await agents.follow(plan)
            if watching is not None:
                watching.cancel()
            watching = asyncio.create_task(_announce(agents, plan, manager, talk))
    finally:
        if watching is not None:
            watching.cancel()


async def _announce(agents: Fleet, plan: Plan, manager: ManagerProgram, talk: Talk) -> None:
    await manager.ready.wait()
    talk.line("manager", f"ready after {talk.elapsed():.1f} s")
    waits = [_ready(agents, workload.key, workload.address, talk) for workload in plan.workloads]
    ready = sum(await asyncio.gather(*waits))
    talk.line(
        "mesh", f"{ready} of {len(plan.workloads)} workloads ready after {talk.elapsed():.1f} s. Ctrl-C stops all."
    )
    for line in _hints(plan):
        talk.line("", line)


async def _ready(agents: Fleet, key: WorkloadKey, address: str, talk: Talk) -> bool:
    agent = agents.agents.get(key)
    if agent is None:
        return False
    try:
        await agent.wait_ready(_PATIENCE)
    except MeshError as error:
        talk.line(str(key), f"not ready: {error} {error.fix}")
        return False
    talk.line(str(key), f"ready at {address}")
    return True


def _hints(plan: Plan) -> tuple[str, ...]:
    """A call that works from here, seen from the first workload."""
    if not plan.workloads or not plan.services:
        return ()
    workload, service = plan.workloads[0], plan.services[-1]
    proxy = f"http://{workload.address}:{workload.capture.http_proxy_port}"
    port = service.ports[0].number
    return (
        f"call as {workload.key}:  curl -x {proxy} http://{service.name}.{service.key.namespace}:{port}/",
        "change where calls go:  istioctl apply -f rule.yaml",
    )
