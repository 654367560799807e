"""A workload's certificate as the agent holds it, and how long it is good for by a clock of its own.

Reads three fields of it (serial number, end, identity); whether it is valid is for Envoy and its callers to judge.
"""

import calendar
import re
import ssl
import time

import msgspec

from core.errors import Misconfigured

INTEGER, SEQUENCE, VERSION = 0x02, 0x30, 0xA0
"""Tags of X.690; the last is `[0]`, the optional version of a certificate (RFC 5280, section 4.1)."""
UTC_TIME = 0x17
"""Until 2049; later dates have four digits of the year, in a GeneralizedTime (RFC 5280, section 4.1.2.5)."""
_URI = re.compile(rb"\x86([\x0a-\x7f])spiffe://", re.DOTALL)
"""Begins an alternative name (`[6]`) of less than 128 bytes that is a SPIFFE ID."""
END = "-----END CERTIFICATE-----"


class Key(msgspec.Struct, frozen=True):
    """A private key as PEM, never seen in a log."""

    pem: bytes

    def __repr__(self) -> str:
        return "<redacted>"


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """The Manager's answer: `chain` (leaf first) and `roots` are PEM, `expires` seconds of the epoch by its clock.

    `life` is how many seconds are left of it, as seen by the Manager: its clock and ours may differ.
    """

    chain: str
    roots: str
    identity: str
    expires: float
    life: float = 0.0


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What was issued, with its key. `since` (our clock) is when it came, `renewal` when the next is asked for."""

    key: Key
    issued: Issued
    since: float
    renewal: float

    @property
    def end(self) -> float:
        """By our clock."""
        return self.since + self.issued.life


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What anybody may know of a certificate. Times are seconds of the epoch; at `renewal` the next is asked for."""

    identity: str
    serial: str
    expires: float
    renewal: float


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a certificate: `serial` in hexadecimal, `end` in seconds of the epoch, `identity` "" for none."""

    serial: str
    end: float
    identity: str


def leaf(chain: str) -> Leaf:
    """Of the first certificate in `chain` (PEM). Raises `Misconfigured` when there is none."""
    pem = chain[: chain.find(END) + len(END)]
    try:
        der = ssl.PEM_cert_to_DER_cert(pem.strip())
        content = _inside(_inside(der, SEQUENCE)[0], SEQUENCE)[0]
        if content[0] == VERSION:
            content = _inside(content, VERSION)[1]
        serial, rest = _inside(content, INTEGER)
        for _ in ("algorithm", "issuer"):
            rest = _inside(rest, SEQUENCE)[1]
        end = _end(_inside(rest, SEQUENCE)[0])
    except (ValueError, IndexError) as error:
        raise Misconfigured(f"this is no certificate: {error}", fix="Remove it.") from error
    found = _URI.search(der)
    identity = der[found.start() + 2 :][: found[1][0]].decode("ascii", "replace") if found else ""
    return Leaf(serial=f"{int.from_bytes(serial, 'big'):x}", end=end, identity=identity)


def _end(validity: bytes) -> float:
    """The second of two times."""
    moments = _inside(validity, validity[0])[1]
    text = _inside(moments, moments[0])[0].decode("ascii")
    form = "%y%m%d%H%M%SZ" if moments[0] == UTC_TIME else "%Y%m%d%H%M%SZ"
    return calendar.timegm(time.strptime(text, form))


def _inside(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the first element, which has this tag, and what follows it (X.690, definite lengths)."""
    if data[0] != tag:
        raise ValueError(f"tag {data[0]:#x} where {tag:#x} was expected")
    size, start = data[1], 2
    if size > 0x7F:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    return data[start : start + size], data[start + size :]
