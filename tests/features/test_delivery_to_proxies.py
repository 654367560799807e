"""The true Manager over true gRPC, with a platform in memory: what proxies get, when, and what documents are told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import msgspec
import pytest
from envoy.config.route.v3 import route_pb2

from core.manager.container import ManagerContainer
from core.manager.paths import xds_socket
from core.manager.process import serving
from core.manager.refusals import REFUSED
from core.manager.settings import Settings
from core.manager.testing.client import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Proxy
from core.manager.testing.facts import Fact, document, documents, instance, service, workload, workload_key
from core.manager.xds.resource import ResourceType
from core.model.change import RegistryChange, Synced
from core.model.config import ConfigKey, Document
from core.model.labels import Labels
from core.model.secret import Secret
from core.model.workload import node_id
from platforms.memory import MemoryPlatform

WEB, PAY = "web.default.svc.cluster.local", "pay.default.svc.cluster.local"


def node(name: str) -> str:
    return node_id(workload(name), "cluster.local")


class World:
    """A platform to play the world on, and the state directory of its Managers."""

    def __init__(self, state: Path) -> None:
        self.platform = MemoryPlatform()
        self.settings = Settings(state=state)

    async def tell(self, *facts: Fact) -> None:
        for fact in facts:
            if isinstance(fact, Document):
                await self.platform.config.apply(fact)
            elif isinstance(fact, Secret):
                raise NotImplementedError("these tests have no secrets")
            else:
                self.platform.registry.put(fact)

    def socket(self, name: str) -> Path:
        return xds_socket(self.settings.state, workload_key(name))

    async def codes(self, key: ConfigKey) -> set[str]:
        return {found.code for found in await self.platform.config.status(key)}

    async def told(self, key: ConfigKey, codes: set[str], *, within: float = 5.0) -> None:
        """Waits until the findings reported to the store are these."""
        async with asyncio.timeout(within):
            while await self.codes(key) != codes:  # noqa: ASYNC110 - a store tells nobody of its statuses
                await asyncio.sleep(0.005)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """Two workloads, two services with an instance each."""
    found = World(tmp_path)
    await found.tell(workload("a", number=1), workload("b", number=2, labels={"version": "v1"}))
    await found.tell(service("web"), service("pay"), instance("web", "10.0.0.1"), instance("pay", "10.0.0.2"))
    return found


@pytest.fixture
async def manager(world: World) -> AsyncIterator[ManagerContainer]:
    async with serving(world.settings, world.platform.record) as container:
        yield container


@pytest.fixture(params=["delta", "state of the world"])
def dialect(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "delta")


def leads(host: str, to: str, *, name: str = "r", **more: object) -> Document:
    """A rule that sends calls of `host` to `to`."""
    route = {"route": [{"destination": {"host": to}}]} | more
    return document("VirtualService", name, {"hosts": [host], "http": [route]})


def goes(proxy: Proxy, to: str, *, host: str = WEB) -> bool:
    """Whether calls of `host` on port 80 lead to `to`, in all that the proxy has of it."""
    expected = {f"outbound|80||{to}"}
    found = [proxy.clusters_of(name, f"{host}:80") for name in ("80", "http_proxy")]
    return found == [expected, expected]


# -- starting ----------------------------------------------------------------------------------------------------------


class LateRegistry:
    """A registry that has told all it knows, but does not say so before it is let."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.complete = asyncio.Event()

    async def watch(self) -> AsyncIterator[RegistryChange]:
        async for change in self._world.platform.registry.watch():
            if isinstance(change, Synced):
                await self.complete.wait()
            yield change


async def test_nothing_is_served_before_everything_is_known(world: World) -> None:
    """As long as one source has not told all, there is no socket; then a proxy gets all at once."""
    late = LateRegistry(world)
    container = ManagerContainer(
        settings=world.settings, platform=msgspec.structs.replace(world.platform.record, registry=late)
    )
    working = asyncio.create_task(container.manager().run())
    try:
        await asyncio.sleep(0.1)
        assert container.world().inputs.services.keys(), "the Manager has heard of the services by now"
        assert not world.socket("a").exists()
        late.complete.set()
        await asyncio.wait_for(container.manager().ready.wait(), 5)
        async with Proxy(node("a")).connected(world.socket("a")) as proxy:
            await proxy.until(lambda p: goes(p, WEB))
            assert f"outbound|80||{PAY}" in proxy.names(CLUSTER)
    finally:
        working.cancel()
        await asyncio.wait([working])
        await container.server().close()


# -- changes -----------------------------------------------------------------------------------------------------------


