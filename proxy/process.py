"""One child process with all its descendants: started so that it cannot outlive the agent, and stopped as a group.

Not for deciding when to start it again (supervise) or what it is (envoy_process, application).
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Self

import msgspec

from core.errors import Misconfigured
from proxy import launch
from proxy.lifeline import Lifeline

POLL = 0.02
"""Seconds between two looks at whether a process group is empty; the kernel tells nobody."""
REAP = 5.0
"""Seconds within which a killed process is gone, and its output read; longer only for one stuck in the kernel."""
LONGEST_LINE = 64 * 1024
"""Bytes after which a line without an end is cut."""

Sink = Callable[[bytes], None]
"""Takes output as it comes, in chunks of no meaning. Must not block."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. `environment` is added to the agent's own; `directory` "" is the agent's own.

    `stdin` names a file to read from; "" is nothing. `stdout` names a file that stdout is appended to; "" sends it the
    way of stderr. `attached`: all three are the agent's own instead.
    """

    argv: tuple[str, ...]
    environment: dict[str, str] = {}
    directory: str = ""
    stdin: str = ""
    stdout: str = ""
    attached: bool = False

    def program(self) -> str:
        """The path of the program: searched on the command's own PATH; a relative one is meant from its directory.

        Raises `Misconfigured` when the program or the directory is not there.
        """
        if self.directory and not os.path.isdir(self.directory):
            raise Misconfigured(f"no directory {self.directory} to run {self.argv[0]} in", fix="Create or correct it.")
        name = self.argv[0]
        candidate = os.path.join(self.directory, name) if os.path.dirname(name) else name
        found = shutil.which(candidate, path={**os.environ, **self.environment}.get("PATH", os.defpath))
        if found is None:
            raise Misconfigured(f"no program {name} to run", fix="Correct the command, or install the program.")
        return os.path.abspath(found)


class Exit(msgspec.Struct, frozen=True):
    """How a process ended: `status` is its exit code, or minus the number of the signal that killed it."""

    status: int

    @property
    def clean(self) -> bool:
        return self.status == 0

    def __str__(self) -> str:
        if self.status >= 0:
            return f"exit code {self.status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-self.status).name}"
        return f"killed by signal {-self.status}"


class Lines:
    """Cuts chunks of bytes into lines of text and hands each on, without its end."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""

    def __call__(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line.removesuffix(b"\r").decode(errors="replace"))

    def close(self) -> None:
        """Hands on what had no line end."""
        if self._rest:
            self(b"\n")


class _Reader(asyncio.Protocol):
    """The reading end of a child's output. With asyncio's own pipes an end is only told when they close (gh-119710)."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.done = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._sink(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Process:
    """A running process group. `start` makes it; whoever has it must `stop` it, whether or not it has ended."""

    def __init__(self, child: asyncio.subprocess.Process, output: asyncio.BaseTransport, reader: _Reader) -> None:
        self._child = child
        self._output = output
        self._reader = reader
        self._lifeline: Lifeline | None = None

    @classmethod
    async def start(cls, command: Command, *, sink: Sink, lifeline: Lifeline | None = None) -> Self:
        """Raises `Misconfigured` when the program or its directory is not there. Output goes to `sink`."""
        argv = _guarded(command)
        reading, writing = os.pipe()
        try:
            transport, reader = await _connect(reading, sink)
            child = await _spawn(argv, command, writing, transport)
        finally:
            os.close(writing)
        process = cls(child, transport, reader)
        process._watch_over(lifeline)
        return process

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait(self) -> Exit:
        """When the process itself has ended; its descendants may still run."""
        return Exit(await self._child.wait())

    async def stop(self, *, grace: float) -> Exit:
        """SIGTERM to the whole group, after `grace` seconds SIGKILL; returns when nothing of the group is left.

        Cancelled while it waits, it kills the group at once.
        """
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    self._signal(signal.SIGTERM)
                    await self._child.wait()
                    await self._group_is_empty()
        finally:
            self._signal(signal.SIGKILL)
            if self._lifeline is not None:
                self._lifeline.remove(self.pid)
        return await self._reap()

    def _watch_over(self, lifeline: Lifeline | None) -> None:
        self._lifeline = lifeline
        if lifeline is not None:
            lifeline.add(self.pid)

    def _signal(self, number: int) -> bool:
        """Whether there was anybody to signal. The group's number is not used again while one member lives."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # macOS says so of a group of which only dead members are left.
            return sys.platform != "darwin"
        return True

    async def _group_is_empty(self) -> None:
        while self._signal(0) and _has_living(self.pid):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(POLL)

    async def _reap(self) -> Exit:
        """A kill takes a moment. Output that a descendant outside the group keeps open is not waited for."""
        status: int = -signal.SIGKILL
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REAP):
                    status = await self._child.wait()
                    await self._group_is_empty()
            await asyncio.wait([self._reader.done], timeout=POLL * 10)
        finally:
            self._output.close()
        return Exit(status)


def _guarded(command: Command) -> tuple[str, ...]:
    locale = {**os.environ, **command.environment}.get("LC_CTYPE", "")
    guard = (sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), locale)
    return (*guard, command.program(), *command.argv[1:])


def _has_living(group: int) -> bool:
    """Whether a member is not a zombie: those stay in their group until init takes note of them, which may be never."""
    if sys.platform != "linux":
        return True
    stats = (_stat(name) for name in os.listdir("/proc") if name.isdigit())
    return any(fields[2] == str(group) and fields[0] != "Z" for fields in stats if fields)


def _stat(pid: str) -> list[str]:
    """State, parent, group and the rest of proc(5) `stat`; nothing when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


async def _connect(pipe: int, sink: Sink) -> tuple[asyncio.ReadTransport, _Reader]:
    return await asyncio.get_running_loop().connect_read_pipe(lambda: _Reader(sink), os.fdopen(pipe, "rb", 0))


async def _spawn(
    argv: tuple[str, ...], command: Command, output: int, reading: asyncio.BaseTransport
) -> asyncio.subprocess.Process:
    """A session of its own: Ctrl-C in the terminal reaches the agent alone, which then stops everything in order."""
    with _closed_on_failure(reading), _stdin(command) as stdin, _stdout(command, output) as stdout:
        return await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **command.environment},
            cwd=command.directory or None,
            stdin=stdin,
            stdout=stdout,
            stderr=None if command.attached else output,
            start_new_session=True,
        )


@contextlib.contextmanager
def _stdin(command: Command) -> Iterator[int | None]:
    if command.attached:
        yield None
        return
    with open(command.stdin or os.devnull, "rb") as file:
        yield file.fileno()


@contextlib.contextmanager
def _stdout(command: Command, otherwise: int) -> Iterator[int | None]:
    if command.attached or not command.stdout:
        yield None if command.attached else otherwise
        return
    file = os.open(command.stdout, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _closed_on_failure(transport: asyncio.BaseTransport) -> Iterator[None]:
    try:
        yield
    except BaseException:
        transport.close()
        raise
