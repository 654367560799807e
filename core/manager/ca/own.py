"""The Manager's own certificate, by which others know it. Made anew at half life, whenever somebody looks."""

import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from core.manager.ca.authority import Authority
from core.manager.ca.root import key_pem
from core.model.identity import SpiffeId
from core.model.secret import Sealed


class Pair(msgspec.Struct, frozen=True):
    """PEM; `stale` (epoch seconds) is when the next one is due."""

    chain: bytes
    key: Sealed
    stale: float


class OwnCertificate:
    """Servers ask at every handshake, from any thread. `identity` may change with the mesh's settings."""

    def __init__(
        self,
        authority: Authority,
        identity: Callable[[], SpiffeId],
        *,
        names: tuple[str, ...],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._authority = authority
        self._identity = identity
        self._names = [_general_name(name) for name in dict.fromkeys(names)]
        self._clock = clock
        self._lock = threading.Lock()
        self._pair: Pair | None = None

    @property
    def roots(self) -> str:
        return self._authority.roots

    def current(self) -> Pair:
        """The same object until another one is due."""
        with self._lock:
            if self._pair is None or self._clock() >= self._pair.stale:
                self._pair = self._make()
            return self._pair

    def _make(self) -> Pair:
        key = generate_private_key(SECP256R1())
        issued = self._authority.certify(key.public_key(), identity=self._identity(), names=self._names)
        now = self._clock()
        return Pair(issued.chain.encode(), Sealed(key_pem(key)), now + (issued.expires - now) / 2)


def names_of(host: str) -> tuple[str, ...]:
    """By which a server on that address may be called: what was configured, this machine, and Istio's names."""
    named = () if host in ("0.0.0.0", "::") else (host,)
    # DNS names in certificates are ASCII; what people call their machines need not be.
    here = (name for name in [socket.gethostname()] if name and name.isascii())
    istio = ("istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local")
    return (*named, "localhost", "127.0.0.1", *here, *istio)


def _general_name(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)


def server_context(own: OwnCertificate, scratch: Path) -> ssl.SSLContext:
    """Shows the newest certificate at every handshake; asks for the client's, which it need not have.

    `scratch` is a directory of ours: the `ssl` module reads keys from files only.
    """
    context = _context(own.roots)
    shown: list[tuple[Pair, ssl.SSLContext]] = []

    def renew(channel: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        pair = own.current()
        if not shown or shown[0][0] is not pair:
            shown[:] = [(pair, _loaded(_context(own.roots), pair, scratch))]
        channel.context = shown[0][1]

    context.sni_callback = renew
    # OpenSSL wants to know that there will be one.
    return _loaded(context, own.current(), scratch)


def _context(roots: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=roots)
    # A resumed session would not show its certificate again.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def _loaded(context: ssl.SSLContext, pair: Pair, scratch: Path) -> ssl.SSLContext:
    with tempfile.NamedTemporaryFile(dir=scratch, prefix=".own-") as file:
        file.write(pair.key.value + pair.chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context
