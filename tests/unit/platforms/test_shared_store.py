"""Several processes on one config store: no write is lost, everybody sees everything, and one of them leads."""

import asyncio
import os
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest

from core.diagnostics import Diagnostic, Severity
from core.errors import Expired, Misconfigured, Unavailable
from core.model.change import ConfigPut
from core.model.commit import Retention
from core.model.config import ConfigKey, Document, Put, Remove, Revised
from core.model.labels import Labels
from platforms.local import config_store
from platforms.local.config_store import open_store
from platforms.local.elector import FileElector
from platforms.local.seed import AUTHOR, Seeder
from platforms.local.testing import rival

KEY = ConfigKey("g", "Counter", "default", "all")

INCREMENTS = """
import asyncio, sys, time
from pathlib import Path
import msgspec
from core.errors import Conflict
from core.model.config import ConfigKey, Document, Put
from platforms.local.config_store import open_store

async def main(path, name, times):
    key = ConfigKey("g", "Counter", "default", "all")
    async with open_store(path, clock=time.time) as store:
        while times:
            held = await store.get(key) or Document(key=key, spec=b"0")
            changed = msgspec.structs.replace(held, spec=b"%d" % (int(held.spec) + 1))
            own = Document(key=ConfigKey("g", "Own", name, f"n{times}"))
            try:
                await store.commit((Put(changed), Put(own)), author=name)
            except Conflict:
                continue
            times -= 1

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
"""
WRITERS, TIMES = 4, 25


@asynccontextmanager
async def process(code: str, *arguments: object) -> AsyncIterator[Process]:
    made = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *map(str, arguments), stdout=PIPE)
    try:
        yield made
    finally:
        if made.returncode is None:
            made.kill()
        await made.communicate()


async def increments(path: Path, name: str) -> None:
    async with process(INCREMENTS, path, name, TIMES) as writer:
        assert await writer.wait() == 0


async def test_processes_lose_no_update_and_everybody_sees_every_change(tmp_path: Path) -> None:
    """Four processes that make the file and count up in it all count; a fifth is told every change once, in order."""
    path = tmp_path / "config.sqlite"
    async with asyncio.timeout(60), asyncio.TaskGroup() as writers:
        for number in range(WRITERS):
            writers.create_task(increments(path, f"w{number}"))
        async with open_store(path, clock=time.time) as store:
            told = []
            async for revised in store.changes("0"):
                told.append(revised)
                if len(told) == 2 * WRITERS * TIMES:
                    break
            counts = [revised.document.spec for revised in told if revised.document and revised.key == KEY]
            assert counts == [b"%d" % number for number in range(1, WRITERS * TIMES + 1)]
            assert len({revised.key for revised in told}) == WRITERS * TIMES + 1
            assert [revised.revision for revised in told] == [str(n + 1) for n in range(len(told))]


async def test_watches_follow_the_other_process(tmp_path: Path) -> None:
    """The level-triggered watch, too, is told what another process commits."""
    path = tmp_path / "config.sqlite"
    async with asyncio.timeout(30), open_store(path, clock=time.time) as store:
        watch = store.watch()
        await anext(watch)
        await increments(path, "other")
        seen: dict[ConfigKey, Document] = {}
        while len(seen) < TIMES + 1 or seen[KEY].spec != b"%d" % TIMES:
            change = await anext(watch)
            assert isinstance(change, ConfigPut)
            seen[change.document.key] = change.document


async def test_a_watch_that_was_overtaken_by_the_memory_sees_what_is_there(tmp_path: Path) -> None:
    """Who cannot be told each change any more is told the difference; `changes` says that something is missing."""
    path, short = tmp_path / "config.sqlite", Retention(changes=3, seconds=60)
    async with (
        asyncio.timeout(20),
        open_store(path, clock=time.time) as store,
        open_store(path, clock=time.time, retention=short) as other,
    ):
        gone = await store.put(Document(key=KEY))
        watch, changes = store.watch(), store.changes(gone.revision)
        await anext(watch)
        await anext(watch)
        many = tuple(Put(Document(key=ConfigKey("g", "X", "a", f"n{n}"))) for n in range(10))
        await other.commit((Remove(KEY), *many))
        told = [await anext(watch) for _ in range(11)]
        assert len(set(map(repr, told))) == 11
        with pytest.raises(Expired):
            await anext(changes)
        assert len(await store.list()) == 10


