"""Helpers for tests of the agent and of what runs agents: collected events, waiting, processes, a stub Manager."""

import asyncio
import time
from collections.abc import Callable


class Events:
    """A `Log` that keeps everything: (seconds of the monotonic clock, event, fields)."""

    def __init__(self) -> None:
        self.all: list[tuple[float, str, dict[str, object]]] = []

    def __call__(self, event: str, /, **fields: object) -> None:
        self.all.append((time.monotonic(), event, fields))

    def named(self, event: str) -> list[dict[str, object]]:
        return [fields for _, name, fields in self.all if name == event]

    async def take(self, event: str, *, count: int = 1, within: float = 10.0) -> dict[str, object]:
        """The fields of the `count`-th event of that name, as soon as it is there."""
        await eventually(lambda: len(self.named(event)) >= count, within=within, what=f"{count} times {event}")
        return self.named(event)[count - 1]


async def eventually(check: Callable[[], bool], *, within: float = 10.0, what: str = "") -> None:
    """Returns when `check` holds. Raises AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what or check}"
        await asyncio.sleep(0.01)
