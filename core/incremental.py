"""Recomputes exactly what a change reaches: input tables, and derived functions memoised over them.

The idea is that of salsa and adapton: reads are recorded while a derived function runs, a write marks what depends
on it, and only what is asked for again is recomputed. Not for I/O, threads or asyncio; it knows nothing about meshes.
Rules for those who write derived functions: docs/adr/0002-incremental-engine.md.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from contextlib import contextmanager
from enum import Enum
from typing import Final, Generic, NamedTuple, Never, NoReturn, Protocol, TypeVar, TypeVarTuple, cast, final

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
R = TypeVar("R")
S = TypeVar("S", bound="Sortable")
W = TypeVar("W", bound="HasGraph")
Ts = TypeVarTuple("Ts")

# A node is up to date, perhaps outdated, surely outdated, being computed, or computed within a cycle not yet explored.
_CLEAN: Final = 0
_CHECK: Final = 1
_DIRTY: Final = 2
_RUNNING: Final = 3
_OPEN: Final = 4

_WIDE: Final = 8  # up to here a tuple of dependencies is smaller than a dict and as quick to search


class Absent(Enum):
    """The type of ABSENT, the old value of a root that had none."""

    ABSENT = "ABSENT"


ABSENT: Final = Absent.ABSENT


@final
class Failed:
    """The result of a computation that raised; two are equal when their errors have the same type and args."""

    __slots__ = ("error",)
    __match_args__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failed):
            return NotImplemented
        return type(self.error) is type(other.error) and self.error.args == other.error.args

    def __hash__(self) -> int:
        return hash(type(self.error))

    def __repr__(self) -> str:
        return f"Failed({self.error!r})"


class Call(NamedTuple):
    """One call of a derived function, as Cycle names it: the function's qualified name and its arguments."""

    function: str
    args: tuple[object, ...]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(repr, self.args))})"


class Cycle(Exception):
    """The result of every call that needs its own result, even if it catches this; `calls` are all of them, sorted."""

    @property
    def calls(self) -> tuple[Call, ...]:
        return self.args

    def __str__(self) -> str:
        return "these calls need each other: " + ", ".join(map(str, self.args))


class HasGraph(Protocol):
    """What a derived function takes first: anything that leads to the graph (World, in the product)."""

    @property
    def graph(self) -> Graph: ...


class Sortable(Protocol):
    """What a multimap holds: anything with an order among its own kind."""

    def __lt__(self, other: Never, /) -> bool: ...


def derived(fn: Callable[[W, *Ts], T]) -> Callable[[W, *Ts], T]:
    """Memoise a pure function of (world, *args) and track what it reads. Arguments are positional and hashable.

    Equal arguments are one call (1, 1.0 and True too). Raises what the function raised, at each call; Cycle if the
    function needs its own result. A call outside any derived function is remembered until the next settle().
    """

    @functools.wraps(fn)
    def call(world: W, *args: *Ts) -> T:
        graph = world.graph
        node = graph._memos[fn].get(args)
        if node is None:
            node = graph._node(fn, world, args)
        if node.state:
            graph._refresh(node)
        reads = graph._reads
        if reads is None:
            graph._strays[node] = None
        else:
            reads[node] = None
        value = node.value
        if value.__class__ is Failed:
            raise value.error.with_traceback(None)
        return cast(T, value)

    call._derived = fn  # type: ignore[attr-defined]
    return call


class _Cell:
    """The point where the readers of one key of one input hang; it exists only while there are any."""

    __slots__ = ("dependents", "home", "key")
    deps: tuple[_Point, ...] = ()
    roots: tuple[Root[object], ...] = ()
    ring: None = None

    def __init__(self, home: dict[Hashable, _Cell], key: Hashable) -> None:
        self.home = home
        self.key = key
        self.dependents: dict[_Node, None] = {}


