"""A Manager that only issues certificates, on a unix socket: real ones, over real HTTP."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec

from core.manager.ca.authority import Authority
from core.model.identity import SpiffeId
from proxy.identity import rotation
from proxy.identity.certificate import Certificate, Issued
from proxy.identity.secrets import Secrets

IDENTITY = SpiffeId("cluster.local", "ns/default/sa/default")


class StubAuthority:
    """`refusal`, while it is set, is the answer to everybody: (status, error, fix). `asked` counts."""

    def __init__(self, path: Path, *, identity: SpiffeId, longest: float = 24 * 3600) -> None:
        self._path = path
        self._identity = identity
        self._longest = longest
        self._server: asyncio.Server | None = None
        self.authority = Authority.create(longest=longest)
        self.refusal: tuple[int, str, str] | None = None
        self.ahead = 0.0
        self.asked = 0

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
            body = await reader.readexactly(int(length.partition(":")[2]))
            status, answer = self._answer(head.split()[1], body)
            date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(self._now()))
            writer.write(f"HTTP/1.1 {status} X\r\ndate: {date}\r\ncontent-length: {len(answer)}\r\n\r\n".encode())
            writer.write(answer)
            await writer.drain()

    def _now(self) -> float:
        return time.time() + self.ahead

    def _answer(self, target: str, request: bytes) -> tuple[int, bytes]:
        self.asked += 1
        if self.refusal is not None:
            status, error, fix = self.refusal
            return status, msgspec.json.encode({"error": error, "fix": fix})
        asked = float(parse_qs(urlsplit(target).query)["lifetime"][0])
        issued = self.authority.sign(request, identity=self._identity, lifetime=min(asked, self._longest))
        expires = issued.expires + self.ahead
        facts = {"chain": issued.chain, "roots": issued.roots, "expires": expires, "identity": str(issued.identity)}
        return 200, msgspec.json.encode(facts)


@contextlib.asynccontextmanager
async def stub_authority(path: Path, *, longest: float = 24 * 3600) -> AsyncIterator[StubAuthority]:
    authority = StubAuthority(path, identity=IDENTITY, longest=longest)
    await authority.start()
    try:
        yield authority
    finally:
        await authority.stop()


def write_certificate(directory: Path) -> Authority:
    """What a killed agent leaves in its directory: a good certificate, and its files. Blocks; not inside a loop."""
    key, request = asyncio.run(rotation.request())
    authority = Authority.create()
    signed = authority.sign(request, identity=IDENTITY)
    issued = Issued(chain=signed.chain, roots=signed.roots, identity=str(IDENTITY), expires=signed.expires)
    Secrets(directory).write(Certificate(key=key, issued=issued, since=0, renewal=0))
    return authority
