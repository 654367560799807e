"""Random sets of PeerAuthentications on real proxies: none is ever refused, callers of the mesh always get through, and
whoever comes without a proxy is treated as the simulator says.

The rules of a seed never change, so that what was found can be found again.
"""

from random import Random
from typing import Any

import pytest
import yaml

from core.model.service import WorkloadKey
from core.simulate import Call
from core.simulate.call import Shown
from istioctl.testing.caller import send, send_many
from istioctl.testing.judge import disagreements
from istioctl.testing.mesh import TestMesh
from istioctl.testing.observed import real, simulated
from istioctl.testing.runner import followed
from istioctl.testing.wrapping import wrapping

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

SEEDS = range(8)
MODES = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")
PORTS = ("80", "8080", "8088", "9000", "9001", "9080", "50051", "15001", "15006")
"""Of services, of workloads, and of proxies; a PeerAuthentication means those of workloads."""
SHOWN: tuple[Shown | None, ...] = (None, "mesh", "foreign", "expired", "elsewhere", "nameless")
Json = dict[str, Any]

_ECHO = "/test.Echo/Say"
INBOUND: tuple[Json, ...] = (
    {"host": "many-v1", "port": 80},
    {"host": "many-v1", "port": 9000, "protocol": "tcp"},
    {"host": "many-v1", "port": 9001},
    {"host": "many-v1", "port": 9001, "protocol": "tcp"},
    {"host": "many-v1", "port": 50051, "protocol": "grpc", "path": _ECHO},
    {"host": "reviews-v1", "port": 9080},
)
OUTBOUND: tuple[Json, ...] = (
    {"host": "many", "port": 80, "via": "virtual"},
    {"host": "many", "port": 8080, "via": "virtual"},
    {"host": "many", "port": 9000, "protocol": "tcp", "via": "virtual"},
    {"host": "many", "port": 9001, "via": "virtual"},
    {"host": "many", "port": 9001, "protocol": "tcp", "via": "virtual"},
    {"host": "many", "port": 50051, "protocol": "grpc", "path": _ECHO, "via": "virtual"},
    {"host": "reviews.shop", "port": 9080, "via": "virtual"},
    {"host": "reviews", "port": 9080, "via": "virtual"},
)


def rule(random: Random, name: str) -> Json:
    spec: Json = {"mtls": {"mode": random.choice(MODES)}} if random.random() < 0.8 else {}
    if random.random() < 0.6:
        spec["selector"] = {"matchLabels": {"app": random.choice(("many", "reviews"))}}
        ports = random.sample(PORTS, random.randint(0, 4))
        spec |= {"portLevelMtls": {port: {"mode": random.choice(MODES)} for port in ports}} if ports else {}
    kind = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication"}
    space = random.choice(("istio-system", "default", "default", "shop"))
    return {**kind, "metadata": {"name": name, "namespace": space}, "spec": spec}


def rules(seed: int) -> str:
    random = Random(seed)
    return str(yaml.safe_dump_all([rule(random, f"r{i}") for i in range(random.randint(1, 5))], sort_keys=False))


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_rules_say(seed: int, live: TestMesh) -> None:
    await hold(rules(seed), live, captured=False)


@pytest.mark.parametrize("seed", SEEDS[::3])
async def test_whatever_rules_say_in_capture_redirect(seed: int, redirected: TestMesh) -> None:
    await hold(rules(seed), redirected, captured=True)


async def hold(text: str, mesh: TestMesh, *, captured: bool) -> None:
    await mesh.clear()
    await mesh.apply(text)
    await mesh.drained()
    assert not mesh.container.proxies().blames(), text
    for wanted in OUTBOUND:
        via = "captured" if captured else wanted["via"]
        call = Call(source=WorkloadKey("default", "sleep-v1"), **{**wanted, "via": via})
        reply = await send(mesh, call)
        assert real([reply])[0].who.startswith(("many-", "reviews-")), f"{call}\n{reply}\n{text}"
    for wanted in INBOUND:
        for shown in SHOWN:
            called = WorkloadKey("default", wanted["host"])
            await agree(mesh, Call(source=called, via="inbound", shown=shown, **wanted), text)


async def agree(mesh: TestMesh, call: Call, text: str) -> None:
    inside = wrapping(mesh.container.authority(), call) if call.shown is not None else None
    (reply,) = await send_many(mesh, call, times=1, inside=inside)
    problems = disagreements(simulated(followed(mesh, call), call), real([reply]))
    assert not problems, f"{problems}\n{call}\n{text}"
