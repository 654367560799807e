"""Serving on a unix socket: who may open it, what happens to stale ones, and how it ends."""

import asyncio
import signal
import socket
import stat
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core.errors import Misconfigured
from core.manager.api.server import serve


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


APP = Starlette(routes=[Route("/", hello)])


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def ask(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET / HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_it_answers_while_it_is_open(tmp_path: Path) -> None:
    """Requests are answered from the first moment on, and afterwards the socket is gone."""
    path = tmp_path / "s"
    async with serve(APP, path):
        assert (await ask(path)).endswith(b"hello")
    assert left_in(tmp_path) == []


async def test_only_its_owner_may_open_it(tmp_path: Path) -> None:
    """The socket's mode is 0600."""
    async with serve(APP, tmp_path / "s"):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    """What a killed Manager left does not stop the next one."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serve(APP, path):
        assert (await ask(path)).endswith(b"hello")


async def test_a_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    """A second Manager on the same state directory is refused, and the first one stays reachable."""
    path = tmp_path / "s"
    async with serve(APP, path):
        with pytest.raises(Misconfigured, match="cannot serve"):
            async with serve(APP, path):
                pass
        assert (await ask(path)).endswith(b"hello")


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    """Only sockets are cleared away."""
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(Misconfigured, match="cannot serve"):
        async with serve(APP, path):
            pass
    assert path.read_text() == "precious"


async def test_a_path_that_no_socket_can_have_is_explained(tmp_path: Path) -> None:
    """A path longer than the system allows is refused with what to do about it."""
    with pytest.raises(Misconfigured, match="too long") as caught:
        async with serve(APP, tmp_path / ("d" * 120)):
            pass
    assert "shorter" in caught.value.fix


async def test_signals_stay_with_the_process(tmp_path: Path) -> None:
    """Serving installs no signal handlers: Ctrl-C belongs to whoever composes the process."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with serve(APP, tmp_path / "s"):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_failure_inside_comes_out_as_it_is(tmp_path: Path) -> None:
    """The context does not wrap or swallow what goes wrong within it, and still cleans up."""
    with pytest.raises(KeyError):
        async with serve(APP, tmp_path / "s"):
            raise KeyError
    assert left_in(tmp_path) == []


async def test_cancelling_ends_it_cleanly(tmp_path: Path) -> None:
    """A Manager that is told to stop leaves no socket behind."""
    opened = asyncio.Event()

    async def run() -> None:
        async with serve(APP, tmp_path / "s"):
            opened.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_in(tmp_path) == []


async def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A client that keeps its connection open and asks nothing does not keep the Manager alive."""
    async with serve(APP, tmp_path / "s"):
        _, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.close()
