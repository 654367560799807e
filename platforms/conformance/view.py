"""Folds the changes of a watch into what a consumer would believe, and waits for beliefs, with deadlines."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from core.model.change import (
    InstanceGone,
    InstancePut,
    RegistryChange,
    RegistryKey,
    ServiceGone,
    ServicePut,
    Synced,
    WorkloadGone,
    WorkloadPut,
)
from core.model.service import Instance, InstanceKey, Service, ServiceKey, WorkloadKey
from core.model.workload import Workload
from core.ports import Platform, ServiceRegistry


class View:
    """What one watch has told so far. `history` holds every change in order."""

    def __init__(self) -> None:
        self.services: dict[ServiceKey, Service] = {}
        self.instances: dict[InstanceKey, Instance] = {}
        self.workloads: dict[WorkloadKey, Workload] = {}
        self.synced = 0
        self.history: list[RegistryChange] = []
        self._ended: BaseException | None = None
        self._news = asyncio.Event()

    def fold(self, change: RegistryChange) -> None:
        self.history.append(change)
        match change:
            case ServicePut(service):
                self.services[service.key] = service
            case InstancePut(instance):
                self.instances[instance.key] = instance
            case WorkloadPut(workload):
                self.workloads[workload.key] = workload
            case ServiceGone(key):
                self.services.pop(key, None)
            case InstanceGone(instance_key):
                self.instances.pop(instance_key, None)
            case WorkloadGone(workload_key):
                self.workloads.pop(workload_key, None)
            case Synced():
                self.synced += 1
        self._news.set()

    def end(self, error: BaseException | None) -> None:
        """The watch ended; nothing more will come."""
        self._ended = error or EOFError("the watch ended by itself")
        self._news.set()

    async def eventually(self, predicate: Callable[["View"], bool], within: float, what: str) -> None:
        """Returns as soon as `predicate` holds; fails with `what` after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                await self._until(predicate)
        except TimeoutError:
            raise AssertionError(f"after {within:g} s still not true: {what}\n{self}") from None

    async def never(self, predicate: Callable[["View"], bool], during: float, what: str) -> None:
        """Fails with `what` as soon as `predicate` holds within `during` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(during):
                await self._until(predicate)
                raise AssertionError(f"{what}\n{self}")

    async def silence(self, lasting: float) -> None:
        """Returns when nothing has been told for `lasting` seconds."""
        told = -1
        while told != len(self.history):
            told = len(self.history)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(lasting):
                    await self._until(_longer_than(told))

    async def _until(self, predicate: Callable[["View"], bool]) -> None:
        while not predicate(self):
            if self._ended is not None:
                raise AssertionError(f"the watch ended: {self._ended!r}") from self._ended
            self._news.clear()
            await self._news.wait()

    def of(self, service: ServiceKey) -> list[Instance]:
        """The instances of one service."""
        return [instance for key, instance in self.instances.items() if key.service == service]

    def puts(self, key: RegistryKey) -> list[Service | Instance | Workload]:
        """Every value that was told for `key`, in order."""
        return [value for value in map(_value, self.history) if value is not None and value.key == key]

    def content(self) -> tuple[dict[ServiceKey, Service], dict[InstanceKey, Instance], dict[WorkloadKey, Workload]]:
        """Everything believed, to compare with another view."""
        return self.services, self.instances, self.workloads

    def __str__(self) -> str:
        lines = [*self.services.values(), *self.instances.values()]
        return "\n".join([f"view ({self.synced} times synced):", *(f"  {line}" for line in lines)])


def _longer_than(count: int) -> Callable[[View], bool]:
    return lambda view: len(view.history) > count


def _value(change: RegistryChange) -> Service | Instance | Workload | None:
    match change:
        case ServicePut(service):
            return service
        case InstancePut(instance):
            return instance
        case WorkloadPut(workload):
            return workload
        case _:
            return None


def registry_of(platform: Platform) -> ServiceRegistry:
    """The registry of a platform that must have one."""
    assert platform.registry is not None, "the platform has no registry"
    return platform.registry


@contextlib.asynccontextmanager
async def watching(registry: ServiceRegistry) -> AsyncIterator[View]:
    """A view that follows a watch of its own until the end of the block."""
    view = View()
    task = asyncio.create_task(_follow(registry, view))
    try:
        yield view
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _follow(registry: ServiceRegistry, view: View) -> None:
    try:
        async for change in registry.watch():
            view.fold(change)
    except Exception as error:  # a broken platform under test may raise anything; the case is to say so
        view.end(error)
    else:
        view.end(None)
