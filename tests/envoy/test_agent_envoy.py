"""The agent with the real Envoy: ready, back after a crash, gone with its parent, nothing left after a stop."""

import asyncio
import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.any_pb2 import Any

from core.errors import Misconfigured, Unavailable
from core.model.labels import Labels
from core.model.mesh import Mesh
from core.model.service import Locality, WorkloadKey
from core.model.workload import AppPort, Explicit, Workload
from proxy.agent import Agent, AgentSettings, Host, Phase
from proxy.binary import Binary, find
from proxy.bootstrap import Transport
from proxy.lifeline import lifeline
from proxy.process import Command, Exit
from proxy.supervise import Pace, Restart
from proxy.testing import Events, eventually
from proxy.testing.manager import StubManager
from proxy.testing.processes import alive, children, command_line, running

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

ADDRESS = "127.77.9.1"
ROOT = Path(__file__).resolve().parents[2]


def workload(*ports: int) -> Workload:
    return Workload(
        key=WorkloadKey("default", "a-1"),
        address=ADDRESS,
        labels=Labels.of({"app": "a"}),
        locality=Locality("eu", "eu-1"),
        capture=Explicit(app_ports=tuple(AppPort(port, "127.0.0.1", port) for port in ports)),
    )


@pytest.fixture(scope="module")
def envoy() -> Binary:
    return find()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[StubManager]:
    manager = StubManager(tmp_path / "xds")
    await manager.start()
    yield manager
    await manager.stop()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def host(envoy: Binary, events: Events) -> Host:
    return Host(envoy=envoy, log=events)


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    return AgentSettings(directory=str(tmp_path / "a"), xds_sockets=(str(tmp_path / "xds"),))


def agent(settings: AgentSettings, host: Host, *, ports: tuple[int, ...] = (), run: str = "") -> Agent:
    program = Command(argv=("sh", "-c", run)) if run else None
    return Agent(workload(*ports), mesh=Mesh(), settings=settings, host=host, command=program)


def left(settings: AgentSettings) -> list[str]:
    """Processes and files of an agent that should have none."""
    files = [settings.directory] if os.path.exists(settings.directory) else []
    return [*map(command_line, running(settings.directory)), *files]


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind((ADDRESS, 0))
        return int(sock.getsockname()[1])


def echo(port: int) -> Any:
    listener = Listener(name="echo", enable_reuse_port={"value": False})
    listener.address.socket_address.address = ADDRESS
    listener.address.socket_address.port_value = port
    filter_ = listener.filter_chains.add().filters.add(name="envoy.filters.network.echo")
    filter_.typed_config.type_url = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"
    packed = Any()
    packed.Pack(listener)
    return packed


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with closing(socket.socket()) as sock:
        sock.bind((ADDRESS, 0))
        sock.listen()
        yield sock


@pytest.mark.parametrize("transport", list(Transport))
async def test_ready(settings: AgentSettings, host: Host, manager: StubManager, transport: Transport) -> None:
    """With a Manager Envoy becomes ready, on either transport, and says who it is."""
    chosen = AgentSettings(directory=settings.directory, xds_sockets=settings.xds_sockets, transport=transport)
    async with agent(chosen, host) as sidecar:
        await sidecar.wait_ready(10)
        assert sidecar.state.phase is Phase.READY
        assert await sidecar.admin.state() == "LIVE"
        assert manager.nodes == ["sidecar~127.77.9.1~a-1.default~default.svc.cluster.local"]
        stats = await sidecar.admin.stats()
        assert stats["control_plane.connected_state"] == 1
        assert "configs" in await sidecar.admin.config_dump()
        assert "cluster_statuses" in await sidecar.admin.clusters()


async def test_files_are_private(settings: AgentSettings, host: Host, manager: StubManager) -> None:
    """The directory, the bootstrap and the admin socket are this user's alone."""
    async with agent(settings, host) as sidecar:
        await sidecar.wait_ready(10)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sidecar.files.directory.iterdir()}
        assert stat.S_IMODE(sidecar.files.directory.stat().st_mode) == 0o700
    assert modes["admin.sock"] == modes["envoy.json"] == modes["access.log"] == 0o600


@pytest.mark.usefixtures("manager")
async def test_killed_envoy_is_back_within_two_seconds(settings: AgentSettings, host: Host, events: Events) -> None:
    """After kill -9 a new Envoy is ready within 2 s, and the event says what happened."""
    async with agent(settings, host) as sidecar:
        await sidecar.wait_ready(10)
        first = sidecar.state.pid
        assert first is not None
        killed = time.monotonic()
        os.kill(first, signal.SIGKILL)
        await events.take("envoy.ready", count=2)
        assert time.monotonic() - killed < 2
        assert sidecar.state.pid not in (None, first)
        assert sidecar.state.restarts == 1
        assert events.named("envoy.exited")[0]["how"] == "killed by SIGKILL"
        assert events.named("envoy.exited")[0]["workload"] == "a-1.default"