async def test_a_change_reaches_the_proxies(world: World, manager: ManagerContainer, dialect: bool) -> None:
    """An instance, a service and a rule that come reach every proxy, and so does their end."""
    async with (
        Proxy(node("a"), delta=dialect).connected(world.socket("a")) as a,
        Proxy(node("b"), delta=dialect).connected(world.socket("b")) as b,
    ):
        for proxy in (a, b):
            await proxy.until(lambda p: goes(p, WEB))
        await world.tell(instance("web", "10.0.0.9"), service("new"), leads("web", "pay"))
        for proxy in (a, b):
            await proxy.until(lambda p: b"10.0.0.9" in p.held[ENDPOINTS][f"outbound|80||{WEB}"].body)
            await proxy.until(lambda p: goes(p, PAY))
            await proxy.until(lambda p: "outbound|80||new.default.svc.cluster.local" in p.names(CLUSTER))
        world.platform.registry.remove(service("new").key)
        await world.platform.config.remove(leads("web", "pay").key)
        for proxy in (a, b):
            await proxy.until(lambda p: goes(p, WEB))
            await proxy.until(lambda p: "outbound|80||new.default.svc.cluster.local" not in p.names(CLUSTER))
            assert not any(came.refused for came in proxy.came)


async def test_an_endpoint_comes_alone(world: World, manager: ManagerContainer) -> None:
    """A changed instance: one response with one load assignment, and nothing else is sent."""
    async with Proxy(node("a")).connected(world.socket("a")) as proxy:
        await proxy.until(lambda p: goes(p, WEB) and not manager.proxies().busy())
        before = len(proxy.came)
        await world.tell(instance("web", "10.0.0.9"))
        await proxy.until(lambda p: len(p.came) > before and not manager.proxies().busy())
        (only,) = proxy.came[before:]
        assert (only.type, only.names) == (ENDPOINTS, (f"outbound|80||{WEB}",))


async def test_a_rule_for_some_callers_regroups_them(world: World, manager: ManagerContainer, dialect: bool) -> None:
    """A rule that asks for the caller's labels reaches those who carry them, from the moment it asks until it ends."""
    async with (
        Proxy(node("a"), delta=dialect).connected(world.socket("a")) as a,
        Proxy(node("b"), delta=dialect).connected(world.socket("b")) as b,
    ):
        for proxy in (a, b):
            await proxy.until(lambda p: goes(p, WEB))
        rule = leads("web", "pay", match=[{"sourceLabels": {"version": "v1"}}])
        await world.tell(rule)
        await b.until(lambda p: goes(p, PAY))
        assert goes(a, WEB)
        # The caller's labels change: it is another caller now.
        await world.tell(msgspec.structs.replace(workload("a", number=1), labels=Labels.of({"version": "v1"})))
        await a.until(lambda p: goes(p, PAY))
        await world.platform.config.remove(rule.key)
        for proxy in (a, b):
            await proxy.until(lambda p: goes(p, WEB))


async def test_a_workload_that_leaves_takes_its_socket_with_it(world: World, manager: ManagerContainer) -> None:
    """Its stream ends, the others go on, and when it is back its proxy is served as before."""
    async with (
        Proxy(node("a")).connected(world.socket("a")) as a,
        Proxy(node("b")).connected(world.socket("b")) as b,
    ):
        for proxy in (a, b):
            await proxy.until(lambda p: goes(p, WEB))
        world.platform.registry.remove(workload_key("a"))
        await a.until(lambda p: p.code is not None)
        assert not world.socket("a").exists()
        await world.tell(leads("web", "pay"))
        await b.until(lambda p: goes(p, PAY))
        await world.tell(workload("a", number=1))
        await b.until(lambda p: world.socket("a").exists())
        async with a.connected(world.socket("a")):
            await a.until(lambda p: goes(p, PAY))


# -- who is served -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", ["b", "a.shop", "nobody"])
async def test_who_claims_another_name_is_refused(
    claimed: str, world: World, manager: ManagerContainer, dialect: bool
) -> None:
    """A socket is for one workload: a proxy that says it is another one gets nothing but a refusal that says so."""
    async with Proxy(node(claimed), delta=dialect).connected(world.socket("a")) as proxy:
        await proxy.until(lambda p: p.code is not None)
        assert proxy.code is grpc.StatusCode.PERMISSION_DENIED
        assert "this socket is for a.default" in proxy.details
        assert proxy.came == []


async def test_a_restarted_manager_sends_nothing_again(world: World) -> None:
    """A proxy that reconnects and says what it has gets only what changed while the Manager was away."""
    proxy = Proxy(node("a"))
    async with serving(world.settings, world.platform.record), proxy.connected(world.socket("a")):
        await proxy.until(lambda p: goes(p, WEB))
    proxy.came.clear()
    async with serving(world.settings, world.platform.record) as manager, proxy.connected(world.socket("a")):
        await proxy.until(lambda p: manager.proxies().status() and manager.proxies().status()[0].synced)
        await proxy.until(lambda p: not manager.proxies().busy())
        assert [came for came in proxy.came if came.names or came.removed] == []
        await world.tell(leads("web", "pay"))
        await proxy.until(lambda p: goes(p, PAY))
    proxy.came.clear()
    await world.tell(instance("pay", "10.0.0.7"))
    async with serving(world.settings, world.platform.record), proxy.connected(world.socket("a")):
        await proxy.until(lambda p: any(came.names for came in p.came))
        assert [came.names for came in proxy.came if came.names] == [(f"outbound|80||{PAY}",)]


