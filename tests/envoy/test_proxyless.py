"""gRPC applications without a proxy: grpcio's own xDS client and server, as processes with agents; a true Manager."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import grpc
import msgspec
import pytest

from core.manager.container import ManagerContainer
from core.manager.paths import agent_directory, ca_socket, xds_socket
from core.manager.process import serving
from core.manager.settings import Settings
from core.manager.testing.facts import Fact, document, documents, service, service_key, workload_key
from core.manager.testing.grpc_app import METHOD, Outcome, Task, serve
from core.manager.testing.grpc_control import told
from core.model.config import Document
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.mesh import Mesh
from core.model.secret import Secret
from core.model.service import Instance, InstanceKey, Locality
from core.model.workload import AppPort, Explicit, Proxyless, Workload
from platforms.memory import MemoryPlatform
from proxy import binary
from proxy.agent import Agent, Host
from proxy.identity.authority import Local
from proxy.process import Command
from proxy.proxyless import agent_for
from proxy.reports import Assignment
from proxy.settings import AgentSettings

pytestmark = pytest.mark.envoy

NETWORK = f"127.80.{os.getpid() % 250 + 1}"
REVIEWS = "xds:///reviews:9080"
PORT = 9080
SPIFFE = "spiffe://cluster.local/ns/default/sa/{}"
SUBSETS = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
VERSIONS = document("DestinationRule", "reviews", {"host": "reviews", "subsets": SUBSETS})


def rule(*routes: Mapping[str, object]) -> Document:
    return document("VirtualService", "reviews", {"hosts": ["reviews"], "http": list(routes)})


def to(version: str, weight: int = 100) -> Mapping[str, object]:
    return {"destination": {"host": "reviews", "subset": version}, "weight": weight}


def mutual_tls(mode: str) -> Document:
    (found,) = documents(
        f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: all, namespace: istio-system}}
spec: {{mtls: {{mode: {mode}}}}}
"""
    )
    return found


class Site:
    """A platform in memory, a Manager on it, and agents with their applications."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.platform = MemoryPlatform()
        self.settings = Settings(state=state)
        self.manager: ManagerContainer
        self.stack = contextlib.AsyncExitStack()
        self._own = contextlib.AsyncExitStack()
        self._number = 0
        self.lifetime = 24 * 3600

    async def tell(self, *facts: Fact) -> None:
        for fact in facts:
            if isinstance(fact, Document):
                await self.platform.config.apply(fact)
            else:
                assert not isinstance(fact, Secret)
                self.platform.registry.put(fact)

    async def start_manager(self) -> None:
        self.manager = await self._own.enter_async_context(serving(self.settings, self.platform.record))

    async def stop_manager(self) -> None:
        await self._own.aclose()

    def control(self, name: str) -> Path:
        return self.state / f"{name}.ctl"

    async def proxyless(self, name: str, *, serves: str = "", zone: str = "") -> Agent:
        """A workload with an application that calls and, if it serves a service, is called."""
        address = self._address()
        version = Labels.of({"version": name})
        found = Workload(
            key=workload_key(name),
            address=address,
            service_account=name,
            labels=version,
            locality=Locality("r", zone),
            capture=Proxyless(ports=(PORT,) if serves else ()),
        )
        await self.tell(found)
        if serves:
            await self.tell(self.instance(serves, found, proxyless=True))
        place = (name, f"{address}:{PORT}") if serves else ()
        argv = (sys.executable, "-m", "core.manager.testing.grpc_app", str(self.control(name)), *place)
        return await self._agent(found, Command(argv=argv))

    async def sidecar(self, name: str, *, serves: str) -> Agent:
        """A workload whose plain gRPC server stands behind a real Envoy."""
        address, port = self._address(), AppPort(PORT, self._address(), PORT)
        server = serve(name, f"{port.address}:{port.target}", xds=False)
        self.stack.callback(server.stop, None)
        found = Workload(
            key=workload_key(name),
            address=address,
            service_account=name,
            labels=Labels.of({"version": name}),
            capture=Explicit(app_ports=(port,)),
        )
        await self.tell(found, self.instance(serves, found, proxyless=False))
        return await self._agent(found, None)

    def instance(self, of: str, workload: Workload, *, proxyless: bool, identity: str = "") -> Instance:
        return Instance(
            key=InstanceKey(service_key(of), workload.key.name),
            address=workload.address,
            ports=((f"p{PORT}", PORT),),
            labels=workload.labels,
            locality=workload.locality,
            identity=SpiffeId.of(
                "cluster.local", namespace="default", service_account=identity or workload.service_account
            ),
            workload=workload.key,
            proxyless=proxyless,
        )

    def _address(self) -> str:
        self._number += 1
        return f"{NETWORK}.{self._number}"

    async def _agent(self, workload: Workload, command: Command | None) -> Agent:
        key = workload.key
        settings = AgentSettings(
            directory=str(agent_directory(self.state, key)),
            xds_socket=str(xds_socket(self.state, key)),
            identity=Local(socket=str(ca_socket(self.state, key))),
            certificate_lifetime=self.lifetime,
            hold_application=True,
        )
        envoy = binary.find("")
        work = Assignment(workload=workload, mesh=Mesh(), settings=settings, envoy=envoy, command=command)
        output = lambda _, line: print(line)  # noqa: E731
        agent = await self.stack.enter_async_context(agent_for(work, Host(envoy=envoy, output=output)))
        await agent.wait_ready(20.0)
        return agent

    async def ask(self, name: str, target: str = REVIEWS, **wish: object) -> Outcome:
        return await told(self.control(name), msgspec.convert({"target": target, **wish}, Task))

    async def until(self, name: str, expected: set[str], target: str = REVIEWS, **wish: object) -> Outcome:
        """Calls until all are answered, and by these; the last outcome after 15 s."""
        outcome = Outcome()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(15.0):
                while outcome.failures or set(outcome.answers) != expected:
                    outcome = await self.ask(name, target, **{"count": 20, "timeout": 2.0, **wish})
        assert (set(outcome.answers), outcome.failures) == (expected, {})
        return outcome


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A Manager, the service `reviews`, and a client."""
    found = Site(tmp_path)
    async with found.stack:
        await found.start_manager()
        found.stack.push_async_callback(found.stop_manager)
        await found.tell(service("reviews", "9080/grpc"), service("ratings", "9080/grpc"))
        await found.proxyless("client")
        yield found


