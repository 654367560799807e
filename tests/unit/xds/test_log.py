"""The log of one type: what there is, and what changed since when."""

from collections.abc import Iterable, Iterator

import pytest

from core.manager.xds.log import ResourceLog
from core.manager.xds.resource import Resource


def put(log: ResourceLog, name: str, generation: int, version: str = "") -> None:
    log.put(Resource(name, version or f"v{generation}", b""), generation)


def test_names_come_in_the_order_in_which_they_last_changed() -> None:
    log = ResourceLog()
    for generation, name in enumerate("abca", start=1):
        put(log, name, generation)
    assert log.changed_since(0) == ["b", "c", "a"]


def test_a_reader_sees_what_changed_after_its_place_and_nothing_else() -> None:
    log = ResourceLog()
    put(log, "a", 1)
    place = log.head
    put(log, "b", 2)
    log.remove("a", 3)
    assert log.changed_since(place) == ["b", "a"]
    assert log.changed_since(log.head) == []
    assert log.changed_after("a", place)
    assert not log.changed_after("unheard of", place)


def test_equal_content_and_removing_nothing_are_no_changes() -> None:
    log = ResourceLog()
    put(log, "a", 1, version="same")
    head = log.head
    put(log, "a", 2, version="same")
    log.remove("b", 2)
    assert (log.head, log.generation) == (head, 1)


def test_a_log_does_not_grow_with_what_came_and_went() -> None:
    """A reader from before a cleared grave is told to look at everything; a later one is not."""
    log = ResourceLog()
    put(log, "stays", 1)
    place = log.head
    for generation in range(2, 2000):
        put(log, f"n{generation}", generation)
        log.remove(f"n{generation}", generation)
    assert len(log._changes) < 100
    assert log.changed_since(place) is None
    place = log.head
    put(log, "last", 2000)
    assert log.changed_since(place) == ["last"]


def looked_at(size: int) -> int:
    """How many entries a reader that is one change behind looks at, in a log of `size` names."""
    log = ResourceLog()
    for number in range(size):
        put(log, f"n{number}", 1)
    place = log.head
    put(log, "n3", 2)
    entries = CountedItems(log._changes.items())
    log._changes.items = lambda: entries  # type: ignore[method-assign,assignment,return-value]
    assert log.changed_since(place) == ["n3"]
    return entries.count


class CountedItems:
    def __init__(self, items: Iterable[tuple[str, int]]) -> None:
        self._items = list(items)
        self.count = 0

    def __reversed__(self) -> Iterator[tuple[str, int]]:
        for item in reversed(self._items):
            self.count += 1
            yield item


def test_reading_costs_what_changed() -> None:
    """One change among ten thousand names is as near as among ten."""
    assert looked_at(10_000) == looked_at(10) == 2


def test_generations_do_not_go_back() -> None:
    log = ResourceLog()
    put(log, "a", 2)
    with pytest.raises(ValueError, match="b belongs to generation 1"):
        put(log, "b", 1)


def test_a_copy_keeps_what_there_was_and_is_shared_until_something_changes() -> None:
    log = ResourceLog()
    put(log, "a", 1)
    copy = log.as_of_now()
    assert log.as_of_now() is copy
    log.remove("a", 2)
    assert list(copy) == ["a"]
    assert list(log.as_of_now()) == []
