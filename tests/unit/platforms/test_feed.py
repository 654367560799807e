"""The feed under every registry and store: level-triggered, per watcher, bounded by the number of keys."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.aio.feed import Feed

Numbers = Feed[str, int, str]


def put(value: int) -> str:
    return f"put {value}"


def gone(key: str) -> str:
    return f"gone {key}"


def make(*, complete: bool = True) -> Numbers:
    feed: Numbers = Feed(put=put, gone=gone, synced="synced")
    if complete:
        feed.complete()
    return feed


async def take(watch: AsyncIterator[str], count: int) -> list[str]:
    async with asyncio.timeout(1):
        return [await anext(watch) for _ in range(count)]


async def test_values_come_before_synced_and_changes_after() -> None:
    """What is there, then synced, then what changes."""
    feed = make()
    feed.put("a", 1)
    watch = feed.watch()
    assert await take(watch, 2) == ["put 1", "synced"]
    feed.put("b", 2)
    feed.drop("a")
    assert await take(watch, 2) == ["put 2", "gone a"]


async def test_synced_waits_for_the_first_complete_view() -> None:
    """A watch is not synced while the first view is being collected; then after all of it."""
    feed = make(complete=False)
    feed.put("a", 1)
    watch = feed.watch()
    assert await take(watch, 1) == ["put 1"]
    feed.put("b", 2)
    feed.complete()
    feed.put("c", 3)
    assert await take(watch, 3) == ["put 2", "synced", "put 3"]


async def test_a_slow_watcher_sees_the_newest_values_only() -> None:
    """However many changes were made meanwhile, there is at most one for every key."""
    feed = make()
    watch = feed.watch()
    assert await take(watch, 1) == ["synced"]
    for number in range(1000):
        feed.put("a", number)
        feed.put("b", -number)
    assert await take(watch, 2) == ["put 999", "put -999"]


async def test_equal_values_and_round_trips_are_silent() -> None:
    """A value that is equal, or changed and changed back before anybody looked, is no change."""
    feed = make()
    feed.put("a", 1)
    watch = feed.watch()
    await take(watch, 2)
    feed.put("a", 1)
    feed.put("a", 2)
    feed.put("a", 1)
    feed.put("x", 5)
    feed.drop("x")
    feed.put("last", 9)
    assert await take(watch, 1) == ["put 9"]


async def test_replace_tells_new_values_before_what_is_gone() -> None:
    """Replacing the whole view tells additions first, then removals."""
    feed = make()
    feed.replace({"a": 1, "b": 2})
    watch = feed.watch()
    await take(watch, 3)
    feed.replace({"b": 2, "c": 3})
    assert await take(watch, 2) == ["put 3", "gone a"]


async def test_closing_a_watch_releases_it() -> None:
    """A watch that is closed or cancelled is forgotten by the feed."""
    feed = make()
    watch = feed.watch()
    await take(watch, 1)
    assert feed.watching == 1
    await watch.aclose()  # type: ignore[attr-defined]
    assert feed.watching == 0


async def test_close_ends_watches_and_a_bug_reaches_them() -> None:
    """Closing the feed ends its watches; closed with an error, they raise it."""
    quiet, broken = make(), make()
    watches = [quiet.watch(), broken.watch()]
    for watch in watches:
        await take(watch, 1)
    quiet.close()
    broken.close(ZeroDivisionError())
    broken.close()
    with pytest.raises(StopAsyncIteration):
        await anext(watches[0])
    with pytest.raises(ZeroDivisionError):
        await anext(watches[1])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 3), st.booleans())))
def test_any_reader_ends_with_the_truth(steps: list[tuple[str, int, bool]]) -> None:
    """Whenever a watcher looks, folding what it is told ends in the feed's own values (-1 removes)."""
    assert asyncio.run(_fold(steps)) == _truth(steps)


def _truth(steps: list[tuple[str, int, bool]]) -> dict[str, int]:
    values: dict[str, int] = {}
    for key, value, _ in steps:
        values.pop(key, None)
        if value >= 0:
            values[key] = value
    return values


async def _fold(steps: list[tuple[str, int, bool]]) -> dict[str, int]:
    """What a watcher believes that gets a turn only where the history says so."""
    feed: Feed[str, tuple[str, int], tuple[str, int | None]] = Feed(
        put=lambda value: value, gone=lambda key: (key, None), synced=("synced", 0)
    )
    feed.complete()
    folded: dict[str, int] = {}
    ended = asyncio.Event()
    reader = asyncio.create_task(_follow(feed, folded, ended))
    for key, value, look in steps:
        if value >= 0:
            feed.put(key, (key, value))
        else:
            feed.drop(key)
        if look:
            await asyncio.sleep(0)
    feed.put("end", ("end", 0))
    await asyncio.wait_for(ended.wait(), 5)
    reader.cancel()
    await asyncio.wait([reader])
    return {key: value for key, value in folded.items() if key not in ("end", "synced")}


async def _follow(
    feed: Feed[str, tuple[str, int], tuple[str, int | None]], folded: dict[str, int], ended: asyncio.Event
) -> None:
    async for key, value in feed.watch():
        folded.pop(key, None)
        if value is not None:
            folded[key] = value
        if key == "end":
            ended.set()
