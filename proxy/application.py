"""The workload's own command as a program to keep running beside its Envoy.

Runs in the foreground: descendants that it leaves behind when it ends are ended with it. Not for how its traffic is
captured: whoever writes the command gives it the environment it needs.
"""

import asyncio
from collections.abc import Callable

from proxy.events import Output
from proxy.lifeline import Lifeline
from proxy.process import Command, Exit, Lines, Process
from proxy.state import ApplicationState


class Application:
    """A `Program`. Each line of its output goes to `output` with the workload's name; `hear` learns when it runs."""

    name = "application"

    def __init__(
        self,
        command: Command,
        *,
        workload: str,
        output: Output,
        hear: Callable[[ApplicationState], None] = lambda state: None,
        lifeline: Lifeline | None = None,
    ) -> None:
        self._command = command
        self._hear = hear
        self._workload = workload
        self._output = output
        self._lifeline = lifeline
        self._lines = Lines(self._line)

    async def start(self) -> Process:
        self._lines = Lines(self._line)
        process = await Process.start(self._command, sink=self._lines, lifeline=self._lifeline)
        self._hear("running")
        return process

    async def attend(self, process: Process) -> None:
        """Nothing: whether an application is well is its platform's business."""
        await asyncio.get_running_loop().create_future()

    async def examine(self, exit: Exit) -> dict[str, object]:
        self._lines.close()
        self._hear("ended" if exit.clean else "waiting")
        return {"command": " ".join(self._command.argv)}

    def _line(self, line: str) -> None:
        self._output(self._workload, line)
