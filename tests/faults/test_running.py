"""Faults of a running mesh: traffic flows on, and what broke comes back by itself. One mesh for all of these tests."""

import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from istioctl.local.testing import Answer, MeshFile, Up, eventually
from istioctl.testing.rules import marked

pytestmark = pytest.mark.envoy

SPLIT = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - headers: {response: {set: {x-rule: split}}}
    route:
    - {destination: {host: web, subset: v1}, weight: 90}
    - {destination: {host: web, subset: v2}, weight: 10}
"""


@pytest.fixture
def up(shared: Up) -> Iterator[Up]:
    """The running mesh, healthy and without rules."""
    eventually(lambda: web(shared).status == 200, within=10, what=lambda: shared.said)
    yield shared
    shared.istioctl("delete", "-f", "-", "--ignore-not-found", stdin=SPLIT)
    eventually(lambda: "x-rule" not in web(shared).headers, within=5)


def web(up: Up) -> Answer:
    return up.call("client-v1", "http://web/")


def rule(up: Up) -> str:
    return web(up).headers.get("x-rule", "")


def apply(up: Up, text: str) -> None:
    done = up.istioctl("apply", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


class Traffic:
    """Calls, one after the other, on threads of their own until the block is left. `failed`: not answered 200."""

    def __init__(self, up: Up, *, threads: int = 2) -> None:
        self._up = up
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(threads)
        self._threads = threads
        self.answers: list[Answer] = []

    def __enter__(self) -> "Traffic":
        for _ in range(self._threads):
            self._pool.submit(self._run)
        self.flows()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            self.answers.append(web(self._up))

    def flows(self, count: int = 20) -> None:
        """Waits for that many further answers."""
        goal = len(self.answers) + count
        eventually(lambda: len(self.answers) >= goal, within=5)

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]


def test_a_split_takes_effect_within_a_second(up: Up) -> None:
    """`apply` of a 90/10 rule: within 1 s every call follows it, and no call fails while it is applied."""
    with Traffic(up) as traffic:
        apply(up, SPLIT)
        began = time.monotonic()
        eventually(lambda: rule(up) == "split", within=1)
        took = time.monotonic() - began
        traffic.flows()
        assert traffic.failed == []
    seen = Counter(web(up).body for _ in range(400))
    assert took < 1
    # 40 of 400 are expected; 18 or fewer, or 66 or more, happen less than once in 10,000 runs.
    assert seen.keys() == {"one", "two"}
    assert 18 < seen["two"] < 66, seen


def test_traffic_does_not_notice_that_the_manager_is_killed(up: Up) -> None:
    """SIGKILL of the Manager: no call fails, it is back by itself, and a rule applied afterwards takes effect."""
    manager = up.pid("core.manager")
    with Traffic(up) as traffic:
        os.kill(manager, signal.SIGKILL)
        killed = time.monotonic()
        up.hears("manager", "traffic flows on", within=3)
        new = up.pid("core.manager")
        apply_patiently(up, marked("after"))
        eventually(lambda: rule(up) == "after", within=5)
        up.hears("manager", "ready again")
        took = time.monotonic() - killed
        traffic.flows()
    assert new != manager
    assert traffic.failed == []
    assert took < 8


def apply_patiently(up: Up, text: str) -> None:
    """Until the Manager is back, istioctl says so."""

    def applied() -> bool:
        done = up.istioctl("apply", "-f", "-", stdin=text)
        assert done.returncode == 0 or "no Manager is running" in done.stderr or "broke off" in done.stderr, done.stderr
        return done.returncode == 0

    eventually(applied, within=10)


def test_rules_survive_the_manager(up: Up) -> None:
    """What was applied before the Manager was killed is in force afterwards, and still is what `get` shows."""
    apply(up, marked("kept"))
    eventually(lambda: rule(up) == "kept", within=1)
    os.kill(up.pid("core.manager"), signal.SIGKILL)
    shown = eventually(lambda: up.istioctl("get", "vs", "web", "-o", "yaml").stdout, within=10)
    assert "x-rule: kept" in shown
    assert rule(up) == "kept"


def test_a_killed_envoy_is_back_within_two_seconds(up: Up) -> None:
    """Envoy of the caller: calls work again, with the rules in force, within 2 s, and it is said why it ended."""
    apply(up, marked("held"))
    eventually(lambda: rule(up) == "held", within=1)
    os.kill(envoy(up, "client-v1"), signal.SIGKILL)
    killed = time.monotonic()
    up.hears("client-v1.default", "Envoy ended (killed by SIGKILL)", within=2)
    eventually(lambda: rule(up) == "held", within=2)
    assert time.monotonic() - killed < 2


def envoy(up: Up, workload: str) -> int:
    return up.pid("--config-path", f"/proxies/{workload}.default/")


def test_an_envoy_that_dies_by_itself_is_said_to(up: Up) -> None:
    """By the name of the signal, as somebody who looks for the cause needs it."""
    spoken = up.spoken
    os.kill(envoy(up, "client-v1"), signal.SIGSEGV)
    up.hears("client-v1.default", "Envoy ended (killed by SIGSEGV)", within=5, after=spoken)


def test_metrics_of_an_application_are_served_with_its_proxys(up: Up, shared_file: MeshFile) -> None:
    """`metrics` in the mesh file says where; a source that is not there costs nothing but a comment."""
    told = shared_file.runs("app_figure 7").replace("env:", "metrics: {port: 80}, env:")
    shared_file.write(f"  told:\n    ports: [80/http]\n    workloads:\n      v1: {told}\n")
    address = up.address("told-v1")

    def seen() -> bool:
        with urllib.request.urlopen(f"http://{address}:15020/stats/prometheus", timeout=5) as answer:
            said = answer.read().decode()
        return "app_figure 7" in said and "envoy_" in said

    eventually(seen, within=10)
    spoken = up.spoken
    shared_file.write()
    up.hears("gone: told-v1.default", after=spoken)


def test_a_killed_application_is_started_again(up: Up, shared_file: MeshFile) -> None:
    """SIGKILL of one version's application: it is said, it comes back, and gets traffic again."""
    before = set(up.pids("app.py"))
    victim = next(pid for pid in before if says(pid) == "two")
    os.kill(victim, signal.SIGKILL)
    up.hears("web-v2.default", "ended (killed by SIGKILL). Starting it again.", within=3)
    eventually(lambda: {says(pid) for pid in up.pids("app.py")} == {"one", "two"}, within=3)
    eventually(lambda: web(up).body == "two", within=5)


