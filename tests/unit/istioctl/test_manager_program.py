"""The supervisor of a Manager ends one that hangs, and leaves alone one that answers, however late."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from core.manager.api import SOCKET
from core.manager.settings import Settings
from istioctl.local.manager import ManagerProgram, Patience
from proxy.lifeline import Lifeline, lifeline
from proxy.process import Command, Lines, Process

pytestmark = pytest.mark.timeout(20)

PATIENCE = Patience(questions=3, seconds=0.1)


class Events(list[str]):
    def __call__(self, event: str, /, **fields: object) -> None:
        self.append(event)


@pytest.fixture
def state() -> Iterator[Path]:
    with TemporaryDirectory(prefix="h") as folder:
        yield Path(folder)


@contextlib.asynccontextmanager
async def attended(state: Path, line: Lifeline, log: Events) -> AsyncIterator[tuple[Process, "asyncio.Task[None]"]]:
    """A stand-in for a Manager's process, and what the supervisor does beside it."""
    program = ManagerProgram(Settings(state=state), log=log, lifeline=line, patience=PATIENCE)
    process = await Process.start(Command(argv=("sleep", "100")), sink=Lines(lambda said: None), lifeline=line)
    program.ready.set()
    attending = asyncio.create_task(program.attend(process))
    try:
        yield process, attending
    finally:
        attending.cancel()
        await asyncio.wait([attending])
        await process.stop(grace=0)


@contextlib.asynccontextmanager
async def serving(state: Path, *, silent: int) -> AsyncIterator[list[int]]:
    """A socket that is silent at first, for so many questions, then answers every one; gives those that were asked."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(len(asked))
        await reader.readuntil(b"\r\n\r\n")
        if len(asked) > silent:
            writer.write(b"HTTP/1.0 200 OK\r\n\r\nok")
        else:
            await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(serve, state / SOCKET):
        yield asked


async def test_one_that_hangs_is_ended(state: Path) -> None:
    log = Events()
    with lifeline() as line:
        async with serving(state, silent=100) as asked, attended(state, line, log) as (process, attending):
            async with asyncio.timeout(5):
                await attending
                exit = await process.wait()
            assert (exit.status, log) == (-signal.SIGKILL, ["manager.hangs"])
            assert len(asked) == PATIENCE.questions


async def test_one_that_was_late_is_left_alone(state: Path) -> None:
    """It missed all questions but the last: from then on it has all the time again."""
    log = Events()
    with lifeline() as line:
        async with (
            serving(state, silent=PATIENCE.questions - 1) as asked,
            attended(state, line, log) as (process, attending),
        ):
            while len(asked) < 2 * PATIENCE.questions + 1:  # noqa: ASYNC110 - the next question tells nobody
                await asyncio.sleep(0.01)
            os.kill(process.pid, 0)
            assert not attending.done()
            assert log == []
