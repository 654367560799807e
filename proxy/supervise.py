"""Keeps one program running: starts it, waits for its end, starts it again after a while that grows with each failure.

Not for what the program is: that is a `Program` (Envoy, the application).
"""

import asyncio
from enum import StrEnum
from random import Random
from typing import Protocol

import msgspec

from core.errors import Misconfigured
from proxy.events import Log
from proxy.launch import NOT_FOUND
from proxy.process import Exit, Process


class Restart(StrEnum):
    """When a program that ended is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait before another start, in seconds.

    The first restart comes at once; then the wait doubles from `base` up to `cap`, less up to half of it by chance.
    A program that ran for `healthy` seconds starts over with a clean record.
    """

    base: float = 0.25
    cap: float = 30.0
    healthy: float = 10.0

    def wait(self, failures: int, random: Random) -> float:
        """Before the start after that many failures in a row, the one that just happened not counted."""
        if failures == 0:
            return 0.0
        full: float = min(self.cap, self.base * 2 ** min(failures - 1, 32))
        return full * random.uniform(0.5, 1.0)


class Program(Protocol):
    """Something to keep running. `name` opens the names of its events: `<name>.started`, `<name>.exited`."""

    @property
    def name(self) -> str: ...

    async def start(self) -> Process:
        """Raises `Misconfigured` when it cannot be started; that counts as an exit with the shell's code 127."""
        ...

    async def attend(self, process: Process) -> None:
        """Runs beside the process and is cancelled when it has ended."""
        ...

    async def examine(self, exit: Exit) -> dict[str, object]:
        """What there is to say of an end that nobody asked for, as fields of the event."""
        ...


class Supervisor:
    """Runs one program until cancelled, or until its restart policy says that it has ended for good."""

    def __init__(
        self, program: Program, *, restart: Restart, log: Log, pace: Pace, random: Random | None = None
    ) -> None:
        self._program = program
        self._restart = restart
        self._log = log
        self._pace = pace
        self._random = random or Random()
        self._failures = 0

    async def run(self, *, grace: float) -> Exit:
        """Returns the exit that was the last. When cancelled, stops the program first, within `grace` seconds."""
        while True:
            started = self._now()
            exit = await self._live(grace)
            found = await self._program.examine(exit)
            if not self._again(exit):
                self._log(f"{self._program.name}.ended", status=exit.status, how=str(exit), **found)
                return exit
            wait = self._next_wait(ran=self._now() - started)
            self._log(f"{self._program.name}.exited", status=exit.status, how=str(exit), restart_in=wait, **found)
            await asyncio.sleep(wait)

    async def _live(self, grace: float) -> Exit:
        """One life of the program; whatever happens, nothing of its process group is left after it."""
        try:
            process = await self._program.start()
        except Misconfigured as error:
            self._log(f"{self._program.name}.unstartable", reason=str(error), fix=error.fix)
            return Exit(NOT_FOUND)
        self._log(f"{self._program.name}.started", pid=process.pid)
        try:
            exit = await self._attended(process)
        except BaseException:
            exit = await process.stop(grace=grace)
            self._log(f"{self._program.name}.stopped", pid=process.pid, status=exit.status)
            raise
        await process.stop(grace=0)
        return exit

    async def _attended(self, process: Process) -> Exit:
        async with asyncio.TaskGroup() as group:
            attending = group.create_task(self._program.attend(process))
            exit = await process.wait()
            attending.cancel()
        return exit

    def _again(self, exit: Exit) -> bool:
        if self._restart is Restart.ON_FAILURE:
            return not exit.clean
        return self._restart is Restart.ALWAYS

    def _next_wait(self, *, ran: float) -> float:
        self._failures = 0 if ran >= self._pace.healthy else self._failures
        wait = self._pace.wait(self._failures, self._random)
        self._failures += 1
        return wait

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
