"""gRPC over TLS, for proxies and agents elsewhere: ADS to whoever shows a certificate of ours, and certificates.

grpc can demand a client's certificate or not ask for one, nothing between. So there are two ports: on one a certificate
is demanded (ADS, renewal), on the other none is asked for (a first certificate, for a credential).
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import grpc
from cryptography import x509

from core.errors import Denied, MeshError, Misconfigured, NotFound, Unavailable
from core.manager.ca.issuer import Issuer
from core.manager.ca.messages import METHOD, SERVICE, read_request, write_response
from core.manager.ca.own import OwnCertificate
from core.manager.ca.requests import Unacceptable
from core.manager.xds.server import OPTIONS, Admit, Context, Conversations, Guest, OpenStream
from core.model.identity import SpiffeId

_CODES: Final = (
    (Unacceptable, grpc.StatusCode.INVALID_ARGUMENT),
    (Denied, grpc.StatusCode.PERMISSION_DENIED),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
)
OpenFor = Callable[[SpiffeId], OpenStream]
"""How the streams of somebody with that identity are made."""

_log = logging.getLogger(__name__)


class SecureServer:
    """`age`: seconds after which a connection is to be replaced, so that it shows a newer certificate.

    `shared`: other Managers of this user listen at the same ports.
    """

    def __init__(
        self, own: OwnCertificate, issuer: Issuer, conversations: Conversations, *, age: float, shared: bool = False
    ) -> None:
        self._own = own
        options = (
            *OPTIONS,
            # grpc spreads this by 10 % by itself.
            ("grpc.max_connection_age_ms", max(1, int(age * 1000))),
            # Two meshes on one port would share its connections by chance; Managers of one mesh may.
            ("grpc.so_reuseport", int(shared)),
        )
        self._server = grpc.aio.server(options=options)
        create = grpc.unary_unary_rpc_method_handler(partial(_create, issuer))
        certificates = grpc.method_handlers_generic_handler(SERVICE, {METHOD: create})
        self._server.add_generic_rpc_handlers((conversations.handler, certificates))

    def listen(self, host: str, port: int, *, credentials: grpc.ServerCredentials) -> int:
        """Before `start`. The bound port. Raises `Misconfigured`."""
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return self._server.add_secure_port(where, credentials)
        except RuntimeError as error:
            raise Misconfigured(f"cannot listen on {where}", fix="choose another address or port") from error

    def demanding(self) -> grpc.ServerCredentials:
        """The client has to show a certificate of ours."""
        return grpc.dynamic_ssl_server_credentials(self._configuration(), self._configuration, True)

    def open(self) -> grpc.ServerCredentials:
        """The client is not asked for one."""
        return grpc.dynamic_ssl_server_credentials(self._configuration(), self._configuration, False)

    async def start(self) -> None:
        await self._server.start()

    async def close(self) -> None:
        await self._server.stop(None)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        """Also called at every handshake, in a thread of grpc's."""
        pair = self._own.current()
        return grpc.ssl_server_certificate_configuration([(pair.key.value, pair.chain)], self._own.roots.encode())


def doorman(issuer: Issuer, open_for: OpenFor, clock: Callable[[], float]) -> Admit:
    """Lets in who shows a certificate of ours, until that is over."""

    def admit(context: Context) -> Guest:
        certificate = _certificate(context)
        if certificate is None:
            raise Denied("nothing says who is asking", fix="connect with a certificate of this mesh")
        identity, expires = issuer.peer(certificate)
        return Guest(open_for(identity), expires - clock())

    return admit


async def _create(issuer: Issuer, raw: bytes, context: Context) -> bytes:
    try:
        csr, lifetime = read_request(raw)
        if (credential := _bearer(context)) is not None:
            issued = await issuer.for_credential(credential, csr, lifetime)
        elif (certificate := _certificate(context)) is not None:
            issued = issuer.for_peer(certificate, csr, lifetime)
        else:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "nothing says who is asking: send a join token")
    except MeshError as error:
        await _abort(context, error)
    return write_response((issued.chain, issued.roots))


async def _abort(context: Context, error: MeshError) -> NoReturn:
    _log.warning("certificate refused", extra={"reason": str(error)})
    code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.FAILED_PRECONDITION)
    await context.abort(code, f"{error}; {error.fix}" if error.fix else str(error))


def _bearer(context: Context) -> bytes | None:
    """Raises `Denied` for several."""
    said = [value for name, value in context.invocation_metadata() or () if name == "authorization"]
    if len(said) > 1:
        raise Denied("there are several credentials", fix="send one")
    for value in said:
        scheme, _, credential = (value.decode("latin-1") if isinstance(value, bytes) else value).partition(" ")
        if scheme.lower() == "bearer":
            return credential.strip().encode()
    return None


def _certificate(context: Context) -> x509.Certificate | None:
    """The peer's; it was verified in the handshake."""
    for pem in context.auth_context().get("x509_pem_cert", ()):
        return x509.load_pem_x509_certificate(pem)
    return None