async def test_stop_leaves_nothing(settings: AgentSettings, host: Host, manager: StubManager) -> None:
    """After a stop there is no process, no socket and no file of the agent's."""
    async with agent(settings, host, run="sleep 100 & sleep 100") as sidecar:
        await sidecar.wait_ready(10)
        assert running(settings.directory)
        pid = sidecar.state.pid
    assert not left(settings)
    assert pid is not None
    assert not alive(pid)
    assert sidecar.state.phase is Phase.STOPPED


async def test_stop_while_starting_leaves_nothing(settings: AgentSettings, host: Host) -> None:
    """An agent that is left at once, without a Manager, cleans up as well."""
    async with agent(settings, host):
        pass
    assert not left(settings)


async def test_logs_can_be_kept(tmp_path: Path, host: Host) -> None:
    """Where asked, the logs stay; sockets and configuration go."""
    kept = AgentSettings(directory=str(tmp_path / "a"), xds_sockets=(str(tmp_path / "xds"),), keep_logs=True)
    async with agent(kept, host) as sidecar:
        await eventually(sidecar.files.admin.exists)
    assert set(os.listdir(kept.directory)) == {"access.log", "envoy.log"}


@pytest.mark.usefixtures("manager")
async def test_application_stops_before_envoy(settings: AgentSettings, host: Host, events: Events) -> None:
    """The application is stopped while Envoy still serves it."""
    async with agent(settings, host, run="sleep 100") as sidecar:
        await sidecar.wait_ready(10)
    stops = [event for _, event, _ in events.all if event.endswith(".stopped")]
    assert stops == ["application.stopped", "envoy.stopped"]


@pytest.mark.usefixtures("manager")
async def test_cancelled_agent_stops_in_order_too(settings: AgentSettings, host: Host, events: Events) -> None:
    """Ctrl-C (a cancelled task) ends like leaving the block: in order, with nothing left."""
    life = asyncio.create_task(agent(settings, host, run="sleep 100").run())
    await events.take("envoy.ready")
    life.cancel()
    await asyncio.wait([life])
    assert life.cancelled()
    stops = [event for _, event, _ in events.all if event.endswith(".stopped")]
    assert stops == ["application.stopped", "envoy.stopped"]
    assert not left(settings)


async def test_open_connections_may_end_first(
    settings: AgentSettings, host: Host, manager: StubManager, events: Events
) -> None:
    """With a drain, a stop waits for open connections, which work meanwhile, and not longer than for them."""
    port, leave = free_port(), asyncio.Event()
    manager.resources = [("echo", echo(port))]
    life = asyncio.create_task(
        until(leave, agent(msgspec.structs.replace(settings, termination_drain=60.0), host, ports=(port,)))
    )
    await events.take("envoy.ready")
    reader, writer = await asyncio.open_connection(ADDRESS, port)
    with closing(writer):
        await said(b"before", reader, writer)
        leave.set()
        await events.take("envoy.draining")
        await said(b"while draining", reader, writer)
        assert not life.done()
    await eventually(life.done, within=10)


async def until(leave: asyncio.Event, sidecar: Agent) -> None:
    async with sidecar:
        await leave.wait()


