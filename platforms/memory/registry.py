"""A service registry that is told what exists."""

from collections.abc import AsyncIterator

from core.aio.feed import Feed
from core.model.change import RegistryChange, RegistryKey, RegistryValue, Synced, registry_gone, registry_put


class MemoryRegistry:
    """A `ServiceRegistry`. `put` and `remove` act at once; watches see it at their next turn."""

    def __init__(self) -> None:
        self._feed: Feed[RegistryKey, RegistryValue, RegistryChange] = Feed(
            put=registry_put, gone=registry_gone, synced=Synced()
        )
        self._feed.complete()

    def watch(self) -> AsyncIterator[RegistryChange]:
        return self._feed.watch()

    def put(self, *values: RegistryValue) -> None:
        """Creates or replaces."""
        for value in values:
            self._feed.put(value.key, value)

    def remove(self, *keys: RegistryKey) -> None:
        """Unknown keys are ignored. Removing a service does not remove its instances."""
        for key in keys:
            self._feed.drop(key)

    def get(self, key: RegistryKey) -> RegistryValue | None:
        return self._feed.get(key)

    def values(self) -> tuple[RegistryValue, ...]:
        """Everything that exists, in the order it came."""
        return self._feed.values()

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return self._feed.watching

    def close(self) -> None:
        """Ends every watch."""
        self._feed.close()