async def test_what_is_remembered_is_bounded_by_number_and_age(tmp_path: Path) -> None:
    """Only so many changes are remembered, and none that are too old; the revision before them is still good."""
    now = [1000.0]
    async with open_store(tmp_path / "s", clock=lambda: now[0], retention=Retention(changes=4, seconds=60)) as store:
        stored = [await store.put(Document(key=ConfigKey("g", "X", "a", f"n{number}"))) for number in range(6)]
        assert [r.document async for r in _first(store.changes("2"), 4)] == stored[2:]
        with pytest.raises(Expired):
            await anext(store.changes("1"))
        now[0] += 100
        last = await store.put(Document(key=KEY))
        assert [r.document async for r in _first(store.changes("6"), 1)] == [last]
        with pytest.raises(Expired):
            await anext(store.changes("5"))
        assert await store.history(stored[5].key) == ()
        assert len(await store.list()) == 7


async def test_what_is_remembered_is_bounded_by_size(tmp_path: Path) -> None:
    """Large changes push older ones out of the memory sooner; the newest is always remembered."""
    retention = Retention(bytes=100_000)
    async with open_store(tmp_path / "s", clock=time.time, retention=retention) as store:
        for number in range(20):
            key = ConfigKey("g", "X", "a", f"n{number}")
            await store.put(Document(key=key, spec=b'"%s"' % (b"x" * 20_000)))
        assert len([r async for r in _first(store.changes("16"), 4)]) == 4
        with pytest.raises(Expired):
            await anext(store.changes("15"))
        await store.put(Document(key=KEY, spec=b'"%s"' % (b"x" * 200_000)))
        assert [r.revision for r in await store.history(KEY)] == ["21"]
        assert len(await store.list()) == 21


async def _first(changes: AsyncIterator[Revised], count: int) -> AsyncIterator[Revised]:
    for _ in range(count):
        yield await anext(changes)


async def test_a_very_slow_watcher_reads_from_the_file(tmp_path: Path) -> None:
    """A watcher that comes back after thousands of changes gets each of them; meanwhile nothing is kept for it."""
    async with asyncio.timeout(30), open_store(tmp_path / "s", clock=time.time) as store:
        changes = store.changes("0")
        await store.put(Document(key=KEY))
        first = await anext(changes)
        for start in range(0, 3000, 500):
            keys = [ConfigKey("g", "X", "a", f"n{number}") for number in range(start, start + 500)]
            await store.commit(tuple(Put(Document(key=key)) for key in keys))
        told = [await anext(changes) for _ in range(3000)]
        assert [revised.revision for revised in (first, *told)] == [str(number) for number in range(1, 3002)]


async def test_a_locked_file_is_said_and_nothing_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the file, writing fails with what to do, reading works; afterwards all is well."""
    monkeypatch.setattr("platforms.local.database.BUSY", 0.05)
    path = tmp_path / "s"
    async with open_store(path, clock=time.time) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable) as caught:
                await store.put(Document(key=KEY))
            assert caught.value.fix
            assert await store.list() == ()
            other.execute("ROLLBACK")
        assert (await store.put(Document(key=KEY))).revision == "1"


FORMAT_1 = """
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
INSERT INTO counter VALUES (7);
INSERT INTO document VALUES ('g', 'Counter', 'default', 'all', 'v1beta1', CAST('{"a":1}' AS BLOB), '{"x":"y"}', '{}',
                             12.5, 6, 3, 'mesh.yaml:4');
