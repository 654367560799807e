"""Envoy as a program to keep running: its command line, its log, and what its log says about why it ended.

Not for what Envoy is configured to do (bootstrap, then xDS), nor for restarting it (supervise).
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from core.model.identity import SYSTEM_ROOTS_FILE
from proxy import ports
from proxy.events import Log
from proxy.health import Admin
from proxy.lifeline import Lifeline
from proxy.process import Command, Exit, Lines, Process

LOG_FORMAT = "%Y-%m-%dT%T.%e%z %l %n %v"
"""spdlog's words: local time, level, component, message. `_RECORD` reads it back."""
LOG_LIMIT = 10_000_000
"""Bytes after which the log moves to `envoy.log.1`, replacing what is there."""
TELL_LIMIT = 200
"""Different messages of one life of Envoy that are passed on; the log has all of them."""

_RECORD = re.compile(r"\d{4}-\d\d-\d\dT\S+ (trace|debug|info|warning|error|critical) (\S+) (.*)")
_STARTUP = re.compile(r"^error `(.*?)` initializing config '", re.DOTALL)
_NO_STABLE_TEXT = re.compile(r"\s*goo\.gle/debug\w*\s+")
_BIND = re.compile(r"cannot bind '\[?([^']+?)\]?:(\d+)': Address already in use")


class Files(msgspec.Struct, frozen=True):
    """Where one sidecar keeps its things: all in `directory`, which is the agent's own."""

    directory: Path

    @property
    def bootstrap(self) -> Path:
        return self.directory / "envoy.json"

    @property
    def admin(self) -> Path:
        return self.directory / "admin.sock"

    @property
    def agent(self) -> Path:
        """The agent's own socket (`core.manager.paths.agent_socket`)."""
        return self.directory / "agent.sock"

    @property
    def assignment(self) -> Path:
        """What an agent that is a process of its own reads when it starts, and removes: there may be secrets in it."""
        return self.directory / "agent.json"

    @property
    def system_roots(self) -> Path:
        return self.directory / SYSTEM_ROOTS_FILE

    @property
    def log(self) -> Path:
        return self.directory / "envoy.log"

    @property
    def old_log(self) -> Path:
        return self.directory / "envoy.log.1"

    @property
    def access_log(self) -> Path:
        """What Envoy writes to stdout: the access log, where one is asked for."""
        return self.directory / "access.log"

    def volatile(self) -> tuple[Path, ...]:
        return (self.bootstrap, self.admin, self.agent, self.assignment)

    def logs(self) -> tuple[Path, ...]:
        return (self.log, self.old_log, self.access_log)


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """How to run Envoy. `listener_drain`: seconds that connections of a replaced listener may go on (Istio: 45)."""

    concurrency: int = 1
    listener_drain: int = 45
    log_level: str = "warning"


def command(binary: str, *, files: Files, knobs: Knobs) -> Command:
    """Envoy's command line. No hot restart: several Envoys of one machine would fight over its shared memory.

    It runs in the agent's directory: what the Manager sends names the certificate's files relative to it.
    """
    argv = (
        *(binary, "--config-path", str(files.bootstrap), "--disable-hot-restart"),
        *("--concurrency", str(knobs.concurrency), "--file-flush-interval-msec", "200"),
        *("--drain-time-s", str(knobs.listener_drain), "--drain-strategy", "immediate"),
        *("--log-level", knobs.log_level, "--log-format", LOG_FORMAT),
        # Its warnings are about fields of our own that Envoy calls deprecated.
        *("--component-log-level", "misc:error"),
    )
    return Command(argv=argv, directory=str(files.directory), stdout=str(files.access_log))


