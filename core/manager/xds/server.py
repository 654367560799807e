"""ADS over grpc.aio: raw bytes in and out, a unix socket per workload. The only module here that knows grpc or a task.

It decides nothing about what is sent; a transport of our own would replace this file alone."""

import asyncio
import logging
import math
import stat
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import grpc
import msgspec
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from core.errors import Denied, MeshError, Misconfigured, Unavailable
from core.manager.xds.delta import Delta
from core.manager.xds.exchange import BadRequest
from core.manager.xds.sotw import StateOfTheWorld
from core.manager.xds.stream import Dialect, Stream
from core.model.workload import Node

OpenStream = Callable[[Node, Dialect], Stream]
"""Makes the stream of a proxy that says it is `Node`. May raise a `MeshError`: `Denied` for a stranger."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class Guest(msgspec.Struct, frozen=True):
    """Who was let in: how its stream is made, and how many seconds that may last."""

    open_stream: OpenStream
    seconds: float = math.inf


Admit = Callable[[Context], Guest]
"""Looks at a connection, before anything is said on it. May raise a `MeshError`: `Denied` for a stranger."""

_log = logging.getLogger(__name__)

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_DELTA, _WHOLE = "DeltaAggregatedResources", "StreamAggregatedResources"
_DIALECTS: dict[str, Dialect] = {_DELTA: Delta(), _WHOLE: StateOfTheWorld()}
_REQUESTS = {_DELTA: DeltaDiscoveryRequest, _WHOLE: DiscoveryRequest}
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 64 << 20),
    # A proxy that is stopped and not dead is let go: nobody waits for its answers, and nothing is kept for it. It gets
    # longer than it gives us, because an Envoy answers no pings while it takes thousands of clusters.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # The same for the pings that grpc sends to measure the line; while one is under way there is none of the others.
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Envoy's keepalive pings are no abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
_LONGEST_PATH = 107
"""Bytes in a Linux `sockaddr_un.sun_path`, without its terminating zero."""

_CODES = (
    (Denied, grpc.StatusCode.PERMISSION_DENIED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (BadRequest, grpc.StatusCode.INVALID_ARGUMENT),
)


class Server:
    """The sockets on which proxies are served; they come and go while it runs.

    `age` says how many seconds a stream may last; then the proxy comes back, on this machine as from elsewhere.
    """

    def __init__(self, *, age: Callable[[], float] = lambda: math.inf) -> None:
        # A grpc.aio server that nobody refers to shuts down without a word.
        self._listening: dict[Path, Listening] = {}
        self._others: list[Conversations] = []
        self._age = age

    async def listen(self, path: Path, open_stream: OpenStream) -> "Listening":
        """Serve one workload's proxy on a unix socket at `path`, in place of a socket left there.

        Raises `Misconfigured` when there can be no socket. Who may connect is who may enter the directory.
        """
        if path in self._listening:
            raise Misconfigured(f"{path} is served already", fix="close it before listening anew")
        _make_room(path)
        listening = Listening(path, Conversations(str(path), lambda context: Guest(open_stream, self._age())))
        await listening._start()
        self._listening[path] = listening
        return listening

    def elsewhere(self, place: str, admit: Admit) -> "Conversations":
        """The service for another transport; its streams are counted here, and guests stay no longer than others."""

        def shortened(context: Context) -> Guest:
            guest = admit(context)
            return msgspec.structs.replace(guest, seconds=min(guest.seconds, self._age()))

        self._others.append(Conversations(place, shortened))
        return self._others[-1]

    def streams(self) -> set[Stream]:
        """Those that are open now."""
        every = (*(listening.conversations for listening in self._listening.values()), *self._others)
        return {stream for conversations in every for _, stream in conversations.streams}

    def hang_up(self, stream: Stream) -> None:
        """Its proxy has nothing to look for here any more."""
        for conversations in self._others:
            conversations.hang_up(stream)

    async def close(self, path: Path | None = None) -> None:
        """Stop serving at `path`, or everywhere. Proxies keep what they have and try to come back."""
        paths = [path] if path is not None else list(self._listening)
        closing = [self._listening.pop(path) for path in paths if path in self._listening]
        await asyncio.gather(*(listening._stop() for listening in closing))


class Listening:
    """One socket and the streams on it: one, or for a moment two while a proxy reconnects or is replaced."""

    def __init__(self, path: Path, conversations: "Conversations") -> None:
        self.path = path
        self.conversations = conversations
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((conversations.handler,))

    @property
    def streams(self) -> tuple[tuple[Node, Stream], ...]:
        return self.conversations.streams

    async def _start(self) -> None:
        try:
            self._server.add_insecure_port(f"unix:{self.path}")
        except RuntimeError as error:
            raise Misconfigured(f"no socket at {self.path}: {error}", fix="check its directory") from error
        await self._server.start()

    async def _stop(self) -> None:
        await self._server.stop(None)
        self.path.unlink(missing_ok=True)


class Conversations:
    """The service ADS, and its streams. `place` is what logs call it."""

    def __init__(self, place: str, admit: Admit) -> None:
        self._place = place
        self._admit = admit
        self._streams: dict[Stream, tuple[Node, asyncio.Future[None]]] = {}

    @property
    def handler(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        # Without serialisers grpc passes bytes through.
        handlers = {m: grpc.stream_stream_rpc_method_handler(partial(self._serve, m)) for m in _DIALECTS}
        return grpc.method_handlers_generic_handler(_SERVICE, handlers)

    @property
    def streams(self) -> tuple[tuple[Node, Stream], ...]:
        return tuple((node, stream) for stream, (node, _) in self._streams.items())

    def hang_up(self, stream: Stream) -> None:
        if stream in self._streams:
            _end(self._streams[stream][1])

    async def _serve(self, method: str, requests: AsyncIterator[bytes], context: Context) -> None:
        node: Node | None = None
        try:
            guest = self._admit(context)
            requests = aiter(requests)
            async for first in requests:
                node = _node(method, first)
                await self._converse(node, (guest, _DIALECTS[method]), first, requests, context)
                # Also when nobody has said goodbye: the stream is over, and the proxy comes back.
                return
        except MeshError as error:
            _log.warning("stream refused", extra={"socket": self._place, "node": node, "reason": str(error)})
            await _abort(context, error)
        except Exception:
            # The one place that outlives a bug: it costs this proxy its stream, and nobody else theirs.
            if not context.done():
                _log.exception("stream failed", extra={"socket": self._place, "node": node})
                await context.abort(grpc.StatusCode.INTERNAL, "the Manager failed; its log says how")

    async def _converse(
        self,
        node: Node,
        terms: tuple[Guest, Dialect],
        first: bytes,
        requests: AsyncIterator[bytes],
        context: Context,
    ) -> None:
        guest, dialect = terms
        loop = asyncio.get_running_loop()
        stream, awake, over = guest.open_stream(node, dialect), asyncio.Event(), loop.create_future()
        self._streams[stream] = node, over
        stream.attach(awake.set)
        ending = loop.call_later(max(guest.seconds, 0), _end, over) if math.isfinite(guest.seconds) else None
        writer = asyncio.create_task(_write(stream, awake, context))
        reader = asyncio.create_task(_read(stream, awake, first, requests))
        try:
            done, _ = await asyncio.wait((reader, writer, over), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stream.detach()
            del self._streams[stream]
            _end(over)
            if ending is not None:
                ending.cancel()
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def _read(stream: Stream, awake: asyncio.Event, first: bytes, requests: AsyncIterator[bytes]) -> None:
    stream.receive(first)
    awake.set()
    async for raw in requests:
        if stream.receive(raw):
            awake.set()


async def _write(stream: Stream, awake: asyncio.Event, context: Context) -> None:
    while True:
        await awake.wait()
        awake.clear()
        while (response := stream.poll()) is not None:
            await context.write(response)


async def _abort(context: Context, error: MeshError) -> NoReturn:
    codes = [code for kind, code in _CODES if isinstance(error, kind)]
    await context.abort((*codes, grpc.StatusCode.FAILED_PRECONDITION)[0], str(error))


def _node(method: str, raw: bytes) -> Node:
    """Only the first request of a stream says it. Raises `BadRequest`."""
    try:
        node = _REQUESTS[method].FromString(raw).node
    except DecodeError as error:
        raise BadRequest(f"the first request is no discovery request: {error}") from error
    build = node.user_agent_build_version.version
    version = node.user_agent_version or f"{build.major_number}.{build.minor_number}.{build.patch}"
    return Node(
        id=node.id,
        cluster=node.cluster,
        metadata=MessageToDict(node.metadata),
        user_agent=f"{node.user_agent_name} {version}".strip(),
    )


def _make_room(path: Path) -> None:
    if len(bytes(path)) > _LONGEST_PATH:
        raise Misconfigured(f"{path} is too long for a unix socket", fix="choose a shorter state directory")
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise Misconfigured(f"{path} is in the way and is no socket", fix="remove it, or choose another directory")
    path.unlink()
