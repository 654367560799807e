"""Puts the in-memory ports together."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable

from core.model.workload import Node, Workload, workload_of_node
from core.ports import Platform
from platforms.memory.config_store import MemoryConfigStore
from platforms.memory.elector import MemoryElector
from platforms.memory.registry import MemoryRegistry
from platforms.memory.secrets import MemorySecrets


class MemoryLocator:
    """A `Locator` that knows the workloads of one registry by the name in the node id."""

    def __init__(self, registry: MemoryRegistry) -> None:
        self._registry = registry

    def locate(self, node: Node) -> Workload | None:
        key = workload_of_node(node.id)
        found = self._registry.get(key) if key else None
        return found if isinstance(found, Workload) else None


class MemoryPlatform:
    """One platform in memory; `record` is what a Manager is given, the rest is for who plays the world."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.registry = MemoryRegistry()
        self.config = MemoryConfigStore(clock=clock)
        self.secrets = MemorySecrets()
        self.elector = MemoryElector()
        self.record = Platform(
            name="memory",
            registry=self.registry,
            config=self.config,
            secrets=self.secrets,
            locator=MemoryLocator(self.registry),
            elector=self.elector,
        )

    def close(self) -> None:
        """Ends every watch."""
        self.registry.close()
        self.config.close()
        self.secrets.close()


@contextlib.asynccontextmanager
async def open_platform(memory: MemoryPlatform | None = None) -> AsyncIterator[Platform]:
    """The given platform, or a fresh one, as a record; closed at the end."""
    opened = memory or MemoryPlatform()
    try:
        yield opened.record
    finally:
        opened.close()
