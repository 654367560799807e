"""Lists in pieces: what a client pages through is one moment of the store, kept until it has come to the end."""

import base64
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from core.manager.api.failures import Failure
from core.model.config import ConfigKey, Document, Snapshot

KEPT: Final = 32
"""Moments that are kept for clients on their way; they share what has not changed."""

LIFETIME: Final = 300.0
"""Seconds, from the first page."""


class Page(msgspec.Struct, frozen=True):
    """`token` fetches what follows, "" at the end; `left` is how many that are."""

    documents: tuple[Document, ...]
    token: str = ""
    left: int = 0


class _Place(msgspec.Struct, frozen=True, array_like=True):
    revision: str
    about: str
    after: ConfigKey


class Pages:
    """Keeps what clients are on their way through."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, Snapshot]] = OrderedDict()

    def first(self, snapshot: Snapshot, limit: int, *, about: str) -> Page:
        """`about` says what the list is of; its tokens are good for nothing else."""
        page = _page(snapshot, 0, limit, about=about)
        if page.token:
            self._kept[snapshot.revision, about] = (self._clock() + LIFETIME, snapshot)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return page

    def next(self, token: str, limit: int, *, about: str) -> tuple[Snapshot, Page]:
        """Raises `Failure`: 400 for what is no token of this list, 410 when the moment is not kept any more."""
        place = _decode(token)
        if place.about != about:
            raise Failure(400, "the continue token is of another list")
        until, snapshot = self._kept.get((place.revision, about), (0.0, Snapshot((), "")))
        if self._clock() > until:
            self._kept.pop((place.revision, about), None)
            raise Failure(410, "the list has changed since its first page and is no longer kept: list again")
        start = next((i for i, d in enumerate(snapshot.documents) if d.key > place.after), len(snapshot.documents))
        return snapshot, _page(snapshot, start, limit, about=about)


def _page(snapshot: Snapshot, start: int, limit: int, *, about: str) -> Page:
    found = snapshot.documents[start : start + limit] if limit else snapshot.documents[start:]
    left = len(snapshot.documents) - start - len(found)
    if not left:
        return Page(found)
    place = _Place(snapshot.revision, about, found[-1].key)
    return Page(found, base64.urlsafe_b64encode(msgspec.json.encode(place)).decode(), left)


def _decode(token: str) -> _Place:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token), type=_Place)
    except (ValueError, msgspec.DecodeError) as error:
        raise Failure(400, "the continue token is none") from error
