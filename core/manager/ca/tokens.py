"""Join tokens: a line of text that says who may get a certificate, until when, and how often; signed, not encrypted.

`istio-join.<claims>.<HMAC-SHA256 over what stands before>`, both parts in base64url without padding. Pure.
"""

import binascii
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from typing import Final

import msgspec

from core.errors import Denied
from core.model.secret import Sealed

PREFIX: Final = "istio-join."
LONGEST: Final = 2048
"""Characters; claims with the longest names make about 900."""

_FIX: Final = "make another with: istioctl token create"
_ID: Final = re.compile("[0-9a-f]{32}")


class Uses(StrEnum):
    """How often a token is good."""

    ONE = "1"
    UNLIMITED = "unlimited"


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """`id`: 32 hexadecimal digits. `workload` "": any of that service account. `expires` in epoch seconds."""

    id: str
    namespace: str
    service_account: str
    workload: str = ""
    expires: int
    uses: Uses = Uses.ONE


def write(claims: Claims, key: Sealed) -> Sealed:
    signed = PREFIX + _text(msgspec.json.encode(claims))
    return Sealed(f"{signed}.{_mac(signed, key)}".encode())


def read(token: Sealed, key: Sealed, *, now: float) -> Claims:
    """Raises `Denied` for what was not written with this key, bit for bit, or is over."""
    try:
        text = token.value.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    signed, _, mac = text.rpartition(".")
    # The text of the code is compared, not its bytes: base64 has several texts for the same bytes.
    if len(text) > LONGEST or not signed.startswith(PREFIX) or not hmac.compare_digest(mac, _mac(signed, key)):
        raise Denied("this is no join token of this mesh, or not all of it", fix=_FIX)
    claims = _claims(signed)
    if now >= claims.expires:
        raise Denied("the join token is over", fix=_FIX)
    return claims


def _claims(signed: str) -> Claims:
    """Ours, since the code is right; another release may have written other fields."""
    try:
        claims = msgspec.json.decode(_bytes(signed.removeprefix(PREFIX)), type=Claims)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise Denied("the join token is of another release", fix=_FIX) from error
    if not _ID.fullmatch(claims.id):
        raise Denied("the join token is of another release", fix=_FIX)
    return claims


def _mac(signed: str, key: Sealed) -> str:
    return _text(hmac.digest(key.value, signed.encode(), "sha256"))


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