@pytest.fixture
async def two(site: Site) -> Site:
    """The same with two versions of `reviews`."""
    await site.proxyless("v1", serves="reviews")
    await site.proxyless("v2", serves="reviews")
    return site


async def test_calls_are_spread_over_all_instances_under_every_name(two: Site) -> None:
    for host in ("reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"):
        await two.until("client", {"v1 nobody", "v2 nobody"}, f"xds:///{host}:9080")


async def test_weights_headers_and_faults_are_followed_while_calls_go_on(two: Site) -> None:
    """Rules take effect in a running client, and no call fails meanwhile but by the fault that was asked for."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    steady = asyncio.create_task(two.ask("client", seconds=3.0))
    await two.tell(VERSIONS, rule({"route": [to("v1")]}))
    await two.until("client", {"v1 nobody"})
    chosen = {"match": [{"headers": {"x-to": {"exact": "v2"}}}], "route": [to("v2")]}
    await two.tell(rule(chosen, {"route": [to("v1", 80), to("v2", 20)]}))
    outcome = await two.until("client", {"v1 nobody", "v2 nobody"}, count=400)
    assert 40 <= outcome.answers["v2 nobody"] <= 130
    await two.until("client", {"v2 nobody"}, metadata={"x-to": "v2"})
    assert (await steady).failures == {}
    abort = {"abort": {"httpStatus": 503, "percentage": {"value": 100}}}
    await two.tell(rule({**chosen, "fault": abort}, {"route": [to("v1")]}))
    await two.until("client", {"v1 nobody"})
    failed = await two.ask("client", count=5, metadata={"x-to": "v2"})
    assert failed.failures == {"UNAVAILABLE: Fault injected": 5}


async def test_an_instance_that_goes_gets_no_more_calls(two: Site) -> None:
    """And no call fails of those that are made meanwhile."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    steady = asyncio.create_task(two.ask("client", seconds=1.0))
    two.platform.registry.remove(InstanceKey(service_key("reviews"), "v2"))
    await two.until("client", {"v1 nobody"})
    assert (await steady).failures == {}


async def test_a_manager_that_restarts_costs_no_call(two: Site) -> None:
    """Calls go on without it, and what changed meanwhile arrives when it is back."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    steady = asyncio.create_task(two.ask("client", seconds=4.0))
    await two.stop_manager()
    assert (await two.ask("client", count=20)).failures == {}
    await two.tell(VERSIONS, rule({"route": [to("v2")]}))
    await two.start_manager()
    await two.until("client", {"v2 nobody"})
    assert (await steady).failures == {}


async def test_a_service_that_goes_fails_its_calls_at_once(two: Site) -> None:
    await two.until("client", {"v1 nobody", "v2 nobody"})
    two.platform.registry.remove(service_key("reviews"))
    async with asyncio.timeout(5.0):
        while not (outcome := await two.ask("client", timeout=3.0)).failures:
            pass
    assert all(failure.startswith("UNAVAILABLE") for failure in outcome.failures)


async def test_strict_mutual_tls_shows_both_sides_who_they_are(two: Site) -> None:
    """The server sees the client's identity; a stranger without a certificate is refused."""
    await two.until("client", {"v1 nobody", "v2 nobody"})
    await two.tell(mutual_tls("STRICT"))
    me = SPIFFE.format("client")
    await two.until("client", {f"v1 {me}", f"v2 {me}"})
    plain = f"{NETWORK}.2:{PORT}"
    assert list((await two.ask("client", plain, timeout=3.0)).answers) == []
    await two.tell(mutual_tls("DISABLE"))
    await two.until("client", {"v1 nobody", "v2 nobody"})


