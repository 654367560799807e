"""The Manager as a child process that is kept running."""

import asyncio
import sys

import msgspec

from core.manager.settings import Settings
from proxy.events import Log
from proxy.lifeline import Lifeline
from proxy.process import Command, Exit, Lines, Process


class ManagerProgram:
    """A `Program`. `ready` is set once the Manager serves, for the first time or again."""

    name = "manager"

    def __init__(self, settings: Settings, *, log: Log, lifeline: Lifeline) -> None:
        encoded = msgspec.json.encode(settings, enc_hook=str).decode()
        self._command = Command(argv=(sys.executable, "-P", "-m", "core.manager", encoded))
        self._log = log
        self._lifeline = lifeline
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
        effect = "; traffic flows on" if self._was_ready else ""
        # Whoever was killed did not say why; its last words are about something else.
        reason = " ".join(self._said[-4:]) if exit.status > 0 else ""
        return {"reason": reason, "effect": effect}

    def _hear(self, line: str) -> None:
        if line == "ready":
            if self._was_ready:
                self._log("manager.back")
            self._was_ready = True
            self.ready.set()
            return
        self._said.append(line)
        del self._said[:-50]
        self._log("manager.said", line=line)
