"""Config stores: the contract of the port, held by both; and what the file-backed one survives."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from core.diagnostics import Diagnostic, Severity
from core.errors import Conflict, Misconfigured, NotFound
from core.model.change import ConfigChange, ConfigGone, ConfigPut, Synced
from core.model.config import ConfigKey, Document
from core.model.labels import Labels
from core.ports import ConfigStore
from platforms.local.config_store import SqliteConfigStore, open_store
from platforms.memory import MemoryConfigStore

Store = MemoryConfigStore | SqliteConfigStore

KEY = ConfigKey("networking.istio.io", "VirtualService", "default", "reviews")
DOCUMENT = Document(key=KEY, spec=b'{"a":1}', labels=Labels.of({"x": "y"}), source="file:1")


class Clock:
    """A clock that moves on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryConfigStore(clock=Clock())
        return
    async with open_store(tmp_path / "config.sqlite", clock=Clock()) as opened:
        yield opened


def with_spec(document: Document, spec: bytes) -> Document:
    return msgspec.structs.replace(document, spec=spec)


async def take(watch: AsyncIterator[ConfigChange], count: int) -> list[ConfigChange]:
    async with asyncio.timeout(2):
        return [await anext(watch) for _ in range(count)]


async def test_put_get_and_list(store: Store) -> None:
    """What was put is found, with a revision, the time of creation and generation 1."""
    stored = await store.put(DOCUMENT)
    assert isinstance(store, ConfigStore)
    assert (stored.generation, stored.created) == (1, 1001.0)
    assert stored.revision
    assert await store.get(KEY) == stored
    assert await store.list() == (stored,)
    assert stored.uid
    assert msgspec.structs.replace(stored, revision="", generation=0, created=0.0, uid="") == DOCUMENT


async def test_list_filters_and_sorts(store: Store) -> None:
    """Empty arguments match everything, others exactly; the order is that of the keys."""
    keys = [ConfigKey(g, k, ns, n) for g in "ab" for k in "XY" for ns in "pq" for n in "12"]
    for key in reversed(keys):
        await store.put(Document(key=key))
    assert [document.key for document in await store.list()] == keys
    some = await store.list(group="a", kind="Y", namespace="q")
    assert [document.key for document in some] == [ConfigKey("a", "Y", "q", n) for n in "12"]
    assert len(await store.list(namespace="p")) == 8


async def test_writing_needs_the_stored_revision(store: Store) -> None:
    """Creating what exists and changing what is newer are refused, and nothing is written."""
    stored = await store.put(DOCUMENT)
    for revision in ("", "999"):
        with pytest.raises(Conflict):
            await store.put(msgspec.structs.replace(DOCUMENT, revision=revision, spec=b"{}"))
    missing = msgspec.structs.replace(DOCUMENT, key=ConfigKey("", "X", "a", "b"), revision="1")
    with pytest.raises(Conflict):
        await store.put(missing)
    assert await store.list() == (stored,)


async def test_generation_counts_specs_and_revision_everything(store: Store) -> None:
    """A changed label gives a new revision, a changed spec a new generation as well; creation stays."""
    first = await store.put(DOCUMENT)
    second = await store.put(msgspec.structs.replace(first, labels=Labels.of({"x": "z"})))
    third = await store.put(with_spec(second, b'{"a":2}'))
    assert [d.generation for d in (first, second, third)] == [1, 1, 2]
    assert len({d.revision for d in (first, second, third)}) == 3
    assert third.created == first.created


async def test_writing_the_same_changes_nothing(store: Store) -> None:
    """Equal content returns what is stored: no revision, no event."""
    stored = await store.put(DOCUMENT)
    watch = store.watch()
    await take(watch, 2)
    assert await store.put(msgspec.structs.replace(stored, created=5.0)) == stored
    other = await store.put(Document(key=ConfigKey("", "X", "a", "b")))
    assert await take(watch, 1) == [ConfigPut(other)]


async def test_delete(store: Store) -> None:
    """Deleting needs the document, and the revision when one is given; created anew it has a higher revision."""
    stored = await store.put(DOCUMENT)
    with pytest.raises(Conflict):
        await store.delete(KEY, revision="999")
    await store.delete(KEY, revision=stored.revision)
    assert await store.get(KEY) is None
    with pytest.raises(NotFound):
        await store.delete(KEY)
    again = await store.put(DOCUMENT)
    assert int(again.revision) > int(stored.revision)
    assert again.generation == 1
    await store.delete(KEY)


