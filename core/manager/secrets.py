"""Is a secret of a gateway fit for use? Asked before a proxy gets it: Envoy refuses a bad one, and the old one is lost.

Whether clients trust the certificate, and whether it has expired, is not asked here.
"""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from core.model.secret import Secret


def problem(secret: Secret) -> str:
    """What is wrong with it in one sentence without its end, "" when nothing is. Never a part of the key."""
    if secret.problem:
        return secret.problem
    chain, key = _certificates(secret.chain), _key(secret.key.value)
    if not chain:
        return "its certificate is not PEM (-----BEGIN CERTIFICATE-----)"
    if key is None:
        return "its key is not a PEM private key without a password"
    if _public(chain[0]) != key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        return "its key does not belong to its certificate (the server's own must come first)"
    if secret.roots and not _certificates(secret.roots):
        return "its roots are not PEM certificates"
    return ""


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _key(pem: bytes) -> PrivateKeyTypes | None:
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
