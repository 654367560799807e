"""The config store of one machine: a SQLite file in the state directory, which several processes may share.

Every change has a number, the revision; changes are remembered as long as `Retention` says. A document's `extra` (what
others keep in it: finalizers, owners, their status) is kept as it is written. Findings lie beside documents.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec

from core.diagnostics import Diagnostic, Reported
from core.errors import Expired
from core.model.change import ConfigChange
from core.model.commit import RETENTION, Retention, settle
from core.model.config import ConfigKey, Document, Put, Remove, Revised, Snapshot, Write
from platforms.local import tables
from platforms.local.database import Database
from platforms.local.seed import Seed

_PAGE = 256


class SqliteConfigStore:
    """A `VersionedStore`. Made by `open_store`; any number of them, in any number of processes, share a file."""

    def __init__(self, database: Database, clock: Callable[[], float], retention: Retention) -> None:
        self._database = database
        self._clock = clock
        self._retention = retention

    def watch(self) -> AsyncIterator[ConfigChange]:
        return self._database.feed.watch()

    async def get(self, key: ConfigKey) -> Document | None:
        return await self._database.read(lambda sql: tables.get(sql, key))

    async def list(self, *, group: str = "", kind: str = "", namespace: str = "") -> tuple[Document, ...]:
        return (await self.snapshot(group=group, kind=kind, namespace=namespace)).documents

    async def snapshot(self, *, group: str = "", kind: str = "", namespace: str = "") -> Snapshot:
        return await self._database.read(lambda sql: tables.snapshot(sql, (group, kind, namespace)))

    async def changes(self, since: str) -> AsyncIterator[Revised]:
        async for event in self.events(since):
            if isinstance(event, Revised):
                yield event

    async def events(self, since: str) -> AsyncIterator[Revised | Reported]:
        """As the port says. A watcher that falls behind what is remembered is told so by `Expired`, too."""
        if not since.isdecimal():
            raise Expired(f"{since!r} is no revision of this store", fix="list, and go on from the list's revision")
        number = int(since)
        following = True
        while following:
            page = await self._after(number)
            for event in page:
                number = int(event.revision)
                yield event
            following = bool(page) or await self._database.journal.beyond(number)

    async def commit(self, writes: tuple[Write, ...], *, author: str = "") -> tuple[Document | None, ...]:
        now = self._clock()

        def work(sql: sqlite3.Connection) -> tuple[Document | None, ...]:
            settled = settle(writes, lambda key: tables.get(sql, key), last=tables.last(sql), now=now, author=author)
            tables.record(sql, settled.changes, self._retention)
            return settled.results

        return await self._database.write(work)

    async def put(self, document: Document) -> Document:
        (result,) = await self.commit((Put(document),))
        assert result is not None
        return result

    async def delete(self, key: ConfigKey, *, revision: str = "") -> None:
        await self.commit((Remove(key, revision),))

    async def history(self, key: ConfigKey) -> tuple[Revised, ...]:
        return await self._database.read(lambda sql: tables.history(sql, key))

    async def report(self, key: ConfigKey, diagnostics: tuple[Diagnostic, ...]) -> None:
        """Findings about a document that is gone by now are dropped."""
        findings = msgspec.json.encode(diagnostics).decode()
        await self._database.write(lambda sql: tables.report(sql, key, findings))

    async def status(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        findings = await self._database.read(lambda sql: tables.status(sql, key))
        return msgspec.json.decode(findings, type=tuple[Diagnostic, ...]) if findings else ()

    async def reported(
        self, *, group: str = "", kind: str = "", namespace: str = "", name: str = ""
    ) -> tuple[Reported, ...]:
        return await self._database.read(lambda sql: tables.reported(sql, (group, kind, namespace, name)))

    async def judged(self, key: ConfigKey) -> Mapping[str, tuple[Diagnostic, ...]]:
        return await self._database.read(lambda sql: tables.verdicts(sql, key))

    async def seeds(self) -> dict[ConfigKey, Seed]:
        """What the mesh file has put here before (`platforms.local.seed`)."""
        return await self._database.read(tables.seeds)

    async def remember(self, key: ConfigKey, seed: Seed | None) -> None:
        """Notes what the mesh file has put under `key`; None forgets."""
        await self._database.write(lambda sql: tables.remember(sql, key, seed))

    async def _after(self, number: int) -> tuple[Revised | Reported, ...]:
        page = self._database.journal.after(number)
        if page is not None:
            return page
        return await self._database.read(lambda sql: tables.after(sql, number, limit=_PAGE))


@contextlib.asynccontextmanager
async def open_store(
    path: Path, *, clock: Callable[[], float], retention: Retention = RETENTION
) -> AsyncIterator[SqliteConfigStore]:
    """Opens or creates the file; one of an older format is brought to the newest.

    Raises `Misconfigured` when it is not such a file, `Unavailable` when it is locked.
    """
    database = Database(path)
    try:
        await database.open()
        yield SqliteConfigStore(database, clock, retention)
    finally:
        await database.close()
