"""Two true Managers on one platform and one state directory: what they agree on, and what is only told once."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from envoy.config.cluster.v3 import cluster_pb2

from core.diagnostics import Diagnostic
from core.manager.api.server import shared
from core.manager.ca.doors import Ports
from core.manager.container import ManagerContainer
from core.manager.paths import kubeconfig, xds_socket
from core.manager.process import serving
from core.manager.refusals import REFUSED
from core.manager.settings import Settings
from core.manager.status import MeshStatus
from core.manager.testing.client import CLUSTER, ROUTES, Proxy
from core.manager.testing.facts import documents, instance, service, workload, workload_key
from core.manager.xds.resource import ResourceType
from core.model.config import ConfigKey
from core.model.workload import node_id
from platforms.memory import MemoryPlatform

WEB = "web.default.svc.cluster.local"
CLUSTER_OF_WEB = f"outbound|80||{WEB}"


def policy(connections: int) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec: {{host: web, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}}}
"""


def too_many(type_: ResourceType, name: str, body: bytes) -> str:
    """What no proxy of this test takes: 66 connections."""
    if type_ is not CLUSTER or name != CLUSTER_OF_WEB:
        return ""
    return "66 is too many" if 66 in limits(cluster_pb2.Cluster.FromString(body)) else ""


def limits(cluster: cluster_pb2.Cluster) -> list[int]:
    return [each.max_connections.value for each in cluster.circuit_breakers.thresholds]


def limit(proxy: Proxy) -> int:
    held = proxy.held[CLUSTER].get(CLUSTER_OF_WEB)
    return max(limits(cluster_pb2.Cluster.FromString(held.body)), default=0) if held else 0


