"""`istioctl up`: from a mesh file to a running mesh and, at Ctrl-C, to nothing left of it."""

import asyncio
import contextlib
import fcntl
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import msgspec

from core.diagnostics import Diagnostic, has_errors
from core.errors import MeshError, Misconfigured
from core.kinds.registry import lower
from core.manager.api import SOCKET
from core.manager.paths import xds_socket
from core.manager.settings import Scalar
from core.manager.settings import Settings as ManagerSettings
from core.model.config import Document
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.model.workload import Interception
from istioctl.local.announce import Announcer
from istioctl.local.fleet import Fleet, Places, fleet
from istioctl.local.manager import ManagerProgram, managers
from istioctl.local.pods import Ground, on_host, pods
from istioctl.local.talk import Talk, sentence
from platforms.local.codes import Code
from platforms.local.decode import load
from platforms.local.mesh import LEADER, LEDGER, follow_plans
from platforms.local.meshfile import MeshFile
from platforms.local.plan import Plan
from platforms.local.registry import FileRegistry
from platforms.local.settings import CaptureMode
from platforms.local.settings import Settings as LocalSettings
from platforms.local.slots import claimed
from proxy import binary
from proxy.agent import SOCKET_PATH_LIMIT, Host
from proxy.capture import support
from proxy.capture.fabric import fabric
from proxy.lifeline import Lifeline, lifeline
from proxy.supervise import Pace

_PACE = Pace(cap=2.0)
"""A Manager or a proxy that ends is back within 2 s, however often."""

_ELSEWHERE = "--state-dir /tmp/mesh, for example, here and with every other command; or set $ISTIO_STATE_DIR"

_KEPT = "kept"
"""Marks a state directory whose rules outlive the mesh; only a person removes it."""

_FILES = (SOCKET, "config.sqlite", "config.sqlite-wal", "config.sqlite-shm", LEDGER, LEADER, "kubeconfig")
_RUN = ("xds", "ca", "managers", "refused")
"""Directories that mean nothing to the next run, which may have another number of Managers."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`keep`: rules outlive the run. `slot` None: the first free one. Times (seconds): None is what is usual."""

    mesh_file: Path
    state: Path
    slot: int | None = None
    managers: int = 1
    keep: bool = False
    envoy: str = ""
    capture: CaptureMode = "none"
    interception: Interception = "REDIRECT"
    certificate_lifetime: float | None = None
    stream_age: float | None = None


Work = Callable[[], Coroutine[None, None, None]]

Beside = Callable[[asyncio.Future[Plan], Ground], Coroutine[None, None, None]]
"""Something that runs beside a mesh; when it ends, so does the mesh. Given the plan, once all in it is ready, and where
one more program can run that is to be near the workloads."""


async def up(options: Options, talk: Talk, *, beside: Beside | None = None) -> None:
    """Runs until SIGINT or SIGTERM, or until `beside` ends. Raises `Misconfigured` when the mesh cannot run here."""
    described = check(options.mesh_file)
    _check_room(described, options.state)
    if options.capture == "redirect" and _wants_tproxy(described, options):
        await asyncio.to_thread(support.require_tproxy)
    envoy = await asyncio.to_thread(binary.find, options.envoy)
    stop = _stop_signal()
    with claimed(options.slot) as slot, _state(options), lifeline() as line:
        talk.line("mesh", f"{options.mesh_file}: {_size(described)}; slot {slot}; state in {options.state}")
        talk.line("envoy", f"{envoy.version}, {envoy.path}")
        host = Host(envoy=envoy, lifeline=line, log=talk.event, output=talk.line, pace=_PACE)
        async with (
            _one_error(),
            _managers(options, slot, talk, line) as programs,
            _plans(options, slot, talk) as registry,
            _ground(options, line) as (ground, watched),
            _agents(options, host, ground, talk) as agents,
        ):
            announcer = Announcer(programs, agents, talk, state=options.state)
            works = [_run(agents, registry, announcer), *([beside(announcer.settled, ground)] if beside else [])]
            works += [watch() for watch in watched]
            await _until(stop, *works)
            talk.line("mesh", "stopping")
    kept = f"rules are kept in {options.state}; start again with --keep to find them"
    talk.line("mesh", f"stopped; {kept if options.keep else 'nothing is left behind'}")


def check(mesh_file: Path) -> MeshFile:
    """What the mesh file says. Raises `Misconfigured` with everything that is wrong with it."""
    decoded = load(mesh_file)
    if decoded.file is not None and not has_errors(decoded.diagnostics):
        return decoded.file
    found = "\n".join(str(diagnostic) for diagnostic in decoded.diagnostics)
    if any(diagnostic.code == Code.UNREADABLE for diagnostic in decoded.diagnostics):
        fix = "name the file that describes your mesh; examples/bookinfo/mesh.yaml is one to begin with"
        raise Misconfigured(f"no mesh file\n{found}", fix=fix)
    raise Misconfigured(f"{mesh_file} describes no mesh\n{found}", fix="correct the file; nothing was started")


def _check_room(described: MeshFile, state: Path) -> None:
    """Raises `Misconfigured` when the sockets of a workload would have too long a path (unix(7), `sun_path`)."""
    for key in _workloads(described):
        longest = state / "proxies" / xds_socket(state, key).name / "admin.sock"
        if (excess := len(bytes(longest)) - SOCKET_PATH_LIMIT) > 0:
            text = f"the state directory {state} is {excess} bytes too long for the unix socket of {key}"
            raise Misconfigured(text, fix=f"give a shorter one: {_ELSEWHERE}")


def _wants_tproxy(described: MeshFile, options: Options) -> bool:
    specs = [spec for service in described.services for spec in service.workloads]
    return any((spec.interception or options.interception) == "TPROXY" for spec in specs)


