"""A watch: what is there, then every change, as one JSON line each; bookmarks say how far the watcher has come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from core.errors import Expired, MeshError
from core.manager.api.failures import Failure
from core.manager.api.selectors import Selector
from core.manager.api.target import Target
from core.model.config import Document, Revised, Snapshot
from core.ports import VersionedStore

BOOKMARK_EVERY: Final = 10.0
"""Seconds without an event, after which a watcher that wants bookmarks gets one."""

_AT_ONCE: Final = 0.02
"""Seconds in which the store may say that a revision lies too far back, so that the answer is a plain 410."""

Show = Callable[[Document], object]
"""A document as the watcher wants it: an object, or a table of one row."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`since` "": begin with what is there. `lasts` in seconds. `marks_start`: bookmark the end of what was there."""

    target: Target
    selector: Selector
    since: str = ""
    bookmarks: bool = False
    marks_start: bool = False
    lasts: float = 1800.0


class Watch:
    """One watcher. `closing` ends it, and so does the end of its time; both without an error."""

    def __init__(self, store: VersionedStore, wanted: Wanted, show: Show, *, closing: asyncio.Event) -> None:
        self._store = store
        self._wanted = wanted
        self._show = show
        self._closing = closing
        self._at = wanted.since
        self._initial: tuple[Document, ...] = ()
        self._pending: asyncio.Task[Revised] | None = None

    async def begin(self) -> None:
        """Raises `Failure` 410 when the store says at once that `since` is too old."""
        if not self._wanted.since:
            await self._snapshot()
        self._changes = self._store.changes(self._at).__aiter__()
        self._pending = asyncio.ensure_future(anext(self._changes))
        done, _ = await asyncio.wait({self._pending}, timeout=_AT_ONCE)
        if done and isinstance(error := self._pending.exception(), Expired):
            raise expired(error)

    async def _snapshot(self) -> None:
        kind, namespace = self._wanted.target.kind, self._wanted.target.namespace
        snapshot: Snapshot = await self._store.snapshot(group=kind.group, kind=kind.kind, namespace=namespace)
        self._initial = tuple(document for document in snapshot.documents if self._wanted.selector.selects(document))
        self._at = snapshot.revision

    async def lines(self) -> AsyncIterator[bytes]:
        try:
            for document in self._initial:
                yield self._line("ADDED", document)
            if self._wanted.marks_start:
                yield self._bookmark({"k8s.io/initial-events-end": "true"})
            async for line in self._following():
                yield line
        except MeshError as error:
            failure = expired(error) if isinstance(error, Expired) else Failure(503, str(error))
            yield _encoded("ERROR", failure.status)
        finally:
            await self.end()

    async def end(self) -> None:
        """Releases what the store holds for it."""
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.wait({self._pending})
            if not self._pending.cancelled():
                self._pending.exception()
            self._pending = None
        close = getattr(self._changes, "aclose", None)
        if close is not None:
            with contextlib.suppress(RuntimeError):
                await close()

    async def _following(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wanted.lasts
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while (left := end - loop.time()) > 0 and not closing.done():
                assert self._pending is not None
                await asyncio.wait({self._pending, closing}, timeout=min(left, BOOKMARK_EVERY),
                                   return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
                if self._pending.done():
                    revised = self._pending.result()
                    self._pending = asyncio.ensure_future(anext(self._changes))
                    if line := self._told(revised):
                        yield line
                elif self._wanted.bookmarks:
                    yield self._bookmark({})
        except StopAsyncIteration:
            return
        finally:
            closing.cancel()

    def _told(self, revised: Revised) -> bytes | None:
        """None for what the watcher did not ask for. What a selector lets go of is deleted, for this watcher."""
        self._at = revised.revision
        target, key = self._wanted.target, revised.key
        if (key.group, key.kind) != (target.kind.group, target.kind.kind):
            return None
        if target.namespace not in ("", key.namespace):
            return None
        before, after = self._selected(revised.before), self._selected(revised.document)
        if after:
            return self._line("MODIFIED" if before else "ADDED", after)
        if before:
            gone = revised.document or before
            return self._line("DELETED", msgspec.structs.replace(gone, revision=revised.revision))
        return None

    def _selected(self, document: Document | None) -> Document | None:
        return document if document and self._wanted.selector.selects(document) else None

    def _line(self, type_: str, document: Document) -> bytes:
        return _encoded(type_, self._show(document))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        metadata: dict[str, object] = {"resourceVersion": self._at}
        if annotations:
            metadata["annotations"] = annotations
        target = self._wanted.target
        return _encoded("BOOKMARK", {"kind": target.kind.kind, "apiVersion": target.api_version, "metadata": metadata})


def _encoded(type_: str, thing: object) -> bytes:
    return msgspec.json.encode({"type": type_, "object": thing}) + b"\n"


def expired(error: MeshError) -> Failure:
    return Failure(410, f"too old resource version: {error}", reason="Expired")
