"""Nobody is told that nobody answers before everybody was asked once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from core.model.service import Health, WorkloadKey
from platforms.local.probe import Connects, Prober
from platforms.local.settings import Settings

A, B = WorkloadKey("default", "a"), WorkloadKey("default", "b")


@contextlib.asynccontextmanager
async def prober() -> AsyncIterator[Prober]:
    found = Prober(Settings(mesh_file=Path("mesh.yaml"), state=Path()), lambda key: None)
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
