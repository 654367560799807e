"""Protobuf's wire format, as far as splicing finished parts needs it: varints, fields with a length, ropes.

It knows no message type and does not import protobuf; who builds a part is responsible for what is in it.
"""

from collections.abc import Iterator
from functools import lru_cache

LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """`value` (not negative) in base 128, lowest seven bits first."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(maxsize=8192)
def header(number: int, size: int) -> bytes:
    """What stands before `size` bytes of a length-delimited field: string, bytes or message."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(size)


def field(number: int, payload: bytes) -> bytes:
    return header(number, len(payload)) + payload


def text(number: int, value: str) -> bytes:
    return field(number, value.encode())


class Rope:
    """Bytes as the sequence of their parts: cheap to make anew when one part of thousands changes.

    Joined at most once, when somebody first wants the bytes; the parts are let go then.
    """

    __slots__ = ("_parts", "size")

    def __init__(self, *parts: "bytes | Rope") -> None:
        self._parts = parts
        self.size = sum(size(part) for part in parts)

    def join(self) -> bytes:
        match self._parts:
            case (bytes() as whole,):
                return whole
        whole = b"".join(self._leaves())
        self._parts = (whole,)
        return whole

    def _leaves(self) -> Iterator[bytes]:
        # An inner rope is not joined on the way: its bytes would be kept a second time.
        for part in self._parts:
            if isinstance(part, Rope):
                yield from part._leaves()
            else:
                yield part


def size(part: bytes | Rope) -> int:
    return part.size if isinstance(part, Rope) else len(part)


def packed(type_url: str, message: bytes | Rope) -> bytes | Rope:
    """A serialised `google.protobuf.Any` around a serialised message; a rope stays a rope."""
    before = text(1, type_url) + header(2, size(message))
    return before + message if isinstance(message, bytes) else Rope(before, message)