# -- findings ----------------------------------------------------------------------------------------------------------


async def test_a_dangling_reference_is_reported_until_it_is_none(world: World, manager: ManagerContainer) -> None:
    """IST0101 stands in the document's status while a host or a subset is missing, and no longer."""
    destination = {"host": "later", "subset": "v1"}
    rule = document("VirtualService", "r", {"hosts": ["web"], "http": [{"route": [{"destination": destination}]}]})
    await world.tell(rule)
    await world.told(rule.key, {"IST0101"})
    await world.tell(service("later"))
    await asyncio.sleep(0)
    assert await world.codes(rule.key) == {"IST0101"}
    subsets = [{"name": "v1", "labels": {"version": "v1"}}]
    policy = document("DestinationRule", "p", {"host": "later", "subsets": subsets})
    await world.tell(policy)
    await world.told(rule.key, set())
    await world.told(policy.key, {"IST0173"})
    await world.tell(instance("later", "10.0.0.5", labels={"version": "v1"}))
    await world.told(policy.key, set())
    world.platform.registry.remove(service("later").key)
    await world.told(rule.key, {"IST0101"})


async def test_a_wrong_document_has_no_effect_on_a_good_one(world: World, manager: ManagerContainer) -> None:
    """Two documents come, one of them wrong in itself: the good one is in force, the wrong one is told why."""
    wrong = document("VirtualService", "wrong", {"hosts": ["pay"], "http": [{"timeout": "soon"}]})
    async with Proxy(node("a")).connected(world.socket("a")) as proxy:
        await world.tell(wrong, leads("web", "pay"))
        await proxy.until(lambda p: goes(p, PAY))
        assert goes(proxy, PAY, host=PAY)
        await world.told(wrong.key, {"IST0106"})
        assert await world.codes(leads("web", "pay").key) == set()


def no_timeout_of_66_seconds(type_: ResourceType, name: str, body: bytes) -> str:
    """As an Envoy might that has something against that number. It does not say which part it means."""
    if type_ is not ROUTES:
        return ""
    hosts = route_pb2.RouteConfiguration.FromString(body).virtual_hosts
    bad = any(route.route.timeout.seconds == 66 for host in hosts for route in host.routes)
    return "I do not like it" if bad else ""


async def test_what_a_proxy_refuses_does_not_hold_up_the_rest(
    world: World, manager: ManagerContainer, dialect: bool
) -> None:
    """Of seven new rules, all in one configuration, a proxy refuses one: it is found and told, the others work."""
    names = [f"s{i}" for i in range(7)]
    await world.tell(*(service(name) for name in names))
    hosts = {name: f"{name}.default.svc.cluster.local" for name in names}
    proxy = Proxy(node("a"), delta=dialect, refuses=no_timeout_of_66_seconds)
    async with proxy.connected(world.socket("a")):
        await proxy.until(lambda p: all(goes(p, host, host=host) for host in hosts.values()))
        rules = {name: leads(name, "pay", name=name, timeout="66s" if name == "s3" else "1s") for name in names}
        await world.tell(*rules.values())
        good = [host for name, host in hosts.items() if name != "s3"]
        await proxy.until(lambda p: all(goes(p, PAY, host=host) for host in good), within=2)
        assert goes(proxy, hosts["s3"], host=hosts["s3"])
        await world.told(rules["s3"].key, {REFUSED})
        for name in names:
            assert await world.codes(rules[name].key) == ({REFUSED} if name == "s3" else set())
        # Corrected, it is tried again.
        await world.tell(leads("s3", "pay", name="s3", timeout="2s"))
        await proxy.until(lambda p: goes(p, PAY, host=hosts["s3"]))
        await world.told(rules["s3"].key, set())


async def test_settings_of_the_mesh_reach_the_proxies(world: World, manager: ManagerContainer) -> None:
    """REGISTRY_ONLY, put and taken back: the way to unknown hosts is closed and opened."""
    (config,) = documents(
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\n"
        "spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n",
        namespace="istio-system",
    )
    async with Proxy(node("a")).connected(world.socket("a")) as proxy:
        await proxy.until(lambda p: "PassthroughCluster" in p.names(CLUSTER))
        await world.tell(config)
        await proxy.until(lambda p: "PassthroughCluster" not in p.names(CLUSTER))
        await world.platform.config.remove(config.key)
        await proxy.until(lambda p: "PassthroughCluster" in p.names(CLUSTER))
        assert proxy.names(LISTENER)
