"""ADS over grpc.aio: a unix socket per workload, raw bytes in and out. The only module here that knows grpc or a task.

It decides nothing about what is sent; a transport of our own would replace this file alone."""

import asyncio
import logging
import stat
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import grpc
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

_Context = grpc.aio.ServicerContext[bytes, bytes]

_log = logging.getLogger(__name__)

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_DELTA, _WHOLE = "DeltaAggregatedResources", "StreamAggregatedResources"
_DIALECTS: dict[str, Dialect] = {_DELTA: Delta(), _WHOLE: StateOfTheWorld()}
_REQUESTS = {_DELTA: DeltaDiscoveryRequest, _WHOLE: DiscoveryRequest}
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 64 << 20),
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
    """The sockets on which proxies are served; they come and go while it runs."""

    def __init__(self) -> None:
        # A grpc.aio server that nobody refers to shuts down without a word.
        self._listening: dict[Path, Listening] = {}

    async def listen(self, path: Path, open_stream: OpenStream) -> "Listening":
        """Serve one workload's proxy on a unix socket at `path`, in place of a socket left there.

        Raises `Misconfigured` when there can be no socket. Who may connect is who may enter the directory.
        """
        if path in self._listening:
            raise Misconfigured(f"{path} is served already", fix="close it before listening anew")
        _make_room(path)
        listening = Listening(path, open_stream)
        await listening._start()
        self._listening[path] = listening
        return listening

    async def close(self, path: Path | None = None) -> None:
        """Stop serving at `path`, or everywhere. Proxies keep what they have and try to come back."""
        paths = [path] if path is not None else list(self._listening)
        closing = [self._listening.pop(path) for path in paths if path in self._listening]
        await asyncio.gather(*(listening._stop() for listening in closing))


class Listening:
    """One socket and the streams on it: one, or for a moment two while a proxy reconnects or is replaced."""

    def __init__(self, path: Path, open_stream: OpenStream) -> None:
        self.path = path
        self._open_stream = open_stream
        self._streams: dict[Stream, Node] = {}
        self._server = grpc.aio.server(options=_OPTIONS)
        # Without serialisers grpc passes bytes through.
        handlers = {m: grpc.stream_stream_rpc_method_handler(partial(self._serve, m)) for m in _DIALECTS}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))

    @property
    def streams(self) -> tuple[tuple[Node, Stream], ...]:
        return tuple((node, stream) for stream, node in self._streams.items())

    async def _start(self) -> None:
        try:
            self._server.add_insecure_port(f"unix:{self.path}")
        except RuntimeError as error:
            raise Misconfigured(f"no socket at {self.path}: {error}", fix="check its directory") from error
        await self._server.start()

    async def _stop(self) -> None:
        await self._server.stop(None)
        self.path.unlink(missing_ok=True)

    async def _serve(self, method: str, requests: AsyncIterator[bytes], context: _Context) -> None:
        node: Node | None = None
        try:
            requests = aiter(requests)
            async for first in requests:
                node = _node(method, first)
                await self._converse(node, _DIALECTS[method], first, requests, context)
        except MeshError as error:
            _log.warning("stream refused", extra={"socket": str(self.path), "node": node, "reason": str(error)})
            await _abort(context, error)
        except Exception:
            # The one place that outlives a bug: it costs this proxy its stream, and nobody else theirs.
            if not context.done():
                _log.exception("stream failed", extra={"socket": str(self.path), "node": node})
                await context.abort(grpc.StatusCode.INTERNAL, "the Manager failed; its log says how")

    async def _converse(
        self, node: Node, dialect: Dialect, first: bytes, requests: AsyncIterator[bytes], context: _Context
    ) -> None:
        stream, awake = self._open_stream(node, dialect), asyncio.Event()
        self._streams[stream] = node
        stream.attach(awake.set)
        writer = asyncio.create_task(_write(stream, awake, context))
        reader = asyncio.create_task(_read(stream, awake, first, requests))
        try:
            done, _ = await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stream.detach()
            del self._streams[stream]
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)


async def _read(stream: Stream, awake: asyncio.Event, first: bytes, requests: AsyncIterator[bytes]) -> None:
    stream.receive(first)
    awake.set()
    async for raw in requests:
        if stream.receive(raw):
            awake.set()


async def _write(stream: Stream, awake: asyncio.Event, context: _Context) -> None:
    while True:
        await awake.wait()
        awake.clear()
        while (response := stream.poll()) is not None:
            await context.write(response)


async def _abort(context: _Context, error: MeshError) -> NoReturn:
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
