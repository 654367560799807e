"""The newest value of every key, passed on as differences to any number of watchers, each at its own pace.

Registries and config stores stand on this. Level-triggered: a watcher holds the *keys* that changed, never a queue of
changes, so a slow one costs memory in proportion to the number of keys and then sees the newest values only.
Lives on one event loop and takes no locks; it does not know where values come from.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
C = TypeVar("C")


class Feed(Generic[K, V, C]):
    """Holds values and tells watchers of changes `C`, which are made by `put`, `gone` and `synced`."""

    def __init__(self, *, put: Callable[[V], C], gone: Callable[[K], C], synced: C) -> None:
        self._put = put
        self._gone = gone
        self._synced = synced
        self._values: dict[K, V] = {}
        self._watchers: set[_Watcher[K, V]] = set()
        self._complete = False
        self._closed = False
        self._error: BaseException | None = None

    def get(self, key: K) -> V | None:
        return self._values.get(key)

    def values(self) -> tuple[V, ...]:
        return tuple(self._values.values())

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return len(self._watchers)

    def put(self, key: K, value: V) -> None:
        """An equal value is no change."""
        if key in self._values and self._values[key] == value:
            return
        self._values[key] = value
        self._touch(key)

    def drop(self, key: K) -> None:
        """An unknown key is no change."""
        if self._values.pop(key, None) is not None:
            self._touch(key)

    def replace(self, values: Mapping[K, V]) -> None:
        """Makes `values` the whole truth. What is new is told before what is gone, and what came last goes first."""
        for key, value in values.items():
            self.put(key, value)
        for key in [key for key in reversed(self._values) if key not in values]:
            self.drop(key)

    def complete(self) -> None:
        """The first view is whole: from now on watches may be told `synced`. Further calls change nothing."""
        if self._complete:
            return
        self._complete = True
        for watcher in self._watchers:
            watcher.may_sync()

    def close(self, error: BaseException | None = None) -> None:
        """Ends every watch, also those that begin later; with `error` (a bug in the producer) they raise it."""
        self._closed = True
        self._error = self._error or error
        for watcher in self._watchers:
            watcher.wake.set()

    async def watch(self) -> AsyncIterator[C]:
        """What is there, then `synced` once (not before `complete`), then every change. Ends with `close`."""
        watcher: _Watcher[K, V] = _Watcher(self._values)
        if self._complete:
            watcher.may_sync()
        self._watchers.add(watcher)
        try:
            while not self._closed:
                for change in self._pending(watcher):
                    yield change
                await watcher.news()
        finally:
            self._watchers.discard(watcher)
        if self._error:
            raise self._error

    def _pending(self, watcher: "_Watcher[K, V]") -> Iterator[C]:
        while not self._closed and watcher.has_news():
            if watcher.sync_due():
                yield self._synced
            elif (change := self._difference(watcher, watcher.pop())) is not None:
                yield change

    def _difference(self, watcher: "_Watcher[K, V]", key: K) -> C | None:
        if key not in self._values:
            return self._gone(key) if watcher.forget(key) else None
        value = self._values[key]
        return self._put(value) if watcher.learn(key, value) else None

    def _touch(self, key: K) -> None:
        for watcher in self._watchers:
            watcher.touch(key)


class _Watcher(Generic[K, V]):
    """What one watch has been told and which keys it has yet to look at."""

    def __init__(self, keys: Mapping[K, V]) -> None:
        self.wake = asyncio.Event()
        self._dirty: dict[K, None] = dict.fromkeys(keys)
        self._told: dict[K, V] = {}
        self._owed: set[K] | None = None
        self._synced = False

    async def news(self) -> None:
        """Waits until there may be something to look at. News that came before the call count, too."""
        await self.wake.wait()
        self.wake.clear()

    def touch(self, key: K) -> None:
        self._dirty[key] = None
        self.wake.set()

    def may_sync(self) -> None:
        """Everything dirty now belongs to the first view; `synced` is due when it has been told."""
        self._owed = set(self._dirty)
        self.wake.set()

    def has_news(self) -> bool:
        return bool(self._dirty) or self._may_tell_synced()

    def sync_due(self) -> bool:
        """True once."""
        due = self._may_tell_synced()
        self._synced = self._synced or due
        return due

    def pop(self) -> K:
        key = next(iter(self._dirty))
        del self._dirty[key]
        if self._owed:
            self._owed.discard(key)
        return key

    def learn(self, key: K, value: V) -> bool:
        """Whether `value` is news."""
        if key in self._told and self._told[key] == value:
            return False
        self._told[key] = value
        return True

    def forget(self, key: K) -> bool:
        """Whether the watch had been told of `key`."""
        return self._told.pop(key, None) is not None

    def _may_tell_synced(self) -> bool:
        return self._owed is not None and not self._owed and not self._synced
