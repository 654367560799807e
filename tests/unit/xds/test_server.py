"""The transport: sockets that come and go, streams that end alone, and what grpc is told about it."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from core.errors import Denied, Misconfigured
from core.manager.xds.group import Group, settle
from core.manager.xds.resource import PUSH_ORDER
from core.manager.xds.server import Server
from core.manager.xds.stream import Dialect, Stream
from core.manager.xds.testing.things import Thing, resource
from core.model.workload import Node

CLUSTER = PUSH_ORDER[0]


class Manager:
    """Opens streams on one group, unless told to do something else."""

    def __init__(self) -> None:
        self.group = Group()
        self.nodes: list[Node] = []
        self.raises: Exception | None = None

    def open(self, node: Node, dialect: Dialect) -> Stream:
        self.nodes.append(node)
        if self.raises is not None:
            raise self.raises
        return Stream(dialect=dialect, groups=[self.group])

    def publish(self, name: str, generation: int) -> None:
        self.group[CLUSTER].put(resource(CLUSTER, Thing(name=name)), generation)
        settle([self.group], generation)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    yield server
    await server.close()


@pytest.fixture
def manager() -> Manager:
    return Manager()


class Call:
    """One stream of a client that sends and reads what it is told to."""

    def __init__(self, channel: grpc.aio.Channel, method: str, response: type[DeltaDiscoveryResponse]) -> None:
        path = f"/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}"
        methods = channel.stream_stream(path, request_serializer=bytes, response_deserializer=response.FromString)
        self._call = methods()  # type: ignore[call-arg]

    async def write(self, request: bytes) -> None:
        await self._call.write(request)

    async def read(self) -> DeltaDiscoveryResponse:
        return await self._call.read()

    async def code(self) -> grpc.StatusCode:
        return await self._call.code()

    async def details(self) -> str:
        return await self._call.details()


def delta(channel: grpc.aio.Channel) -> Call:
    return Call(channel, "DeltaAggregatedResources", DeltaDiscoveryResponse)


def subscription(name: str = "sidecar~127.0.0.1~a.default~default") -> bytes:
    request = DeltaDiscoveryRequest(type_url=CLUSTER.url)
    request.node.id, request.node.cluster, request.node.user_agent_name = name, "a", "test"
    request.node.metadata["NAMESPACE"] = "default"
    return bytes(request.SerializeToString())


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_delta_over_a_unix_socket(server: Server, manager: Manager, tmp_path: Path) -> None:
    """The first request says who it is; news is written without being asked for."""
    await server.listen(tmp_path / "xds", manager.open)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/xds") as channel:
        call = delta(channel)
        await call.write(subscription())
        first = await call.read()
        assert list(first.resources) == []
        await call.write(DeltaDiscoveryRequest(type_url=CLUSTER.url, response_nonce=first.nonce).SerializeToString())
        manager.publish("a", 1)
        assert [entry.name for entry in (await call.read()).resources] == ["a"]
    [node] = manager.nodes
    assert (node.id, node.cluster, node.metadata) == (
        "sidecar~127.0.0.1~a.default~default",
        "a",
        {"NAMESPACE": "default"},
    )


async def test_state_of_the_world_over_a_unix_socket(server: Server, manager: Manager, tmp_path: Path) -> None:
    manager.publish("a", 1)
    await server.listen(tmp_path / "xds", manager.open)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/xds") as channel:
        call = Call(channel, "StreamAggregatedResources", DiscoveryResponse)
        await call.write(DiscoveryRequest(type_url=CLUSTER.url).SerializeToString())
        response = await call.read()
        assert (response.type_url, len(response.resources)) == (CLUSTER.url, 1)


@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
async def test_garbage_ends_its_stream_and_no_other(
    server: Server, manager: Manager, tmp_path: Path, later: bool
) -> None:
    await server.listen(tmp_path / "xds", manager.open)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/xds") as channel:
        good, bad = delta(channel), delta(channel)
        for call in (good, bad) if later else (good,):
            await call.write(subscription())
            await call.read()
        await bad.write(b"\xff\xff\xff garbage")
        assert await bad.code() is grpc.StatusCode.INVALID_ARGUMENT
        manager.publish("a", 1)
        await good.write(DeltaDiscoveryRequest(type_url=CLUSTER.url, response_nonce="1").SerializeToString())
        assert [entry.name for entry in (await good.read()).resources] == ["a"]


async def test_a_stranger_is_denied(server: Server, manager: Manager, tmp_path: Path) -> None:
    manager.raises = Denied("you are not a.default")
    await server.listen(tmp_path / "xds", manager.open)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/xds") as channel:
        call = delta(channel)
        await call.write(subscription())
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await call.details() == "you are not a.default"


async def test_a_bug_costs_one_stream_and_is_logged(
    server: Server, manager: Manager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager.raises = ZeroDivisionError("a bug")
    await server.listen(tmp_path / "xds", manager.open)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/xds") as channel:
        broken = delta(channel)
        with caplog.at_level(logging.CRITICAL + 1, logger="core.manager.xds.server"):
            await broken.write(subscription())
            assert await broken.code() is grpc.StatusCode.INTERNAL
        manager.raises = None
        call = delta(channel)
        await call.write(subscription())
        assert (await call.read()).type_url == CLUSTER.url


async def test_streams_are_known_while_they_live(server: Server, manager: Manager, tmp_path: Path) -> None:
    """And are forgotten by the socket and by the groups when the proxy goes."""
    listening = await server.listen(tmp_path / "xds", manager.open)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/xds") as channel:
        call = delta(channel)
        await call.write(subscription())
        await call.read()
        assert [node.cluster for node, _ in listening.streams] == ["a"]
        assert manager.group.watched
    await until(lambda: not listening.streams and not manager.group.watched)


async def test_sockets_come_and_go(server: Server, manager: Manager, tmp_path: Path) -> None:
    """Closing one ends its streams and leaves the others; nothing is left in the directory."""
    await server.listen(tmp_path / "one", manager.open)
    await server.listen(tmp_path / "two", manager.open)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/one") as channel:
        call = delta(channel)
        await call.write(subscription())
        await call.read()
        await server.close(tmp_path / "one")
        assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/two") as channel:
        call = delta(channel)
        await call.write(subscription())
        await call.read()
    await server.close()
    assert os.listdir(tmp_path) == []


async def test_a_socket_that_was_left_behind_is_replaced(server: Server, manager: Manager, tmp_path: Path) -> None:
    before = await asyncio.start_unix_server(lambda reader, writer: None, tmp_path / "xds")
    before.close()
    assert (tmp_path / "xds").exists()
    await server.listen(tmp_path / "xds", manager.open)


async def test_a_path_that_cannot_be_a_socket_is_refused(server: Server, manager: Manager, tmp_path: Path) -> None:
    """In words that say what to do."""
    (tmp_path / "file").write_text("precious")
    with pytest.raises(Misconfigured, match="is no socket"):
        await server.listen(tmp_path / "file", manager.open)
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(Misconfigured, match="too long"):
        await server.listen(tmp_path / ("x" * 120), manager.open)
    await server.listen(tmp_path / "xds", manager.open)
    with pytest.raises(Misconfigured, match="served already"):
        await server.listen(tmp_path / "xds", manager.open)
