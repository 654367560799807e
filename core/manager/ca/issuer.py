"""From a request and a proof of who sends it to a certificate. Servers call this; what they speak is not known here."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509

from core.errors import Denied, MeshError, NotFound
from core.manager.ca.attest import Members
from core.manager.ca.authority import Authority, Issued
from core.manager.ca.requests import check
from core.model.identity import SpiffeId
from core.model.service import WorkloadKey
from core.ports import Attestor

_log = logging.getLogger(__name__)


class Issuer:
    """All methods raise `Unacceptable` for a bad request, `Denied` when it is not granted, `lifetime` is in seconds."""

    def __init__(
        self, authority: Authority, attestor: Attestor, members: Members, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._authority = authority
        self._attestor = attestor
        self._members = members
        self._clock = clock

    def for_workload(self, key: WorkloadKey, csr: bytes, lifetime: float | None) -> Issued:
        """To whoever came through the workload's own socket. Raises `NotFound` when it is not registered."""
        return self._sign(csr, self._members.identity(key), lifetime)

    async def for_credential(self, credential: bytes, csr: bytes, lifetime: float | None) -> Issued:
        """The request is looked at first: one that is no use to anybody must not use up a token."""
        check(csr)
        return self._sign(csr, await self._attestor.attest(credential), lifetime)

    def for_peer(self, certificate: x509.Certificate, csr: bytes, lifetime: float | None) -> Issued:
        """A renewal: `certificate` was shown, and verified against our roots, in the TLS handshake.

        Raises `NotFound` when nobody is called so any more: who was taken out of the mesh does not stay in it for ever.
        """
        identity, _ = self.peer(certificate)
        if not self._members.has(identity):
            fix = "ask again when it is in the registry"
            raise NotFound(f"no workload with the identity {identity} is registered", fix=fix)
        return self._sign(csr, identity, lifetime)

    def peer(self, certificate: x509.Certificate) -> tuple[SpiffeId, float]:
        """Who showed a verified certificate, and when it ends (epoch seconds). Raises `Denied` when it is over."""
        if certificate.not_valid_after_utc <= datetime.fromtimestamp(self._clock(), UTC):
            raise Denied("the certificate is over", fix="get one with a join token")
        identity = identity_of(certificate)
        if identity.trust_domain != self._members.trust_domain:
            raise Denied(f"{identity} is of another trust domain", fix="get a certificate of this mesh")
        return identity, certificate.not_valid_after_utc.timestamp()

    def _sign(self, csr: bytes, identity: SpiffeId, lifetime: float | None) -> Issued:
        if identity == self._members.manager():
            raise Denied(f"{identity} is the Manager's own identity", fix="use another service account")
        issued = self._authority.sign(csr, identity=identity, lifetime=lifetime)
        _log.info("certificate issued", extra={"identity": str(identity), "expires": issued.expires})
        return issued


def identity_of(certificate: x509.Certificate) -> SpiffeId:
    """Exactly one URI, a SPIFFE ID (X.509-SVID §2). Raises `Denied`."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        return SpiffeId.parse(uri)
    except (x509.ExtensionNotFound, ValueError, MeshError) as error:
        raise Denied("the certificate names no workload", fix="get one of this mesh") from error