class _Node:
    """One call of a derived function: its result, what it read (in order), and who read it."""

    # fmt: off
    __slots__ = ("body", "dependents", "deps", "home", "index", "key", "looped", "low",
                 "ring", "roots", "state", "suspects", "value", "world")
    # fmt: on

    def __init__(self, body: Callable[..., object], world: object, home: _Memo, key: tuple[object, ...]) -> None:
        self.body = body
        self.world = world
        self.home = home
        self.key = key
        self.state = _DIRTY
        self.value: object = ABSENT
        self.deps: tuple[_Point, ...] | dict[_Point, int] = ()
        self.dependents: dict[_Node, None] = {}
        self.suspects: dict[_Node, None] | None = None  # the dependencies that made it _CHECK
        self.roots: tuple[Root[object], ...] = ()
        self.ring: tuple[_Node, ...] | None = None  # not None: may be part of a cycle of edges
        self.index = 0  # when it started to run, and while running or open:
        self.low = 0  # the earliest start it leads back to
        self.looped = False  # it leads back to itself, at least

    def doubts(self) -> Iterator[_Node]:
        """The suspects in the order they were read, without walking all dependencies."""
        suspects, deps = self.suspects or {}, self.deps
        if len(suspects) < 2:
            return iter(suspects)
        return iter(sorted(suspects, key=deps.index if isinstance(deps, tuple) else deps.__getitem__))


_Point = _Cell | _Node
_Memo = dict[tuple[object, ...], _Node]


class Root(Generic[T_co]):
    """A pinned call. Whatever no root leads to is dropped at the end of the next settle()."""

    __slots__ = ("_graph", "_node", "_settled")

    def __init__(self, graph: Graph, node: _Node) -> None:
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


class _Input(Generic[K, R]):
    """What both kinds of input share: rows, cells for the keys that were read, and the writer's look at the keys."""

    __slots__ = ("_cells", "_graph", "_rows", "name")

    def __init__(self, graph: Graph, name: str) -> None:
        self.name = name
        self._graph = graph
        self._rows: dict[K, R] = {}
        self._cells: dict[Hashable, _Cell] = {}

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


class Table(_Input[K, V]):
    """An input: one value per key. Everything but get() is for the writer and raises inside derived functions."""

    __slots__ = ()

    def get(self, key: K) -> V | None:
        """The value, None if there is none; inside a derived function either answer is tracked."""
        reads = self._graph._reads
        if reads is not None:
            cell = self._cells.get(key)
            if cell is None:
                cell = self._cells[key] = _Cell(self._cells, key)
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


class Multimap(_Input[K, list[S]]):
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
                cell = self._cells[key] = _Cell(self._cells, key)
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


