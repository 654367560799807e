"""Signs: makes certificates that say who holds a key. Who that is was decided before; no file, no server in here."""

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from core.errors import Misconfigured
from core.manager.ca.requests import PublicKey, Unacceptable, public_key
from core.manager.ca.root import BACKDATED, Random, Root, make_root, moment, serial
from core.model.identity import SpiffeId

LIFETIME: Final = 24 * 3600.0
"""Seconds, as Istio's."""

SHORTEST: Final = 5.0
"""Seconds. Below, a certificate is over before it can be used."""

_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_PURPOSES: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate: `chain` in PEM, leaf first, without the root; `roots` in PEM; `expires` in epoch seconds."""

    chain: str
    roots: str
    expires: float
    identity: SpiffeId


class Authority:
    """`longest` is the longest life of a certificate, in seconds. `clock` tells epoch seconds.

    Raises `Misconfigured` when certificates would be over before they can be used.
    """

    def __init__(
        self,
        root: Root,
        *,
        longest: float = LIFETIME,
        clock: Callable[[], float] = time.time,
        random: Random = secrets.token_bytes,
    ) -> None:
        if not longest >= SHORTEST:
            text = f"certificates that last {longest:g} s are of no use"
            raise Misconfigured(text, fix=f"let them last {SHORTEST:g} s or more (certificate_lifetime)")
        self._root = root
        self._longest = longest
        self._clock = clock
        self._random = random

    @classmethod
    def create(
        cls, trust_domain: str = "cluster.local", *, longest: float = LIFETIME, clock: Callable[[], float] = time.time
    ) -> "Authority":
        """One with a root of its own that nobody keeps."""
        return cls(make_root(trust_domain, now=clock()), longest=longest, clock=clock)

    def at(self, clock: Callable[[], float]) -> "Authority":
        """The same authority at another time."""
        return Authority(self._root, longest=self._longest, clock=clock, random=self._random)

    @property
    def roots(self) -> str:
        """PEM."""
        return self._root.certificate_pem().decode()

    def sign(self, csr_pem: bytes, *, identity: SpiffeId, lifetime: float | None = None) -> Issued:
        """A certificate for the key of the request.

        `lifetime` in seconds: less than usual if so asked, never more, and never beyond the root's. Raises
        `Unacceptable` for a bad request or too short a life, `Denied` when the request names anybody but `identity`.
        """
        return self.certify(public_key(csr_pem, identity=identity), identity=identity, lifetime=lifetime)

    def certify(
        self,
        key: PublicKey,
        *,
        identity: SpiffeId,
        names: Sequence[x509.GeneralName] = (),
        lifetime: float | None = None,
    ) -> Issued:
        """As `sign`, for a key that is known to be the asker's; `names` stand beside the identity."""
        now = self._clock()
        expires = min(moment(now) + timedelta(seconds=int(self._life(lifetime))), self._root.expires)
        all_names = [x509.UniformResourceIdentifier(str(identity)), *names]
        builder = (
            # The subject is empty, so the alternative names are critical (RFC 5280 §4.2.1.6).
            x509.CertificateBuilder(self._root.certificate.subject, x509.Name([]), key)
            .serial_number(serial(self._random))
            .not_valid_before(max(moment(now) - BACKDATED, self._root.certificate.not_valid_before_utc))
            .not_valid_after(expires)
            .add_extension(x509.SubjectAlternativeName(all_names), critical=True)
        )
        leaf = self._signed(builder)
        chain = leaf.public_bytes(Encoding.PEM).decode()
        return Issued(chain=chain, roots=self.roots, expires=expires.timestamp(), identity=identity)

    def _life(self, asked: float | None) -> float:
        if asked is None:
            return self._longest
        if not asked >= SHORTEST:
            raise Unacceptable(f"a certificate for {asked:g} s is of no use", fix=f"ask for {SHORTEST:g} s or more")
        return min(asked, self._longest)

    def _signed(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._root.key.public_key())
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_USAGE, critical=True)
            .add_extension(_PURPOSES, critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._root.key, SHA256())
        )
