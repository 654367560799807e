"""What several writes do to a store, decided before anything is stored: the rules of `VersionedStore.commit`.

Pure: which documents there are comes in as a function, what is to be kept goes out as values.
"""

from collections.abc import Callable
from typing import Final, assert_never

import msgspec

from core.errors import Conflict, NotFound
from core.model.config import ConfigKey, Document, Put, Remove, Revised, Write, written

Read = Callable[[ConfigKey], Document | None]


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How far back a store remembers: so many changes, and none older than so many seconds.

    On disk they take `bytes` at most, but the newest change is always remembered.
    """

    changes: int = 10_000
    seconds: float = 30 * 24 * 3600.0
    bytes: int = 256 * 1024 * 1024


RETENTION: Final = Retention()


class Settled(msgspec.Struct, frozen=True):
    """What is stored afterwards for each write, and the changes in order. What changes nothing is no change."""

    results: tuple[Document | None, ...]
    changes: tuple[Revised, ...]


def settle(writes: tuple[Write, ...], read: Read, *, last: int, now: float, author: str) -> Settled:
    """Every write upon the ones before it; each change gets the number after `last`, which is never used again.

    `now` is in seconds since the epoch. Raises `Conflict` or `NotFound` for the first write that cannot be.
    """
    fresh: dict[ConfigKey, Document | None] = {}
    results: list[Document | None] = []
    changes: list[Revised] = []
    for write in writes:
        key = write.document.key if isinstance(write, Put) else write.key
        before = fresh[key] if key in fresh else read(key)
        revision = str(last + len(changes) + 1)
        after = _after(write, before, revision=revision, now=now)
        results.append(after)
        if after is not before:
            fresh[key] = after
            changes.append(Revised(revision=revision, key=key, document=after, before=before, author=author, at=now))
    return Settled(tuple(results), tuple(changes))


def _after(write: Write, before: Document | None, *, revision: str, now: float) -> Document | None:
    match write:
        case Put(document):
            return written(document, before, revision=revision, now=now)
        case Remove(key, held):
            _check_removal(key, before, held)
            return None
        case _:
            assert_never(write)


def _check_removal(key: ConfigKey, before: Document | None, held: str) -> None:
    if before is None:
        raise NotFound(f"there is no {key}", fix="list what exists with `istioctl get`")
    if held not in ("", before.revision):
        raise Conflict(f"{key} is at revision {before.revision}, not {held}", fix="read it again")
