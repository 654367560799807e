"""The root of trust on disk: `root.key` and `root.pem`, made at the first start and the same ever after."""

import secrets
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from core.errors import Misconfigured
from core.manager.ca.private import directory, kept
from core.manager.ca.root import Random, Root, check_root, key_pem, self_signed

KEY: Final = "root.key"
CERTIFICATE: Final = "root.pem"
_RESTORE: Final = "restore both files of the pair; or remove both for a new root, which ends all certificates"


def open_root(where: Path, *, trust_domain: str, now: float, random: Random = secrets.token_bytes) -> Root:
    """The root in that directory. Raises `Misconfigured` for one that must not, or cannot, be used.

    The key comes first, and its certificate is made from it: so Managers that start together, and one that starts
    after another was killed between the two, end with one pair.
    """
    place = directory(where)
    if (place / CERTIFICATE).exists() and not (place / KEY).exists():
        raise Misconfigured(f"{place / CERTIFICATE} is there, but its key {KEY} is not", fix=_RESTORE)
    key = _key(place / KEY, kept(place / KEY, lambda: key_pem(generate_private_key(SECP256R1()))))
    made = kept(place / CERTIFICATE, lambda: self_signed(key, trust_domain, now=now, random=random).certificate_pem())
    root = Root(key, _certificate(place / CERTIFICATE, made))
    check_root(root, now=now, where=place)
    return root


def _key(path: Path, pem: bytes) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{path} is no private key in PEM without a password", fix=_RESTORE) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise Misconfigured(f"{path} is no EC key", fix="use one of the curve P-256")
    return key


def _certificate(path: Path, pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise Misconfigured(f"{path} is no certificate in PEM", fix=_RESTORE) from error
