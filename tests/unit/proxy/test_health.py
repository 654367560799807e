"""The small HTTP client for Envoy's admin socket, against a server that answers what the test wants."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from core.errors import Unavailable
from proxy.health import Admin

Serve = Callable[..., Awaitable[Admin]]


@pytest.fixture
async def serve(tmp_path: Path) -> object:
    """Starts servers that give the answers in turn (the last one again and again)."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(*answers: bytes, timeout: float = 5.0) -> Admin:  # noqa: ASYNC109
        left = list(answers)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            writers.append(writer)
            if left[0]:
                writer.close()

        servers.append(await asyncio.start_unix_server(answer, tmp_path / "admin.sock"))
        return Admin(str(tmp_path / "admin.sock"), timeout=timeout)

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.close()
    await asyncio.sleep(0)


def reply(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-type: text/plain\r\n\r\n%b" % (status, body)


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body


async def test_chunks_are_joined(serve: Serve) -> None:
    """An answer in chunks, line ends within them included, is one body."""
    admin = await serve(chunked(b"a\r\nb", b"c" * 70_000))
    assert (await admin.get("/x")).body == b"a\r\nb" + b"c" * 70_000


async def test_statistics_are_numbers(serve: Serve) -> None:
    """Counters and gauges come as numbers; text values and histograms are left out."""
    text = b'a.b: 3\nlistener.[__1]_80.x: 4\nserver.tag: "x"\nh.time: P0(nan,1)\n'
    assert await (await serve(reply(text))).stats() == {"a.b": 3, "listener.[__1]_80.x": 4}


async def test_ready_needs_workers(serve: Serve) -> None:
    """LIVE alone is not ready: the workers must have started, else connections are refused."""
    admin = await serve(reply(b"LIVE\n"), reply(b"listener_manager.workers_started: 0\n"))
    assert not await admin.ready()


async def test_ready(serve: Serve) -> None:
    """LIVE with its workers started is ready."""
    assert await (await serve(reply(b"LIVE\n"), reply(b"listener_manager.workers_started: 1\n"))).ready()


async def test_not_ready(serve: Serve) -> None:
    """A 503 of /ready is not ready, and the state can be read."""
    admin = await serve(reply(b"PRE_INITIALIZING\n", 503))
    assert not await admin.ready()
    assert await admin.state() == "PRE_INITIALIZING"


async def test_waits_until_ready(serve: Serve) -> None:
    """Waiting goes on over answers of 503 and cut connections, until ready."""
    workers = reply(b"listener_manager.workers_started: 1\n")
    admin = await serve(reply(b"X", 503), b"HTTP/1.1 2", reply(b"LIVE"), workers)
    async with asyncio.timeout(5):
        await admin.wait_ready()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n\r\n", chunked(b"abc")[:-8], b" "])
async def test_cut_answers_are_unavailable(serve: Serve, answer: bytes) -> None:
    """What is not a whole HTTP answer is no answer."""
    with pytest.raises(Unavailable):
        await (await serve(answer)).get("/x")


async def test_silence_is_unavailable(serve: Serve) -> None:
    """An Envoy that hangs is unavailable after the time limit."""
    with pytest.raises(Unavailable, match="TimeoutError"):
        await (await serve(b"", timeout=0.05)).get("/x")


async def test_nobody_is_unavailable(tmp_path: Path) -> None:
    """Without a socket there is a sentence about it, with a fix."""
    with pytest.raises(Unavailable, match=r"admin\.sock") as caught:
        await Admin(str(tmp_path / "admin.sock")).get("/ready")
    assert caught.value.fix
