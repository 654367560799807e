"""The socket in front of Managers: bytes pass, to whichever is there, and nothing stays behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from proxy import relay
from proxy.relay import relaying


@contextlib.asynccontextmanager
async def manager(path: Path, name: str) -> AsyncIterator[None]:
    """Answers each line with its own name, and hangs up on `end`."""
    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        while (line := await reader.readline()) not in (b"", b"end\n"):
            writer.write(f"{name} {line.decode()}".encode())
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield
    finally:
        server.close()
        for writer in open_now:
            writer.close()


def in_turn(sockets: Sequence[str]) -> Sequence[str]:
    return sockets


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Path]:
    """A relay in front of `a` and `b`, which are not there yet."""
    async with relaying(tmp_path / "front", [str(tmp_path / name) for name in "ab"], order=in_turn):
        yield tmp_path / "front"


async def asked(front: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(front)
    with contextlib.closing(writer):
        writer.write(line)
        return await asyncio.wait_for(reader.readline(), 5)


async def test_the_first_that_answers_gets_the_bytes(front: Path) -> None:
    async with manager(front.parent / "b", "B"):
        assert await asked(front, b"hello\n") == b"B hello\n"
        async with manager(front.parent / "a", "A"):
            assert await asked(front, b"hello\n") == b"A hello\n"
        assert await asked(front, b"hello\n") == b"B hello\n"


async def test_what_is_large_arrives_whole(front: Path) -> None:
    async with manager(front.parent / "a", "A"):
        reader, writer = await asyncio.open_unix_connection(front, limit=1 << 22)
        with contextlib.closing(writer):
            writer.write(b"x" * 50_000 + b"\n")
            assert len(await asyncio.wait_for(reader.readline(), 5)) == 50_003


async def test_a_client_waits_for_a_manager(front: Path) -> None:
    """What it said meanwhile is not lost."""
    waiting = asyncio.create_task(asked(front, b"hello\n"))
    await asyncio.sleep(0)
    async with manager(front.parent / "b", "B"):
        assert await waiting == b"B hello\n"


async def test_it_does_not_wait_for_ever(front: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HELD", 0.05)
    assert await asked(front, b"hello\n") == b""


async def test_a_client_hears_at_once_that_its_manager_hung_up(front: Path) -> None:
    async with manager(front.parent / "a", "A"):
        assert await asked(front, b"end\n") == b""


async def test_when_it_ends_connections_end(tmp_path: Path) -> None:
    """Those that pass bytes, and those that wait."""
    async with manager(tmp_path / "a", "A"):
        async with relaying(tmp_path / "front", [str(tmp_path / "a")], order=in_turn):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "front")
            writer.write(b"hello\n")
            assert await reader.readline() == b"A hello\n"
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