async def test_watch(store: Store) -> None:
    """What exists, then Synced, then changes and removals, to several watches alike."""
    stored = await store.put(DOCUMENT)
    watches = [store.watch(), store.watch()]
    for watch in watches:
        assert await take(watch, 2) == [ConfigPut(stored), Synced()]
    changed = await store.put(with_spec(stored, b'{"a":2}'))
    await asyncio.gather(*(take(watch, 1) for watch in watches))
    await store.delete(KEY)
    for watch in watches:
        assert await take(watch, 1) == [ConfigGone(KEY)]
    assert changed.revision != stored.revision


async def test_concurrent_writers_lose_nothing(store: Store) -> None:
    """Twenty writers that retry on Conflict all get their change in."""
    await store.put(with_spec(DOCUMENT, b"0"))

    async def increment() -> None:
        while True:
            current = await store.get(KEY)
            assert current is not None
            try:
                await store.put(with_spec(current, str(int(current.spec) + 1).encode()))
            except Conflict:
                continue
            return

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(increment())
    final = await store.get(KEY)
    assert final is not None
    assert (final.spec, final.generation) == (b"20", 21)


async def test_report_is_the_newest_status_and_no_change(store: Store) -> None:
    """Findings are kept beside the document, die with it, and cause neither revision nor event."""
    stored = await store.put(DOCUMENT)
    finding = Diagnostic(code="IST0101", severity=Severity.WARNING, message="ü")
    await store.report(KEY, (finding, finding))
    await store.report(KEY, (finding,))
    await store.report(ConfigKey("", "X", "a", "b"), (finding,))
    assert await store.status(KEY) == (finding,)
    assert await store.get(KEY) == stored
    await store.delete(KEY)
    await store.put(DOCUMENT)
    assert await store.status(KEY) == ()


async def test_memory_applies_over_anything() -> None:
    """`apply` and `remove` of the in-memory store need no revision."""
    store = MemoryConfigStore(clock=Clock())
    await store.apply(DOCUMENT)
    changed = await store.apply(with_spec(DOCUMENT, b"{}"))
    assert changed.generation == 2
    await store.remove(KEY)
    await store.remove(KEY)
    assert await store.list() == ()


async def test_sqlite_survives_a_restart(tmp_path: Path) -> None:
    """Opened again, the file holds the same documents and status, and goes on counting."""
    path = tmp_path / "config.sqlite"
    finding = Diagnostic(code="IST0101", severity=Severity.WARNING, message="x")
    async with open_store(path, clock=Clock()) as first:
        stored = await first.put(DOCUMENT)
        await first.report(KEY, (finding,))
    assert path.stat().st_mode & 0o077 == 0
    async with open_store(path, clock=Clock()) as second:
        assert await second.list() == (stored,)
        assert await second.status(KEY) == (finding,)
        assert await take(second.watch(), 2) == [ConfigPut(stored), Synced()]
        changed = await second.put(with_spec(stored, b"{}"))
        assert int(changed.revision) > int(stored.revision)


async def test_sqlite_tells_watches_even_when_the_writer_is_cancelled(tmp_path: Path) -> None:
    """A writer that is cancelled has either written nothing, or the watches are told."""
    async with open_store(tmp_path / "config.sqlite", clock=Clock()) as store:
        watch = store.watch()
        await take(watch, 1)
        for number in range(20):
            task = asyncio.create_task(store.put(Document(key=ConfigKey("", "X", "a", f"n{number}"))))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        end = await store.put(Document(key=ConfigKey("", "X", "a", "z")))
        seen = set()
        while end.key not in seen:
            (change,) = await take(watch, 1)
            assert isinstance(change, ConfigPut)
            seen.add(change.document.key)
        assert seen == {document.key for document in await store.list()}


async def test_sqlite_refuses_what_is_not_its_file(tmp_path: Path) -> None:
    """A damaged file and one of a newer format are refused with what to do."""
    damaged, newer = tmp_path / "damaged", tmp_path / "newer"
    damaged.write_bytes(b"this is not a database, and long enough to be sure of it" * 100)
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for path in (damaged, newer):
        with pytest.raises(Misconfigured) as caught:
            async with open_store(path, clock=Clock()):
                pass
        assert caught.value.fix
