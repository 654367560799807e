"""Two Managers share the proxies of a mesh under load: whatever becomes of one of them, no call notices.

Certificates last 16 s, so all of them are replaced while a Manager is away. This Envoy refuses what a document with a
certain number in it becomes (our validation passes nothing else that it is known to refuse).
"""

import base64
import contextlib
import json
import os
import re
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from core.manager.paths import kubeconfig
from istioctl.local.testing import eventually
from istioctl.managers import answers, sockets
from istioctl.testing.world import World

pytestmark = [pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(120)]

LIFETIME = 16
PROXIES = 4
REFUSED = 66

POISON = f"""\
import sys

if "core.manager" in sys.orig_argv:
    import msgspec

    from core.envoy import clusters

    encode = clusters.encode

    def bad(value):
        outlier = value.outlier
        if outlier is not None and outlier.max_ejection_percent == {REFUSED}:
            value = msgspec.structs.replace(value, outlier=msgspec.structs.replace(outlier, max_ejection_percent=166))
        return encode(value)

    clusters.encode = bad
"""


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with TemporaryDirectory(prefix="m") as folder:
        (Path(folder) / "sitecustomize.py").write_text(POISON)
        settings = ("--managers", "2", "--certificate-lifetime", str(LIFETIME))
        with World(Path(folder)).running(*settings, PYTHONPATH=folder) as world:
            yield world.well()


@pytest.fixture
def world(running: World) -> World:
    eventually(lambda: len(managers(running)) == 2, within=10, what=lambda: running.up.said)
    return running


def process(number: int) -> tuple[str, str]:
    return "core.manager", f'"number":{number},'


def managers(world: World) -> list[Path]:
    """The sockets of those that answer."""
    return [path for path in sockets(world.up.state) if answers(path)]


def homes(world: World) -> list[int]:
    """The Manager that each connected proxy is at."""
    shown = json.loads(world.up.istioctl("proxy-status", "-o", "json").stdout or "[]")
    return [each["manager"] for each in shown]


def all_at(world: World, number: int, *, within: float) -> None:
    eventually(lambda: homes(world) == [number] * PROXIES, within=within, what=lambda: str(homes(world)))


def policy(connections: int, *, percent: int = 10) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: aside}}
spec:
  host: aside
  trafficPolicy:
    connectionPool: {{tcp: {{maxConnections: {connections}}}}}
    outlierDetection: {{maxEjectionPercent: {percent}}}
"""


LOST = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lost}
spec: {hosts: [lost.example], http: [{route: [{destination: {host: nowhere}}]}]}
"""
"""Whoever leads finds that there is no such host."""


def codes(world: World, kind: str, name: str) -> list[str]:
    """Of the findings that `istioctl get` shows."""
    shown = json.loads(world.up.istioctl("get", kind, name, "-o", "json").stdout)
    return [each["type"]["code"] for each in shown.get("status", {}).get("validationMessages", [])]


def apply(world: World, text: str, *more: str) -> str:
    """What it says, good or bad."""
    done = world.up.istioctl("apply", "-f", "-", *more, stdin=text)
    return done.stdout + done.stderr


def limit(world: World) -> int:
    """Of connections to `aside`, as its caller's proxy has it."""
    name = "aside.default.svc.cluster.local"
    shown = world.up.istioctl("proxy-config", "cluster", "caller-v1", "--fqdn", name, "-o", "json").stdout
    return max(map(int, re.findall(r'"max_?connections": (\d+)', shown, re.IGNORECASE)), default=0)


def asks_like_kubectl(world: World, file: Path | None = None) -> int:
    """The HTTP status of a list by the kubeconfig, the owner's if none is named, on a connection of its own."""
    config = msgspec.json.decode((file or kubeconfig(world.up.state)).read_bytes())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    roots = base64.b64decode(cluster["certificate-authority-data"]).decode()
    request = urllib.request.Request(
        f"{cluster['server']}/apis/networking.istio.io/v1/virtualservices",
        headers={"Authorization": f"Bearer {user['token']}"},
    )
    trust = ssl.create_default_context(cadata=roots)
    try:
        with urllib.request.urlopen(request, timeout=5, context=trust) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("number", [1, 2])
def test_no_call_fails_when_a_manager_is_killed(world: World, number: int) -> None:
    """Its proxies are at the other one within 2 s, where rules come into force at once; it is started again."""
    other = 3 - number
    with world.watched() as seen:
        spoken = world.up.spoken
        world.kill(*process(number))
        apply(world, policy(100 + number))
        all_at(world, other, within=2)
        eventually(lambda: limit(world) == 100 + number, within=1, what=lambda: str(limit(world)))
        assert f"acknowledged by {PROXIES} of {PROXIES} proxies" in apply(world, policy(200 + number), "--wait=5")
        assert limit(world) == 200 + number
        assert [asks_like_kubectl(world) for _ in range(4)] == [200] * 4
        world.up.hears(f"manager/{number}", "its proxies go to another", after=spoken)
        world.up.hears(f"manager/{number}", "ready again", after=spoken)
        assert [asks_like_kubectl(world) for _ in range(4)] == [200] * 4
    assert seen.failures == [], str(seen)


