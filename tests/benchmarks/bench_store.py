"""What the config store of one machine costs: lists, commits, and how soon watchers are told.

    bench_store.py [documents]

Prints one row per target, `ok` or `MISS`; the exit code is the number of targets missed. Runs in a temporary directory:
set TMPDIR to measure another disk. The floor of a list is the same objects in one JSON file, read and encoded again.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from core.model.config import ConfigKey, Document, Put, Remove, Revised, Snapshot
from core.model.labels import Labels
from platforms.local.config_store import SqliteConfigStore, open_store
from platforms.memory import MemoryConfigStore

ROUNDS = 9
CHANGES = 200
PAUSE = 0.01
"""Seconds between two changes, so that each meets an idle store."""

WRITER = """
import asyncio, sys, time
from pathlib import Path
from core.model.config import ConfigKey, Document
from platforms.local.config_store import open_store

async def main(path, count, pause):
    async with open_store(path, clock=time.time) as store:
        for number in range(count):
            await asyncio.sleep(pause)
            key = ConfigKey("g", "Timed", "default", f"n{number}")
            await store.put(Document(key=key, spec=b'{"began":%r}' % time.monotonic()))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
"""


def document(number: int) -> Document:
    """A VirtualService of usual size, as a store gets it."""
    host = f"reviews-{number}"
    route = {"destination": {"host": host, "subset": "v1"}, "weight": 90}
    other = {"destination": {"host": host, "subset": "v2"}, "weight": 10}
    match = [{"headers": {"end-user": {"exact": "jason"}}, "uri": {"prefix": f"/api/v{number}"}}]
    http = [{"match": match, "route": [route], "timeout": "5s"}, {"route": [route, other], "retries": {"attempts": 3}}]
    spec = msgspec.json.encode({"hosts": [host], "http": http}, order="sorted")
    key = ConfigKey("networking.istio.io", "VirtualService", f"team-{number % 20}", host)
    return Document(key=key, spec=spec, labels=Labels.of({"app": host, "team": f"team-{number % 20}"}))


def objects(documents: tuple[Document, ...]) -> list[dict[str, object]]:
    return [
        {
            "apiVersion": f"{one.key.group}/{one.version}",
            "kind": one.key.kind,
            "metadata": {
                "name": one.key.name,
                "namespace": one.key.namespace,
                "labels": one.labels.as_dict(),
                "resourceVersion": one.revision,
                "generation": one.generation,
                "uid": one.uid,
            },
            "spec": msgspec.Raw(one.spec),
        }
        for one in documents
    ]


async def listed(store: SqliteConfigStore | MemoryConfigStore) -> bytes:
    return msgspec.json.encode(objects((await store.snapshot()).documents))


async def median(work: Callable[[], object]) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        result = work()
        if asyncio.iscoroutine(result):
            await result
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


async def list_ratio(store: SqliteConfigStore, folder: Path) -> tuple[float, float, float]:
    """Of ours to the floor, in turn; and both in milliseconds."""
    file = folder / "objects.json"
    file.write_bytes(await listed(store))
    ours = await median(lambda: listed(store))
    floor = await median(lambda: msgspec.json.encode(msgspec.json.decode(file.read_bytes())))
    return ours / floor, ours, floor


async def commit(store: SqliteConfigStore, count: int) -> float:
    """Seconds for one commit that makes `count` documents; they are removed again."""
    made = tuple(Put(document(number)) for number in range(1_000_000, 1_000_000 + count))
    began = time.perf_counter()
    await store.commit(made, author="bench")
    taken = time.perf_counter() - began
    await store.commit(tuple(Remove(put.document.key) for put in made))
    return taken


async def single(store: SqliteConfigStore) -> float:
    """Milliseconds per write of one document, one after the other."""
    began = time.perf_counter()
    for number in range(CHANGES):
        made = await store.put(Document(key=ConfigKey("g", "Single", "default", f"n{number}")))
        await store.delete(made.key)
    return (time.perf_counter() - began) * 1000 / CHANGES / 2


async def delivery(changes: AsyncIterator[Revised], writing: asyncio.Task[object]) -> list[float]:
    """Milliseconds from before each write to when the watcher has it, sorted."""
    taken = []
    for _ in range(CHANGES):
        revised = await anext(changes)
        assert revised.document is not None
        began = float(msgspec.json.decode(revised.document.spec, type=dict[str, float])["began"])
        taken.append((time.monotonic() - began) * 1000)
    await writing
    return sorted(taken)


async def write_here(store: SqliteConfigStore) -> None:
    for number in range(CHANGES):
        await asyncio.sleep(PAUSE)
        key = ConfigKey("g", "Timed", "default", f"n{number}")
        await store.put(Document(key=key, spec=b'{"began":%r}' % time.monotonic()))


async def write_there(path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(path), str(CHANGES), str(PAUSE)]
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    assert await process.wait() == 0


async def told(store: SqliteConfigStore, path: Path) -> tuple[list[float], list[float]]:
    """For writes of this process and of another one."""
    since: Snapshot = await store.snapshot()
    here = await delivery(store.changes(since.revision), asyncio.create_task(write_here(store)))
    for number in range(CHANGES):
        await store.delete(ConfigKey("g", "Timed", "default", f"n{number}"))
    since = await store.snapshot()
    there = await delivery(store.changes(since.revision), asyncio.create_task(write_there(path)))
    return here, there


async def idle() -> float:
    """Share of one core that looking for other processes' commits costs."""
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(3)
    return (time.process_time() - cpu) / (time.perf_counter() - began)


def row(target: str, bound: float, measured: float, unit: str = "") -> int:
    verdict = "ok" if measured <= bound else "MISS"
    print(f"{verdict:<5}{target:<66}{bound:>8g}{unit:<4}{measured:>9.2f}{unit}")
    return measured > bound


def note(what: str, measured: str) -> None:
    print(f"     {what:<66}{measured:>24}")


async def main(count: int) -> int:
    with tempfile.TemporaryDirectory(prefix="bench-store-") as name:
        path = Path(name) / "config.sqlite"
        async with open_store(path, clock=time.time) as store:
            await store.commit(tuple(Put(document(number)) for number in range(count)))
            ratio, ours, floor = await list_ratio(store, Path(name))
            missed = row(f"list of {count} / the same from a JSON file", 2.0, ratio)
            missed += row("commit of 1000 documents", 5.0, await commit(store, 1000), " s")
            here, there = await told(store, path)
            missed += row("a watcher is told, p99, written here", 20.0, here[CHANGES * 99 // 100], " ms")
            missed += row("a watcher is told, p99, written by another process", 20.0, there[CHANGES * 99 // 100], " ms")
            note("list: ours, from a file", f"{ours:.1f}, {floor:.1f} ms")
            note(
                "a watcher is told, median: here, another process",
                f"{here[CHANGES // 2]:.1f}, {there[CHANGES // 2]:.1f} ms",
            )
            note("one write of one document", f"{await single(store):.2f} ms")
            note("idle", f"{await idle() * 100:.1f} % of a core")
    return missed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)))
