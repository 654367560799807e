"""The ports for other machines: HTTPS for certificates, gRPC for proxies, gRPC for certificates. Each may be off."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from core.errors import Denied, Misconfigured
from core.manager.ca.application import for_strangers
from core.manager.ca.attest import Members
from core.manager.ca.issuer import Issuer
from core.manager.ca.own import OwnCertificate, server_context
from core.manager.ca.private import directory
from core.manager.ca.secure import SecureServer, doorman
from core.manager.ca.web import Listening
from core.manager.xds.server import OpenStream, Server
from core.manager.xds.stream import Dialect, Stream
from core.model.identity import SpiffeId
from core.model.service import WorkloadKey
from core.model.workload import Node, workload_of_node

OpenProxy = Callable[[WorkloadKey, Node, Dialect], Stream]


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The bound ones; None: off."""

    https: int | None = None
    xds: int | None = None
    csr: int | None = None


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """`host:port` each, "" for off. `scratch` is a directory of ours, `age` that of a connection, in seconds.

    `shared`: with other Managers of this user, who listen there, too.
    """

    https: str = ""
    xds: str = ""
    csr: str = ""
    scratch: Path
    age: float
    shared: bool = False


class Doors:
    """Owns the ports. `open_proxy` makes the stream of a workload's proxy."""

    def __init__(
        self, issuer: Issuer, own: OwnCertificate, members: Members, *, streams: Server, listen: Listen
    ) -> None:
        self._issuer = issuer
        self._own = own
        self._members = members
        self._streams = streams
        self._listen = listen
        self._https: Listening | None = None
        self._grpc: SecureServer | None = None
        self.ports = Ports()

    async def open(self, open_proxy: OpenProxy) -> None:
        """Raises `Misconfigured`."""
        self.ports = Ports(https=await self._open_https(), **await self._open_grpc(open_proxy))

    async def close(self) -> None:
        if self._https is not None:
            await self._https.close()
        if self._grpc is not None:
            await self._grpc.close()

    async def _open_https(self) -> int | None:
        if not self._listen.https:
            return None
        context = server_context(self._own, directory(self._listen.scratch))
        place, handler = address(self._listen.https), for_strangers(self._issuer)
        self._https = await Listening.on_port(place, handler, context=context, shared=self._listen.shared)
        return self._https.port

    async def _open_grpc(self, open_proxy: OpenProxy) -> dict[str, int]:
        if not (self._listen.xds or self._listen.csr):
            return {}
        admit = doorman(self._issuer, partial(_opener, self._members, open_proxy), time.time)
        conversations = self._streams.elsewhere("tls", admit)
        server = SecureServer(self._own, self._issuer, conversations, age=self._listen.age, shared=self._listen.shared)
        self._grpc = server
        wanted = {"xds": (self._listen.xds, server.demanding), "csr": (self._listen.csr, server.open)}
        ports = {
            name: server.listen(*address(text), credentials=credentials())
            for name, (text, credentials) in wanted.items()
            if text
        }
        await server.start()
        return ports


def _opener(members: Members, open_proxy: OpenProxy, identity: SpiffeId) -> OpenStream:
    def open_stream(node: Node, dialect: Dialect) -> Stream:
        key = workload_of_node(node.id)
        if key is None or members.identity(key) != identity:
            raise Denied(f"{identity} is not the identity of {node.id!r}", fix="use the workload's own certificate")
        return open_proxy(key, node, dialect)

    return open_stream


def address(text: str) -> tuple[str, int]:
    """`host:port` or `[host]:port`. Raises `Misconfigured`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise Misconfigured(f"{text!r} is no address to listen on", fix="write host:port, as in 127.0.0.1:15012")
    return host.strip("[]"), int(port)
