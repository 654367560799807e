"""The Managers as child processes that are kept running; mostly there is one."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator

import msgspec

from core.errors import Misconfigured
from core.manager.paths import home
from core.manager.settings import Settings
from proxy.events import Log
from proxy.lifeline import Lifeline
from proxy.process import Command, Exit, Lines, Process
from proxy.supervise import Pace, Restart, Supervisor

_GRACE = 3.0
"""Seconds that a Manager gets to end."""

_LOOPBACK = "127.0.0.1"


class ManagerProgram:
    """A `Program`. `ready` is set once the Manager serves, for the first time or again."""

    name = "manager"

    def __init__(self, settings: Settings, *, log: Log, lifeline: Lifeline) -> None:
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
        """Nothing: what it says is heard as it comes."""
        await asyncio.get_running_loop().create_future()

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
