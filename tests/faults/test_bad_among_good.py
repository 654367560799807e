"""One bad document among 20 good ones in one push, with real Envoys that refuse it.

Our validation passes nothing that this Envoy is known to refuse, so the encoder is made to write what it refuses for
documents that carry a mark.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from core.diagnostics import Severity
from core.envoy import clusters, routes
from core.ir.traffic import Outlier
from core.ir.values import HeaderOps, Headers
from core.manager.refusals import REFUSED
from core.model.config import ConfigKey
from core.model.service import WorkloadKey
from core.simulate.call import Call, Via
from core.view.route import Route
from core.view.upstream import Upstream
from istioctl.local.testing import istioctl
from istioctl.testing.caller import send
from istioctl.testing.mesh import Manner, TestMesh, documents, mesh
from platforms.local.addresses import Addresses
from platforms.local.config_store import SqliteConfigStore

pytestmark = pytest.mark.envoy

COUNT = 20
MARK = "refuse-me"
MARKED_PERCENT = 66
CLIENTS = ("client-a", "client-b")


@pytest.fixture(scope="module", autouse=True)
def poison() -> Iterable[None]:
    """A header with the value `MARK`, and an outlier detection with `MARKED_PERCENT`, become what Envoy refuses."""
    with pytest.MonkeyPatch.context() as patch:
        encode_routes, encode_cluster = routes.encode_routes, clusters.encode

        def bad_routes(values: tuple[Route, ...]) -> bytes:
            return encode_routes([_spoilt(value) for value in values])

        def bad_cluster(value: Upstream) -> bytes:
            if value.outlier is None or value.outlier.max_ejection_percent != MARKED_PERCENT:
                return encode_cluster(value)
            return encode_cluster(msgspec.structs.replace(value, outlier=Outlier(max_ejection_percent=166)))

        patch.setattr(routes, "encode_routes", bad_routes)
        patch.setattr(clusters, "encode", bad_cluster)
        yield


def _spoilt(value: Route) -> Route:
    if ("x-mark", MARK) not in value.headers.request.set:
        return value
    return msgspec.structs.replace(value, headers=Headers(HeaderOps(set=(("x-mark", "%NOPE%"),))))


@pytest.fixture(scope="module")
def mesh_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    services = "".join(f"  svc-{i}: {{ports: [80/http]}}\n" for i in range(COUNT))
    path = tmp_path_factory.mktemp("mesh") / "mesh.yaml"
    path.write_text(f"services:\n  client:\n    workloads: {{a: {{command: x}}, b: {{command: x}}}}\n{services}")
    return path


@pytest.fixture(params=["virtual listeners", "one route configuration"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Via, ...]:
    """With virtual listeners every service has a route configuration of its own as well, which tells whose fault it is;
    without them, all that is refused is the one that is made of all rules."""
    if request.param == "virtual listeners":
        return "proxy", "tunnel", "virtual"
    monkeypatch.setattr(Addresses, "network", lambda self, key: None)
    return "proxy", "tunnel"


@pytest.fixture
async def running(ways: tuple[Via, ...], mesh_file: Path, tmp_path: Path) -> AsyncIterator["Fleet"]:
    async with mesh(mesh_file, state=tmp_path / "state", manner=Manner(listener_drain=45)) as found:
        yield Fleet(found, ways)


def rule(i: int, status: int, *, bad: bool = False) -> str:
    """Calls to `svc-i` are answered with `status`."""
    headers = f"headers: {{request: {{set: {{x-mark: {MARK}}}}}}}, " if bad else ""
    fault = f"fault: {{abort: {{httpStatus: {status}, percentage: {{value: 100}}}}}}"
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: rule-{i}}}
spec:
  hosts: [svc-{i}]
  http: [{{{headers}{fault}, route: [{{destination: {{host: svc-{i}}}}}]}}]
---
"""


def policy(i: int, connections: int, *, bad: bool = False) -> str:
    outlier = f", outlierDetection: {{maxEjectionPercent: {MARKED_PERCENT}}}" if bad else ""
    pool = f"connectionPool: {{tcp: {{maxConnections: {connections}}}}}"
    return f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: policy-{i}}}