INSERT INTO status VALUES ('g', 'Counter', 'default', 'all', '[]');
INSERT INTO seed VALUES ('g', 'Counter', 'default', 'all', 'abc', '6');
PRAGMA user_version = 1;
"""


async def test_files_of_the_first_format_are_brought_to_this_one(tmp_path: Path) -> None:
    """Nothing of a file of the first format is lost; its revisions go on, and each document has a uid that stays."""
    path = tmp_path / "config.sqlite"
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(FORMAT_1)
    for _ in range(2):
        async with open_store(path, clock=time.time) as store:
            (document,) = await store.list()
            assert document.uid
            assert msgspec.structs.replace(document, uid="") == Document(
                key=KEY, version="v1beta1", spec=b'{"a":1}', labels=Labels.of({"x": "y"}), created=12.5,
                revision="6", generation=3, source="mesh.yaml:4",
            )  # fmt: skip
            assert (await store.seeds())[KEY].digest == "abc"
            assert (await store.snapshot()).revision == "7"
            with pytest.raises(Expired):
                await anext(store.changes("6"))
    async with open_store(path, clock=time.time) as store:
        (document,) = await store.list()
        changed = await store.put(msgspec.structs.replace(document, spec=b"{}"))
        assert (changed.revision, changed.uid) == ("8", document.uid)
        assert [r.document async for r in _first(store.changes("7"), 1)] == [changed]


FORMAT_2 = """
CREATE TABLE document (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT, body BLOB NOT NULL, PRIMARY KEY (grp, kind, namespace, name)
);
CREATE TABLE change (
    revision INTEGER PRIMARY KEY, grp TEXT, kind TEXT, namespace TEXT, name TEXT,
    at REAL NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX change_of ON change (grp, kind, namespace, name, revision);
CREATE TABLE status (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT, findings TEXT NOT NULL,
    PRIMARY KEY (grp, kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE seed (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT, digest TEXT NOT NULL, revision TEXT NOT NULL,
    PRIMARY KEY (grp, kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE counter (value INTEGER NOT NULL, floor INTEGER NOT NULL);
INSERT INTO counter VALUES (7, 5);
INSERT INTO status VALUES ('g', 'Counter', 'default', 'all',
                           '[{"code":"IST0101","severity":"Warning","message":"x","fix":"","origin":null,"place":null}]');
PRAGMA user_version = 2;
"""


async def test_files_of_the_second_format_are_brought_to_this_one(tmp_path: Path) -> None:
    """What was remembered still is, and findings get their place when something new is reported."""
    path, row = tmp_path / "config.sqlite", (KEY.group, KEY.kind, KEY.namespace, KEY.name)
    old = Document(key=KEY, spec=b'{"a":1}', revision="6", generation=1, uid="u")
    new = msgspec.structs.replace(old, spec=b'{"a":2}', revision="7", generation=2)
    pack, now = msgspec.msgpack.encode, time.time()
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(FORMAT_2)
        sql.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?)", (*row, pack(new)))
        told = [Revised(revision=r.revision, key=KEY, document=r, before=b) for r, b in ((old, None), (new, old))]
        for number, revised in enumerate(told, 6):
            body = pack(revised)
            sql.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (number, *row, now, len(body), body))
        sql.commit()
    for _ in range(2):
        async with open_store(path, clock=time.time, retention=Retention(changes=2)) as store:
            assert list(await store.history(KEY)) == told
            assert [found.code for found in await store.status(KEY)] == ["IST0101"]
            assert [r async for r in _first(store.changes("5"), 2)] == told
    async with open_store(path, clock=time.time, retention=Retention(changes=2)) as store:
        await store.report(KEY, ())
        (reported,) = await store.reported()
        assert (reported.revision, await anext(store.events("7"))) == ("8", reported)
        changed = await store.put(msgspec.structs.replace(new, spec=b"{}"))
        assert [r.revision for r in await store.history(KEY)] == ["7", changed.revision]


async def test_reports_do_not_push_changes_out_of_the_memory(tmp_path: Path) -> None:
    """However often findings come and go: changes are remembered by their own number, and reports take no room."""
    found = (Diagnostic(code="IST0101", severity=Severity.ERROR, message="x"),)
    async with open_store(tmp_path / "s", clock=time.time, retention=Retention(changes=3)) as store:
        stored = await store.put(Document(key=KEY))
        for number in range(10):
            await store.report(KEY, found if number % 2 == 0 else ())
        await store.put(msgspec.structs.replace(stored, spec=b"[]"))
        await store.put(Document(key=msgspec.structs.replace(KEY, name="other")))
        assert [r.revision for r in await store.history(KEY)] == ["1", "12"]
        assert [r.revision async for r in _first(store.changes("0"), 3)] == ["1", "12", "13"]


async def test_what_the_mesh_file_changes_has_an_author(tmp_path: Path) -> None:
    """Documents that come from the mesh file, and go with it, say so in their history."""
    async with open_store(tmp_path / "s", clock=time.time) as store:
        seeder = Seeder(store, store)
        await seeder.apply([Document(key=KEY)])
        await seeder.apply([])
        assert [(r.author, r.document is None) for r in await store.history(KEY)] == [(AUTHOR, False), (AUTHOR, True)]


async def test_an_elected_process_that_is_killed_makes_room(tmp_path: Path) -> None:
    """Killed leaders are followed at once, each in a later term, also when everybody had ended in between."""
    lock, terms = tmp_path / "leader", []
    for _ in range(3):
        async with rival(lock) as first:
            terms.append(first.term)
            successor = asyncio.create_task(_term(FileElector(lock, every=0.01)))
            await asyncio.sleep(0.03)
            assert not successor.done()
            await first.kill()
            async with asyncio.timeout(5):
                terms.append(await successor)
    assert terms == [1, 2, 3, 4, 5, 6]


async def _term(elector: FileElector) -> int:
    led = []

    async def work(term: int) -> None:
        led.append(term)

    await elector.lead(work)
    return led[0]


async def test_who_loses_the_lock_file_stops(tmp_path: Path) -> None:
    """A leader whose lock file is deleted or replaced stops acting, and says why."""
    lock, acting = tmp_path / "leader", asyncio.Event()

    async def work(_: int) -> None:
        acting.set()
        try:
            await asyncio.Event().wait()
        finally:
            acting.clear()

    leading = asyncio.create_task(FileElector(lock, every=0.01).lead(work))
    async with asyncio.timeout(5):
        await acting.wait()
        lock.unlink()
        with pytest.raises(Unavailable):
            await leading
    assert not acting.is_set()


async def test_the_error_of_the_work_is_the_leaders(tmp_path: Path) -> None:
    """What the work raises comes out, and the lead is free again."""

    async def work(_: int) -> None:
        raise KeyError("mine")

    elector = FileElector(tmp_path / "leader")
    with pytest.raises(KeyError):
        await elector.lead(work)
    async with asyncio.timeout(5):
        assert await _term(elector) == 2


async def test_a_damaged_lock_file_is_said(tmp_path: Path) -> None:
    """A lock file without a number, or in a place that cannot be used, is no term to begin from."""
    (tmp_path / "leader").write_text("what is this")
    for path in (tmp_path / "leader", tmp_path / "missing" / "leader"):
        with pytest.raises(Misconfigured) as caught:
            await _term(FileElector(path))
        assert caught.value.fix


def test_the_state_of_a_closed_store_is_one_file(tmp_path: Path) -> None:
    """After the last process has closed the store, everything is in the one file, which can be copied."""

    async def main() -> None:
        async with open_store(tmp_path / "config.sqlite", clock=time.time) as store:
            await store.put(Document(key=KEY))

    asyncio.run(main())
    assert [path.name for path in tmp_path.iterdir()] == ["config.sqlite"]


@pytest.mark.parametrize("gone", [("", "-wal", "-shm"), ("",)], ids=["all", "the file alone"])
async def test_a_file_that_is_deleted_is_put_back(gone: tuple[str, ...], tmp_path: Path) -> None:
    """Both of two stores go on with everything that was written, see each other, and so does who opens it later."""
    path = tmp_path / "config.sqlite"
    clock = time.time
    async with open_store(path, clock=clock) as one, open_store(path, clock=clock) as other, asyncio.timeout(10):
        made = await one.put(Document(key=KEY, spec=b"1"))
        events = other.events(made.revision)
        old = path.stat()
        for name in gone:
            path.with_name(path.name + name).unlink(missing_ok=True)
        while not path.exists() or path.stat().st_ino == old.st_ino:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert await other.get(KEY) == made
        changed = await one.put(msgspec.structs.replace(made, spec=b"2"))
        told = await anext(events)
        assert isinstance(told, Revised)
        assert (told.document, told.revision) == (changed, str(int(made.revision) + 1))
        assert [each.revision for each in await other.history(KEY)] == [made.revision, changed.revision]
    async with open_store(path, clock=clock) as later:
        assert await later.list() == (changed,)
    assert os.listdir(tmp_path) == [path.name]


async def test_pages_of_changes_and_reports_have_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has much to catch up with reads page by page, in one order, however reports are spread among the changes."""
    monkeypatch.setattr(config_store, "_PAGE", 2)
    found = Diagnostic(code="IST0101", severity=Severity.WARNING, message="x")
    keys = [ConfigKey("g", "Counter", "default", f"n{number}") for number in range(7)]
    async with open_store(tmp_path / "config", clock=time.time) as store:
        for number, key in enumerate(keys):
            await store.put(Document(key=key, spec=b"1"))
            if number in (0, 1, 6):
                await store.report(key, (found,))
    async with open_store(tmp_path / "config", clock=time.time) as store, asyncio.timeout(5):
        events = store.events("0")
        told = [await anext(events) for _ in range(10)]
    assert [int(each.revision) for each in told] == list(range(1, 11))
    assert [each.key for each in told if isinstance(each, Revised)] == keys
