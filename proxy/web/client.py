"""One question and its answer over HTTP/1.1, on streams that somebody opened. No reuse, no redirects."""

import asyncio
import re
import socket
from collections.abc import Mapping

import msgspec

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")

_SO_MARK = 36
"""Linux's number; Python knows it there only."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Reply(msgspec.Struct, frozen=True):
    """What was answered. Names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`host` is what the other side is called; a unix socket has no better name than what listens there."""

    method: str = "GET"
    path: str
    host: str = "localhost"
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def encode(self) -> bytes:
        length = {"content-length": str(len(self.body))}
        fields = {"host": self.host, "connection": "close", **self.headers, **length}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


async def connected(host: str, port: int, *, mark: int = 0) -> socket.socket:
    """A TCP connection to the first address of `host` that answers, with this mark (Linux; 0: none). Raises OSError."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, place in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            if mark:
                made.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            await loop.sock_connect(made, place)
        except OSError as error:
            made.close()
            failure = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failure


async def exchange(streams: Streams, question: Question) -> Reply:
    """Asks, reads until the other side hangs up, and closes. Raises OSError and ValueError (no whole HTTP answer)."""
    reader, writer = streams
    try:
        writer.write(question.encode())
        return _parse(await reader.read())
    finally:
        writer.close()


def _parse(raw: bytes) -> Reply:
    """A whole answer (the connection was closed after it). Raises ValueError when it was cut off."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if status is None or not separator:
        raise ValueError(f"not HTTP: {raw[:40]!r}")
    headers = _headers(head)
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    whole = _join(body) if chunked else body
    if not chunked and len(body) < int(headers.get("content-length", 0)):
        raise ValueError(f"the answer broke off after {len(body)} bytes")
    return Reply(int(status[1]), whole, headers)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _join(body: bytes) -> bytes:
    """The chunks of RFC 9112, section 7.1, as one."""
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
