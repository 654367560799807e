"""The mesh file as a service registry: follows the file and the health of applications, and tells differences."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from core.aio.feed import Feed
from core.diagnostics import Diagnostic
from core.model.change import RegistryChange, RegistryKey, RegistryValue, Synced, registry_gone, registry_put
from core.model.config import Document
from core.model.service import Instance, WorkloadKey
from core.model.workload import Workload
from platforms.local.addresses import Allocator
from platforms.local.decode import Decoded, decode, unreadable
from platforms.local.filewatch import contents
from platforms.local.plan import Plan, plan, unheeded
from platforms.local.probe import Prober, check
from platforms.local.settings import Settings

Report = Callable[[tuple[Diagnostic, ...]], None]
Apply = Callable[[tuple[Document, ...]], Awaitable[None]]

log = logging.getLogger("istio.local")


def log_findings(diagnostics: tuple[Diagnostic, ...]) -> None:
    """The default reporter: one log line per finding."""
    for finding in diagnostics:
        log.error("mesh file: %s", finding)


class FileRegistry:
    """A `ServiceRegistry`, and the one owner of what the mesh file last said.

    A broken file changes nothing: its diagnostics are reported and the last good view stays. Before the first good one
    there is no view, and watches are not told `Synced`.
    """

    def __init__(self, settings: Settings, allocator: Allocator, *, report: Report, apply: Apply) -> None:
        self._settings = settings
        self._allocator = allocator
        self._report = report
        self._apply = apply
        self._prober = Prober(settings, self._health_changed)
        self._plan: Plan | None = None
        self._read_once = asyncio.Event()
        self._instances: dict[WorkloadKey, Instance] = {}
        self._workloads: dict[WorkloadKey, Workload] = {}
        self._feed: Feed[RegistryKey, RegistryValue, RegistryChange] = Feed(
            put=registry_put, gone=registry_gone, synced=Synced()
        )
        self._plans: Feed[str, Plan, Plan | None] = Feed(put=lambda value: value, gone=lambda _: None, synced=None)

    def watch(self) -> AsyncIterator[RegistryChange]:
        return self._feed.watch()

    @property
    def plan(self) -> Plan | None:
        """What the last good file says; None before the first."""
        return self._plan

    async def plans(self) -> AsyncIterator[Plan]:
        """The newest plan, and every newer one; a slow reader misses those in between."""
        async for change in self._plans.watch():
            if change is not None:
                yield change

    def workload(self, key: WorkloadKey) -> Workload | None:
        return self._workloads.get(key)

    async def follow(self) -> None:
        """Runs until it is cancelled."""
        try:
            async for content in contents(self._settings.mesh_file, every=self._settings.poll_interval):
                await self._read(content)
        finally:
            await self._prober.close()

    async def ready(self) -> None:
        """Returns when the file has been read once, good or bad, and its documents are in the store."""
        await self._read_once.wait()

    def close(self, error: BaseException | None = None) -> None:
        """Ends all watches; with the bug that ended `follow`, they raise it."""
        self._read_once.set()
        self._feed.close(error)
        self._plans.close(error)

    async def _read(self, content: bytes | OSError) -> None:
        decoded = await self._decode(content)
        self._report((*decoded.diagnostics, *unheeded(decoded.file, self._settings.capture)))
        if decoded.file is not None:
            settings = self._settings
            found = plan(decoded.file, self._allocator, capture=settings.capture, interception=settings.interception)
            self._show(found)
            # Proxies come back to a Manager that was away, and are not to hear that nobody can be called.
            await self._prober.looked()
            self._feed.complete()
            await self._apply(decoded.file.documents)
        self._read_once.set()

    async def _decode(self, content: bytes | OSError) -> Decoded:
        name = str(self._settings.mesh_file)
        if isinstance(content, OSError):
            return unreadable(name, content)
        return await asyncio.to_thread(decode, content, name=name)

    def _show(self, newest: Plan) -> None:
        self._plan = newest
        self._workloads = {workload.key: workload for workload in newest.workloads}
        self._instances = {instance.workload: instance for instance in newest.instances if instance.workload}
        self._prober.follow({each.workload: check(each, self._settings.state) for each in newest.applications
                             if each.workload in self._instances and each.ports})  # fmt: skip
        self._feed.replace(self._values(newest))
        self._plans.put("", newest)

    def _values(self, newest: Plan) -> dict[RegistryKey, RegistryValue]:
        values: dict[RegistryKey, RegistryValue] = {service.key: service for service in newest.services}
        values |= {instance.key: self._probed(instance) for instance in newest.instances}
        return values | {workload.key: workload for workload in newest.workloads}

    def _health_changed(self, key: WorkloadKey) -> None:
        if instance := self._instances.get(key):
            self._feed.put(instance.key, self._probed(instance))

    def _probed(self, instance: Instance) -> Instance:
        assert instance.workload is not None
        return msgspec.structs.replace(instance, health=self._prober.health(instance.workload))
