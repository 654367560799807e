"""The config store's file at work: its connection, the thread that SQL runs on, and what follows every commit.

Calls never overlap and never block the event loop; a caller that is cancelled cannot leave the watches behind the file,
because they are told of what *the file* says: after each commit of ours, and when another process has committed.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from core.aio.feed import Feed
from core.aio.journal import Journal
from core.diagnostics import Reported
from core.errors import Misconfigured, Unavailable
from core.model.change import ConfigChange, ConfigGone, ConfigPut, Synced
from core.model.config import ConfigKey, Document, Revised, Snapshot
from platforms.local import tables
from platforms.local.replaced import is_in_place, put_back

T = TypeVar("T")

_log = logging.getLogger(__name__)

BUSY: Final = 5.0
"""Seconds to wait for another process that writes."""

_GLANCE: Final = 0.01
"""Seconds between two looks at whether another process has committed: some 10 µs each, without reading the file."""

_WAL: Final = 16 * 1024 * 1024
"""Bytes to which the write-ahead log shrinks again when somebody's long reading has made it grow."""

_NEWEST: Final = 1024
"""So many changes stay in memory; who is further behind reads them from the file."""


class Database:
    """`feed` and `journal` follow the file, on the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="config-store")
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._told = 0
        self._glances: asyncio.Task[None] | None = None
        self.feed: Feed[ConfigKey, Document, ConfigChange] = Feed(put=ConfigPut, gone=ConfigGone, synced=Synced())
        self.journal: Journal[Revised | Reported] = Journal()

    async def open(self) -> None:
        self._restart(await self._run(self._connect))
        self.feed.complete()
        self._glances = asyncio.create_task(self._glance(), name="config store")
        self._glances.add_done_callback(lambda done: self._end(None if done.cancelled() else done.exception()))

    async def close(self) -> None:
        """Waits for what was begun."""
        self._end(None)
        if self._glances is not None:
            self._glances.cancel()
            await asyncio.wait([self._glances])
        await self._loop.run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` sees one state of the file."""
        return await self._run(lambda: self._transact("BEGIN", work))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` as one transaction, alone among all processes; then the watches are told."""
        return await self._run(lambda: self._write(work))

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        result = self._transact("BEGIN IMMEDIATE", work)
        with contextlib.suppress(sqlite3.OperationalError):  # it is written; the next glance tells it
            self._look()
        return result

    def _transact(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            raise Unavailable("the config store is closed")
        with self._connection:
            self._connection.execute(begin)
            return work(self._connection)

    def _look(self) -> None:
        """Tells what has been committed since the last look, by whomever."""
        news, floor = self._transact("BEGIN", self._news)
        if isinstance(news, Snapshot):
            self._told = int(news.revision)
            self._loop.call_soon_threadsafe(self._restart, news)
        else:
            self._told = int(news[-1].revision) if news else self._told
            self._loop.call_soon_threadsafe(self._tell, news, floor)

    def _news(self, sql: sqlite3.Connection) -> tuple[tuple[Revised | Reported, ...] | Snapshot, int]:
        """Everything, when the changes themselves are no longer remembered; and after which revision changes are."""
        if tables.remembers(sql, self._told):
            return tables.after(sql, self._told), tables.floor(sql)
        return tables.snapshot(sql), tables.floor(sql)

    def _tell(self, events: tuple[Revised | Reported, ...], floor: int) -> None:
        for event in events:
            if isinstance(event, Revised):
                self._follow(event)
            self.journal.insert(int(event.revision), event)
        self.journal.keep(_NEWEST)
        self.journal.forget_to(floor)

    def _follow(self, change: Revised) -> None:
        if change.document is not None:
            self.feed.put(change.key, change.document)
        else:
            self.feed.drop(change.key)

    def _restart(self, snapshot: Snapshot) -> None:
        self.feed.replace({document.key: document for document in snapshot.documents})
        self.journal.restart(int(snapshot.revision))

    def _end(self, error: BaseException | None) -> None:
        self.feed.close(error)
        self.journal.close()

    async def _glance(self) -> None:
        """Follows the file, and the one that takes its place."""
        while True:
            await self._glance_at_this()
            if await self._done(self._reopen):
                _log.warning("%s was taken away or replaced; what is there now is in use", self._path)
            await asyncio.sleep(_GLANCE)

    async def _glance_at_this(self) -> None:
        """SQLite's `data_version` changes with every commit of another connection: this one writes nothing."""
        assert self._opened is not None
        existing = f"{self._path.absolute().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(existing, uri=True, isolation_level=None, timeout=0)) as sql:
            seen: int | None = None
            while is_in_place(self._path, self._opened):
                if (version := _data_version(sql)) != seen and await self._done(self._look):
                    seen = version
                await asyncio.sleep(_GLANCE)

    async def _done(self, work: Callable[[], object]) -> bool:
        try:
            await self._run(work)
        except Unavailable:
            return False
        return True

    def _reopen(self) -> None:
        """What was written last may be in the file that was taken away, so that is put back unless there is another."""
        if self._connection is None:
            return
        put_back(self._connection, self._path)
        self._connection.close()
        self._loop.call_soon_threadsafe(self._restart, self._connect())

    def _connect(self) -> Snapshot:
        self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=BUSY)
        self._path.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(f"PRAGMA journal_size_limit = {_WAL}")
        tables.prepare(self._connection, self._path)
        found = self._transact("BEGIN", tables.snapshot)
        self._told = int(found.revision)
        self._opened = self._path.stat()
        return found

    async def _run(self, work: Callable[[], T]) -> T:
        with self._translated():
            return await self._loop.run_in_executor(self._thread, work)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(f"{self._path}: {error}", fix="check free space and who else has it open") from error
        except (sqlite3.DatabaseError, msgspec.ValidationError) as error:
            fix = "move the file away; a new one is made at the next start"
            raise Misconfigured(f"{self._path} is damaged or no config store: {error}", fix=fix) from error


def _data_version(sql: sqlite3.Connection) -> int | None:
    """None: the file is locked for a moment, look again."""
    try:
        (version,) = sql.execute("PRAGMA data_version").fetchone()
    except sqlite3.OperationalError:
        return None
    return int(version)
