"""A config store that forgets everything when it goes."""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from core.aio.feed import Feed
from core.aio.journal import Journal
from core.diagnostics import Diagnostic, Reported, judged
from core.errors import Expired
from core.model.change import ConfigChange, ConfigGone, ConfigPut, Synced
from core.model.commit import RETENTION, Retention, settle
from core.model.config import ConfigKey, Document, Put, Remove, Revised, Snapshot, Write


class MemoryConfigStore:
    """A `VersionedStore`. `clock` gives seconds since the epoch."""

    def __init__(self, *, clock: Callable[[], float] = time.time, retention: Retention = RETENTION) -> None:
        self._clock = clock
        self._retention = retention
        self._reports: dict[ConfigKey, Reported] = {}
        self._changes: deque[Revised] = deque()
        self._judged: dict[str, tuple[Diagnostic, ...]] = {}
        self._journal: Journal[Revised | Reported] = Journal()
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

    async def snapshot(self, *, group: str = "", kind: str = "", namespace: str = "") -> Snapshot:
        documents = await self.list(group=group, kind=kind, namespace=namespace)
        return Snapshot(documents, str(self._journal.last))

    async def changes(self, since: str) -> AsyncIterator[Revised]:
        async for event in self.events(since):
            if isinstance(event, Revised):
                yield event

    async def events(self, since: str) -> AsyncIterator[Revised | Reported]:
        """As the port says. A watcher that falls behind what is remembered is told so by `Expired`, too."""
        number = int(since) if since.isdecimal() else -1
        following = True
        while following:
            page = self._journal.after(number)
            if page is None:
                fix = "list again, and go on from the revision of the list"
                raise Expired(f"revision {since or 'none'} is not remembered", fix=fix)
            for event in page:
                number = int(event.revision)
                yield event
            following = await self._journal.beyond(number)

    async def commit(self, writes: tuple[Write, ...], *, author: str = "") -> tuple[Document | None, ...]:
        now = self._clock()
        settled = settle(writes, self._feed.get, last=self._journal.last, now=now, author=author)
        self._accept(settled.changes, now)
        return settled.results

    async def put(self, document: Document) -> Document:
        (result,) = await self.commit((Put(document),))
        assert result is not None
        return result

    async def delete(self, key: ConfigKey, *, revision: str = "") -> None:
        await self.commit((Remove(key, revision),))

    async def history(self, key: ConfigKey) -> tuple[Revised, ...]:
        return tuple(revised for revised in self._changes if revised.key == key)

    async def report(self, key: ConfigKey, diagnostics: tuple[Diagnostic, ...]) -> None:
        """Findings about a document that is gone by now are dropped."""
        stored = self._feed.get(key)
        if stored is None or await self.status(key) == diagnostics:
            return
        reported = Reported(revision=str(self._journal.last + 1), key=key, findings=diagnostics)
        self._reports[key] = reported
        self._judged[stored.revision] = diagnostics
        self._journal.append(reported)

    async def status(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        return self._reports[key].findings if key in self._reports else ()

    async def reported(
        self, *, group: str = "", kind: str = "", namespace: str = "", name: str = ""
    ) -> tuple[Reported, ...]:
        def wanted(key: ConfigKey) -> bool:
            parts = ((group, key.group), (kind, key.kind), (namespace, key.namespace), (name, key.name))
            return all(given in ("", part) for given, part in parts)

        return tuple(self._reports[key] for key in sorted(self._reports) if wanted(key))

    async def judged(self, key: ConfigKey) -> Mapping[str, tuple[Diagnostic, ...]]:
        return judged(await self.history(key), self._judged)

    async def apply(self, document: Document) -> Document:
        """`put` over whatever is stored, whichever revision that has."""
        stored = self._feed.get(document.key)
        return await self.put(msgspec.structs.replace(document, revision=stored.revision if stored else ""))

    async def remove(self, key: ConfigKey) -> None:
        """`delete`, but an unknown key is fine."""
        if self._feed.get(key) is not None:
            await self.delete(key)

    def forget(self) -> None:
        """Remembers no change any more, as if they had all become too old."""
        self._changes.clear()
        self._judged.clear()
        self._journal.keep(0)

    def close(self) -> None:
        """Ends every watch."""
        self._feed.close()
        self._journal.close()

    def _accept(self, changes: tuple[Revised, ...], now: float) -> None:
        for change in changes:
            if change.document is not None:
                self._feed.put(change.key, change.document)
            else:
                self._reports.pop(change.key, None)
                self._feed.drop(change.key)
        self._changes.extend(changes)
        self._journal.append(*changes)
        self._forget(now - self._retention.seconds)

    def _forget(self, before: float) -> None:
        """Reports are remembered as long as the changes they lie between."""
        changes = self._changes
        while changes and (changes[0].at < before or len(changes) > self._retention.changes):
            gone = changes.popleft().revision
            self._judged.pop(gone, None)
            self._journal.forget_to(int(gone))