class Graph:
    """Owns inputs, memoised calls and roots. One thread; synchronous.

    Writes and checks go any depth; computing what is new nests five Python frames for each derived call.
    """

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self._inputs: dict[str, _Input[Hashable, object]] = {}
        self._memos: defaultdict[Callable[..., object], _Memo] = defaultdict(dict)
        self._reads: dict[_Point, None] | None = None  # what the running function has read; None outside
        self._stack: list[_Node] = []
        self._open: list[_Node] = []  # what ran, but belongs to a cycle through something that still runs
        self._started = 0
        self._broken: BaseException | None = None  # on its way out through the running functions
        self._pending: dict[_Node, None] = {}  # nodes with roots that may have changed
        self._strays: dict[_Point, None] = {}  # nodes that may have nobody left who needs them

    def table(self, name: str) -> Table[K, V]:
        """A new input table. Raises ValueError if the name is taken."""
        return self._input(name, Table[K, V](self, name))

    def multimap(self, name: str) -> Multimap[K, S]:
        """A new input multimap. Raises ValueError if the name is taken."""
        return self._input(name, Multimap[K, S](self, name))

    def keep(self, fn: Callable[[W, *Ts], T], world: W, *args: *Ts) -> Root[T]:
        """Pin the call fn(world, *args); the next settle() computes it. Raises TypeError if fn is not derived."""
        self._outside()
        body = getattr(fn, "_derived", None)
        if body is None:
            raise TypeError(f"{fn!r} is not a derived function: decorate it with @derived")
        node = self._memos[body].get(args) or self._node(body, world, args)
        root: Root[T] = Root(self, node)
        node.roots += (root,)
        self._pending[node] = None
        return root

    def settle(self) -> list[Change]:
        """Bring every root up to date, drop what no root leads to, and say which roots changed.

        Raises RecursionError and MemoryError (they are no results); the graph stays sound, settle() may be repeated.
        """
        self._outside()
        for node in self._pending:
            if node.state and node.roots:
                self._refresh(node)
        changes = [change for node in self._pending for change in _changes(node)]
        self._pending.clear()
        self._sweep()
        return changes

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """After the block, the counter says how often each derived function ran in it."""
        before, counted = self.runs.copy(), Counter[str]()
        try:
            yield counted
        finally:
            counted.update(self.runs - before)

    def __len__(self) -> int:
        """Keys of inputs that somebody read, plus calls that are kept."""
        return sum(map(len, self._memos.values())) + sum(len(each._cells) for each in self._inputs.values())

    def _input(self, name: str, made: T) -> T:
        if name in self._inputs:
            raise ValueError(f"the graph has an input named {name!r} already: give each its own name")
        self._inputs[name] = cast("_Input[Hashable, object]", made)
        return made

    def _outside(self) -> None:
        if self._reads is not None:
            call = Call(self._stack[-1].body.__qualname__, self._stack[-1].key)
            raise RuntimeError(f"{call} is derived: it may only get() from inputs and call what is derived")

    def _node(self, body: Callable[..., object], world: object, args: tuple[object, ...]) -> _Node:
        home = self._memos[body]
        node = home[args] = _Node(body, world, home, args)
        return node

    def _mark(self, cell: _Cell) -> None:
        """The readers of a written key are outdated, what depends on them perhaps; iterative, for long chains."""
        waiting = [node for node in cell.dependents if not node.state]
        for node in cell.dependents:
            node.state = _DIRTY
        while waiting:
            node = waiting.pop()
            if node.roots:
                self._pending[node] = None
            for member in node.ring or ():  # a cycle has one result, so it is outdated as a whole
                if not member.state:
                    waiting.append(member)
                member.state = _DIRTY
            for reader in node.dependents:
                if not reader.state:
                    reader.state, reader.suspects = _CHECK, {node: None}
                    waiting.append(reader)
                elif reader.state == _CHECK and reader.suspects is not None:
                    reader.suspects[node] = None

    def _refresh(self, node: _Node) -> None:
        """Bring a node up to date, or raise Cycle if that needs a call that is still running."""
        if node.state == _DIRTY:
            self._run(node)
        elif node.state == _CHECK:
            self._verify(node)
        if node.state:
            self._entangle(node)

    def _entangle(self, node: _Node) -> NoReturn:
        """The running function has read a node that leads back to it: both are on one cycle."""
        self._join(self._stack[-1], node)
        if self._reads is not None:
            self._reads[node] = None
        raise Cycle(Call(node.body.__qualname__, node.key))

    @staticmethod
    def _join(reader: _Node, node: _Node) -> None:
        reader.looped, reader.low = True, min(reader.low, node.low)

    def _verify(self, node: _Node) -> None:
        """Refresh suspects in the order they were read until one has changed; iterative, for long chains."""
        path = [(node, node.doubts())]
        while path:
            node, doubts = path[-1]
            if node.state == _CHECK:
                suspect = next(filter(_outdated, doubts), None)
                if suspect is None:
                    node.state, node.suspects = _CLEAN, None
                elif suspect.state >= _RUNNING:  # what is running asked for us: only a run can find the cycle
                    node.state = _DIRTY
                else:
                    path.append((suspect, suspect.doubts()))
                    continue
            if node.state == _DIRTY:
                self._run(node)
            path.pop()
            if node.state == _OPEN and path and path[-1][0].state == _CHECK:
                path[-1][0].state = _DIRTY

    def _run(self, node: _Node) -> None:
        """Compute a node and replace its edges.

        RecursionError can come from any call here, so what must not be skipped is done without calling anything.
        """
        depth, opened, outer = len(self._stack), len(self._open), self._reads
        reads: dict[_Point, None] = {}
        self._stack.append(node)
        self._started += 1
        node.state, node.ring, node.looped, node.low = _RUNNING, None, False, self._started
        node.index, node.suspects = self._started, None
        self._reads = reads
        try:
            value = self._result(node)
            self._link(node, reads)
            if node.looped:
                self._close(node, opened)
            else:
                self._commit(node, value)
        except BaseException as error:
            self._broken = None if outer is None else error
            for each in (*self._open[opened:], node):
                each.state, each.ring = _DIRTY, ()
                self._strays[each] = None
            for dep in reads:
                self._strays[dep] = None
            del self._open[opened:]
            raise
        finally:
            self._reads = outer
            del self._stack[depth:]

    def _result(self, node: _Node) -> object:
        self.runs[node.body.__qualname__] += 1
        try:
            value = node.body(node.world, *node.key)
        except (RecursionError, MemoryError):
            raise
        except Exception as error:
            value = Failed(_without_frames(error))
        if self._broken is not None:  # the body swallowed an error that is no result
            raise self._broken
        return value

    def _link(self, node: _Node, reads: dict[_Point, None]) -> None:
        old = node.deps
        new = tuple(reads) if len(reads) <= _WIDE else dict(zip(reads, range(len(reads)), strict=True))
        if new == old:
            return
        node.deps = new
        for dep in new:
            dep.dependents[node] = None
        for dep in old:
            if dep not in reads:
                del dep.dependents[node]
                if not dep.dependents or dep.ring is not None:
                    self._strays[dep] = None

    def _commit(self, node: _Node, value: object) -> None:
        old = node.value
        if old is not value and old != value:
            node.value = value
            for reader in node.dependents:
                if reader.state == _CHECK:
                    reader.state = _DIRTY
        node.state = _CLEAN

    def _close(self, node: _Node, opened: int) -> None:
        """Tarjan's algorithm: the lowest node of a cycle ends it for all, so who came first makes no difference."""
        if node.low < node.index:
            node.state, node.ring = _OPEN, ()
            self._open.append(node)
            self._join(self._stack[-2], node)
            return
        members = (*self._open[opened:], node)
        cycle = Failed(Cycle(*sorted((Call(each.body.__qualname__, each.key) for each in members), key=repr)))
        for each in members:
            self._commit(each, cycle)
            each.ring = members
        del self._open[opened:]

    def _sweep(self) -> None:
        """Drop what nobody reads, and what only a cycle of itself reads."""
        waiting = list(self._strays)
        self._strays.clear()
        while waiting:
            stray = waiting.pop()
            for dead in _unneeded(stray):
                del dead.home[dead.key]  # type: ignore[arg-type]
                for dep in dead.deps:
                    dep.dependents.pop(cast(_Node, dead), None)
                    waiting.append(dep)


def _outdated(node: _Node) -> bool:
    return node.state != _CLEAN


def _changes(node: _Node) -> Iterator[Change]:
    for root in node.roots:
        old, new = root._settled, node.value
        if old is not new and old != new:
            root._settled = new
            yield Change(root, old, new)


def _unneeded(stray: _Point) -> Iterable[_Point]:
    """What falls with this node: itself if nobody reads it, and its cycle if no path up from it ends at a root."""
    if stray.roots or stray.home.get(stray.key) is not stray:  # type: ignore[call-overload]
        return ()
    if not stray.dependents:
        return (stray,)
    if stray.ring is None:
        return ()
    seen: dict[_Point, None] = {stray: None}
    waiting = [stray]
    while waiting:
        for reader in waiting.pop().dependents:
            if reader.roots:
                return ()
            if reader not in seen:
                seen[reader] = None
                waiting.append(reader)
    return seen


def _without_frames(error: Exception) -> Exception:
    """A stored error must not keep frames and all their locals alive: a note says where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None and not hasattr(error, "__notes__"):
        error.add_note(f"raised at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