class Pair:
    """Two Managers, started and ended one by one."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.platform = MemoryPlatform()
        self.reports: list[tuple[Diagnostic, ...]] = []
        report = self.platform.config.report

        async def noted(key: ConfigKey, diagnostics: tuple[Diagnostic, ...]) -> None:
            self.reports.append(diagnostics)
            await report(key, diagnostics)

        self.platform.config.report = noted  # type: ignore[method-assign]

    def settings(self, number: int) -> Settings:
        return Settings(state=self.state, number=number, managers=2)

    @asynccontextmanager
    async def manager(self, number: int) -> AsyncIterator[ManagerContainer]:
        async with serving(self.settings(number), self.platform.record) as found:
            yield found

    @asynccontextmanager
    async def proxy(self, name: str, number: int) -> AsyncIterator[Proxy]:
        """The proxy of workload `name`, at that Manager."""
        proxy = Proxy(node_id(workload(name), "cluster.local"), refuses=too_many)
        async with proxy.connected(xds_socket(self.settings(number).home, workload_key(name))):
            yield proxy

    async def apply(self, text: str) -> ConfigKey:
        (found,) = documents(text)
        await self.platform.config.apply(found)
        return found.key

    async def codes(self, key: ConfigKey) -> list[str]:
        return [each.code for each in await self.platform.config.status(key)]

    async def told(self, key: ConfigKey, *codes: str) -> None:
        async with asyncio.timeout(5):
            while await self.codes(key) != [*codes]:  # noqa: ASYNC110 - a store tells nobody of its statuses
                await asyncio.sleep(0.01)


@pytest.fixture
async def pair(tmp_path: Path) -> Pair:
    found = Pair(tmp_path)
    for fact in (workload("a", number=1), workload("b", number=2), service("web"), instance("web", "10.0.0.1")):
        found.platform.registry.put(fact)
    return found


async def test_what_a_proxy_of_one_refuses_is_out_of_force_at_both(pair: Pair) -> None:
    """Also where nobody is connected: a proxy that comes there gets the last good version, and refuses nothing."""
    async with pair.manager(1), pair.manager(2), pair.proxy("a", 1) as a:
        await pair.apply(policy(10))
        await a.until(lambda p: limit(p) == 10)
        key = await pair.apply(policy(66))
        await pair.told(key, REFUSED)
        await asyncio.wait_for(_held_at(pair, 2), 5)
        async with pair.proxy("b", 2) as b:
            await b.until(lambda p: limit(p) == 10)
            assert not [each for each in b.came if each.refused]
        await pair.apply(policy(20))
        await a.until(lambda p: limit(p) == 20)
        await pair.told(key)


async def _held_at(pair: Pair, number: int) -> None:
    """Until that Manager has written down, too, that something is out of force."""
    path = pair.state / "refused" / f"{number}.json"
    while not path.exists() or path.read_bytes() == b"[]":  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.01)


async def test_findings_are_written_by_one_and_survive_it(pair: Pair) -> None:
    """The follower writes nothing; when the leader is gone it goes on, and does not write again what is written."""
    async with AsyncExitStack() as second:
        async with pair.manager(1), pair.proxy("a", 1) as a:
            await second.enter_async_context(pair.manager(2))
            await pair.apply(policy(10))
            await a.until(lambda p: limit(p) == 10)
            key = await pair.apply(policy(66))
            await pair.told(key, REFUSED)
            await asyncio.wait_for(_held_at(pair, 2), 5)
            written = [each for each in pair.reports if each]
            assert len(written) == 1
        async with pair.proxy("a", 2) as a:
            await a.until(lambda p: limit(p) == 10)
            assert await pair.codes(key) == [REFUSED]
            assert [each for each in pair.reports if each] == written
            await pair.apply(policy(20))
            await pair.told(key)


async def test_a_manager_that_comes_later_knows_what_was_good(pair: Pair) -> None:
    """It was not there when the good version was in force, and yet its proxies get that one."""
    async with pair.manager(1), pair.proxy("a", 1) as a:
        await pair.apply(policy(10))
        await a.until(lambda p: limit(p) == 10)
        key = await pair.apply(policy(66))
        await pair.told(key, REFUSED)
        async with pair.manager(2), pair.proxy("b", 2) as b:
            await b.until(lambda p: limit(p) == 10)
            assert not [each for each in b.came if each.refused]


async def test_a_proxy_that_moves_is_sent_nothing_again(pair: Pair) -> None:
    """Both call the same bytes by the same version, so all it has is still good."""
    async with pair.manager(1), pair.manager(2):
        await pair.apply(policy(10))
        proxy = Proxy(node_id(workload("a"), "cluster.local"))
        async with proxy.connected(xds_socket(pair.settings(1).home, workload_key("a"))):
            await proxy.until(lambda p: limit(p) == 10 and {"80", "http_proxy"} <= p.held[ROUTES].keys())
        before = len(proxy.came)
        async with proxy.connected(xds_socket(pair.settings(2).home, workload_key("a"))):
            await pair.apply(policy(20))
            await proxy.until(lambda p: limit(p) == 20)
        came = [each for each in proxy.came[before:] if each.names or each.removed]
        assert {name for each in came for name in each.names} == {CLUSTER_OF_WEB}
        assert not [each for each in came if each.removed]


async def test_either_tells_of_all_proxies(pair: Pair) -> None:
    """Each proxy once, with the Manager that it is at, and those that are at none of them.

    A Manager that is gone is not waited for.
    """

    async def status(number: int) -> MeshStatus:
        transport = httpx.AsyncHTTPTransport(uds=str(pair.settings(number).home / "api.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return msgspec.json.decode((await client.get("/status")).content, type=MeshStatus)

    async with pair.manager(2), pair.proxy("b", 2) as b:
        async with pair.manager(1), pair.proxy("a", 1) as a:
            await a.until(lambda p: bool(p.held[CLUSTER]))
            await b.until(lambda p: bool(p.held[CLUSTER]))
            for number in (1, 2):
                found = await status(number)
                assert [(each.workload.name, each.manager) for each in found.proxies] == [("a", 1), ("b", 2)]
                assert (found.managers, found.absent) == ((1, 2), ())
        found = await status(2)
        assert ([each.workload.name for each in found.proxies], found.silent) == (["b"], ())
        assert found.absent == (workload_key("a"),)
        with socket.socket(socket.AF_UNIX) as hangs:
            hangs.bind(str(pair.settings(1).home / "api.sock"))
            hangs.listen()
            found = await status(2)
            assert ([each.workload.name for each in found.proxies], found.silent) == (["b"], (1,))


async def test_ports_for_other_machines_are_shared(pair: Pair) -> None:
    """One address leads to whoever is there, also when one of them ends; the config API's certificate is the mesh's."""
    with shared("127.0.0.1", 0) as api, shared("127.0.0.1", 0) as ca, shared("127.0.0.1", 0) as xds:
        ports = [each.getsockname()[1] for each in (api, ca, xds)]
        names = ("api_listen", "ca_listen", "xds_listen")
        listen = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
        one, two = (msgspec.structs.replace(pair.settings(number), **listen) for number in (1, 2))
        async with serving(one, pair.platform.record) as first:
            async with serving(two, pair.platform.record) as second:
                assert first.doors().ports == second.doors().ports == Ports(https=ports[1], xds=ports[2])
            config = msgspec.json.decode(kubeconfig(pair.state).read_bytes())
            roots = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
            async with httpx.AsyncClient(verify=ssl.create_default_context(cadata=roots)) as client:
                for _ in range(4):
                    assert (await client.get(f"https://127.0.0.1:{ports[0]}/livez")).status_code == 200
