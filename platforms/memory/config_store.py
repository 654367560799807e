"""A config store that forgets everything when it goes."""

import time
from collections.abc import AsyncIterator, Callable

import msgspec

from core.aio.feed import Feed
from core.diagnostics import Diagnostic
from core.errors import Conflict, NotFound
from core.model.change import ConfigChange, ConfigGone, ConfigPut, Synced
from core.model.config import ConfigKey, Document, written


class MemoryConfigStore:
    """A `ConfigStore`. `clock` gives seconds since the epoch."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._counter = 0
        self._status: dict[ConfigKey, tuple[Diagnostic, ...]] = {}
        self._feed: Feed[ConfigKey, Document, ConfigChange] = Feed(put=ConfigPut, gone=ConfigGone, synced=Synced())
        self._feed.complete()

    def watch(self) -> AsyncIterator[ConfigChange]:
        return self._feed.watch()

    async def get(self, key: ConfigKey) -> Document | None:
        return self._feed.get(key)

    async def list(self, *, group: str = "", kind: str = "", namespace: str = "") -> tuple[Document, ...]:
        def wanted(key: ConfigKey) -> bool:
            return group in ("", key.group) and kind in ("", key.kind) and namespace in ("", key.namespace)

        found = [document for document in self._feed.values() if wanted(document.key)]
        return tuple(sorted(found, key=lambda document: document.key))

    async def put(self, document: Document) -> Document:
        stored = self._feed.get(document.key)
        result = written(document, stored, revision=str(self._counter + 1), now=self._clock())
        if result is not stored:
            self._counter += 1
            self._feed.put(document.key, result)
        return result

    async def delete(self, key: ConfigKey, *, revision: str = "") -> None:
        stored = self._feed.get(key)
        if stored is None:
            raise NotFound(f"there is no {key}", fix="list what exists first")
        if revision not in ("", stored.revision):
            raise Conflict(f"{key} is at revision {stored.revision}, not {revision}", fix="read it again")
        self._counter += 1
        self._status.pop(key, None)
        self._feed.drop(key)

    async def report(self, key: ConfigKey, diagnostics: tuple[Diagnostic, ...]) -> None:
        """Findings about a document that is gone by now are dropped."""
        if self._feed.get(key) is not None:
            self._status[key] = diagnostics

    async def status(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        """The findings that were last reported; none for an unknown document."""
        return self._status.get(key, ())

    async def apply(self, document: Document) -> Document:
        """`put` over whatever is stored, whichever revision that has."""
        stored = self._feed.get(document.key)
        return await self.put(msgspec.structs.replace(document, revision=stored.revision if stored else ""))

    async def remove(self, key: ConfigKey) -> None:
        """`delete`, but an unknown key is fine."""
        if self._feed.get(key) is not None:
            await self.delete(key)

    def close(self) -> None:
        """Ends every watch."""
        self._feed.close()