def test_a_manager_that_hangs_is_left_and_ended(world: World) -> None:
    """It is stopped, not dead: its proxies notice by its silence, within 20 s, and no certificate runs out.

    Then it is ended, and started again; if it was the one that writes findings, the other one has done so since.
    """
    stuck = max(homes(world), key=homes(world).count)
    pid, spoken = world.up.pid(*process(stuck)), world.up.spoken
    before = set(world.certificates())
    with world.watched() as seen:
        os.kill(pid, signal.SIGSTOP)
        try:
            apply(world, f"{policy(300)}---\n{LOST}")
            all_at(world, 3 - stuck, within=20)
            assert limit(world) == 300
            eventually(lambda: not before & set(world.certificates()), within=LIFETIME)
            world.up.hears(f"manager/{stuck}", "has not answered for 20 s", after=spoken)
            eventually(lambda: codes(world, "vs", "lost") == ["IST0101"], within=2)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        world.up.hears(f"manager/{stuck}", "ready again", after=spoken)
    assert seen.failures == [], str(seen)


def refusals(world: World) -> list[str]:
    """What `istioctl get` shows of proxies that refused the policy."""
    return [code for code in codes(world, "dr", "aside") if code == "MSH3001"]


def test_what_a_proxy_refused_is_told_once_whoever_dies(world: World) -> None:
    """The last good version is in force at both Managers, the finding stands once, and it goes with its cause."""
    assert "acknowledged" in apply(world, policy(400), "--wait=5")
    said = apply(world, policy(401, percent=REFUSED), "--wait=5")
    assert "a proxy refused it" in said
    eventually(lambda: refusals(world) == ["MSH3001"], within=2)
    for number in (1, 2):
        eventually(lambda: len(managers(world)) == 2, within=10, what=lambda: world.up.said)
        world.kill(*process(number))
        all_at(world, 3 - number, within=2)
        assert (refusals(world), limit(world)) == (["MSH3001"], 400)
        assert "aside" in world.up.istioctl("proxy-status").stderr
    assert "acknowledged" in apply(world, policy(402), "--wait=5")
    eventually(lambda: refusals(world) == [], within=2)
    assert limit(world) == 402


def test_what_is_said_of_a_refusal_fits_on_a_screen(world: World) -> None:
    """Envoy repeats all of a resource; people are told who refused what, why, and what is in force, in short lines."""
    assert "acknowledged" in apply(world, policy(500), "--wait=5")
    told = [apply(world, policy(501, percent=REFUSED), "--wait=5")]
    eventually(lambda: refusals(world) == ["MSH3001"], within=2)
    (refuser,) = re.findall(r"a proxy refused it \(([^:,]+)", told[0])
    told += [
        world.up.istioctl("status", "dr", "aside").stdout,
        world.up.istioctl("describe", "dr", "aside").stdout,
        world.up.istioctl("proxy-status", refuser).stdout,
        world.up.istioctl("get", "dr", "aside", "-o", "yaml").stdout,
    ]
    for text in told:
        words = " ".join(text.split())
        assert re.search(r"(aside|caller|web)-v\d\.default", words)
        assert "limits; which one is only in the proxy" in words
        assert max(map(len, text.splitlines())) < 450, text
        assert "goo.gle" not in text
    assert "its last good version in force" in told[1]
    assert "error (1)" in world.up.istioctl("get", "dr", "-o", "wide").stdout
    history = world.up.istioctl("history", "dr", "aside")
    assert re.search(r"error \(1\) .*maxConnections: 500 -> 501", history.stdout)
    assert "MSH3001" in history.stderr
    assert limit(world) == 500
    assert "acknowledged" in apply(world, policy(502), "--wait=5")


def test_who_is_revoked_is_refused_by_every_manager(world: World, tmp_path: Path) -> None:
    """At once, whichever of them took it back, and whichever is asked."""
    file = tmp_path / "vera.yaml"
    assert world.up.istioctl("kubeconfig", "create", "vera", "-o", str(file)).returncode == 0
    assert [asks_like_kubectl(world, file) for _ in range(8)] == [200] * 8
    assert world.up.istioctl("kubeconfig", "revoke", "vera").returncode == 0
    assert [asks_like_kubectl(world, file) for _ in range(8)] == [401] * 8
