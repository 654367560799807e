"""Numbered values, the newest of them kept, passed on one by one and in order to any number of readers.

Edge-triggered, where `core.aio.feed` is level-triggered: a reader sees every value. It remembers a number, not a queue:
a slow one costs nothing, and is told when what it has yet to read is no longer there. Lives on one event loop.
"""

import asyncio
from bisect import bisect_right
from typing import Generic, TypeVar

V = TypeVar("V")


class Journal(Generic[V]):
    """Knows the newest values, each by its number; one can go on from any number after which nothing is forgotten."""

    def __init__(self, *, last: int = 0) -> None:
        self._values: list[V] = []
        self._numbers: list[int] = []
        self._first = last
        self._last = last
        self._closed = False
        self._bell = asyncio.Event()

    @property
    def last(self) -> int:
        return self._last

    def append(self, *values: V) -> None:
        """They get the numbers after `last`."""
        for number, value in enumerate(values, self._last + 1):
            self._note(number, value)
        self._ring()

    def insert(self, number: int, value: V) -> None:
        """The next value has this number, which lies beyond `last`; those in between have none."""
        self._note(number, value)
        self._ring()

    def keep(self, newest: int) -> None:
        """Forgets all but the `newest` values."""
        self._forget(len(self._values) - newest)

    def forget_to(self, number: int) -> None:
        """Forgets the values up to `number`."""
        self._forget(bisect_right(self._numbers, number))

    def restart(self, last: int) -> None:
        """Forgets everything and goes on after the number `last`, as if it had been told."""
        self._values.clear()
        self._numbers.clear()
        self._first = self._last = last
        self._ring()

    def after(self, number: int) -> tuple[V, ...] | None:
        """The values that followed `number`; None when some of them are forgotten, or `number` lies ahead."""
        if not self._first <= number <= self._last:
            return None
        return tuple(self._values[bisect_right(self._numbers, number) :])

    async def beyond(self, number: int) -> bool:
        """Waits until something follows `number`. False: nothing ever will, the journal was closed."""
        while self._last <= number and not self._closed:
            await self._bell.wait()
        return not self._closed

    def close(self) -> None:
        """Ends the waiting of all readers, also of those to come."""
        self._closed = True
        self._ring()

    def _note(self, number: int, value: V) -> None:
        self._values.append(value)
        self._numbers.append(number)
        self._last = number

    def _forget(self, count: int) -> None:
        """The oldest; none when `count` is not above zero."""
        if count > 0:
            self._first = self._numbers[count - 1]
            del self._values[:count], self._numbers[:count]

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()
