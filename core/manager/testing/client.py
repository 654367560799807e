"""A proxy without an Envoy: a true ADS stream that subscribes, acknowledges and refuses as Envoy does, and remembers.

It follows references (clusters to endpoints, listeners to route configurations) and decides nothing else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import msgspec
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from core.envoy.testing.references import cluster_name, clusters_of, discovered, route_configurations
from core.manager.xds.resource import BY_URL, ResourceType

_SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
CLUSTER, ENDPOINTS, LISTENER, ROUTES, _ = ResourceType

Refuses = Callable[[ResourceType, str, bytes], str]
"""Why a resource (its type, name and bytes) is refused; "" when it is accepted."""


class Came(msgspec.Struct, frozen=True):
    """One response: what it brought and took away, and whether it was refused."""

    type: ResourceType
    names: tuple[str, ...]
    removed: tuple[str, ...] = ()
    refused: str = ""


class Held(msgspec.Struct, frozen=True):
    """A resource as it is held: `body` is the message, without its envelope."""

    version: str
    body: bytes


def _nothing(type_: ResourceType, name: str, body: bytes) -> str:
    return ""


class Proxy:
    """What one proxy holds, over any number of connections. `came` are the responses of all of them, in order."""

    def __init__(self, node: str, *, delta: bool = True, refuses: Refuses = _nothing) -> None:
        self.held: dict[ResourceType, dict[str, Held]] = {type_: {} for type_ in ResourceType}
        self.came: list[Came] = []
        self.code: grpc.StatusCode | None = None
        self.details = ""
        self._node = node
        self._delta = delta
        self._refuses = refuses
        self._asked: dict[ResourceType, set[str]] = {}
        self._nonces: dict[ResourceType, str] = {}
        self._call: Any = None

    @contextlib.asynccontextmanager
    async def connected(self, socket: Path) -> AsyncIterator["Proxy"]:
        """One connection; it is closed when the block is left. `code` and `details` say how the Manager ended it."""
        channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        async with channel, self.conversing(channel):
            yield self

    @contextlib.asynccontextmanager
    async def conversing(self, channel: grpc.aio.Channel) -> AsyncIterator["Proxy"]:
        """The same on a channel of somebody else's."""
        method = "DeltaAggregatedResources" if self._delta else "StreamAggregatedResources"
        self._asked, self._nonces, self.code = {}, {}, None
        self._call = _stream(channel, _SERVICE + method)
        reading = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            reading.cancel()
            self._call.cancel()
            await asyncio.wait([reading])

    async def until(self, seen: Callable[["Proxy"], object], *, within: float = 5.0) -> None:
        """Returns when `seen` is true. Raises AssertionError after `within` seconds."""
        deadline = asyncio.get_running_loop().time() + within
        while not seen(self):
            assert asyncio.get_running_loop().time() < deadline, f"not within {within:g} s; came: {self.came[-5:]}"
            await asyncio.sleep(0.002)

    # -- reading what it holds -----------------------------------------------------------------------------------------

    def names(self, type_: ResourceType) -> set[str]:
        return set(self.held[type_])

    def clusters_of(self, configuration: str, host: str) -> set[str]:
        """The clusters that a virtual host leads to, tunnels aside."""
        held = self.held[ROUTES].get(configuration)
        return clusters_of(held.body, host) if held is not None else set()

    # -- conversing ----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            await self._ask(CLUSTER, ())
            while isinstance(raw := await self._call.read(), bytes):
                await self._take(raw)
        except grpc.aio.AioRpcError as error:
            self.code, self.details = error.code(), error.details() or ""
            return
        self.code = await self._call.code()

    async def _take(self, raw: bytes) -> None:
        message = (DeltaDiscoveryResponse if self._delta else DiscoveryResponse).FromString(raw)
        type_ = BY_URL[message.type_url]
        brought = _brought(message, type_, delta=self._delta)
        wrong = "; ".join(filter(None, (self._refuses(type_, name, held.body) for name, held in brought.items())))
        removed = tuple(message.removed_resources) if self._delta else ()
        self.came.append(Came(type_, tuple(brought), removed, wrong))
        if not wrong:
            if not self._delta and type_.has_wildcard:
                self.held[type_].clear()
            self.held[type_].update(brought)
            for name in removed:
                self.held[type_].pop(name, None)
        self._nonces[type_] = message.nonce
        await self._answer(type_, message.nonce, wrong)
        await self._follow(type_)

    async def _answer(self, type_: ResourceType, nonce: str, wrong: str) -> None:
        if self._delta:
            request = DeltaDiscoveryRequest(type_url=type_.url, response_nonce=nonce)
        else:
            asked = sorted(self._asked.get(type_, ()))
            request = DiscoveryRequest(type_url=type_.url, response_nonce=nonce, resource_names=asked)
        if wrong:
            request.error_detail.message = wrong
        await self._call.write(request.SerializeToString())

    async def _follow(self, type_: ResourceType) -> None:
        if type_ is CLUSTER:
            await self._ask(ENDPOINTS, discovered(held.body for held in self.held[CLUSTER].values()))
            await self._ask(LISTENER, ())
        elif type_ is LISTENER:
            await self._ask(
                ROUTES, {name for held in self.held[LISTENER].values() for name in route_configurations(held.body)}
            )

    async def _ask(self, type_: ResourceType, names: Iterable[str]) -> None:
        """Subscribes; what it held from an earlier connection is told, so that it need not come again (delta)."""
        wanted, first = set(names), type_ not in self._asked
        old = self._asked.setdefault(type_, set())
        if not first and wanted == old:
            return
        self._asked[type_] = wanted
        for gone in self.held[type_].keys() - wanted if not type_.has_wildcard else ():
            del self.held[type_][gone]
        if self._delta:
            request: Any = DeltaDiscoveryRequest(
                type_url=type_.url,
                resource_names_subscribe=sorted(wanted - old),
                resource_names_unsubscribe=sorted(old - wanted),
                initial_resource_versions={n: h.version for n, h in self.held[type_].items()} if first else {},
            )
        else:
            nonce = self._nonces.get(type_, "")
            request = DiscoveryRequest(type_url=type_.url, resource_names=sorted(wanted), response_nonce=nonce)
        request.node.id = self._node
        await self._call.write(request.SerializeToString())


def _stream(channel: Any, method: str) -> Any:
    """The stubs insist on serialisers; without them grpc passes bytes."""
    return channel.stream_stream(method)()


def _brought(message: Any, type_: ResourceType, *, delta: bool) -> dict[str, Held]:
    if delta:
        return {each.name: Held(each.version, each.resource.value) for each in message.resources}
    return {_name(type_, each.value): Held(message.version_info, each.value) for each in message.resources}


def _name(type_: ResourceType, body: bytes) -> str:
    """Every type but one has its name in field 1, and that one its cluster's: they are read alike."""
    return cluster_name(body) if type_ is CLUSTER else _first_text(body)


def _first_text(body: bytes) -> str:
    """Field 1 as text, where it comes first and is shorter than 128 bytes, as in all that we encode."""
    assert body[0] == 0x0A
    return body[2 : 2 + body[1]].decode() if body[1] < 0x80 else body[3 : 3 + (body[1] & 0x7F | body[2] << 7)].decode()
