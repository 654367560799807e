"""The nodes of the graph: keys of inputs that somebody read, calls with their results, and the edges between them.

Not for deciding when something is recomputed: that is the graph's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar, cast

from core.incremental.results import ABSENT, Call, Failed

if TYPE_CHECKING:
    from core.incremental.graph import Graph

T_co = TypeVar("T_co", covariant=True)

# A node is up to date, perhaps outdated, surely outdated, being computed, or computed within a cycle not yet explored.
CLEAN: Final = 0
CHECK: Final = 1
DIRTY: Final = 2
RUNNING: Final = 3
OPEN: Final = 4

WIDE: Final = 8  # up to here a tuple of dependencies is smaller than a dict and as quick to search


class Cell:
    """The point where the readers of one key of one input hang; it exists only while there are any."""

    __slots__ = ("dependents", "home", "key")
    deps: tuple[Point, ...] = ()
    roots: tuple[Root[object], ...] = ()
    ring: None = None

    def __init__(self, home: dict[Hashable, Cell], key: Hashable) -> None:
        self.home = home
        self.key = key
        self.dependents: dict[Node, None] = {}


class Node:
    """One call of a derived function: its result, what it read (in order), and who read it."""

    # fmt: off
    __slots__ = ("body", "dependents", "deps", "home", "index", "key", "looped", "low",
                 "ring", "roots", "state", "suspects", "value", "world")
    # fmt: on

    def __init__(self, body: Callable[..., object], world: object, home: Memo, key: tuple[object, ...]) -> None:
        self.body = body
        self.world = world
        self.home = home
        self.key = key
        self.state = DIRTY
        self.value: object = ABSENT
        self.deps: tuple[Point, ...] | dict[Point, int] = ()
        self.dependents: dict[Node, None] = {}
        self.suspects: dict[Node, None] | None = None  # the dependencies that made it CHECK
        self.roots: tuple[Root[object], ...] = ()
        self.ring: tuple[Node, ...] | None = None  # not None: may be part of a cycle of edges
        self.index = 0  # when it started to run, and while running or open:
        self.low = 0  # the earliest start it leads back to
        self.looped = False  # it leads back to itself, at least

    def doubts(self) -> Iterator[Node]:
        """The suspects in the order they were read, without walking all dependencies."""
        suspects, deps = self.suspects or {}, self.deps
        if len(suspects) < 2:
            return iter(suspects)
        return iter(sorted(suspects, key=deps.index if isinstance(deps, tuple) else deps.__getitem__))


Point = Cell | Node
Memo = dict[tuple[object, ...], Node]


class Root(Generic[T_co]):
    """A pinned call. Whatever no root leads to is dropped at the end of the next settle()."""

    __slots__ = ("_graph", "_node", "_settled")

    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph = graph
        self._node = node
        self._settled: object = ABSENT

    @property
    def value(self) -> T_co:
        """The result as of the last settle(). Raises what the computation raised; LookupError if there is none."""
        value = self._settled
        if value is ABSENT:
            raise LookupError(f"{self!r} has no value: call settle() after keep(), and do not read it after release()")
        if isinstance(value, Failed):
            raise value.error.with_traceback(None)
        return cast(T_co, value)

    def release(self) -> None:
        """Unpin; a second call does nothing."""
        self._graph._outside()
        self._settled = ABSENT
        self._node.roots = tuple(root for root in self._node.roots if root is not self)
        self._graph._strays[self._node] = None

    def __repr__(self) -> str:
        return f"<Root {Call(self._node.body.__qualname__, self._node.key)}>"


class Change(NamedTuple):
    """A root whose value differs from the one before. Values are plain, Failed(error), or ABSENT (before the first)."""

    root: Root[object]
    old: object
    new: object


def outdated(node: Node) -> bool:
    return node.state != CLEAN


def news_of(node: Node) -> Iterator[Change]:
    for root in node.roots:
        old, new = root._settled, node.value
        if old is not new and old != new:
            root._settled = new
            yield Change(root, old, new)


def unneeded(stray: Point) -> Iterable[Point]:
    """What falls with this node: itself if nobody reads it, and its cycle if no path up from it ends at a root."""
    if stray.roots or stray.home.get(stray.key) is not stray:  # type: ignore[call-overload]
        return ()
    if not stray.dependents:
        return (stray,)
    if stray.ring is None:
        return ()
    seen: dict[Point, None] = {stray: None}
    waiting = [stray]
    while waiting:
        for reader in waiting.pop().dependents:
            if reader.roots:
                return ()
            if reader not in seen:
                seen[reader] = None
                waiting.append(reader)
    return seen