async def test_a_server_with_another_identity_is_refused(site: Site) -> None:
    """The client asks for the identity that the registry knows."""
    await site.tell(mutual_tls("STRICT"))
    await site.proxyless("v1", serves="reviews")
    me = SPIFFE.format("client")
    await site.until("client", {f"v1 {me}"})
    impostor = Workload(key=workload_key("v1"), address=f"{NETWORK}.2", labels=Labels.of({"version": "v1"}),
                        capture=Proxyless())  # fmt: skip
    await site.tell(site.instance("reviews", impostor, proxyless=True, identity="somebody-else"))
    async with asyncio.timeout(10.0):
        while not (outcome := await site.ask("client", timeout=2.0)).failures:
            pass
    (failure,) = outcome.failures
    assert failure.startswith("UNAVAILABLE"), failure


@pytest.mark.parametrize("mode", ["PERMISSIVE", "STRICT"])
async def test_a_client_without_a_proxy_calls_a_sidecar(site: Site, mode: str) -> None:
    """By mutual TLS in either mode; Envoy tells the application nothing of it, but lets nobody else in under STRICT."""
    await site.tell(mutual_tls(mode))
    await site.sidecar("envoy", serves="reviews")
    await site.until("client", {"envoy nobody"})
    plain = await site.ask("client", f"{NETWORK}.2:{PORT}", timeout=3.0)
    assert bool(plain.failures) is (mode == "STRICT")


async def test_a_sidecar_calls_a_server_without_a_proxy(site: Site) -> None:
    """Plain where that is allowed, and by mutual TLS under STRICT: the server sees the identity of the sidecar."""
    await site.proxyless("v1", serves="reviews")
    await site.sidecar("envoy", serves="ratings")
    proxy = f"http://{NETWORK}.3:15007"
    for mode, caller in (("PERMISSIVE", "nobody"), ("STRICT", SPIFFE.format("envoy"))):
        await site.tell(mutual_tls(mode))
        await answered(proxy, "reviews:9080", f"v1 {caller}")


async def answered(proxy: str, target: str, expected: str) -> None:
    """Calls through the HTTP proxy of a sidecar until the answer is the expected one."""
    through = [("grpc.http_proxy", proxy)]
    async with asyncio.timeout(15.0), grpc.aio.insecure_channel(target, options=through) as channel:
        call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        answer = ""
        while answer != expected:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = str(await call(b"", timeout=2.0), "ascii")


async def test_a_new_certificate_is_shown_without_a_restart(site: Site) -> None:
    """Calls go on while certificates of a few seconds are replaced again and again."""
    await site.tell(mutual_tls("STRICT"))
    site.lifetime = 8
    await site.proxyless("v1", serves="reviews")
    hasty = await site.proxyless("hasty")
    me = SPIFFE.format("hasty")
    await site.until("hasty", {f"v1 {me}"})
    first = hasty.state.certificate
    outcome = await site.ask("hasty", seconds=12.0, fresh=True)
    assert first is not None
    assert hasty.state.certificate is not None
    assert first.serial != hasty.state.certificate.serial
    assert set(outcome.answers) == {f"v1 {me}"}
    assert outcome.failures == {}


async def test_everything_sent_was_taken(two: Site) -> None:
    """gRPC refuses nothing of what rules become that it cannot do."""
    odd = rule(
        {"match": [{"queryParams": {"a": {"exact": "b"}}}], "route": [to("v2")]},
        {"match": [{"method": {"exact": "GET"}}], "route": [to("v2")]},
        {"match": [{"authority": {"exact": "reviews:9080"}}], "route": [to("v2")]},
        {"match": [{"uri": {"prefix": "/redirect"}}], "redirect": {"uri": "/else"}},
        {"match": [{"headers": {"x-to": {"exact": "v2"}}, "withoutHeaders": {"x-not": {"exact": "a"}}}],
         "route": [to("v2")]},
        {"match": [{"uri": {"regex": "/tests[.].*"}, "method": {"exact": "POST"}}],
         "rewrite": {"uri": "/x"}, "headers": {"request": {"set": {"a": "b"}}},
         "mirror": {"host": "reviews", "subset": "v2"}, "timeout": "5s",
         "retries": {"attempts": 3, "retryOn": "unavailable,5xx", "perTryTimeout": "1s"},
         "corsPolicy": {"allowOrigins": [{"exact": "x"}]}, "route": [to("v1")]},
    )  # fmt: skip
    hashed = {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}
    limits = {"connectionPool": {"http": {"http2MaxRequests": 100}}, "outlierDetection": {"consecutive5xxErrors": 3}}
    await two.tell(VERSIONS, odd)
    await two.until("client", {"v1 nobody"})
    await two.until("client", {"v2 nobody"}, metadata={"x-to": "v2"})
    await two.until("client", {"v1 nobody"}, metadata={"x-to": "v2", "x-not": "a"})
    for policy in (hashed, limits, {"loadBalancer": {"simple": "RANDOM"}}):
        spec = {"host": "reviews", "trafficPolicy": policy, "subsets": SUBSETS}
        await two.tell(document("DestinationRule", "reviews", spec))
        await two.until("client", {"v1 nobody"}, metadata={"x-user": "me"})
    assert [refused for proxy in two.manager.proxies().status() for refused in proxy.refused] == []
