"""A Manager that is killed while a document is refused: the next one knows what this one knew.

This Envoy refuses a route whose header has a certain value, and all rules of a port share one route configuration here.
That nobody else is taken out of force for a trial is shown by `test_quarantine`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from istioctl.local.testing import eventually
from istioctl.testing.world import World

pytestmark = [pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(90)]

POISON = """\
import sys

if "core.manager" in sys.orig_argv:
    import msgspec

    from core.envoy import routes
    from core.ir.values import HeaderOps, Headers

    encode = routes.encode_routes

    def spoilt(value):
        if ("x-mark", "refuse-me") not in value.headers.request.set:
            return value
        return msgspec.structs.replace(value, headers=Headers(HeaderOps(set=(("x-mark", "%NOPE%"),))))

    routes.encode_routes = lambda values: encode([spoilt(value) for value in values])
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with TemporaryDirectory(prefix="r") as folder:
        (Path(folder) / "sitecustomize.py").write_text(POISON)
        with World(Path(folder)).running("--capture", "redirect", PYTHONPATH=folder) as world:
            yield world.well()


def rule(mark: str) -> str:
    headers = f"headers: {{request: {{set: {{x-mark: {mark}}}}}}}"
    route = f"{{{headers}, retries: {{attempts: 0}}, route: [{{destination: {{host: aside}}}}]}}"
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: aside}}
spec: {{hosts: [aside], http: [{route}]}}
"""


def apply(world: World, text: str) -> str:
    done = world.up.istioctl("apply", "--wait=10", "-f", "-", stdin=text)
    return done.stdout + done.stderr


def told(world: World) -> tuple[list[str], str]:
    """What `istioctl get` finds in the rule, whoever refused it first, and what `status` shows of it."""
    shown = json.loads(world.up.istioctl("get", "vs", "aside", "-o", "json").stdout)
    found = [
        re.sub(r"proxy of \S+", "proxy", each["message"])
        for each in shown.get("status", {}).get("validationMessages", [])
    ]
    rows = json.loads(world.up.istioctl("status", "-o", "json").stdout)
    return found, json.dumps([row["refused"] for row in rows if row["name"] == "aside"])


def is_accepted(world: World) -> bool:
    """Whether the Manager noted that proxies took the rule as it is."""
    shown = json.loads(world.up.istioctl("get", "vs", "aside", "-o", "json").stdout)
    path = world.up.state / "refused" / "1.accepted"
    noted = {key["name"]: revision for key, revision in json.loads(path.read_bytes())} if path.exists() else {}
    return bool(noted.get("aside") == shown["metadata"]["resourceVersion"])


def in_force(world: World) -> set[str]:
    """The marks that the caller's proxy gives its calls."""
    shown = world.up.istioctl("proxy-config", "route", "caller-v1", "-o", "json").stdout
    return set(re.findall(r'"value": "(mark-\d|%NOPE%)"', shown))


@pytest.mark.parametrize("judged", [True, False], ids=["after the verdict", "before it"])
def test_what_was_refused_stays_out_of_force_alone(world: World, judged: bool) -> None:
    """Its last good version is in force and no call fails, also when the Manager died between the refusal and the
    verdict, so that the document is tried again."""
    assert "acknowledged" in apply(world, rule("mark-1"))
    eventually(lambda: is_accepted(world), within=2)
    assert "a proxy refused it" in apply(world, rule("refuse-me"))
    eventually(lambda: told(world)[0], within=2)
    known = told(world)
    if not judged:
        (world.up.state / "refused" / "1.json").unlink()
    with world.watched() as seen:
        spoken = world.up.spoken
        world.kill("core.manager")
        world.up.hears("manager", "ready again", after=spoken)
        eventually(lambda: told(world) == known, within=8, what=lambda: f"{told(world)} instead of {known}")
    assert in_force(world) == {"mark-1"}
    assert seen.failures == [], str(seen)
