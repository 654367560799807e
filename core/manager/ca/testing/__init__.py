"""For tests of whoever uses certificates: workloads' certificates of every sort, without a Manager."""

import time
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from core.manager.ca.authority import Authority
from core.manager.ca.root import key_pem, make_root
from core.model.identity import SpiffeId


def identity(name: str = "default", *, namespace: str = "default", trust_domain: str = "cluster.local") -> SpiffeId:
    """Of a service account."""
    return SpiffeId.of(trust_domain, namespace=namespace, service_account=name)


def new_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


def csr(key: EllipticCurvePrivateKey, *names: x509.GeneralName) -> bytes:
    """PEM; as our agent makes it, or one that asks for names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def issued(whose: SpiffeId, authority: Authority, *, lifetime: float | None = None) -> tuple[str, str]:
    """A chain and its key, both PEM. A foreign one: have another `Authority.create()` make it."""
    key = new_key()
    return authority.sign(csr(key), identity=whose, lifetime=lifetime).chain, key_pem(key).decode()


def nameless(authority: Authority) -> tuple[str, str]:
    """A chain and its key by that authority's root, for a host and nobody's SPIFFE ID: as a root that a company uses
    for other things, too, has made many."""
    root, key, now = authority._root, new_key(), datetime.now(UTC)
    leaf = (
        x509.CertificateBuilder(root.certificate.subject, x509.Name([]), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("printer.example.com")]), critical=True)
        .sign(root.key, SHA256())
    )
    return leaf.public_bytes(Encoding.PEM).decode(), key_pem(key).decode()


class Expiring:
    """An authority whose root is good, and who can issue what was over some time ago."""

    def __init__(self, trust_domain: str = "cluster.local") -> None:
        self.now = time.time()
        # Made a day ago, so that its certificates of yesterday were never older than it is.
        self._root = make_root(trust_domain, now=self.now - timedelta(days=2).total_seconds())
        self.authority = Authority(self._root)

    def expired(self, whose: SpiffeId, *, ago: float = 3600.0) -> tuple[str, str]:
        """A chain and its key; it ended `ago` seconds ago, after a life of an hour."""
        yesterday = Authority(self._root, clock=lambda: self.now - ago - 3600)
        return issued(whose, yesterday, lifetime=3600)
