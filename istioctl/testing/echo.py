"""Applications for tests: an echo that answers with what reached it, over HTTP/1.1, gRPC or TCP.

One asyncio server per port. HTTP/2 is spoken by gRPC's own server only; any unary method is answered with the same
JSON as HTTP requests. How an application answers otherwise: `istioctl.testing.behaviour`.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Literal, TypeAlias

import grpc

from istioctl.testing.behaviour import Behaviour, behaviour
from istioctl.testing.journal import Arrival, Journal
from proxy.capture.relay import Relay, Streams, relayed

Speaks = Literal["http", "grpc", "tcp", "auto"]
"""What is spoken on a port; "auto": HTTP or bytes, told apart by a first byte of 0."""

_LIMIT = 1 << 20
_Reader: TypeAlias = asyncio.StreamReader
_Writer: TypeAlias = asyncio.StreamWriter


class _Reset(Exception):
    """The connection is to be closed without an answer."""


class _Echo:
    """One application. Says its name in each answer, so that a caller knows whom it reached."""

    def __init__(self, name: str, journal: Journal) -> None:
        self.name = name
        self._journal = journal

    async def http(self, reader: _Reader, writer: _Writer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, _Reset):
            while True:
                await self._http(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        writer.close()

    async def tcp(self, reader: _Reader, writer: _Writer) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_LIMIT):
                await self._bytes(data, writer)
        writer.close()

    async def auto(self, reader: _Reader, writer: _Writer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, _Reset):
            while line := await reader.readuntil(b"\n"):
                if line.startswith(b"\0"):
                    await self._bytes(line, writer)
                else:
                    await self._http(line + await reader.readuntil(b"\r\n\r\n"), reader, writer)
        writer.close()

    async def _bytes(self, data: bytes, writer: _Writer) -> None:
        self._journal.note(Arrival(app=self.name))
        writer.write(f"{self.name}:".encode() + data)
        await writer.drain()

    async def _http(self, head: bytes, reader: _Reader, writer: _Writer) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = _joined(line.partition(":")[::2] for line in lines if line)
        await reader.readexactly(int(headers.get("content-length", "0")))
        arrival = Arrival(app=self.name, path=path, authority=headers.get("host", ""), headers=headers)
        answer = behaviour(self.name, headers, earlier=self._journal.note(arrival))
        await asyncio.sleep(answer.delay)
        if answer.reset:
            raise _Reset
        writer.write(_answer(arrival, answer, with_body=method != "HEAD"))
        await writer.drain()

    async def unary(self, path: str, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        headers = _joined((key, str(value)) for key, value in context.invocation_metadata() or ())
        arrival = Arrival(app=self.name, path=path, headers=headers)
        answer = behaviour(self.name, headers, earlier=self._journal.note(arrival))
        await asyncio.sleep(answer.delay)
        await context.send_initial_metadata((("x-app", self.name), *answer.headers))
        if answer.status:
            await context.abort(_CODES[answer.status], "as asked")
        return json.dumps(_seen(arrival)).encode()


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _joined(pairs: Iterable[Sequence[str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for key, text in pairs:
        name, value = key.strip().lower(), text.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _seen(arrival: Arrival) -> dict[str, object]:
    return {"app": arrival.app, "path": arrival.path, "authority": arrival.authority, "headers": arrival.headers}


def _answer(arrival: Arrival, answer: Behaviour, *, with_body: bool) -> bytes:
    status = answer.status or 200
    body = json.dumps(_seen(arrival)).encode()
    headers = (("x-app", arrival.app), ("content-length", str(len(body))), *answer.headers)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + (body if with_body else b"")


class _Unary(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    def __init__(self, echo: _Echo) -> None:
        self._echo = echo

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def answer(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            return await self._echo.unary(str(details.method), context)

        return grpc.unary_unary_rpc_method_handler(answer)


@contextlib.asynccontextmanager
async def echo(
    name: str, listening: Iterable[tuple[socket.socket, Speaks]], *, journal: Journal
) -> AsyncIterator[None]:
    """Serves what these sockets accept, wherever they are, while the context is open, and closes them."""
    app = _Echo(name, journal)
    async with contextlib.AsyncExitStack() as stack:
        for each, speaks in listening:
            if speaks == "grpc":
                await stack.enter_async_context(_grpc_server(app, each))
            else:
                serve = {"http": app.http, "tcp": app.tcp, "auto": app.auto}[speaks]
                server = await asyncio.start_server(_quiet(serve), sock=each, limit=_LIMIT)
                await stack.enter_async_context(_served(server))
        yield


def _quiet(serve: Callable[[_Reader, _Writer], Awaitable[None]]) -> Callable[[_Reader, _Writer], Awaitable[None]]:
    """Python 3.11 prints a traceback for a connection whose task ends as cancelled."""

    async def serving(reader: _Reader, writer: _Writer) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await serve(reader, writer)

    return serving


@contextlib.asynccontextmanager
async def _served(server: asyncio.Server) -> AsyncIterator[None]:
    try:
        yield
    finally:
        server.close()


@contextlib.asynccontextmanager
async def _grpc_server(app: _Echo, listening: socket.socket) -> AsyncIterator[None]:
    """gRPC takes no socket, so what this one accepts is passed on to gRPC's own."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Unary(app),))
    port = server.add_insecure_port("127.0.0.1:0")

    async def connect(client: asyncio.StreamWriter) -> Streams:
        return await asyncio.open_connection("127.0.0.1", port)

    await server.start()
    try:
        async with relayed(listening, Relay(connect)):
            yield
    finally:
        await server.stop(None)