class Journal:
    """Envoy's log: kept in a file, its errors passed to `tell` (each message once), why it died remembered."""

    def __init__(self, files: Files, *, tell: Callable[[str, str], None]) -> None:
        self._files = files
        self._tell = tell
        self.open()

    def open(self) -> None:
        """A new life of Envoy begins."""
        self._told: set[str] = set()
        self._critical: list[str] = []
        self._error = self._last = ""
        self._in_critical = False
        self._lines = Lines(self._line)

    def write(self, chunk: bytes) -> None:
        """A full disk costs the log, not the proxy, which would get a broken pipe."""
        with contextlib.suppress(OSError):
            self._rotate()
            with self._files.log.open("ab") as file:
                file.write(chunk)
        self._lines(chunk)

    def reason(self) -> str:
        """Why Envoy ended, in its own words; "" when it said nothing."""
        self._lines.close()
        return _plain("\n".join(self._critical)) or self._error or self._last

    def _rotate(self) -> None:
        if self._files.log.exists() and self._files.log.stat().st_size > LOG_LIMIT:
            self._files.log.replace(self._files.old_log)

    def _line(self, line: str) -> None:
        record = _RECORD.match(line)
        if record is not None:
            self._record(record[1], record[3])
        elif self._in_critical:
            self._critical.append(line)
        elif line.strip():
            self._last = line.strip()

    def _record(self, level: str, message: str) -> None:
        """Of several critical records the first is the cause; the others are its stack trace."""
        self._in_critical = level == "critical" and not self._critical
        if self._in_critical:
            self._critical = [message]
        if level == "error":
            self._error = message
        if level in ("error", "critical") and message not in self._told and len(self._told) < TELL_LIMIT:
            self._told.add(message)
            self._tell(level, message)


def _plain(critical: str) -> str:
    """Without Envoy's frame around it, and without the prefix that protobuf varies so that nobody parses its text."""
    startup = _STARTUP.search(critical)
    text = startup[1] if startup is not None else critical.partition("\n")[0]
    return " ".join(_NO_STABLE_TEXT.sub(" ", text).split())


def bind_failure(message: str) -> ports.Address | None:
    """The address that Envoy says somebody else has."""
    match = _BIND.search(message)
    return (match[1], int(match[2])) if match is not None else None


class Started(msgspec.Struct, frozen=True):
    """Envoy runs, but has no configuration yet."""

    pid: int


class Ready(msgspec.Struct, frozen=True):
    """Envoy has its first configuration and listens."""


class Died(msgspec.Struct, frozen=True):
    """Envoy ended unasked: whether it was ever ready, why it ended, and what to do about it."""

    was_ready: bool
    reason: str
    fix: str


Turn = Started | Ready | Died
"""The turns of Envoy's life."""


class Envoy:
    """A `Program`. `hear` is told of its life; `log` gets its errors as `envoy.log` and `envoy.port_taken`."""

    name = "envoy"

    def __init__(
        self,
        command: Command,
        *,
        files: Files,
        hear: Callable[[Turn], None],
        log: Log,
        lifeline: Lifeline | None = None,
    ) -> None:
        self._command = command
        self._files = files
        self._hear = hear
        self._log = log
        self._lifeline = lifeline
        self._journal = Journal(files, tell=self._tell)
        self._taken: asyncio.Queue[ports.Address] = asyncio.Queue()
        self._ready = False

    async def start(self) -> Process:
        self._journal.open()
        self._ready = False
        process = await Process.start(self._command, sink=self._journal.write, lifeline=self._lifeline)
        self._hear(Started(process.pid))
        return process

    async def attend(self, process: Process) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._announce())
            group.create_task(self._name_holders())

    async def examine(self, exit: Exit) -> dict[str, object]:
        reason = self._journal.reason()
        fix = f"See {self._files.log}."
        address = bind_failure(reason)
        if address is not None:
            reason, fix = await asyncio.to_thread(ports.taken, *address)
        how = f"{exit}: {reason}" if reason and exit.status < 0 else reason or str(exit)
        self._hear(Died(self._ready, how, fix))
        return {"reason": reason, "fix": fix}

    async def _announce(self) -> None:
        began = asyncio.get_running_loop().time()
        await Admin(str(self._files.admin)).wait_ready()
        self._ready = True
        self._hear(Ready())
        self._log("envoy.ready", after=asyncio.get_running_loop().time() - began)

    async def _name_holders(self) -> None:
        """A listener of the Manager's that could not be bound: Envoy runs on without it."""
        while True:
            address = await self._taken.get()
            reason, fix = await asyncio.to_thread(ports.taken, *address)
            self._log("envoy.port_taken", address=ports.shown(*address), reason=reason, fix=fix)

    def _tell(self, level: str, message: str) -> None:
        self._log("envoy.log", level=level, message=message)
        address = bind_failure(message)
        if address is not None:
            self._taken.put_nowait(address)


def remove(paths: tuple[Path, ...]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
