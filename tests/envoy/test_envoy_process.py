"""The real Envoy under supervision, with configurations of the tests' own: accepted, or refused with a reason."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest

from core.model.labels import Labels
from core.model.mesh import Mesh
from core.model.service import Locality, WorkloadKey
from core.model.workload import Explicit, Workload
from proxy.binary import Binary, find
from proxy.bootstrap import Elsewhere, Transport, bootstrap, encode
from proxy.envoy_process import Envoy, Files, Knobs, Turn, command
from proxy.supervise import Pace, Restart, Supervisor
from proxy.testing import Events
from proxy.testing.authority import write_certificate

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

ADDRESS = "127.77.9.3"
WORKLOAD = Workload(
    key=WorkloadKey("default", "a-1"),
    address=ADDRESS,
    labels=Labels.of({"app": "a"}),
    locality=Locality("eu", "eu-1"),
    capture=Explicit(),
)


@pytest.fixture(scope="module")
def envoy() -> Binary:
    return find()


@pytest.fixture
def events() -> Events:
    return Events()


ELSEWHERE = Elsewhere(host="mesh.example", port=15012, identity="spiffe://x/y")


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("xds", [("/x",), ELSEWHERE, msgspec.structs.replace(ELSEWHERE, host="::1")])
def test_bootstrap_is_valid(
    transport: Transport, xds: tuple[str, ...] | Elsewhere, envoy: Binary, tmp_path: Path
) -> None:
    """Envoy accepts the bootstrap of both transports, here and elsewhere, and has nothing to complain of in it."""
    config = bootstrap(WORKLOAD, mesh=Mesh(), xds=xds, admin_socket=str(tmp_path / "s"), transport=transport)
    write_certificate(tmp_path)
    (tmp_path / "envoy.json").write_bytes(encode(config))
    argv = [envoy.path, "-c", str(tmp_path / "envoy.json"), "--mode", "validate", "-l", "warning"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@asynccontextmanager
async def envoy_with(config: bytes, folder: Path, binary: Binary, events: Events) -> AsyncIterator[list[Turn]]:
    """A supervised Envoy with a configuration of the test's own."""
    files, turns = Files(folder), list[Turn]()
    files.bootstrap.write_bytes(config)
    program = Envoy(command(binary.path, files=files, knobs=Knobs()), files=files, hear=turns.append, log=events)
    pace = Pace(base=0.05, cap=0.4)
    task = asyncio.create_task(Supervisor(program, restart=Restart.ALWAYS, log=events, pace=pace).run(grace=5))
    yield turns
    task.cancel()
    await asyncio.wait([task])


async def test_crash_loop_gives_the_reason_and_backs_off(tmp_path: Path, envoy: Binary, events: Events) -> None:
    """A bootstrap that Envoy refuses: every end has Envoy's reason, and the restarts become rarer."""
    async with envoy_with(b'{"static_resources": {"nope": 1}}', tmp_path, envoy, events):
        await events.take("envoy.exited", count=4)
    ends = events.named("envoy.exited")[:4]
    assert all("no such field: 'nope'" in str(end["reason"]) for end in ends)
    waits = [float(str(end["restart_in"])) for end in ends]
    assert waits[0] == 0
    assert 0.025 <= waits[1] <= 0.05 <= waits[2] <= 0.1 <= waits[3] <= 0.2


async def test_static_port_taken_names_the_holder(tmp_path: Path, envoy: Binary, events: Events) -> None:
    """An Envoy that dies of a taken port: the holder is named, with what to do about it."""
    with closing(socket.create_server((ADDRESS, 0))) as taken:
        address = {"address": ADDRESS, "port_value": taken.getsockname()[1]}
        listener = {
            "name": "l",
            "address": {"socket_address": address},
            "filter_chains": [{}],
            "enable_reuse_port": False,
        }
        async with envoy_with(encode({"static_resources": {"listeners": [listener]}}), tmp_path, envoy, events):
            end = await events.take("envoy.exited")
    assert f"is taken (pid {os.getpid()}, user" in str(end["reason"])
    assert f"kill {os.getpid()}" in str(end["fix"])
