"""Servers that end while clients are still connected end without a word: a traceback at every Ctrl-C helps nobody."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from core.manager.ca.web import Answer, Call, Listening
from proxy.capture.relay import Relay, Streams, relayed
from proxy.web.server import server


@asynccontextmanager
async def small_pages(path: Path) -> AsyncIterator[None]:
    async with server({}) as serving:
        await serving.listen_unix(str(path))
        yield


@asynccontextmanager
async def certificates(path: Path) -> AsyncIterator[None]:
    async def answer(call: Call) -> Answer:
        return Answer(200, b"{}")

    listening = await Listening.on_path(path, answer)
    yield
    await listening.close()


@asynccontextmanager
async def relay(path: Path) -> AsyncIterator[None]:
    """To a place that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket(socket.AF_UNIX) as listening:

        async def connect(client: asyncio.StreamWriter) -> Streams:
            return await asyncio.open_connection(*silent.getsockname())

        listening.bind(str(path))
        listening.listen()
        async with relayed(listening, Relay(connect)):
            yield


@pytest.mark.parametrize("serving", [small_pages, certificates, relay])
def test_a_server_that_ends_amid_connections_says_nothing(
    serving: Callable[[Path], AbstractAsyncContextManager[None]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Idle ones, and one in the middle of a request; also when the whole loop is cancelled with them."""
    path = tmp_path / "s"

    async def main() -> None:
        async with serving(path):
            ends = [await asyncio.open_unix_connection(path) for _ in range(3)]
            ends[0][1].write(b"GET / HTT")
            await ends[0][1].drain()
            await asyncio.sleep(0.05)  # so that all of them are being served
        for _, writer in ends:
            writer.close()

    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        asyncio.run(main())
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr().err == ""
