"""Agents are processes: one that is killed costs its workload a moment, and one whose workload leaves drains first."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from istioctl.local.testing import MeshFile, Up, eventually

pytestmark = pytest.mark.envoy


@pytest.fixture
def up(mesh_file: MeshFile, tmp_path: Path) -> Iterator[Up]:
    with Up(mesh_file.path, state=tmp_path / "state") as running:
        yield running.ready()


def answers(up: Up) -> str:
    answer = up.call("client-v1", "http://web/")
    return answer.body if answer.status == 200 else ""


def agent(up: Up, workload: str) -> int:
    return up.pid("-m proxy -", f"{workload}.default")


def memory(pid: int) -> int:
    """Resident, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def test_a_killed_agent_is_started_again(up: Up) -> None:
    """SIGKILL of an agent takes its Envoy and application along; all are back with a new one. None is above 30 MB."""
    eventually(lambda: answers(up), within=10)
    before = set(up.pids())
    assert max(map(memory, up.pids("-m proxy -"))) < 30_000
    old = agent(up, "web-v1")
    os.kill(old, signal.SIGKILL)
    up.hears("web-v1.default", "its agent ended (killed by SIGKILL)", within=3)
    eventually(lambda: len(up.pids()) == len(before) and old not in up.pids(), within=10, what=lambda: up.said)
    eventually(lambda: answers(up) == "one", within=10)


def test_a_killed_agent_leaves_no_grandchildren(mesh_file: MeshFile, tmp_path: Path) -> None:
    """What an application had started, in the group of the killed agent's application, is ended as well."""
    mesh_file.write("  deep:\n    workloads:\n      v1: {command: [sh, -c, 'sleep 7777 & wait']}\n")
    with Up(mesh_file.path, state=tmp_path / "state") as up:
        up.ready()
        first = eventually(lambda: up.pids("sleep 7777", "-c") and up.pids("sleep 7777"), within=5)
        os.kill(agent(up, "deep-v1"), signal.SIGKILL)
        up.hears("deep-v1.default", "its agent ended", within=3)
        eventually(lambda: not set(first) & set(up.pids("sleep 7777")), within=3)
        eventually(lambda: len(up.pids("sleep 7777")) == len(first), within=10)


def test_no_call_fails_when_a_replica_leaves(up: Up, mesh_file: MeshFile) -> None:
    """One of two versions is removed from the mesh file under load: every call is answered, and its processes go."""
    eventually(lambda: answers(up) == "two", within=10)
    eventually(lambda: answers(up) == "one", within=10)
    stop, statuses = Event(), list[int]()

    def load() -> None:
        while not stop.wait(0.002):
            statuses.append(up.call("client-v1", "http://web/").status)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(load)
        eventually(lambda: len(statuses) > 50, within=10)
        leaving = agent(up, "web-v2")
        began = time.monotonic()
        text = mesh_file.text()
        mesh_file.path.write_text(text[: text.index("      v2:")])
        eventually(lambda: leaving not in up.pids(), within=10)
        took = time.monotonic() - began
        goal = len(statuses) + 50
        eventually(lambda: len(statuses) > goal, within=10)
        stop.set()
    assert set(statuses) == {200}
    assert 1 < took < 7
    assert {answers(up) for _ in range(20)} == {"one"}
