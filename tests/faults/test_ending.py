"""However a mesh on this machine ends, nothing of it is left: no process, no socket, no file."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from istioctl.local.testing import MeshFile, Up, eventually

pytestmark = pytest.mark.envoy


@pytest.fixture
def up(mesh_file: MeshFile, tmp_path: Path) -> Iterator[Up]:
    with Up(mesh_file.path, state=tmp_path / "state") as running:
        yield running.ready()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_mesh_leaves_nothing_behind(up: Up, number: signal.Signals) -> None:
    """Ctrl-C (which a terminal sends to the whole foreground group) and SIGTERM end everything within 3 s, in order."""
    assert len(up.pids()) > 6
    began = time.monotonic()
    os.killpg(up.process.pid, number)
    assert up.ended(within=10) == 0
    assert time.monotonic() - began < 3
    assert up.pids() == []
    assert not up.state.exists()
    assert "nothing is left behind" in up.said
    assert "Traceback" not in up.said


def test_ctrl_c_while_the_mesh_is_starting_leaves_nothing_behind(mesh_file: MeshFile, tmp_path: Path) -> None:
    """The moment does not matter: before the Manager is ready, and while Envoys start."""
    for moment in ("state in", "ready after"):
        with Up(mesh_file.path, state=tmp_path / "state") as up:
            up.hears(moment)
            up.process.send_signal(signal.SIGINT)
            assert up.ended(within=5) == 0, up.said
            assert up.pids() == []
            assert not up.state.exists()
            assert "Traceback" not in up.said


def test_a_killed_mesh_takes_its_processes_with_it_and_can_be_started_again(up: Up, mesh_file: MeshFile) -> None:
    """After SIGKILL of `istioctl up` everything it started is gone shortly after; the next start finds its way."""
    up.process.kill()
    eventually(lambda: not up.pids(), within=5, what=lambda: f"left: {up.pids()}")
    with Up(mesh_file.path, state=up.state) as again:
        again.ready()
        answer = eventually(lambda: _good(again), within=3)
        again.process.send_signal(signal.SIGINT)
        assert again.ended(within=5) == 0
    assert answer in ("one", "two")
    assert not up.state.exists()


def _good(up: Up) -> str | None:
    answer = up.call("client-v1", "http://web/")
    return answer.body if answer.status == 200 else None