spec: {{host: svc-{i}, trafficPolicy: {{{pool}{outlier}}}}}
---
"""


def policies(connections: int, *, bad: Iterable[int] = ()) -> str:
    return "".join(policy(i, connections, bad=i in bad) for i in range(COUNT))


def rules(status: int, *, bad: Iterable[int] = ()) -> str:
    return "".join(rule(i, status, bad=i in bad) for i in range(COUNT))


def expected(status: int, *, but: dict[int, int]) -> list[int]:
    return [but.get(i, status) for i in range(COUNT)]


class Fleet:
    """The two clients and what they see of the services."""

    def __init__(self, running: TestMesh, ways: tuple[Via, ...]) -> None:
        self.mesh = running
        self._ways = ways
        store = running.container.platform().config
        assert isinstance(store, SqliteConfigStore)
        self._store = store

    async def put(self, text: str) -> None:
        """As `istioctl apply` does it: documents one by one, not waiting for any proxy."""
        store = self._store
        for document in documents(text, namespace="default"):
            old = await store.get(document.key)
            await store.put(msgspec.structs.replace(document, revision=old.revision if old else ""))

    async def answers(self, wanted: list[int], *, within: float) -> None:
        """Waits until every client gets `wanted` on every way, one status for each service."""

        async def seen() -> str:
            for client in CLIENTS:
                for via in self._ways:
                    found = await asyncio.gather(*(self._call(client, via, i) for i in range(COUNT)))
                    if found != wanted:
                        return f"{client} by {via} gets {found}"
            return ""

        await eventually(seen, within=within)

    async def _call(self, client: str, via: Via, i: int) -> int:
        call = Call(source=WorkloadKey("default", client), host=f"svc-{i}", via=via)
        return (await send(self.mesh, call)).status

    async def connections(self, wanted: list[int], *, within: float) -> None:
        """Waits until every client's limit of connections to each service is the wanted one."""

        async def seen() -> str:
            for client in CLIENTS:
                found = await self._limits(client)
                if found != wanted:
                    return f"{client} has {found}"
            return ""

        await eventually(seen, within=within)

    async def _limits(self, client: str) -> list[int]:
        text = (await self.mesh.agents[WorkloadKey("default", client)].admin.get("/clusters")).text
        line = r"outbound\|80\|\|svc-(\d+)\..*::default_priority::max_connections::(\d+)"
        found = {int(i): int(limit) for i, limit in re.findall(line, text)}
        return [found[i] for i in range(COUNT)]

    async def guilty(self, *names: str) -> None:
        """Exactly these documents carry MSH3001, as an error, and the store is told so."""
        await self.mesh.settled()
        found = self.mesh.container.manager().diagnostics
        keys = list(self.mesh.container.world().documents)
        refused = {key.name: [d.severity for d in found(key) if d.code == REFUSED] for key in keys}
        assert {name: found for name, found in refused.items() if found} == {n: [Severity.ERROR] for n in names}
        for key in keys:

            async def reported(key: ConfigKey = key) -> str:
                told = await self._store.status(key)
                return "" if any(d.code == REFUSED for d in told) == (key.name in names) else f"{key}: {told}"

            await eventually(reported, within=2)


async def eventually(seen: Callable[[], Awaitable[str]], *, within: float) -> None:
    """Returns when `seen` has nothing to complain of any more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while complaint := await seen():
        assert loop.time() < deadline, f"not within {within:g} s: {complaint}"


async def test_one_bad_rule(running: Fleet) -> None:
    """Of 20 VirtualServices in one push the 19 are in force within 2 s; the bad one keeps its last good version.

    It alone is blamed, until it is corrected: then it is in force.
    """
    await running.put(rules(401))
    await running.answers(expected(401, but={}), within=2)
    await running.put(rules(402, bad=[7]))
    await running.answers(expected(402, but={7: 401}), within=2)
    await running.guilty("rule-7")
    await running.answers(expected(402, but={7: 401}), within=0)
    await running.put(rule(7, 402))
    await running.answers(expected(402, but={}), within=2)
    await running.guilty()


async def test_several_bad_rules(running: Fleet) -> None:
    """Three bad ones that never had a good version: each is blamed, and its service answers as without a rule."""
    await running.put(rules(402, bad=[0, 8, 19]))
    await running.answers(expected(402, but={0: 503, 8: 503, 19: 503}), within=2)
    await running.guilty("rule-0", "rule-8", "rule-19")


async def test_a_bad_rule_that_changes_and_stays_bad(running: Fleet) -> None:
    """However often and quickly it changes: in force is what was good before, not a version in between."""
    await running.put(rules(401))
    await running.answers(expected(401, but={}), within=2)
    for text in (rule(7, 402, bad=True), rule(7, 403, bad=True), rule(3, 402), rule(7, 404, bad=True)):
        await running.put(text)
    await running.answers(expected(401, but={3: 402}), within=2)
    await running.guilty("rule-7")
    await running.put(rule(7, 405, bad=True) + rule(4, 402))
    await running.answers(expected(401, but={3: 402, 4: 402}), within=2)
    await running.guilty("rule-7")


async def test_one_bad_policy(running: Fleet) -> None:
    """The same for 20 DestinationRules."""
    await running.put(policies(11))
    await running.connections(expected(11, but={}), within=2)
    await running.put(policies(12, bad=[5]))
    await running.connections(expected(12, but={5: 11}), within=2)
    await running.guilty("policy-5")
    await running.put(policy(5, 12))
    await running.connections(expected(12, but={}), within=2)
    await running.guilty()


async def test_who_waits_is_told_of_the_refusal(running: Fleet, tmp_path: Path) -> None:
    """`apply --wait` of 20 documents names the bad one, the proxy and its reason; the others are acknowledged."""
    state = tmp_path / "state"
    done = await asyncio.to_thread(istioctl, "apply", "--wait=30", "-f", "-", stdin=rules(503, bad=[7]), state=state)
    assert done.returncode == 1
    assert "VirtualService default/rule-7 is stored, and out of force: a proxy refused it (client-" in done.stderr
    assert "NOPE)" in done.stderr
    await running.guilty("rule-7")

    async def told() -> str:
        shown = await asyncio.to_thread(istioctl, "status", "-o", "json", state=state)
        found = {each["name"] for each in msgspec.json.decode(shown.stdout) if not each["acknowledged"]}
        refused = {each["name"] for each in msgspec.json.decode(shown.stdout) if each["refused"]}
        return "" if (found, refused) == ({"rule-7"}, {"rule-7"}) else f"not acknowledged {found}, refused {refused}"

    await eventually(told, within=10)
