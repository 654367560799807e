"""Answers small questions over HTTP/1.1: one for each connection, with limits on what is read and how long that takes.

For health and metrics only: no bodies, no routes with parameters, no TLS.
"""

import asyncio
import contextlib
import http
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec

HEAD_LIMIT = 8 * 1024
"""Bytes of a request line and its headers."""
READ_TIMEOUT, ANSWER_TIMEOUT = 5.0, 15.0
"""Seconds."""
CONNECTIONS = 64
"""At a time; what is more waits for its turn."""

TEXT, JSON = "text/plain; charset=utf-8", "application/json"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    status: int = 200
    body: bytes = b""
    type: str = TEXT


Page = Callable[[], Awaitable[Answer]]
Pages = Mapping[tuple[str, str], Page]
"""By method and path."""


class Server:
    """Serves `pages` on any number of listeners; `close` ends them all, and what is being answered."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    async def listen_unix(self, path: str) -> None:
        """In a directory that is this user's alone. Raises OSError."""
        self._servers.append(await asyncio.start_unix_server(self._take, path, limit=HEAD_LIMIT))

    async def listen(self, address: str, port: int) -> None:
        """Raises OSError when the address is not to be had."""
        self._servers.append(await asyncio.start_server(self._take, address, port, limit=HEAD_LIMIT))

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._turns:
                with contextlib.suppress(OSError, TimeoutError):
                    writer.write(await self._answer(reader, is_near=_is_near(writer)))
                    await asyncio.wait_for(writer.drain(), READ_TIMEOUT)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, *, is_near: bool) -> bytes:
        """Raises TimeoutError when the question does not come in time; then there is nobody to answer."""
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _encode(Answer(status=431), has_body=True)
        except asyncio.IncompleteReadError:
            return b""
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD") and not is_near:
            return _encode(Answer(status=403, body=b"from this machine only\n"), has_body=True)
        return _encode(await self._page(method, path), has_body=method != "HEAD")

    async def _page(self, method: str, path: str) -> Answer:
        page = self._pages.get(("GET" if method == "HEAD" else method, path))
        if page is None:
            is_known = any(known == path for _, known in self._pages)
            return Answer(status=405 if is_known else 404, body=_listed(self._pages))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await page()
        except TimeoutError:
            return Answer(status=504, body=b"no answer in time\n")


def _is_near(writer: asyncio.StreamWriter) -> bool:
    """What changes something is for this machine alone: over a unix socket, or the loopback interface."""
    peer = writer.get_extra_info("peername")
    return not isinstance(peer, tuple) or ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback


def _listed(pages: Pages) -> bytes:
    return "".join(f"{method} {path}\n" for method, path in pages).encode()


def _encode(answer: Answer, *, has_body: bool) -> bytes:
    phrase = http.HTTPStatus(answer.status).phrase
    head = (
        f"HTTP/1.1 {answer.status} {phrase}\r\ncontent-type: {answer.type}\r\n"
        f"content-length: {len(answer.body)}\r\nconnection: close\r\ncache-control: no-store\r\n\r\n"
    )
    return head.encode() + (answer.body if has_body else b"")


@contextlib.asynccontextmanager
async def server(pages: Pages) -> AsyncIterator[Server]:
    found = Server(pages)
    try:
        yield found
    finally:
        await found.close()