async def said(text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(text)
    assert await reader.readexactly(len(text)) == text


async def test_run_ends_with_the_application(settings: AgentSettings, envoy: Binary) -> None:
    """`run` hands back how the application ended; its output came with the workload's name."""
    lines: list[tuple[str, str]] = []
    host = Host(envoy=envoy, output=lambda name, line: lines.append((name, line)))
    once = AgentSettings(
        directory=settings.directory, xds_sockets=settings.xds_sockets, restart_application=Restart.NEVER
    )
    assert await agent(once, host, run="echo one; echo two >&2; exit 3").run() == Exit(3)
    assert sorted(lines) == [("a-1.default", "one"), ("a-1.default", "two")]


async def test_no_manager_is_told(settings: AgentSettings, host: Host) -> None:
    """Without a Manager the wait ends in time, and says what to look at."""
    async with agent(settings, host) as sidecar:
        with pytest.raises(Unavailable, match="not ready after 1 s") as caught:
            await sidecar.wait_ready(1)
    assert settings.xds_sockets[0] in caught.value.fix


async def test_returning_manager_is_found(settings: AgentSettings, host: Host, tmp_path: Path) -> None:
    """A Manager that restarts, and one that comes late, is found within a little more than 2 s."""
    async with agent(settings, host) as sidecar:
        for _ in range(2):
            manager = StubManager(tmp_path / "xds")
            await manager.start()
            came = time.monotonic()
            await eventually(lambda manager=manager: bool(manager.nodes), within=5)  # type: ignore[misc]
            assert time.monotonic() - came < 2.5
            await sidecar.wait_ready(5)
            await manager.stop()


@pytest.mark.slow
async def test_reconnects_are_spread(settings: AgentSettings, host: Host) -> None:
    """While a Manager refuses, attempts stay at most 2 s apart and do not keep a beat."""
    came: list[float] = []

    def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        writer.close()

    async with await asyncio.start_unix_server(refuse, settings.xds_sockets[0]), agent(settings, host):
        await eventually(lambda: len(came) >= 8, within=20)
    gaps = [later - earlier for earlier, later in itertools.pairwise(came)]
    assert max(gaps) < 2.3
    assert len({round(gap, 2) for gap in gaps}) > len(gaps) / 2


async def test_taken_port_is_told_before_the_start(settings: AgentSettings, host: Host, taken: socket.socket) -> None:
    """A port of the workload that somebody holds is named with its holder; nothing was started or written."""
    port = taken.getsockname()[1]
    with pytest.raises(Misconfigured, match=f"{ADDRESS}:{port} is taken .pid {os.getpid()},"):
        await agent(settings, host, ports=(port,)).__aenter__()
    assert not left(settings)


async def test_taken_port_of_a_listener_is_told(
    settings: AgentSettings, host: Host, manager: StubManager, events: Events, taken: socket.socket
) -> None:
    """When a listener of the Manager's cannot be bound, Envoy serves on, and the holder of the port is named."""
    port = taken.getsockname()[1]
    manager.resources = [("echo", echo(port))]
    async with agent(settings, host) as sidecar:
        told = await events.take("envoy.port_taken")
        await sidecar.wait_ready(10)
    assert told["address"] == f"{ADDRESS}:{port}"
    assert f"pid {os.getpid()}" in str(told["reason"])


async def test_path_too_long_is_told(host: Host, tmp_path: Path) -> None:
    """A state directory too deep for a unix socket is found out before the start."""
    deep = AgentSettings(directory=str(tmp_path / ("x" * 100)), xds_sockets=(str(tmp_path / "xds"),))
    with pytest.raises(Misconfigured, match="too long for a unix socket"):
        await agent(deep, host).__aenter__()


async def test_missing_application_is_told(settings: AgentSettings, host: Host) -> None:
    """A command that is not there is found out before the start."""
    program = Command(argv=("no-such-program",))
    sidecar = Agent(workload(), mesh=Mesh(), settings=settings, host=host, command=program)
    with pytest.raises(Misconfigured, match="no program no-such-program"):
        await sidecar.__aenter__()
    assert not running(settings.directory)


async def test_envoy_that_cannot_start_is_told(settings: AgentSettings, events: Events, tmp_path: Path) -> None:
    """When Envoy ends before it is ready, the wait ends at once with Envoy's own reason; it is tried again."""
    broken = tmp_path / "envoy"
    broken.write_text("#!/bin/sh\necho 'PARSE ERROR: made up' >&2\nexit 1\n")
    broken.chmod(0o755)
    host = Host(envoy=Binary(path=str(broken), version="0", source="test"), log=events, pace=Pace(base=0.01, cap=0.02))
    async with agent(settings, host) as sidecar:
        with pytest.raises(Misconfigured, match=r"a-1\.default: PARSE ERROR: made up") as caught:
            await sidecar.wait_ready(10)
        await events.take("envoy.exited", count=3)
    assert str(sidecar.files.log) in caught.value.fix


async def test_lifeline_does_not_outlive_its_block(settings: AgentSettings, envoy: Binary) -> None:
    """With a lifeline, too, nothing is left after a stop."""
    with lifeline() as line:
        async with agent(settings, Host(envoy=envoy, lifeline=line), run="sleep 100") as sidecar:
            await eventually(sidecar.files.admin.exists)
            await eventually(lambda: bool(children("lifeline.py")))
    assert not children("lifeline.py")
    assert not left(settings)


PARENT = """
import asyncio, sys
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.model.workload import Explicit, Workload
from proxy.agent import Agent, AgentSettings, Host
from proxy.binary import find

async def main(directory):
    me = Workload(key=WorkloadKey("default", "b"), address="127.77.9.2", capture=Explicit())
    settings = AgentSettings(directory=directory, xds_sockets=(directory + "/none",))
    async with Agent(me, mesh=Mesh(), settings=settings, host=Host(envoy=find())) as agent:
        while not agent.files.admin.exists():
            await asyncio.sleep(0.01)
        print(agent.state.pid, flush=True)
        await asyncio.sleep(100)

asyncio.run(main(sys.argv[1]))
"""


async def test_killed_agent_takes_envoy_along(tmp_path: Path) -> None:
    """When the agent is killed with -9, its Envoy is gone as well, even without a lifeline."""
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path / "b")), cwd=ROOT, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    assert str(tmp_path / "b") in command_line(pid)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not alive(pid), within=2)
