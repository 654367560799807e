"""Finds out whether applications accept connections: by connecting (TCP), or from the agent beside them."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import assert_never

import msgspec

from core.manager.paths import agent_socket
from core.model.service import Health, WorkloadKey
from platforms.local.plan import Application
from platforms.local.settings import Settings


class Connects(msgspec.Struct, frozen=True):
    """To each of these addresses and ports; all have to accept."""

    places: tuple[tuple[str, int], ...]


class Asks(msgspec.Struct, frozen=True):
    """On this unix socket an agent tells (HTTP, `/app-health`) which ports of its application accept."""

    socket: str
    ports: tuple[int, ...]


Check = Connects | Asks


def check(application: Application, state: Path) -> Check:
    """Only its agent, which is in the pod as well, can reach an application there. `state` is the state directory."""
    if application.place == "pod":
        socket = agent_socket(state, application.workload)
        return Asks(str(socket), tuple(port.port for port in application.ports))
    return Connects(tuple((port.address, port.target) for port in application.ports))


Listener = Callable[[WorkloadKey], None]

_GROWTH = 1.1
_CONNECT_TIMEOUT = 1.0


class Prober:
    """One task per workload. `changed` is called whenever a workload's health is not what it was."""

    def __init__(self, settings: Settings, changed: Listener) -> None:
        self._interval = settings.probe_interval
        self._first_interval = settings.first_probe_interval
        self._changed = changed
        self._health: dict[WorkloadKey, Health] = {}
        self._tasks: dict[WorkloadKey, tuple[Check, asyncio.Task[None]]] = {}
        self._unseen: set[WorkloadKey] = set()
        self._seen = asyncio.Event()

    async def looked(self) -> None:
        """Returns when everything that is followed has been probed once: before that, nothing is known of anybody."""
        while self._unseen:
            self._seen.clear()
            await self._seen.wait()

    def health(self, key: WorkloadKey) -> Health:
        """`HEALTHY` when nothing is probed; `UNKNOWN` until every port has accepted once."""
        return self._health.get(key, Health.UNKNOWN) if key in self._tasks else Health.HEALTHY

    def follow(self, workloads: Mapping[WorkloadKey, Check]) -> None:
        """Probes these and no others. A workload whose ports changed begins anew, its last health stands till then."""
        if self._interval is None:
            return
        for key, (check, task) in list(self._tasks.items()):
            if workloads.get(key) != check:
                task.cancel()
                del self._tasks[key]
                self._saw(key)
        for key, check in workloads.items():
            if key not in self._tasks:
                self._unseen.add(key)
                self._tasks[key] = check, asyncio.create_task(self._probe(key, check, self._interval))
        for key in self._health.keys() - workloads.keys():
            del self._health[key]

    async def close(self) -> None:
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, key: WorkloadKey, check: Check, interval: float) -> None:
        """Quickly at first, so that a starting application is seen at once; slower when that takes long."""
        pause = min(self._first_interval, interval)
        while True:
            answers = await answering(check) or await self._still(key, check)
            if answers:
                pause = interval
            self._note(key, Health.HEALTHY if answers else self._failed(key))
            self._saw(key)
            await asyncio.sleep(pause)
            pause = min(pause * _GROWTH, interval)

    async def _still(self, key: WorkloadKey, check: Check) -> bool:
        """Looks once more before it says that who was well is not.

        When this process stood still for longer than a probe may take, all of them fail at the same moment, and all
        calls of the mesh with them. Who refuses, refuses twice.
        """
        return self._health.get(key) is Health.HEALTHY and await answering(check)

    def _saw(self, key: WorkloadKey) -> None:
        self._unseen.discard(key)
        self._seen.set()

    def _failed(self, key: WorkloadKey) -> Health:
        known = self._health.get(key, Health.UNKNOWN)
        return Health.UNKNOWN if known is Health.UNKNOWN else Health.UNHEALTHY

    def _note(self, key: WorkloadKey, health: Health) -> None:
        if self._health.get(key, Health.UNKNOWN) is not health:
            self._health[key] = health
            self._changed(key)


async def answering(check: Check) -> bool:
    """Whether the application accepts on all of its ports."""
    return all(await answers(check))


async def answers(check: Check) -> list[bool]:
    """Whether it accepts, for each of its ports."""
    match check:
        case Connects(places):
            return [await accepts(*place) for place in places]
        case Asks(socket, ports):
            told = await _told(socket)
            return [told.get(port, False) for port in ports]
        case _:
            assert_never(check)


class _Port(msgspec.Struct):
    port: int
    accepting: bool


class _Told(msgspec.Struct):
    ports: tuple[_Port, ...]


async def _told(socket: str) -> dict[int, bool]:
    """What the agent says of each port; nothing when it is not there, or not yet."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT + 1):
            reader, writer = await asyncio.open_unix_connection(socket)
            with contextlib.closing(writer):
                writer.write(b"GET /app-health HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n")
                content = await reader.read()
        told = msgspec.json.decode(content.partition(b"\r\n\r\n")[2], type=_Told)
    except (OSError, TimeoutError, msgspec.MsgspecError):
        return {}
    return {each.port: each.accepting for each in told.ports}


async def accepts(address: str, port: int) -> bool:
    """Whether somebody takes a TCP connection there."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
