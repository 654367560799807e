"""Faults of a whole mesh, process by process, while an application calls others in every way there is.

The same in both captures. Certificates last 12 s here and streams 5 s, so both are replaced all the time.
"""

import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from istioctl.local.testing import eventually, inside
from istioctl.testing.driver import RETRIED
from istioctl.testing.world import RATE, World

pytestmark = [pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(120)]

LIFETIME, AGE = 12, 5
SETTINGS = ("--certificate-lifetime", str(LIFETIME), "--stream-age", str(AGE))

MARKED = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: aside}
spec: {host: aside, trafficPolicy: {connectionPool: {tcp: {maxConnections: %d}}}}
"""


@pytest.fixture(scope="module", params=["none", "redirect"])
def capture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def running(capture: str) -> Iterator[World]:
    arguments = ("--capture", capture, *SETTINGS)
    with TemporaryDirectory(prefix="w") as folder, World(Path(folder)).running(*arguments) as world:
        yield world


@pytest.fixture
def world(running: World) -> World:
    return running.well()


def test_no_call_fails_while_certificates_and_streams_are_replaced(world: World, capture: str) -> None:
    """At least two further certificates of each proxy, and three streams; rules arrive all the time.

    Half as long in capture `none`, where `test_rotation` looks on for longer.
    """
    rounds = 6 if capture == "redirect" else 3
    shown = {world.certificates()}
    with world.watched() as seen:
        for number in range(rounds):
            began = time.monotonic()
            apply(world, MARKED % (1000 + number))
            eventually(lambda: limit(world) == 1000 + number, within=5)  # noqa: B023
            time.sleep(max(0.0, began + 5 - time.monotonic()))  # for the pace; nothing is waited for
            shown.add(world.certificates())
    assert seen.failures == [], str(seen)
    assert seen.calls > rounds * 4 * RATE
    assert len(shown) > rounds / 2
    world.up.istioctl("delete", "-f", "-", stdin=MARKED % 1)


def apply(world: World, text: str) -> None:
    done = world.up.istioctl("apply", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def limit(world: World) -> int:
    """Of connections to `aside`, as its caller's proxy has it."""
    shown = world.up.istioctl("proxy-config", "cluster", "caller-v1", "--fqdn", "aside.default.svc.cluster.local",
                              "-o", "json").stdout  # fmt: skip
    found = re.findall(r'"max_?connections": (\d+)', shown, re.IGNORECASE)
    return max(map(int, found), default=0)


def test_no_call_fails_when_the_manager_is_killed(world: World) -> None:
    """It is back by itself, and a rule applied afterwards is in force within 5 s."""
    with world.watched() as seen:
        spoken = world.up.spoken
        world.kill("core.manager")
        world.up.hears("manager", "traffic flows on", after=spoken)
        world.up.hears("manager", "ready again", after=spoken)
        apply(world, MARKED % 77)
        eventually(lambda: limit(world) == 77, within=5)
    assert seen.failures == [], str(seen)
    world.up.istioctl("delete", "-f", "-", stdin=MARKED % 1)


def test_a_killed_envoy_costs_only_the_calls_through_it(world: World) -> None:
    """Envoy of one of two replicas: calls to it fail for 3 s at most, marked ones almost never, others not at all."""
    with world.watched() as seen:
        spoken = world.up.spoken
        world.kill("--config-path", "/proxies/web-v2.default/")
        world.up.hears("web-v2.default", "Envoy ended (killed by SIGKILL)", after=spoken)
        world.gets_calls("web-v2")
    assert not [each for each in seen.failures if not each.lane.startswith("web ")], str(seen)
    assert max(map(seen.at, seen.failures), default=0) < 3, str(seen)
    # What was on its way when the proxy died is lost, and nobody may send it again without asking.
    assert len([each for each in seen.failures if RETRIED in each.lane]) <= 4, str(seen)


