"""The Managers as child processes that are kept running, and ended when they hang; mostly there is one."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from core.errors import Misconfigured
from core.manager.api import SOCKET
from core.manager.paths import home
from core.manager.settings import Settings
from proxy.events import Log
from proxy.lifeline import Lifeline
from proxy.process import Command, Exit, Lines, Process
from proxy.supervise import Pace, Restart, Supervisor

_GRACE = 3.0
"""Seconds that a Manager gets to end."""

_LOOPBACK = "127.0.0.1"

_QUESTION = b"GET /livez HTTP/1.0\r\nhost: manager\r\n\r\n"


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """A Manager hangs that leaves so many questions in a row without an answer, each for so many seconds.

    Several, because one that is late may be the fault of who asks: that process was stopped, or the machine slept.
    By then (20 s) its proxies have gone to another, if there is one (`core.manager.peers.LEFT_WITHIN`).
    """

    questions: int = 4
    seconds: float = 5.0

    @property
    def all(self) -> float:
        return self.questions * self.seconds


PATIENCE = Patience()


class ManagerProgram:
    """A `Program`. `ready` is set once the Manager serves, for the first time or again."""

    name = "manager"

    def __init__(self, settings: Settings, *, log: Log, lifeline: Lifeline, patience: Patience = PATIENCE) -> None:
        self._socket = settings.home / SOCKET
        self._patience = patience
        encoded = msgspec.json.encode(settings, enc_hook=str).decode()
        self._command = Command(argv=(sys.executable, "-P", "-m", "core.manager", encoded))
        self.log = log if settings.managers == 1 else _called(f"manager/{settings.number}", log)
        self._lifeline = lifeline
        self._effect = "traffic flows on" if settings.managers == 1 else "traffic flows on, its proxies go to another"
        self._said: list[str] = []
        self._was_ready = False
        self.ready = asyncio.Event()

    async def start(self) -> Process:
        self.ready.clear()
        self._said = []
        return await Process.start(self._command, sink=Lines(self._hear), lifeline=self._lifeline)

    async def attend(self, process: Process) -> None:
        """Ends one that hangs: nobody else would, and whatever it holds (the lead, for one) is held as long."""
        await self.ready.wait()
        unanswered = 0
        while unanswered < self._patience.questions:
            unanswered = 0 if await self._answers() else unanswered + 1
        self.log("manager.hangs", seconds=f"{self._patience.all:g}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)

    async def _answers(self) -> bool:
        """Takes `seconds`, whatever comes of it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience.seconds
        try:
            async with asyncio.timeout_at(until):
                answered = await _asked(self._socket)
        except OSError:  # TimeoutError is one, too
            answered = False
        await asyncio.sleep(until - loop.time())
        return answered

    async def examine(self, exit: Exit) -> dict[str, object]:
        self.ready.clear()
        effect = f"; {self._effect}" if self._was_ready else ""
        # Whoever was killed did not say why; its last words are about something else.
        reason = " ".join(self._said[-4:]) if exit.status > 0 else ""
        return {"reason": reason, "effect": effect}

    def _hear(self, line: str) -> None:
        if line == "ready":
            if self._was_ready:
                self.log("manager.back")
            self._was_ready = True
            self.ready.set()
            return
        self._said.append(line)
        del self._said[:-50]
        self.log("manager.said", line=line)


async def _asked(path: Path) -> bool:
    """Whether anything is said there at all: what it is, matters to nobody here."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(_QUESTION)
        return bool(await reader.read(1))
    finally:
        writer.close()


def _called(name: str, log: Log) -> Log:
    """Of several programs that are alike each has to say which one it is."""

    def named(event: str, /, **fields: object) -> None:
        log(event, **{"workload": name, **fields})

    return named


@contextlib.asynccontextmanager
async def managers(
    settings: Settings, *, log: Log, lifeline: Lifeline, pace: Pace
) -> AsyncIterator[tuple[ManagerProgram, ...]]:
    """Number 1 to `settings.managers`, each a process that is kept running while the context is open."""
    with _told(settings) as each_one:
        programs = tuple(ManagerProgram(each, log=log, lifeline=lifeline) for each in each_one)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(_kept(each, pace), name=each.name) for each in programs]
            try:
                yield programs
            finally:
                for task in running:
                    task.cancel()


async def _kept(program: ManagerProgram, pace: Pace) -> None:
    await Supervisor(program, restart=Restart.ALWAYS, log=program.log, pace=pace).run(grace=_GRACE)


@contextlib.contextmanager
def _told(settings: Settings) -> Iterator[tuple[Settings, ...]]:
    """What each of them is told. Several share a port, which is kept for them, and each has a place of its own."""
    if settings.managers == 1:
        yield (settings,)
        return
    # It brings a web server with it, and nobody should wait for that without need.
    from core.manager.api.https import reserved

    numbers = range(1, settings.managers + 1)
    for number in numbers:
        _make_home(settings, number)
    with reserved(_LOOPBACK, settings.state) as port:
        common = msgspec.structs.replace(settings, api_listen=f"{_LOOPBACK}:{port.getsockname()[1]}")
        yield tuple(msgspec.structs.replace(common, number=number) for number in numbers)


def _make_home(settings: Settings, number: int) -> None:
    place = home(settings.state, number)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"{place} cannot be made: {error.strerror}", fix="give another --state-dir") from error
