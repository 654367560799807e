"""One agent as a child process: told what to do, heard, asked to stop, and the end of whatever it leaves behind.

Not for when agents start and stop (fleet), nor for what they do (`proxy.agent`).
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import assert_never

from core.errors import Misconfigured, Unavailable
from proxy.envoy_process import Files
from proxy.health import Admin
from proxy.identity.secrets import write_private
from proxy.process import Command, Exit, Lines, Process
from proxy.reports import Assignment, Became, Failed, Happened, Said, encode, report
from proxy.settings import Host
from proxy.state import Phase, State
from proxy.watched import Watched

_BEGINNINGS = ("envoy.started", "application.started")
_ENDS = ("envoy.stopped", "envoy.exited", "application.stopped", "application.exited", "application.ended")
_GRACE = 12.0
"""Seconds beyond its drain that an agent gets to stop Envoy and application; each has 5 of them."""


class Sidecar:
    """`run` is one life of the process. `came` is called when the agent is at work, each time anew."""

    def __init__(self, work: Assignment, *, host: Host, came: Callable[[], None]) -> None:
        self._work = work
        self._host = host
        self._came = came
        self._name = str(work.workload.key)
        self._files = Files(Path(work.settings.directory))
        self._log = partial(host.log, workload=self._name)
        self._state = Watched(State())
        self._failure: Failed | None = None
        self._groups: dict[str, int] = {}
        self._process: Process | None = None
        self._is_leaving = False

    @property
    def state(self) -> State:
        return self._state.value

    @property
    def admin(self) -> Admin:
        """Envoy's admin interface."""
        return Admin(str(self._files.admin))

    @property
    def pid(self) -> int | None:
        """The agent's."""
        return self._process.pid if self._process is not None else None

    async def wait_ready(self, seconds: float) -> None:
        """As `Agent.wait_ready`."""
        try:
            async with asyncio.timeout(seconds):
                state = await self._state.until(lambda state: state.phase not in (Phase.NEW, Phase.STARTING))
        except TimeoutError:
            state = self.state
            reason = state.certificate_problem if state.certificate is None else f"see {self._files.log}"
            message = f"Envoy of {self._name} is not ready after {seconds:g} s: {reason}"
            raise Unavailable(message, fix="Is the Manager running?") from None
        if state.phase is not Phase.READY:
            raise Misconfigured(f"Envoy of {self._name}: {state.reason or state.phase}", fix=state.fix)

    async def run(self, *, within: tuple[str, ...] = ()) -> Exit:
        """Until the process ends; when cancelled, stops it first, in order. Raises `Misconfigured` when it cannot work.

        `within`: the words that run a program where the agent is to be.
        """
        self._failure = None
        process = self._process = await self._start(within)
        try:
            exit = await process.wait()
        finally:
            await process.stop(grace=self._work.settings.termination_drain + _GRACE)
            self._process = None
            self._state.set(State())
            self._end_groups()
        if self._failure is not None:
            raise Misconfigured(self._failure.error, fix=self._failure.fix)
        return exit

    def hurry(self) -> None:
        """Stop, and wait for nobody's connections."""
        self._is_leaving = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    async def _start(self, within: tuple[str, ...]) -> Process:
        await asyncio.to_thread(self._write)
        # -P: a folder called proxy, where somebody happens to be, is not ours. The name is for who looks at processes.
        argv = (*within, sys.executable, "-P", "-m", "proxy", "-", self._name)
        command = Command(argv=argv, stdin=str(self._files.assignment))
        return await Process.start(command, sink=Lines(self._hear), lifeline=self._host.lifeline)

    def _write(self) -> None:
        try:
            self._files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._files.assignment, encode(self._work))
        except OSError as error:
            raise Misconfigured(
                f"cannot write {self._files.assignment}: {error}", fix="Give another --state-dir."
            ) from error

    def _hear(self, line: str) -> None:
        match report(line):
            case Happened(event, fields):
                self._note(event, fields)
                self._host.log(event, **fields)
            case Became(state):
                is_first = self.state.phase is Phase.NEW
                self._state.set(state)
                if is_first:
                    self._came()
            case Said(said):
                self._host.output(self._name, said)
            case Failed() as failure:
                self._failure = failure
            case None if not self._is_leaving:  # interrupted while Python starts, it says where
                self._log("agent.said", line=line)
            case None:
                pass
            case _ as never:
                assert_never(never)

    def _note(self, event: str, fields: Mapping[str, object]) -> None:
        """Which process groups it has: when it is killed, its children die with it, but not theirs."""
        program = event.partition(".")[0]
        if event in _BEGINNINGS and isinstance(pid := fields.get("pid"), int):
            self._groups[program] = pid
            if self._host.lifeline is not None:
                self._host.lifeline.add(pid)
        elif event in _ENDS:
            self._forget(program)

    def _forget(self, program: str) -> None:
        group = self._groups.pop(program, None)
        if group is not None and self._host.lifeline is not None:
            self._host.lifeline.remove(group)

    def _end_groups(self) -> None:
        for program, group in list(self._groups.items()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
            self._forget(program)
