"""Finds out whether applications accept connections, by connecting (TCP) and hanging up."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from core.model.service import Health, WorkloadKey
from platforms.local.settings import Settings

Targets = tuple[tuple[str, int], ...]
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
        self._tasks: dict[WorkloadKey, tuple[Targets, asyncio.Task[None]]] = {}

    def health(self, key: WorkloadKey) -> Health:
        """`HEALTHY` when nothing is probed; `UNKNOWN` until every port has accepted once."""
        return self._health.get(key, Health.UNKNOWN) if key in self._tasks else Health.HEALTHY

    def follow(self, workloads: Mapping[WorkloadKey, Targets]) -> None:
        """Probes these and no others. A workload whose ports changed begins anew, its last health stands till then."""
        if self._interval is None:
            return
        wanted = {key: targets for key, targets in workloads.items() if targets}
        for key, (targets, task) in list(self._tasks.items()):
            if wanted.get(key) != targets:
                task.cancel()
                del self._tasks[key]
        for key, targets in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = targets, asyncio.create_task(self._probe(key, targets, self._interval))
        for key in self._health.keys() - wanted.keys():
            del self._health[key]

    async def close(self) -> None:
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, key: WorkloadKey, targets: Targets, interval: float) -> None:
        """Quickly at first, so that a starting application is seen at once; slower when that takes long."""
        pause = min(self._first_interval, interval)
        while True:
            answers = all([await accepts(*target) for target in targets])
            if answers:
                pause = interval
            self._note(key, Health.HEALTHY if answers else self._failed(key))
            await asyncio.sleep(pause)
            pause = min(pause * _GROWTH, interval)

    def _failed(self, key: WorkloadKey) -> Health:
        known = self._health.get(key, Health.UNKNOWN)
        return Health.UNKNOWN if known is Health.UNKNOWN else Health.UNHEALTHY

    def _note(self, key: WorkloadKey, health: Health) -> None:
        if self._health.get(key, Health.UNKNOWN) is not health:
            self._health[key] = health
            self._changed(key)


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
