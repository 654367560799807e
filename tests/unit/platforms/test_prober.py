"""Nobody is told that nobody answers before everybody was asked once, and the well before they were asked twice."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.model.service import Health, WorkloadKey
from platforms.local import probe
from platforms.local.probe import Connects, Prober
from platforms.local.settings import Settings

A, B = WorkloadKey("default", "a"), WorkloadKey("default", "b")


@contextlib.asynccontextmanager
async def prober(listener: probe.Listener = lambda key: None, *, interval: float = 1.0) -> AsyncIterator[Prober]:
    found = Prober(Settings(mesh_file=Path("mesh.yaml"), state=Path(), probe_interval=interval), listener)
    try:
        yield found
    finally:
        await found.close()


async def test_what_was_looked_at_is_known() -> None:
    """One that answers, and one that does not: both have been asked when `looked` returns."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with prober() as found:
        await found.looked()
        found.follow({A: Connects((("127.0.0.1", port),)), B: Connects((("127.0.0.1", 1),))})
        assert found.health(A) is Health.UNKNOWN
        await asyncio.wait_for(found.looked(), 5)
        assert (found.health(A), found.health(B)) == (Health.HEALTHY, Health.UNKNOWN)
    server.close()


async def test_who_is_not_followed_any_more_is_not_waited_for() -> None:
    async with prober() as found:
        found.follow({A: Connects((("127.0.0.1", 1),))})
        looking = asyncio.create_task(found.looked())
        found.follow({})
        await asyncio.wait_for(looking, 5)


async def test_who_is_well_stays_so_when_this_process_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that ran out of time because nobody here looked at the clock says nothing of the application."""
    connect, stalls = asyncio.open_connection, iter([time.sleep])

    async def connect_while_all_stands_still(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for stall in stalls if found.health(A) is Health.HEALTHY else ():
            asyncio.get_running_loop().call_soon(stall, 0.2)
        connected.put_nowait(None)
        return await connect(host, port)

    connected, told = asyncio.Queue[None](), list[WorkloadKey]()
    monkeypatch.setattr(probe, "_CONNECT_TIMEOUT", 0.1)
    monkeypatch.setattr(asyncio, "open_connection", connect_while_all_stands_still)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with prober(told.append, interval=0.01) as found:
        found.follow({A: Connects((("127.0.0.1", server.sockets[0].getsockname()[1]),))})
        for _ in range(5):
            await asyncio.wait_for(connected.get(), 5)
        assert found.health(A) is Health.HEALTHY
        assert told == [A]
        server.close()
        async with asyncio.timeout(5):
            while found.health(A) is not Health.UNHEALTHY:
                await connected.get()
    assert not list(stalls), "nothing stood still"