def _workloads(described: MeshFile) -> list[WorkloadKey]:
    sidecars = (key for service in described.services for each in service.workloads for key in service.replicas(each))
    return [*sidecars, *(gateway.key for gateway in described.gateways)]


def _size(described: MeshFile) -> str:
    return f"{_count(len(described.services), 'service')}, {_count(len(_workloads(described)), 'workload')}"


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _until(stop: asyncio.Event, *works: Coroutine[None, None, None]) -> None:
    """Runs all `works` until one of them ends or fails, or `stop` is set."""
    running, stopping = {asyncio.create_task(work) for work in works}, asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in {*running, stopping} - done:
        task.cancel()
    await asyncio.wait({*running, stopping})
    for task in done:
        task.result()


@contextlib.contextmanager
def _state(options: Options) -> Iterator[None]:
    """A clean state directory, and none afterwards; with `keep` both stay as they are."""
    path = options.state
    _make(path)
    with _alone(path):
        if options.keep:
            (path / _KEPT).touch()
            for name in _RUN:
                shutil.rmtree(path / name, ignore_errors=True)
            yield
            return
        if (path / _KEPT).exists():
            fix = f"go on with them by --keep, remove {path}, or give another --state-dir"
            raise Misconfigured(f"{path} holds the rules of an earlier mesh that were to be kept", fix=fix)
        _clear(path)
        try:
            yield
        finally:
            _clear(path)


def _make(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
    except OSError as error:
        text = f"the state directory {state} cannot be used: {error.strerror or error}"
        raise Misconfigured(text, fix=f"give another one: {_ELSEWHERE}") from error


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
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.rmdir()


def _clear(path: Path) -> None:
    for name in (*_RUN, "api", "identity", "proxies"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in _FILES:
        (path / name).unlink(missing_ok=True)


def _managers(
    options: Options, slot: int, talk: Talk, line: Lifeline
) -> contextlib.AbstractAsyncContextManager[tuple[ManagerProgram, ...]]:
    """The Manager processes, kept running while the context is open."""
    local: dict[str, Scalar] = {
        "mesh_file": str(options.mesh_file.resolve()),
        "state": str(options.state),
        "slot": slot,
        "slot_held": True,
        "capture": options.capture,
        "interception": options.interception,
    }
    times = {name: getattr(options, name) for name in ("certificate_lifetime", "stream_age")}
    given = {name: seconds for name, seconds in times.items() if seconds is not None}
    settings = ManagerSettings(
        state=options.state,
        managers=options.managers,
        platform="local",
        options=local,
        api_listen="127.0.0.1:0",
        **given,
    )
    return managers(settings, log=talk.event, lifeline=line, pace=_PACE)


@contextlib.asynccontextmanager
async def _plans(options: Options, slot: int, talk: Talk) -> AsyncIterator[FileRegistry]:
    settings = LocalSettings(
        mesh_file=options.mesh_file,
        state=options.state,
        slot=slot,
        slot_held=True,
        capture=options.capture,
        interception=options.interception,
    )
    reading = Reading(talk)
    async with follow_plans(settings, report=reading.report, read=reading.read) as registry:
        yield registry


class Reading:
    """Tells what is wrong with the mesh file whenever it was read, and when it is good again."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._was_bad = False

    def report(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        for diagnostic in diagnostics:
            self._talk.line("mesh file", str(diagnostic))
        is_bad = has_errors(diagnostics)
        if is_bad:
            self._talk.line("mesh file", "changes nothing until it is corrected; the last good version stays in force")
        elif self._was_bad:
            self._talk.line("mesh file", "in order again")
        self._was_bad = is_bad

    async def read(self, documents: tuple[Document, ...]) -> None:
        """What is wrong with each document by itself; what is wrong between them, `istioctl get -o wide` shows."""
        for document in documents:
            for diagnostic in lower(document, Mesh()).diagnostics:
                self._talk.line("mesh file", f"{document.source}: {diagnostic}")


@contextlib.asynccontextmanager
async def _one_error() -> AsyncIterator[None]:
    """Task groups wrap what ended them; a person is told one thing at a time. Bugs stay wrapped."""
    try:
        yield
    except BaseExceptionGroup as group:
        expected, others = group.split(MeshError)
        if expected is None or others is not None:
            raise
        raise _first(expected) from None


def _first(group: BaseExceptionGroup[MeshError]) -> MeshError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


@contextlib.asynccontextmanager
async def _ground(options: Options, line: Lifeline) -> AsyncIterator[tuple[Ground, tuple[Work, ...]]]:
    """Where the agents run, and what to watch, because its end is theirs."""
    if options.capture == "none":
        yield on_host, ()
        return
    async with fabric(lifeline=line) as net:
        await net.open_outside()
        yield pods(net), (net.failed,)


@contextlib.asynccontextmanager
async def _agents(options: Options, host: Host, ground: Ground, talk: Talk) -> AsyncIterator[Fleet]:
    def ended(key: WorkloadKey, error: MeshError) -> None:
        talk.line(str(key), f"does not run: {sentence(str(error))} {sentence(error.fix)}")

    places = Places(root=options.state, home=options.mesh_file.resolve().parent, ground=ground)
    async with fleet(host, places, ended=ended) as agents:
        yield agents


async def _run(agents: Fleet, registry: FileRegistry, announcer: Announcer) -> None:
    """Follows the mesh file; says when all of it is ready."""
    watching: asyncio.Task[None] | None = None
    async with asyncio.TaskGroup() as group:
        async for plan in registry.plans():
            announcer.changed(plan)
            await agents.follow(plan)
            if watching is not None:
                watching.cancel()
            watching = group.create_task(announcer.announce(plan))
