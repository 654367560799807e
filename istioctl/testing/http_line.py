"""HTTP/1.1 over a bare socket: one connection, on which calls are made one after the other. For tests only."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from istioctl.testing.reply import Reply


class HttpLine:
    """A connection to `address`; with `tunnel` ("host:port") the first thing on it is a CONNECT, with `sni` it is TLS.

    Whose certificate the server shows does not matter; it is in `certificate` (DER).

    `refusal` is the answer to a CONNECT that was not granted; then there is nothing more to do with the line.
    Raises `ConnectionError`.
    """

    def __init__(self, address: tuple[str, int], *, tunnel: str = "", sni: str | None = None) -> None:
        self._address = address
        self._tunnel = tunnel
        self._sni = sni
        self.certificate = b""
        self.refusal: Reply | None = None
        self.open = False

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await self._connected()
        self.open = True
        if self._tunnel:
            reply = await self.exchange(f"CONNECT {self._tunnel} HTTP/1.1\r\nhost: {self._tunnel}\r\n\r\n".encode())
            self.open = reply.status == 200
            self.refusal = None if self.open else reply
        return self

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._sni is None:
            return await asyncio.open_connection(*self._address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        try:
            reader, writer = await asyncio.open_connection(*self._address, ssl=context, server_hostname=self._sni)
        except ssl.SSLError as error:
            raise ConnectionResetError("no TLS was agreed on") from error
        self.certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return reader, writer

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._writer.close()

    async def raw(self, data: bytes) -> bytes:
        """Sends bytes and returns what comes back first, b"" when the connection is closed."""
        self._writer.write(data)
        return await self._reader.read(4096)

    async def exchange(self, request: bytes) -> Reply:
        """Sends a request and reads its answer. Raises `ConnectionError` where none comes."""
        self._writer.write(request)
        try:
            return await self._reply(request.split(b" ", 1)[0])
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("closed without an answer") from error

    async def _reply(self, method: bytes) -> Reply:
        status, headers = parsed(await self._reader.readuntil(b"\r\n\r\n"))
        granted = method == b"CONNECT" and status == 200
        body = b"" if method == b"HEAD" or granted or status in (204, 304) else await self._body(headers)
        if headers.get("connection") == "close":
            self.open = False
        return Reply(status=status, headers=headers, body=body)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self._reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") == "chunked":
            return b"".join([chunk async for chunk in self._chunks()])
        self.open = False
        return await self._reader.read()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")


def parsed(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer."""
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        key, _, value = line.partition(":")
        name = key.lower()
        headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    return int(first.split(" ")[1]), headers
