"""The root of trust: a key and the certificate it signed itself. Where they are kept is not said here."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from core.errors import Misconfigured

BACKDATED: Final = timedelta(minutes=2)
"""Certificates are valid from a little before they are made, as Istio's are: clocks of a mesh differ."""

YEARS: Final = 10

Random = Callable[[int], bytes]
"""That many unpredictable bytes, as `secrets.token_bytes`."""


class Root(msgspec.Struct, frozen=True):
    """`key` prints as an object, never as a number."""

    key: EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def expires(self) -> datetime:
        return self.certificate.not_valid_after_utc

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        return key_pem(self.key)


def make_root(trust_domain: str, *, now: float, random: Random = secrets.token_bytes) -> Root:
    """A new one, EC P-256, valid for ten years from `now` (epoch seconds)."""
    return self_signed(generate_private_key(SECP256R1()), trust_domain, now=now, random=random)


def self_signed(key: EllipticCurvePrivateKey, trust_domain: str, *, now: float, random: Random) -> Root:
    """The root of that key."""
    begins = moment(now)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization(trust_domain))])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(serial(random))
        .not_valid_before(begins - BACKDATED)
        .not_valid_after(begins + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Root(key, builder.sign(key, SHA256()))


def check_root(root: Root, *, now: float, where: object = "the root") -> None:
    """Raises `Misconfigured` when key and certificate are not a pair, or the certificate is not valid at `now`."""
    certificate = root.certificate
    if certificate.public_key() != root.key.public_key():
        raise Misconfigured(f"{where}: key and certificate are not a pair", fix="restore the two that belong together")
    if not _may_sign(certificate):
        raise Misconfigured(f"{where}: the certificate may not sign others", fix="use one with CA:TRUE")
    if moment(now) >= root.expires:
        fix = "remove key and certificate for a new root; every workload then needs a new certificate"
        raise Misconfigured(f"{where}: the root expired at {root.expires:%Y-%m-%d %H:%M} UTC", fix=fix)
    if moment(now) < certificate.not_valid_before_utc:
        raise Misconfigured(f"{where}: the root is not valid yet", fix="correct the clock of this machine")


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def key_pem(key: EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def moment(seconds: float) -> datetime:
    """Certificates know whole seconds only."""
    return datetime.fromtimestamp(int(seconds), UTC)


def serial(random: Random) -> int:
    """159 bits, because 20 bytes with a sign are the most (RFC 5280 §4.1.2.2)."""
    return int.from_bytes(random(20), "big") >> 1 or 1


def organization(trust_domain: str) -> str:
    """X.520 allows 64 characters."""
    return trust_domain[:64]
