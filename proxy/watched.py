"""A value that others can wait for. One owner sets it; nothing is queued: whoever waits sees the newest."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Watched(Generic[T]):
    """Holds `value`. For one event loop; not thread-safe."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        return self._value

    def set(self, value: T) -> None:
        self._value = value
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, test: Callable[[T], bool]) -> T:
        """The first value seen that passes `test`; values that come and go in one turn of the loop may be missed."""
        while not test(self._value):
            await self._changed.wait()
        return self._value