def test_a_killed_application_leaves_everybodys_endpoints(world: World) -> None:
    """The replica whose application is gone gets no calls once it was probed, and some again when it is back."""
    world.hold.touch()
    with world.watched() as seen:
        world.kill("istioctl.testing.application", "web-v2")
        world.gets_none("web-v2", within=5)
    assert not [each for each in seen.failures if not each.lane.startswith("web ")], str(seen)
    assert max(map(seen.at, seen.failures), default=0) < 3, str(seen)
    with world.watched() as seen:
        world.hold.unlink()
        world.gets_calls("web-v2")
    assert seen.failures == [], str(seen)


def test_a_replica_with_an_identity_of_its_own_comes_and_leaves(world: World, capture: str) -> None:
    """It is trusted before it gets calls, drains before it ends; not one call fails, on old connections or new ones.

    What no proxy can ask to go elsewhere is TCP: such a connection lasts as long as the drain, and is closed then.
    """
    with world.watched() as coming:
        world.write(world.workload("v3", account="other"))
        world.gets_calls("web-v3", within=30)
    assert coming.failures == [], str(coming)
    agent = world.up.pid("-m proxy -", "web-v3.default")
    lines = Lines(world) if capture == "none" else None
    with world.watched() as leaving:
        world.write()
        eventually(lambda: agent not in world.up.pids(), within=20)
    if lines is not None:
        ended = lines.ended()
        assert {app for app, is_open in ended if not is_open} == {"web-v3"}
        assert {app for app, is_open in ended if is_open} == {"web-v1", "web-v2"}
    # The load has one TCP connection of its own that is kept; it may have come to the replica by chance.
    old = [each for each in leaving.failures if each.lane == "web tcp kept"]
    assert leaving.failures == old[:1], str(leaving)


class Lines:
    """TCP connections of long standing, to every replica; each knows whom it has come to."""

    def __init__(self, world: World) -> None:
        pid = world.up.pid("istioctl.testing.driver")
        variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
        host = next(each.partition("=")[2] for each in variables if each.startswith("WEB_SERVICE_HOST="))
        self._lines = [socket.create_connection((host, 9000), timeout=5) for _ in range(24)]
        self._apps = [self._said(line) for line in self._lines]
        assert {"web-v1", "web-v2", "web-v3"} == {*self._apps}

    def _said(self, line: socket.socket) -> str:
        """Who answers; "" when the connection is over."""
        try:
            line.sendall(b"\0who\n")
            return line.recv(100).decode().partition(":")[0]
        except ConnectionError:
            return ""

    def ended(self) -> list[tuple[str, bool]]:
        """Whom each had come to, and whether it still does; then they are closed."""
        found = [(app, self._said(line) == app) for app, line in zip(self._apps, self._lines, strict=True)]
        for line in self._lines:
            line.close()
        return found


DENIED = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  action: DENY
  rules: [{to: [{operation: {paths: [/denied], ports: ["80"]}}]}]
"""
_ASK = """\
import urllib.error, urllib.request
try:
    print(urllib.request.urlopen("http://web/denied", timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_a_policy_comes_and_goes_and_costs_nobody_else_a_call(world: World, capture: str) -> None:
    """What it denies is denied by every replica, and let in again; nothing else fails, on whatever connection."""

    def told() -> int:
        if capture == "none":
            return world.up.call("caller-v1", "http://web/denied").status
        return int(inside(world.up.pid("istioctl.testing.driver"), sys.executable, "-c", _ASK) or 0)

    def always(status: int) -> bool:
        return {told() for _ in range(6)} == {status}

    with world.watched() as seen:
        for _ in range(2 if capture == "none" else 1):
            apply(world, DENIED)
            eventually(lambda: always(403), within=10)
            world.up.istioctl("delete", "-f", "-", stdin=DENIED)
            eventually(lambda: always(200), within=10)
    assert seen.failures == [], str(seen)
