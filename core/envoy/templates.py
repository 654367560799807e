"""Byte templates: messages of one shape that differ in a few texts are built by protobuf once and filled in after that.

A message is built with stand-ins of the same lengths as the texts and cut where these appear in its bytes, so the
wire format stays protobuf's own business. A template is only used after it reproduced a message that protobuf built.
Not for texts that are transformed on their way into the message: only whole or concatenated ones are found again.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

ShapeT = TypeVar("ShapeT", bound=Hashable)
Lengths = tuple[int, ...]

_ALPHABETS = ("^`~{}@\\[", "QZXJKVWY", "!#$&;<=?")
"""One letter for each text of a message; the next alphabet is tried when the message has such letters of its own."""


class Template:
    """Constant bytes with slots between them; the text `slots[i]` follows `parts[i]`."""

    __slots__ = ("_last", "_steps")

    def __init__(self, parts: Sequence[bytes], slots: Sequence[int]) -> None:
        self._steps = tuple(zip(parts[:-1], slots, strict=True))
        self._last = parts[-1]

    def fill(self, texts: Sequence[bytes]) -> bytes:
        """`texts` have the lengths that the template was made for."""
        pieces: list[bytes] = []
        for part, slot in self._steps:
            pieces += (part, texts[slot])
        pieces.append(self._last)
        return b"".join(pieces)


class Templates(Generic[ShapeT]):
    """The templates of one kind of message. `build(shape, texts)` makes the message with protobuf.

    A shape is what stays the same when the texts change. A template is made when a shape and the lengths of its texts
    come the second time: most rules are of their own kind, most services are not. At `limit` templates everything is
    forgotten, so that a mesh in motion does not fill the memory.
    """

    def __init__(self, build: Callable[[ShapeT, tuple[str, ...]], bytes], *, limit: int = 4096) -> None:
        self._build = build
        self._limit = limit
        self._known: dict[tuple[ShapeT, Lengths], Template] = {}
        self._met: dict[tuple[ShapeT, Lengths], int] = {}

    def render(self, shape: ShapeT, texts: tuple[str, ...]) -> bytes:
        encoded = [text.encode() for text in texts]
        key = (shape, tuple(map(len, encoded)))
        template = self._known.get(key)
        if template is not None:
            return template.fill(encoded)
        built = self._build(shape, texts)
        if self._meet(key) == 2 and (template := self._template(shape, encoded, built)):
            self._known[key] = template
        return built

    def __len__(self) -> int:
        return len(self._known)

    def _meet(self, key: tuple[ShapeT, Lengths]) -> int:
        if len(self._met) >= self._limit:
            self._met.clear()
            self._known.clear()
        self._met[key] = times = self._met.get(key, 0) + 1
        return times

    def _template(self, shape: ShapeT, texts: list[bytes], built: bytes) -> Template | None:
        """None when stand-ins cannot be told from the rest of this message, or from each other."""
        if len(texts) > len(_ALPHABETS[0]):
            return None
        for alphabet in _ALPHABETS:
            stand_ins = [letter * len(text) for letter, text in zip(alphabet, texts, strict=False)]
            if any(text and text == other.encode() for text, other in zip(texts, stand_ins, strict=True)):
                continue
            template = cut(self._build(shape, tuple(stand_ins)), [text.encode() for text in stand_ins])
            if template.fill(texts) == built:
                return template
        return None


def cut(message: bytes, stand_ins: Sequence[bytes]) -> Template:
    """Cuts `message` wherever a stand-in appears."""
    found = sorted(place for slot, text in enumerate(stand_ins) for place in _places(message, text, slot))
    starts = [start for start, _, _ in found] + [len(message)]
    ends = [0] + [end for _, end, _ in found]
    parts = [message[end:start] for end, start in zip(ends, starts, strict=True)]
    return Template(parts, [slot for _, _, slot in found])


def _places(message: bytes, text: bytes, slot: int) -> list[tuple[int, int, int]]:
    found = []
    start = message.find(text) if text else -1
    while start >= 0:
        found.append((start, start + len(text), slot))
        start = message.find(text, start + len(text))
    return found
