"""Policies on real proxies: random sets of them are never refused, and whoever calls is let in or not as the simulator
says; they take effect when they come and when they go, and the access log tells which one it was.

The rules of a seed never change, so that what was found can be found again; its calls have connections of their own.
"""

import asyncio
import socket
import ssl
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from core.model.service import WorkloadKey
from core.simulate import Call
from core.simulate.call import Shown
from istioctl.testing.caller import entrance, send, send_many
from istioctl.testing.judge import disagreements
from istioctl.testing.mesh import TestMesh
from istioctl.testing.observed import real, simulated
from istioctl.testing.runner import followed
from istioctl.testing.wrapping import wrapping

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

SEEDS = range(12)
Json = dict[str, Any]

SOURCES: Json = {
    "principals": ("cluster.local/ns/elsewhere/sa/caller", "cluster.local/ns/else*", "*/sa/caller", "*", "a/b"),
    "namespaces": ("elsewhere", "else*", "*where", "default"),
    "serviceAccounts": ("elsewhere/caller", "caller"),
    "trustDomains": ("cluster.local", "elsewhere.example"),
    "ipBlocks": ("127.0.0.1", "10.0.0.0/8", "0.0.0.0/0"),
    "remoteIpBlocks": ("203.0.113.0/24", "127.0.0.0/8"),
    "requestPrincipals": ("*",),
}
OPERATIONS: Json = {
    "hosts": ("many-v1", "many*", "*.example.com", "A.example.com:80", "*"),
    "ports": ("80", "9000", "9001", "50051"),
    "methods": ("GET", "P*", "*"),
    "paths": ("/a", "/a/*", "*/c", "/a/{*}/c", "/{**}", "/test.Echo/Say", "*"),
}
KEYS: Json = {
    "request.headers[x-a]": ("1", "1*", "*2", "*"),
    "source.namespace": ("elsewhere",),
    "source.ip": ("127.0.0.1",),
    "remote.ip": ("203.0.113.7",),
    "source.principal": ("*",),
    "destination.port": ("80", "9000"),
    "connection.sni": ("x", "*"),
}


def fields(random: Random, known: Json) -> Json:
    """One or two, each as it is or as its opposite. Service accounts go with no other names."""
    found: Json = {}
    for name in random.sample(sorted(known), random.randint(1, 2)):
        key = name if random.random() < 0.7 else f"not{name[0].upper()}{name[1:]}"
        found[key] = random.sample(known[name], random.randint(1, min(2, len(known[name]))))
    names = [key for key in found if ("rincipals" in key and "equest" not in key) or "amespaces" in key]
    return {key: each for key, each in found.items() if not (names and "erviceAccounts" in key)}


def clause(random: Random) -> Json:
    found: Json = {}
    if random.random() < 0.6:
        found["from"] = [{"source": fields(random, SOURCES)} for _ in range(random.randint(1, 2))]
    if random.random() < 0.6:
        found["to"] = [{"operation": fields(random, OPERATIONS)} for _ in range(random.randint(1, 2))]
    if random.random() < 0.4:
        key = random.choice(sorted(KEYS))
        found["when"] = [{"key": key, random.choice(("values", "notValues")): [random.choice(KEYS[key])]}]
    return found


def policy(random: Random, name: str) -> Json:
    spec: Json = {"action": random.choice(("ALLOW", "ALLOW", "DENY", "AUDIT"))}
    spec["rules"] = [clause(random) for _ in range(random.randint(1, 3))]
    if random.random() < 0.5:
        spec["selector"] = {"matchLabels": {"app": random.choice(("many", "reviews"))}}
    metadata: Json = {"name": name, "namespace": random.choice(("istio-system", "default", "default"))}
    if spec["action"] != "AUDIT" and random.random() < 0.1:
        metadata["annotations"] = {"istio.io/dry-run": "true"}
    header = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"}
    return {**header, "metadata": metadata, "spec": spec}


def rules(seed: int) -> str:
    random = Random(seed)
    return str(yaml.safe_dump_all([policy(random, f"p{i}") for i in range(random.randint(2, 4))], sort_keys=False))


def calls(random: Random) -> list[Call]:
    found: list[Json] = [
        {"port": random.choice((80, 8088, 9001)), "path": path, "method": random.choice(("GET", "POST"))}
        for path in ("/", "/a", "/a/b/c?x=/a")
    ]
    found += [{"port": port, "protocol": "tcp"} for port in (9000, 9001)]
    found += [{"port": 50051, "protocol": "grpc", "path": "/test.Echo/Say"}]
    return [made(random, each) for each in found]


def made(random: Random, wanted: Json) -> Call:
    if wanted.get("protocol") != "tcp":
        headers = (
            ("x-a", random.choice(("1", "12", "2"))),
            ("x-forwarded-for", random.choice(("203.0.113.7", "10.1.1.1"))),
        )
        chosen = tuple(each for each in headers if random.random() < 0.5)
        wanted["headers"] = (*chosen, ("x-a", "12")) if ("x-a", "2") in chosen else chosen
    if not wanted.get("protocol"):
        wanted["authority"] = random.choice(("many-v1", "a.example.com", "a.example.com:80", "b.example.com:8080"))
    shown: Shown | None = random.choice((None, "mesh"))
    return Call(source=WorkloadKey("default", "many-v1"), host="many-v1", via="inbound", shown=shown, **wanted)


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_policies_say(seed: int, live: TestMesh) -> None:
    mesh, text = live, rules(seed)
    await mesh.clear()
    await mesh.apply(text)
    assert not mesh.container.proxies().blames(), text
    for call in calls(Random(seed)):
        inside = wrapping(mesh.container.authority(), call) if call.shown is not None else None
        (reply,) = await send_many(mesh, call, times=1, inside=inside)
        problems = disagreements(simulated(followed(mesh, call), call), real([reply]))
        assert not problems, f"{problems}\n{call}\n{text}"


