"""What is taken from a certificate signing request (PKCS #10): its key, nothing else. What is unusual is refused."""

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from core.errors import Denied, MeshError
from core.model.identity import SpiffeId

LARGEST: Final = 16 * 1024
"""Bytes of a request in PEM; one with an RSA key of 4096 bits has less than 2 KiB."""

_RSA_BITS: Final = range(2048, 8192 + 1)
_BEGIN: Final = b"-----BEGIN CERTIFICATE REQUEST-----"

PublicKey = EllipticCurvePublicKey | RSAPublicKey


class Unacceptable(MeshError):
    """What was sent is no request for a certificate, or one that cannot be granted to anybody."""


def public_key(pem: bytes, *, identity: SpiffeId) -> PublicKey:
    """The key to certify as `identity`.

    Raises `Unacceptable`, or `Denied` when the request names anybody else. It need not name anybody: who asks is the
    attestor's to say.
    """
    request = _parse(pem)
    _check_names(request, identity)
    return _strong(request.public_key())


def check(pem: bytes) -> None:
    """Raises `Unacceptable` for what nobody can be granted."""
    _strong(_parse(pem).public_key())


def _parse(pem: bytes) -> x509.CertificateSigningRequest:
    if len(pem) > LARGEST:
        raise Unacceptable(f"the request is larger than {LARGEST} bytes", fix="send one CSR in PEM")
    if pem.count(b"-----BEGIN ") != 1 or _BEGIN not in pem:
        raise Unacceptable("the request is not one CSR in PEM", fix="send one block CERTIFICATE REQUEST")
    try:
        request = x509.load_pem_x509_csr(pem)
        if request.is_signature_valid:
            return request
    except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
        raise Unacceptable(f"the CSR cannot be read: {error}", fix="send one CSR in PEM (PKCS #10)") from error
    raise Unacceptable("the CSR is not signed by the key in it", fix="sign it with the private key of that public key")


def _strong(key: object) -> PublicKey:
    match key:
        case EllipticCurvePublicKey(curve=SECP256R1()):
            return key
        case RSAPublicKey() if key.key_size in _RSA_BITS:
            return key
    raise Unacceptable("the key is neither EC P-256 nor RSA of 2048 to 8192 bits", fix="make an EC P-256 key")


def _check_names(request: x509.CertificateSigningRequest, identity: SpiffeId) -> None:
    expected = x509.UniformResourceIdentifier(str(identity))
    try:
        asked = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Unacceptable(f"the names in the CSR cannot be read: {error}", fix="name nobody in it") from error
    if any(name != expected for name in asked):
        names = ", ".join(str(name.value) for name in asked)
        raise Denied(f"the CSR asks for {names}, but whoever sent it is {identity}", fix="name nobody in the CSR")
