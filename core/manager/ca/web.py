"""HTTP/1.1 for a few small questions on many sockets: h11 speaks it, asyncio carries it. What is asked, others know.

A server program for each of hundreds of sockets would be too much; these cost nothing while nobody connects.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec

from core.errors import Misconfigured
from core.manager.entrance import Entrance, Strangers

LARGEST_BODY: Final = 32 * 1024
_LARGEST_HEAD: Final = 16 * 1024
_CHUNK: Final = 8 * 1024
"""Bytes; h11 looks at the size of a head before it is whole, not after."""

_PATIENCE: Final = 30.0
"""Seconds for one request and its answer, and as long between two."""

_MOST: Final = 256
"""Connections to one socket. Questions here take milliseconds, so whoever has been there the longest may go."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request. Names of headers are in lower case; `peer` is the client's certificate (DER), b"" for none."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""
    peer: bytes = b""

    def __repr__(self) -> str:
        # Headers may hold credentials.
        return f"Call({self.method} {self.path})"


class Answer(msgspec.Struct, frozen=True):
    """JSON."""

    code: int
    body: bytes


Handler = Callable[[Call], Awaitable[Answer]]


class Listening:
    """One socket and the connections on it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._strangers = Strangers(_MOST)
        self._opened = contextlib.AsyncExitStack()
        self.port = 0
        """The bound one; 0 for a unix socket."""

    @classmethod
    async def on_path(cls, path: Path, handler: Handler) -> "Listening":
        """On a unix socket, in place of one left there. Raises `Misconfigured`."""
        found = cls(handler)
        try:
            found._server = await asyncio.start_unix_server(found._accept, sock=_private_socket(path))
        except OSError as error:
            raise Misconfigured(f"no socket at {path}: {error.strerror or error}", fix="check its directory") from error
        found._path = path
        return found

    @classmethod
    async def on_port(
        cls, place: tuple[str, int], handler: Handler, *, context: ssl.SSLContext, shared: bool = False
    ) -> "Listening":
        """HTTPS. `shared`: other processes of this user may listen there, too. Raises `Misconfigured`."""
        found, (host, port) = cls(handler), place
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server(place, family=family, reuse_port=shared)
        except OSError as error:
            fix = "choose another address or port"
            raise Misconfigured(f"cannot listen on {host}:{port}: {error.strerror or error}", fix=fix) from error
        found.port = listener.getsockname()[1]
        await found._opened.enter_async_context(Entrance(context, found._protocol, found._strangers).open(listener))
        return found

    async def close(self) -> None:
        """Breaks off what is under way; whoever asked asks again."""
        if self._server is not None:
            self._server.close()
        await self._opened.aclose()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._accept)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._gone)
        self._strangers.enter(task, writer.transport.abort)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._strangers.leave(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The client's mistakes and disappearance end its connection, and are nobody's failure."""
        wire = _Wire(reader, writer)
        try:
            with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError):
                while await self._exchange(wire):
                    wire.again()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, wire: "_Wire") -> bool:
        """One question and its answer; whether there may be another one on this connection."""
        async with asyncio.timeout(_PATIENCE):
            try:
                call = await wire.call()
            except h11.RemoteProtocolError as error:
                refusal = msgspec.json.encode({"error": f"this request cannot be read: {error}", "fix": ""})
                await wire.answer(Answer(error.error_status_hint, refusal), closing=True)
                return False
            if call is None:
                return False
            await wire.answer(await self._handler(call))
            return wire.may_go_on


def _private_socket(path: Path) -> socket.socket:
    """Nobody can connect before it listens, and by then the permissions are set. Raises `OSError`."""
    if path.is_socket():
        path.unlink()
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.bind(str(path))
        path.chmod(0o600)
    except OSError:
        found.close()
        raise
    return found


class _Wire:
    """h11's idea of one connection, and the bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._state = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)
        channel = writer.get_extra_info("ssl_object")
        self._peer: bytes = (channel.getpeercert(binary_form=True) or b"") if channel is not None else b""

    @property
    def may_go_on(self) -> bool:
        return self._state.our_state is h11.DONE and self._state.their_state is h11.DONE

    def again(self) -> None:
        self._state.start_next_cycle()

    async def call(self) -> Call | None:
        """None when there is none, and never will be. Raises `h11.RemoteProtocolError`."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > LARGEST_BODY:
                raise h11.RemoteProtocolError(f"the body is larger than {LARGEST_BODY} bytes")
        return self._call(head, bytes(body)) if isinstance(event, h11.EndOfMessage) else None

    def _call(self, head: h11.Request, body: bytes) -> Call:
        if sum(name == b"authorization" for name, _ in head.headers) > 1:
            # Which one counts, somebody before us may have seen otherwise.
            raise h11.RemoteProtocolError("there are several Authorization headers")
        path, query = _place(head.target.decode("ascii"))
        return Call(
            method=head.method.decode("ascii"),
            path=path,
            query=query,
            headers={name.decode("ascii").lower(): value.decode("latin-1") for name, value in head.headers},
            body=body,
            peer=self._peer,
        )

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._state.next_event()) is h11.NEED_DATA:
            if self._state.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._state.receive_data(await self._reader.read(_CHUNK))
        return event  # type: ignore[return-value]  # NEED_DATA is what the loop waits out

    async def answer(self, answer: Answer, *, closing: bool = False) -> None:
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(answer.body))),
            ("cache-control", "no-store"),
            # By which a client can tell how wrong its own clock is.
            ("date", formatdate(usegmt=True)),
            *([("connection", "close")] if closing else []),
        ]
        await self._send(
            h11.Response(status_code=answer.code, headers=headers), h11.Data(data=answer.body), h11.EndOfMessage()
        )

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            self._writer.write(self._state.send(event) or b"")
        await self._writer.drain()


def _place(target: str) -> tuple[str, dict[str, str]]:
    """Path and query. Raises `h11.RemoteProtocolError`."""
    try:
        url = urlsplit(target)
        return url.path, {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    except ValueError as error:
        raise h11.RemoteProtocolError(f"the target is no URL: {error}") from error
