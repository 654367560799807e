"""An elector among the tasks of one process."""

import asyncio
from collections.abc import Awaitable, Callable


class MemoryElector:
    """An `Elector`. One object is one election."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._term = 0

    async def lead(self, work: Callable[[int], Awaitable[None]]) -> None:
        async with self._lock:
            self._term += 1
            await work(self._term)
