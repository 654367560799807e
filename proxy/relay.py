"""A unix socket in front of those of Managers: the bytes of a connection go to the first that answers, now or soon.

For gRPC's own xDS client: it asks a second server only for what it never had from the first, comes back to one that was
away after up to two minutes, and lets calls that are willing to wait hang for ever if there was none when it started.
Not for Envoy, which does all that by itself. What passes is not looked at.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

Order = Callable[[Sequence[str]], Sequence[str]]
"""Whom to try first: at random, so that clients are spread over Managers."""

HELD = 20.0
"""Seconds for which a connection may wait for a Manager: gRPC gives up on it then."""

_PAUSE = 0.2
_CHUNK = 64 << 10

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def relaying(path: Path, sockets: Sequence[str], *, order: Order) -> AsyncIterator[None]:
    """Serves at `path`, in place of a socket left there, while the block runs. Raises `OSError` when it cannot."""
    open_now: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        task.add_done_callback(open_now.discard)
        # Cancelled at the end, which is no news to anybody.
        with contextlib.suppress(asyncio.CancelledError):
            await _relay((reader, writer), order(sockets))

    server = await asyncio.start_unix_server(accept, path)
    try:
        yield
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _relay(client: _Connection, sockets: Sequence[str]) -> None:
    """Until either side ends."""
    with contextlib.closing(client[1]), contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HELD):
            manager = await _manager(sockets)
        with contextlib.closing(manager[1]):
            pumps = [
                asyncio.create_task(_pump(client[0], manager[1])),
                asyncio.create_task(_pump(manager[0], client[1])),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)


async def _manager(sockets: Sequence[str]) -> _Connection:
    while True:
        if (found := await _first(sockets)) is not None:
            return found
        await asyncio.sleep(_PAUSE)


async def _first(sockets: Sequence[str]) -> _Connection | None:
    for path in sockets:
        with contextlib.suppress(OSError):
            return await asyncio.open_unix_connection(path)
    return None


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
