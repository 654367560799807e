"""A watch: what is there, then every change, as one JSON line each; bookmarks say how far the watcher has come.

Findings that change are told, too, as MODIFIED at the version of the report: the object's own version stays what it
was, but whoever goes on from this one is told nothing twice and misses nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final

import msgspec

from core.diagnostics import Diagnostic, Reported
from core.errors import Expired, MeshError
from core.manager.api.failures import Failure
from core.manager.api.selectors import Selector
from core.manager.api.target import Target
from core.model.config import ConfigKey, Document, Revised, Snapshot
from core.ports import VersionedStore

BOOKMARK_EVERY: Final = 10.0
"""Seconds without an event for it, after which a watcher that wants bookmarks gets one."""

_AT_ONCE: Final = 0.02
"""Seconds in which the store may say that a revision lies too far back, so that the answer is a plain 410."""

Show = Callable[[Document, tuple[Diagnostic, ...]], object]
"""A document and its findings as the watcher wants it: an object, or a table of one row."""


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
        self._known: dict[ConfigKey, Reported] = {}
        self._pending: asyncio.Task[Revised | Reported] | None = None

    async def begin(self) -> None:
        """Raises `Failure` 410 when the store says at once that `since` is too old."""
        if not self._wanted.since:
            await self._snapshot()
        self._events = self._concerning(self._at)
        self._pending = asyncio.ensure_future(anext(self._events))
        done, _ = await asyncio.wait({self._pending}, timeout=_AT_ONCE)
        if done and isinstance(error := self._pending.exception(), Expired):
            raise expired(error)

    async def _snapshot(self) -> None:
        kind, namespace = self._wanted.target.kind, self._wanted.target.namespace
        snapshot: Snapshot = await self._store.snapshot(group=kind.group, kind=kind.kind, namespace=namespace)
        self._initial = tuple(document for document in snapshot.documents if self._wanted.selector.selects(document))
        self._at = snapshot.revision
        reports = await self._store.reported(group=kind.group, kind=kind.kind, namespace=namespace)
        self._known = {reported.key: reported for reported in reports}

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
            yield last_line(failure)
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
            await self._events.aclose()

    async def _concerning(self, since: str) -> AsyncGenerator[Revised | Reported, None]:
        """What is of the kind and in the namespace. Of the rest it only notes how far it goes, for bookmarks.

        It must be asked for the next only when the last one was told: what follows that may be noted at once.
        """
        target = self._wanted.target
        kind, namespace = (target.kind.group, target.kind.kind), target.namespace
        events = self._store.events(since)
        try:
            async for event in events:
                if (event.key.group, event.key.kind) == kind and namespace in ("", event.key.namespace):
                    yield event
                else:
                    self._at = event.revision
        finally:
            if close := getattr(events, "aclose", None):
                await close()

    async def _following(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end, bookmark = loop.time() + self._wanted.lasts, loop.time() + BOOKMARK_EVERY
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while (left := end - loop.time()) > 0 and not closing.done():
                assert self._pending is not None
                await asyncio.wait({self._pending, closing}, timeout=max(0.0, min(left, bookmark - loop.time())),
                                   return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
                line = None
                if self._pending.done():
                    line = await self._told(self._pending.result())
                    self._pending = asyncio.ensure_future(anext(self._events))
                if line is None and self._wanted.bookmarks and loop.time() >= min(bookmark, end):
                    line = self._bookmark({})
                if line is not None:
                    yield line
                if line is not None or loop.time() >= bookmark:
                    bookmark = loop.time() + BOOKMARK_EVERY
        except StopAsyncIteration:
            return
        finally:
            closing.cancel()

    async def _told(self, event: Revised | Reported) -> bytes | None:
        """None for what the watcher did not ask for."""
        self._at = event.revision
        return await (self._changed(event) if isinstance(event, Revised) else self._found(event))

    async def _changed(self, revised: Revised) -> bytes | None:
        """What a selector lets go of is deleted, for this watcher."""
        before, after = self._selected(revised.before), self._selected(revised.document)
        if not (before or after):
            return None
        await self._learn(revised.key)
        if after:
            return self._line("MODIFIED" if before else "ADDED", after)
        gone = revised.document or revised.before
        assert gone is not None
        return self._line("DELETED", msgspec.structs.replace(gone, revision=revised.revision))

    async def _found(self, reported: Reported) -> bytes | None:
        """None when the watcher has been shown these findings, and when it will be: with what came after them."""
        known = self._known.get(reported.key)
        if known is not None and int(known.revision) >= int(reported.revision):
            return None
        document = await self._store.get(reported.key)
        if document is None or int(document.revision) > int(reported.revision) or not self._selected(document):
            return None
        self._known[reported.key] = reported
        return self._line("MODIFIED", msgspec.structs.replace(document, revision=reported.revision))

    async def _learn(self, key: ConfigKey) -> None:
        """The newest findings; they are shown once."""
        found = await self._store.reported(group=key.group, kind=key.kind, namespace=key.namespace, name=key.name)
        self._known.pop(key, None)
        self._known.update({reported.key: reported for reported in found})

    def _selected(self, document: Document | None) -> Document | None:
        return document if document and self._wanted.selector.selects(document) else None

    def _line(self, type_: str, document: Document) -> bytes:
        known = self._known.get(document.key)
        return _encoded(type_, self._show(document, known.findings if known else ()))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        metadata: dict[str, object] = {"resourceVersion": self._at}
        if annotations:
            metadata["annotations"] = annotations
        target = self._wanted.target
        return _encoded("BOOKMARK", {"kind": target.kind.kind, "apiVersion": target.api_version, "metadata": metadata})


def _encoded(type_: str, thing: object) -> bytes:
    return msgspec.json.encode({"type": type_, "object": thing}) + b"\n"


def last_line(failure: Failure) -> bytes:
    """Why nothing follows."""
    return _encoded("ERROR", failure.status)


def expired(error: MeshError) -> Failure:
    return Failure(410, f"too old resource version: {error}", reason="Expired")
