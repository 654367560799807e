"""What little of Kubernetes' protobuf is needed: newer kubectl send reviews in it. Everything else is JSON here."""

from collections.abc import Iterator
from typing import Final

from core.manager.api.failures import Failure

MEDIA: Final = "application/vnd.kubernetes.protobuf"

_MAGIC: Final = b"k8s\x00"
_LENGTH_DELIMITED: Final = 2
_VARINT: Final = 0

Message = dict[int, bytes]
"""Strings and messages in a message, by number; the last one of each. Numbers in it are left out."""


def enveloped(body: bytes) -> tuple[Message, Message]:
    """What it says it is (1: apiVersion, 2: kind), and itself (`runtime.Unknown`). Raises `Failure` 400."""
    if not body.startswith(_MAGIC):
        raise Failure(400, f"the body is not {MEDIA}")
    outer = message(body[len(_MAGIC) :])
    return message(outer.get(1, b"")), message(outer.get(2, b""))


def message(data: bytes) -> Message:
    """Raises `Failure` 400."""
    try:
        return dict(_fields(data))
    except (IndexError, ValueError) as error:
        raise Failure(400, "the body is no protobuf") from error


def text(found: Message, number: int) -> str:
    return found.get(number, b"").decode("utf-8", "replace")


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        value, place = _varint(data, place)
        if tag & 7 == _LENGTH_DELIMITED:
            if place + value > len(data):
                raise ValueError(value)
            yield tag >> 3, data[place : place + value]
            place += value
        elif tag & 7 != _VARINT:
            raise ValueError(tag)


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number, and where it ends. Raises `IndexError`, and `ValueError` for one that has no end."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError(number)
