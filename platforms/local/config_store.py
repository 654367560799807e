"""The config store of one machine: a SQLite file in the state directory, and the watches of this process.

All SQL runs on one thread of its own, so calls never overlap and never block the event loop; a caller that is cancelled
cannot leave the watches behind the file, because the thread itself tells them after the commit.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from core.aio.feed import Feed
from core.diagnostics import Diagnostic
from core.errors import Conflict, Misconfigured, NotFound, Unavailable
from core.model.change import ConfigChange, ConfigGone, ConfigPut, Synced
from core.model.config import ConfigKey, Document, written
from core.model.labels import Labels
from platforms.local.seed import Seed

T = TypeVar("T")

_VERSION = 1
_SCHEMA = """
CREATE TABLE document (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT,
    version TEXT NOT NULL, spec BLOB NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,
    created REAL NOT NULL, revision INTEGER NOT NULL, generation INTEGER NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (grp, kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE status (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT, findings TEXT NOT NULL,
    PRIMARY KEY (grp, kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE seed (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT, digest TEXT NOT NULL, revision TEXT NOT NULL,
    PRIMARY KEY (grp, kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE counter (value INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
"""
_KEY = "grp = ? AND kind = ? AND namespace = ? AND name = ?"
_COLUMNS = "grp, kind, namespace, name, version, spec, labels, annotations, created, revision, generation, source"
_MATCH = "(?1 = '' OR grp = ?1) AND (?2 = '' OR kind = ?2) AND (?3 = '' OR namespace = ?3)"


class SqliteConfigStore:
    """A `ConfigStore`. Made by `open_store`; for one process at a time."""

    def __init__(self, database: "_Database", clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def watch(self) -> AsyncIterator[ConfigChange]:
        return self._database.feed.watch()

    async def get(self, key: ConfigKey) -> Document | None:
        return await self._database.read(lambda sql: _get(sql, key))

    async def list(self, *, group: str = "", kind: str = "", namespace: str = "") -> tuple[Document, ...]:
        return await self._database.read(lambda sql: _list(sql, (group, kind, namespace)))

    async def put(self, document: Document) -> Document:
        now = self._clock()

        def work(sql: sqlite3.Connection) -> tuple[Document, tuple[ConfigChange, ...]]:
            stored = _get(sql, document.key)
            result = written(document, stored, revision=str(_counter(sql) + 1), now=now)
            if result is stored:
                return result, ()
            _save(sql, result)
            return result, (ConfigPut(result),)

        return await self._database.write(work)

    async def delete(self, key: ConfigKey, *, revision: str = "") -> None:
        def work(sql: sqlite3.Connection) -> tuple[None, tuple[ConfigChange, ...]]:
            stored = _get(sql, key)
            if stored is None:
                raise NotFound(f"there is no {key}", fix="list what exists with `istioctl get`")
            if revision not in ("", stored.revision):
                raise Conflict(f"{key} is at revision {stored.revision}, not {revision}", fix="read it again")
            sql.execute(f"DELETE FROM document WHERE {_KEY}", _row(key))
            sql.execute(f"DELETE FROM status WHERE {_KEY}", _row(key))
            return None, (ConfigGone(key),)

        await self._database.write(work)

    async def report(self, key: ConfigKey, diagnostics: tuple[Diagnostic, ...]) -> None:
        """Findings about a document that is gone by now are dropped."""
        findings = msgspec.json.encode(diagnostics).decode()

        def work(sql: sqlite3.Connection) -> tuple[None, tuple[ConfigChange, ...]]:
            if _get(sql, key) is not None:
                sql.execute("INSERT OR REPLACE INTO status VALUES (?, ?, ?, ?, ?)", (*_row(key), findings))
            return None, ()

        await self._database.write(work)

    async def status(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        """The findings that were last reported; none for an unknown document."""
        query = f"SELECT findings FROM status WHERE {_KEY}"
        row = await self._database.read(lambda sql: sql.execute(query, _row(key)).fetchone())
        return msgspec.json.decode(row[0], type=tuple[Diagnostic, ...]) if row else ()

    async def seeds(self) -> dict[ConfigKey, Seed]:
        """What the mesh file has put here before (`platforms.local.seed`)."""
        rows = await self._database.read(lambda sql: sql.execute("SELECT * FROM seed").fetchall())
        return {ConfigKey(*row[:4]): Seed(digest=row[4], revision=row[5]) for row in rows}

    async def remember(self, key: ConfigKey, seed: Seed | None) -> None:
        """Notes what the mesh file has put under `key`; None forgets."""

        def work(sql: sqlite3.Connection) -> tuple[None, tuple[ConfigChange, ...]]:
            sql.execute(f"DELETE FROM seed WHERE {_KEY}", _row(key))
            if seed is not None:
                sql.execute("INSERT INTO seed VALUES (?, ?, ?, ?, ?, ?)", (*_row(key), seed.digest, seed.revision))
            return None, ()

        await self._database.write(work)


@contextlib.asynccontextmanager
async def open_store(path: Path, *, clock: Callable[[], float]) -> AsyncIterator[SqliteConfigStore]:
    """Opens or creates the file. Raises `Misconfigured` when it is not such a file, `Unavailable` when it is locked."""
    database = _Database(path)
    try:
        await database.open()
        yield SqliteConfigStore(database, clock)
    finally:
        await database.close()


class _Database:
    """The connection, its thread, and the feed that follows every commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="config-store")
        self._connection: sqlite3.Connection | None = None
        self.feed: Feed[ConfigKey, Document, ConfigChange] = Feed(put=ConfigPut, gone=ConfigGone, synced=Synced())

    async def open(self) -> None:
        for document in await self._run(self._connect):
            self.feed.put(document.key, document)
        self.feed.complete()

    async def close(self) -> None:
        """Waits for what was begun."""
        self.feed.close()
        if self._connection is not None:
            await self._loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._run(lambda: work(self._open_connection()))

    async def write(self, work: Callable[[sqlite3.Connection], tuple[T, tuple[ConfigChange, ...]]]) -> T:
        """Runs `work` as one transaction, then tells the changes it names."""
        return await self._run(lambda: self._commit(work))

    def _commit(self, work: Callable[[sqlite3.Connection], tuple[T, tuple[ConfigChange, ...]]]) -> T:
        connection = self._open_connection()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            result, changes = work(connection)
            if changes:
                connection.execute("UPDATE counter SET value = value + 1")
        for change in changes:
            self._loop.call_soon_threadsafe(self._tell, change)
        return result

    def _tell(self, change: ConfigChange) -> None:
        if isinstance(change, ConfigPut):
            self.feed.put(change.document.key, change.document)
        elif isinstance(change, ConfigGone):
            self.feed.drop(change.key)

    def _connect(self) -> tuple[Document, ...]:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._path.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            fix = "use the version of istioctl that wrote it, or another state directory"
            raise Misconfigured(f"{self._path} has the format {version}, this program knows {_VERSION}", fix=fix)
        return _list(self._connection, ("", "", ""))

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable("the config store is closed")
        return self._connection

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._thread, work)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"{self._path}: {error}", fix="check free space and who else has it open") from error
        except sqlite3.DatabaseError as error:
            fix = "move the file away; a new one is made at the next start"
            raise Misconfigured(f"{self._path} is damaged or no config store: {error}", fix=fix) from error


def _get(sql: sqlite3.Connection, key: ConfigKey) -> Document | None:
    row = sql.execute(f"SELECT {_COLUMNS} FROM document WHERE {_KEY}", _row(key)).fetchone()
    return _document(row) if row else None


def _list(sql: sqlite3.Connection, pattern: tuple[str, str, str]) -> tuple[Document, ...]:
    query = f"SELECT {_COLUMNS} FROM document WHERE {_MATCH} ORDER BY grp, kind, namespace, name"
    return tuple(_document(row) for row in sql.execute(query, pattern))


def _save(sql: sqlite3.Connection, document: Document) -> None:
    values = (
        document.version, document.spec, _text(document.labels), _text(document.annotations),
        document.created, int(document.revision), document.generation, document.source,
    )  # fmt: skip
    marks = ", ".join("?" * 12)
    sql.execute(f"INSERT OR REPLACE INTO document ({_COLUMNS}) VALUES ({marks})", (*_row(document.key), *values))


def _document(row: tuple[str, str, str, str, str, bytes, str, str, float, int, int, str]) -> Document:
    group, kind, namespace, name, version, spec, labels, annotations, created, revision, generation, source = row
    return Document(
        key=ConfigKey(group, kind, namespace, name),
        version=version,
        spec=spec,
        labels=_labels(labels),
        annotations=_labels(annotations),
        created=created,
        revision=str(revision),
        generation=generation,
        source=source,
    )


def _counter(sql: sqlite3.Connection) -> int:
    (value,) = sql.execute("SELECT value FROM counter").fetchone()
    return int(value)


def _row(key: ConfigKey) -> tuple[str, str, str, str]:
    return key.group, key.kind, key.namespace, key.name


def _text(labels: Labels) -> str:
    return msgspec.json.encode(labels.as_dict()).decode()


def _labels(text: str) -> Labels:
    return Labels.of(msgspec.json.decode(text, type=dict[str, str]))