# -- taking effect -----------------------------------------------------------------------------------------------------

DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: not-shop}
spec:
  selector: {matchLabels: {app: many}}
  action: DENY
  rules: [{from: [{source: {namespaces: [shop]}}]}]
"""
STRANGER = WorkloadKey("shop", "sleep-v1")


STRANGE = (
    Call(source=STRANGER, host="many.default", port=80, via="virtual"),
    Call(source=STRANGER, host="many.default", port=50051, protocol="grpc", path="/test.Echo/Say", via="virtual"),
    Call(source=STRANGER, host="many.default", port=9000, protocol="tcp", via="virtual"),
)
ALLOWED: list[tuple[int, int | None]] = [(200, None), (200, 0), (200, None)]
REFUSED: list[tuple[int, int | None]] = [(403, None), (200, 7), (0, None)]


async def answers(mesh: TestMesh) -> list[tuple[int, int | None]]:
    """What the stranger is told."""
    found = [await send(mesh, call) for call in STRANGE]
    return [(reply.status, reply.grpc) for reply in found]


async def test_a_denial_comes_and_goes(live: TestMesh) -> None:
    """HTTP is told 403, gRPC PERMISSION_DENIED, bytes are closed."""
    await live.clear()
    for _ in range(2):
        await settled(live, DENY)
        assert await answers(live) == REFUSED
        await settled(live, "")
        assert await answers(live) == ALLOWED


async def settled(mesh: TestMesh, text: str) -> None:
    """These rules and no others; without connections from before."""
    await mesh.clear()
    await mesh.apply(text)
    await mesh.drained()


# -- who it is ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_calls_again_shows_his_certificate_again(version: ssl.TLSVersion, live: TestMesh) -> None:
    """Whoever could resume a session would be let in by a certificate that is over, or as whom he is no more."""
    call = Call(source=WorkloadKey("default", "many-v1"), host="many-v1", port=80, via="inbound", shown="mesh")
    context = wrapping(live.container.authority(), call)
    context.maximum_version = version
    session = None
    for _ in range(3):
        session, reused, answer = await asyncio.to_thread(_session, context, entrance(live, call), session)
        assert (reused, answer) == (False, b"HTTP/1.1 200")


def _session(
    context: ssl.SSLContext, place: tuple[str, int], session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool | None, bytes]:
    with (
        socket.create_connection(place, timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="many", session=session) as line,
    ):
        line.sendall(b"GET / HTTP/1.1\r\nhost: many-v1\r\n\r\n")
        answer = line.recv(12)
        return line.session, line.session_reused, answer


# -- why ---------------------------------------------------------------------------------------------------------------

LOGGED = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {accessLogFile: %s}
---
"""


async def test_the_access_log_says_which_policy_it_was(live: TestMesh, tmp_path: Path) -> None:
    """For requests and for connections, and when no policy allowed it; the simulator names the same one."""
    log = tmp_path / "access.log"
    await settled(live, LOGGED % log + DENY)
    assert await answers(live) == REFUSED
    for call in STRANGE:
        step = followed(live, call).steps[-1]
        assert (step.what, step.name) == ("policy", "ns[default]-policy[not-shop]-rule[0]")
    expected = "rbac_access_denied_matched_policy[ns[default]-policy[not-shop]-rule[0]]"
    await logged(log, [f"403 - {expected}", f"- {expected}"])
    await settled(live, LOGGED % log + DENY.replace("DENY", "ALLOW").replace("shop]", "nowhere]"))
    assert await answers(live) == REFUSED
    await logged(log, ["403 - rbac_access_denied_matched_policy[none]"])


async def logged(log: Path, texts: list[str]) -> None:
    """Envoy writes what has gathered every second or so."""
    end = time.monotonic() + 15
    while missing := [text for text in texts if text not in (found := await asyncio.to_thread(log.read_text))]:
        assert time.monotonic() < end, f"{missing} not in\n{found}"
        await asyncio.sleep(0.05)


async def test_a_dry_run_is_counted(live: TestMesh) -> None:
    """At the called proxy, by what would have been."""
    dry = DENY.replace("{name: not-shop}", '{name: not-shop, annotations: {istio.io/dry-run: "true"}}')
    await settled(live, dry)
    assert await answers(live) == ALLOWED
    found = [
        (await agent.admin.get("/stats?filter=rbac.istio_dry_run_deny_.shadow_denied")).text
        for key, agent in live.agents.items()
        if key.name.startswith("many-")
    ]
    counts = [line.rpartition(" ")[2] for text in found for line in text.splitlines()]
    assert sum(map(int, counts)) >= 2, found