def says(pid: int) -> str:
    with open(f"/proc/{pid}/environ", "rb") as file:
        variables = file.read().split(b"\0")
    return next((v.partition(b"=")[2].decode() for v in variables if v.startswith(b"SAYS=")), "")


def test_a_broken_mesh_file_leaves_the_running_mesh_alone(up: Up, shared_file: MeshFile) -> None:
    """A mistake saved into the file: its line is said, all goes on; correcting it by adding a service works at once."""
    line = len(shared_file.text().splitlines()) + 2
    before, spoken = set(up.pids()), up.spoken
    shared_file.write("  new:\n    prots: [80]\n")
    up.hears("mesh file", f"mesh.yaml:{line}:", "prots", within=3, after=spoken)
    assert web(up).status == 200
    assert set(up.pids()) == before

    shared_file.write(f"  new:\n    ports: [80]\n    workloads:\n      v1: {shared_file.runs('new')}\n")
    up.hears("new-v1.default", "ready at", within=10, after=spoken)
    eventually(lambda: up.call("client-v1", "http://new/").body == "new", within=5)
    assert before <= set(up.pids())

    shared_file.write()
    eventually(lambda: set(up.pids()) == before, within=5, what=lambda: f"{set(up.pids()) ^ before}")
    eventually(lambda: up.call("client-v1", "http://new/").body != "new", within=2)


def test_two_meshes_run_side_by_side(up: Up, mesh_file: MeshFile) -> None:
    """A second mesh takes the next slot: other addresses, other rules, and its end does not touch the first."""
    apply(up, marked("first"))
    with Up(mesh_file.path, state=mesh_file.path.parent / "state") as second:
        second.ready()
        assert second.address("client-v1") != up.address("client-v1")
        eventually(lambda: web(second).status == 200, within=5)
        assert rule(second) == ""
        second.process.send_signal(signal.SIGINT)
        assert second.ended(within=5) == 0
    assert rule(up) == "first"
