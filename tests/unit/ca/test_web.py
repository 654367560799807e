"""HTTP on many sockets: ordinary clients are served, odd ones cost nobody else anything."""

import asyncio
import contextlib
import os
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from core.errors import Misconfigured
from core.manager.ca.web import LARGEST_BODY, Answer, Call, Listening

NOTHING = b"HTTP/1.1 200 "


class Echo:
    """Says what it was asked, after `delay` seconds."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.delay = 0.0

    async def __call__(self, call: Call) -> Answer:
        self.calls.append(call)
        await asyncio.sleep(self.delay)
        return Answer(200, b'"' + call.path.encode() + b'"')


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def path(tmp_path: Path, echo: Echo) -> AsyncIterator[Path]:
    listening = await Listening.on_path(tmp_path / "socket", echo)
    yield tmp_path / "socket"
    await listening.close()
    assert os.listdir(tmp_path) == []


def client(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://x")


async def raw(path: Path, sent: bytes) -> bytes:
    """Everything that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(sent)
    writer.write_eof()
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_connection_serves_several_calls(path: Path, echo: Echo) -> None:
    """Body, query and headers arrive; the date tells the clock; nothing is to be cached."""
    async with client(path) as http:
        for number in range(3):
            response = await http.post(f"/a?n={number}&n=x", content=b"body", headers={"X-Y": "z"})
            assert (response.status_code, response.json()) == (200, "/a")
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["date"].endswith(" GMT")
    assert [(c.method, c.query, c.body, c.headers["x-y"]) for c in echo.calls] == [
        ("POST", {"n": "x"}, b"body", "z")
    ] * 3


async def test_the_socket_is_private_and_takes_the_place_of_an_old_one(tmp_path: Path, echo: Echo) -> None:
    """One left by a killed process is no obstacle; a file that is no socket is not removed."""
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / "socket"))
    listening = await Listening.on_path(tmp_path / "socket", echo)
    assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600
    async with client(tmp_path / "socket") as http:
        assert (await http.get("/")).status_code == 200
    await listening.close()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Misconfigured, match="no socket at"):
        await Listening.on_path(tmp_path / "file", echo)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(Misconfigured, match="too long"):
        await Listening.on_path(tmp_path / ("x" * 120), echo)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 this is TLS",
        b"GET / HTTP/one\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nxxxxxx",
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 40_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n" + b"x" * (LARGEST_BODY + 1),
    ],
    ids=["tls", "version", "target", "no host", "two lengths", "long header", "large body"],
)
async def test_what_is_no_request_is_refused(path: Path, echo: Echo, sent: bytes) -> None:
    """With a 4xx in JSON, and the connection is closed; the next client is served."""
    assert (await raw(path, sent)).startswith(b"HTTP/1.1 4")
    assert echo.calls == []
    async with client(path) as http:
        assert (await http.get("/")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nxx"],
    ids=["none", "head", "body"],
)
async def test_who_leaves_in_the_middle_is_forgotten(path: Path, echo: Echo, sent: bytes) -> None:
    """Nothing is made of half a request."""
    answer = await raw(path, sent)
    assert not answer.startswith(NOTHING)
    assert echo.calls == []


async def test_a_silent_client_does_not_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection ends, however little it sends and however slowly."""
    monkeypatch.setattr("core.manager.ca.web._PATIENCE", 0.2)
    reader, writer = await asyncio.open_unix_connection(path)
    begun = time.monotonic()

    async def drip() -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"G")
                await writer.drain()
                await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    dripping.cancel()
    assert 0.1 < time.monotonic() - begun < 3
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_many_at_once(path: Path, echo: Echo) -> None:
    """A slow answer does not hold up others."""
    echo.delay = 0.3
    begun = time.monotonic()
    async with client(path) as http:
        responses = await asyncio.gather(*(http.get(f"/{n}") for n in range(20)))
    assert [response.json() for response in responses] == [f"/{n}" for n in range(20)]
    assert time.monotonic() - begun < 3


async def test_closing_does_not_wait(tmp_path: Path, echo: Echo) -> None:
    """What is under way is broken off, and the socket is gone."""
    echo.delay = 60.0
    listening = await Listening.on_path(tmp_path / "socket", echo)
    async with client(tmp_path / "socket") as http:
        asking = asyncio.create_task(http.get("/"))
        async with asyncio.timeout(5):
            while not echo.calls:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            await listening.close()
            with pytest.raises(httpx.HTTPError):
                await asking
    assert os.listdir(tmp_path) == []


def test_calls_do_not_print_their_headers() -> None:
    """A credential may be among them."""
    assert repr(Call(method="POST", path="/x", headers={"authorization": "Bearer secret"})) == "Call(POST /x)"


async def test_the_eldest_of_too_many_makes_room(tmp_path: Path, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent connections do not keep out who has a question; the one that was there first is closed."""
    monkeypatch.setattr("core.manager.ca.web._MOST", 3)
    listening = await Listening.on_path(tmp_path / "socket", echo)
    silent = [await asyncio.open_unix_connection(tmp_path / "socket") for _ in range(3)]
    async with client(tmp_path / "socket") as http:
        assert (await http.get("/a")).text == '"/a"'
    async with asyncio.timeout(5):
        assert await silent[0][0].read() == b""
    await listening.close()
    for _, writer in silent:
        writer.close()
