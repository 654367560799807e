"""Inputs of the graph: tables and multimaps, written by one owner and read, tracked, by derived functions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Generic, Never, Protocol, TypeVar

from core.incremental.nodes import Cell
from core.incremental.results import ABSENT

if TYPE_CHECKING:
    from core.incremental.graph import Graph

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
R = TypeVar("R")
S = TypeVar("S", bound="Sortable")


class Sortable(Protocol):
    """What a multimap holds: anything with an order among its own kind."""

    def __lt__(self, other: Never, /) -> bool: ...


class Input(Generic[K, R]):
    """What both kinds of input share: rows, cells for the keys that were read, and the writer's look at the keys."""

    __slots__ = ("_cells", "_graph", "_rows", "name")

    def __init__(self, graph: Graph, name: str) -> None:
        self.name = name
        self._graph = graph
        self._rows: dict[K, R] = {}
        self._cells: dict[Hashable, Cell] = {}

    def __len__(self) -> int:
        return len(self._written())

    def __contains__(self, key: K) -> bool:
        return key in self._written()

    def __iter__(self) -> Iterator[K]:
        return iter(self._written())

    def keys(self) -> KeysView[K]:
        return self._written().keys()

    def _written(self) -> dict[K, R]:
        self._graph._outside()
        return self._rows

    def _changed(self, key: K) -> None:
        cell = self._cells.get(key)
        if cell is not None:
            self._graph._mark(cell)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Table(Input[K, V]):
    """An input: one value per key. Everything but get() is for the writer and raises inside derived functions."""

    __slots__ = ()

    def get(self, key: K) -> V | None:
        """The value, None if there is none; inside a derived function either answer is tracked."""
        reads = self._graph._reads
        if reads is not None:
            cell = self._cells.get(key)
            if cell is None:
                cell = self._cells[key] = Cell(self._cells, key)
            reads[cell] = None
        return self._rows.get(key)

    def put(self, key: K, value: V) -> None:
        """Set; a value equal to the present one changes nothing."""
        rows = self._written()
        old = rows.get(key, ABSENT)
        if old is not value and old != value:
            rows[key] = value
            self._changed(key)

    def remove(self, key: K) -> None:
        """Remove; an absent key changes nothing."""
        if self._written().pop(key, ABSENT) is not ABSENT:
            self._changed(key)

    def values(self) -> ValuesView[V]:
        return self._written().values()

    def items(self) -> ItemsView[K, V]:
        return self._written().items()


class Multimap(Input[K, list[S]]):
    """An input: a sorted set of values per key. Everything but get() is for the writer, as in Table."""

    __slots__ = ("_tuples",)

    def __init__(self, graph: Graph, name: str) -> None:
        super().__init__(graph, name)
        self._tuples: dict[K, tuple[S, ...]] = {}

    def get(self, key: K) -> tuple[S, ...]:
        """The values in order, () if there are none; inside a derived function either answer is tracked."""
        reads = self._graph._reads
        if reads is not None:
            cell = self._cells.get(key)
            if cell is None:
                cell = self._cells[key] = Cell(self._cells, key)
            reads[cell] = None
        values = self._tuples.get(key)
        if values is None:
            if key not in self._rows:
                return ()
            values = self._tuples[key] = tuple(self._rows[key])
        return values

    def add(self, key: K, value: S) -> None:
        """Add; a value that is there changes nothing. Needs an order of the values that agrees with ==."""
        row = self._written().get(key, [])
        at = bisect_left(row, value)
        if at == len(row) or row[at] != value:
            row.insert(at, value)
            self._rows[key] = row
            self._tuples.pop(key, None)
            self._changed(key)

    def discard(self, key: K, value: S) -> None:
        """Take out; a value that is not there changes nothing."""
        row = self._written().get(key, [])
        at = bisect_left(row, value)
        if at < len(row) and row[at] == value:
            del row[at]
            if not row:
                del self._rows[key]
            self._tuples.pop(key, None)
            self._changed(key)
