"""Run by `test_killed_store.py`: a store whose writing process is killed again and again, and looked at each time.

    killed_writer.py <file> <kills> <seconds> <seed>

Every round is a fork of this process (a fresh interpreter would take longer than what it is to try). It opens the
store, compares what it finds with what the killed ones had acknowledged, then writes as fast as it can until killed.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from contextlib import closing
from pathlib import Path

from core.model.commit import Retention
from core.model.config import ConfigKey, Document, Put, Remove, Write
from platforms.local.config_store import SqliteConfigStore, open_store

A, B, GONE = (ConfigKey("g", "K", "default", name) for name in ("a", "b", "gone"))
REMEMBERED = Retention(changes=150, seconds=3600.0)


def written(number: int, held: dict[ConfigKey, Document]) -> tuple[Write, ...]:
    """One transaction: two documents that say the same, and one that is made or deleted."""
    spec = b'{"n":%d,"text":"%s"}' % (number, b"x" * (number % 3000))
    puts = [Document(key=key, spec=spec, revision=held[key].revision if key in held else "") for key in (A, B)]
    last = Remove(GONE) if GONE in held else Put(Document(key=GONE, spec=spec))
    return (*map(Put, puts), last)


def number_of(document: Document) -> int:
    return int(document.spec.split(b":", 1)[1].split(b",", 1)[0])


async def check(store: SqliteConfigStore, path: Path, acknowledged: tuple[int, int]) -> int:
    """Returns the number of the newest write that is there: the last acknowledged one, or the one after it."""
    snapshot = await store.snapshot()
    held = {document.key: document for document in snapshot.documents}
    numbers = {number_of(held[key]) if key in held else 0 for key in (A, B)}
    assert len(numbers) == 1, f"half a transaction: {numbers}"
    (found,) = numbers
    number, revision = acknowledged
    assert found in (number, number + 1), f"write {number} was acknowledged, found is {found}"
    assert int(snapshot.revision) == revision + 3 * (found - number), "revisions and writes do not agree"
    assert (GONE in held) is (found % 2 == 1)
    await check_history(store, held, int(snapshot.revision))
    if random.random() < 0.1:
        with closing(sqlite3.connect(path)) as sql:
            assert sql.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return found


async def check_history(store: SqliteConfigStore, held: dict[ConfigKey, Document], last: int) -> None:
    """The remembered changes have no gap, hang together, and end with what is stored."""
    told = []
    first = max(0, last - REMEMBERED.changes)
    if last > first:
        async for revised in store.changes(str(first)):
            told.append(revised)
            if int(revised.revision) == last:
                break
    assert [int(revised.revision) for revised in told] == list(range(first + 1, last + 1))
    known: dict[ConfigKey, Document | None] = {}
    for revised in told:
        assert revised.key not in known or known[revised.key] == revised.before
        known[revised.key] = revised.document
    assert {key: document for key, document in known.items() if document} == held
    for key in (A, GONE):
        assert await store.history(key) == tuple(revised for revised in told if revised.key == key)


async def live(path: Path, acknowledged: tuple[int, int], out: int) -> None:
    async with open_store(path, clock=time.time, retention=REMEMBERED) as store:
        number = await check(store, path, acknowledged)
        held = {document.key: document for document in await store.list()}
        os.write(out, b"%d %d\n" % (number, int((await store.snapshot()).revision)))
        while True:
            number += 1
            stored = await store.commit(written(number, held))
            held = {document.key: document for document in stored if document is not None}
            newest = acknowledged[1] + 3 * (number - acknowledged[0])
            os.write(out, b"%d %d\n" % (number, newest))


def one_round(path: Path, acknowledged: tuple[int, int], seconds: float) -> tuple[int, int]:
    """Forks, kills after `seconds`, and returns what was acknowledged last."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(live(path, acknowledged, write))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with open(read, "rb") as pipe:
        lines = [line for line in pipe.read().splitlines(keepends=True) if line.endswith(b"\n")]
    if not os.WIFSIGNALED(status):
        sys.exit(f"the writer ended by itself after {acknowledged}")
    if not lines:
        return acknowledged
    number, revision = lines[-1].split()
    return int(number), int(revision)


def main(path: Path, kills: int, seconds: float, seed: int) -> None:
    random.seed(seed)
    until = time.monotonic() + seconds
    acknowledged, done = (0, 0), 0
    while done < kills and time.monotonic() < until:
        acknowledged = one_round(path, acknowledged, random.uniform(0.0, 0.09))
        done += 1
    print(done, *acknowledged)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
