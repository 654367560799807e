"""Asks the Manager for a certificate: over the workload's own unix socket, or over HTTPS from another machine.

Not for when to ask (rotation), nor for keys (request).
"""

import asyncio
import calendar
import contextlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import assert_never
from urllib.parse import urlsplit

import msgspec

from core.errors import Denied, MeshError, Misconfigured, Unavailable
from proxy.identity.certificate import END, Issued
from proxy.web.client import Question, Reply, Streams, connected, exchange

PATH = "/v1/certificate"
TIMEOUT = 10.0
"""Seconds for one answer."""
DATE = "%a, %d %b %Y %H:%M:%S GMT"
"""RFC 9110, section 5.6.7."""


class Local(msgspec.Struct, frozen=True, kw_only=True, tag="local"):
    """The Managers of this machine; each has a socket for this workload alone, which tells who is asking."""

    sockets: tuple[str, ...]


class Remote(msgspec.Struct, frozen=True, kw_only=True, tag="remote"):
    """A Manager elsewhere: `https://host:port`. `token` and `roots` are paths: what proves at first who is asking, and
    whom to believe to be the Manager, which has to show `identity` (SPIFFE). `mark` (SO_MARK, 0: none) is Envoy's, so
    that the kernel does not lead this connection to an Envoy that is still without its certificate."""

    url: str
    token: str = ""
    roots: str
    identity: str
    mark: int = 0


Source = Local | Remote


class Failure(msgspec.Struct, frozen=True):
    """What the Manager says when it issues nothing."""

    error: str = ""
    fix: str = ""


class Authority:
    """`pair` is where certificate and key of this workload are as one PEM file: shown to a Manager elsewhere.

    One that is not taken any more (it expired while the workload was off) is removed; the token has to do again.
    """

    def __init__(self, source: Source, *, pair: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._pair = pair
        self._clock = clock
        # Of several Managers the one that answered last comes first.
        self._sockets = source.sockets if isinstance(source, Local) else ()

    @property
    def where(self) -> str:
        return " and ".join(self._sockets) if isinstance(self._source, Local) else self._source.url

    def believes(self, roots: str) -> bool:
        """Whether these (PEM) are among the roots of a Manager elsewhere; of those of one here nothing is known."""
        if isinstance(self._source, Local):
            return True
        with contextlib.suppress(Misconfigured):
            return _blocks(roots) <= _blocks(_text(self._source.roots, "roots"))
        return False

    async def sign(self, request: bytes, *, lifetime: int) -> Issued:
        """A certificate for the key of `request`, good for `lifetime` seconds or less.

        Raises `Unavailable` when no Manager answers, `Denied` when it says no, `Misconfigured` for missing files.
        """
        headers = {"content-type": "application/pkcs10", **self._credential()}
        question = Question(
            method="POST", path=f"{PATH}?lifetime={lifetime}", host=self._host(), headers=headers, body=request
        )
        try:
            reply = await self._exchange(question)
        except (OSError, TimeoutError, ValueError) as error:
            if isinstance(error, ssl.SSLError) and self._known:
                self._forget()
            raise self._silent(error) from error
        if reply.status in (401, 403) and self._known:
            self._forget()
        return self._read(reply)

    async def _exchange(self, question: Question) -> Reply:
        """Of several Managers on this machine, the next one is asked when one does not answer."""
        for _ in self._sockets[1:]:
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                return await self._once(question)
            self._sockets = (*self._sockets[1:], self._sockets[0])
        return await self._once(question)

    async def _once(self, question: Question) -> Reply:
        async with asyncio.timeout(TIMEOUT / max(len(self._sockets), 1)):
            return await exchange(await self._connect(), question)

    @property
    def _known(self) -> bool:
        return self._pair is not None and self._pair.exists()

    def _forget(self) -> None:
        if self._pair is not None:
            self._pair.unlink(missing_ok=True)

    def _host(self) -> str:
        return "manager" if isinstance(self._source, Local) else urlsplit(self._source.url).netloc

    def _credential(self) -> dict[str, str]:
        """A valid certificate says it better: the token may be good for one use only."""
        if isinstance(self._source, Local) or not self._source.token or self._known:
            return {}
        return {"authorization": f"Bearer {_text(self._source.token, 'token')}"}

    async def _connect(self) -> Streams:
        match self._source:
            case Local():
                return await asyncio.open_unix_connection(self._sockets[0])
            case Remote() as remote:
                return await self._connect_tls(remote)
            case _:
                assert_never(self._source)

    async def _connect_tls(self, remote: Remote) -> Streams:
        """The Manager is known by its SPIFFE identity, whatever its host is called."""
        _text(remote.roots, "roots")
        context = ssl.create_default_context(cafile=remote.roots)
        context.check_hostname = False
        if self._pair is not None and self._known:
            context.load_cert_chain(self._pair)
        url = urlsplit(remote.url)
        made = await connected(url.hostname or "", url.port or 15012, mark=remote.mark)
        reader, writer = await asyncio.open_connection(sock=made, ssl=context, server_hostname=url.hostname)
        names = writer.get_extra_info("peercert", {}).get("subjectAltName", ())
        if ("URI", remote.identity) not in names:
            writer.close()
            raise ssl.SSLCertVerificationError(f"who answers there is not {remote.identity} but {names or 'nameless'}")
        return reader, writer

    def _read(self, reply: Reply) -> Issued:
        if reply.status != 200:
            raise _refused(reply)
        try:
            issued = msgspec.json.decode(reply.body, type=Issued)
        except msgspec.DecodeError as error:
            raise Unavailable(f"no certificate in the answer of {self.where}: {error}") from error
        life = issued.life or issued.expires - self._managers_now(reply)
        if life <= 0:
            raise Unavailable(
                f"the certificate from {self.where} is over already", fix="Compare the clocks of both machines."
            )
        return msgspec.structs.replace(issued, life=self._shorter(life, issued.expires))

    def _shorter(self, life: float, expires: float) -> float:
        """Envoys look at the clock of their own machine. One by which hardly anything is left is itself wrong."""
        left = expires - self._clock()
        return min(life, left) if left > life / 10 else life

    def _managers_now(self, reply: Reply) -> float:
        """By the Manager's clock: ours may be a minute off, and must not make a certificate look fresh or stale."""
        try:
            return calendar.timegm(time.strptime(reply.headers["date"], DATE))
        except (KeyError, ValueError):
            return self._clock()

    def _silent(self, error: BaseException) -> MeshError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Denied(
                f"{self.where} is not believed: {error}", fix="Compare --roots with the mesh's root certificate."
            )
        said = getattr(error, "strerror", None) or str(error) or repr(error)
        what = "it does not answer in time" if isinstance(error, TimeoutError) else said
        return Unavailable(f"no Manager at {self.where}: {what}", fix="Is it running?")


def _refused(reply: Reply) -> MeshError:
    try:
        said = msgspec.json.decode(reply.body, type=Failure)
    except msgspec.DecodeError:
        said = Failure(error=f"HTTP {reply.status}")
    kind = Unavailable if reply.status >= 500 or reply.status == 404 else Denied
    return kind(f"the Manager issues no certificate: {said.error}", fix=said.fix)


def _blocks(pem: str) -> set[str]:
    return {block.strip() for block in pem.split(END)} - {""}


def _text(path: str, what: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise Misconfigured(f"cannot read the {what} file {path}: {error.strerror}", fix="Correct its path.") from error
