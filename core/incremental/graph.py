"""The graph: runs derived functions, records what they read, marks what a write reaches, recomputes what is asked."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol, TypeVar, TypeVarTuple, cast

from core.incremental.inputs import Input, K, Multimap, S, Table, V
from core.incremental.nodes import (
    CHECK,
    CLEAN,
    DIRTY,
    OPEN,
    RUNNING,
    WIDE,
    Cell,
    Change,
    Memo,
    Node,
    Point,
    Root,
    news_of,
    outdated,
    unneeded,
)
from core.incremental.results import Call, Cycle, Failed, without_frames

T = TypeVar("T")
W = TypeVar("W", bound="HasGraph")
Ts = TypeVarTuple("Ts")


class HasGraph(Protocol):
    """What a derived function takes first: anything that leads to the graph (World, in the product)."""

    @property
    def graph(self) -> Graph: ...


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


class Graph:
    """Owns inputs, memoised calls and roots. One thread; synchronous.

    Writes and checks go any depth; computing what is new nests five Python frames for each derived call.
    """

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self._inputs: dict[str, Input[Hashable, object]] = {}
        self._memos: defaultdict[Callable[..., object], Memo] = defaultdict(dict)
        self._reads: dict[Point, None] | None = None  # what the running function has read; None outside
        self._stack: list[Node] = []
        self._open: list[Node] = []  # what ran, but belongs to a cycle through something that still runs
        self._started = 0
        self._broken: BaseException | None = None  # on its way out through the running functions
        self._pending: dict[Node, None] = {}  # nodes with roots that may have changed
        self._strays: dict[Point, None] = {}  # nodes that may have nobody left who needs them

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
        changes = [change for node in self._pending for change in news_of(node)]
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
        self._inputs[name] = cast("Input[Hashable, object]", made)
        return made

    def _outside(self) -> None:
        if self._reads is not None:
            call = Call(self._stack[-1].body.__qualname__, self._stack[-1].key)
            raise RuntimeError(f"{call} is derived: it may only get() from inputs and call what is derived")

    def _node(self, body: Callable[..., object], world: object, args: tuple[object, ...]) -> Node:
        home = self._memos[body]
        node = home[args] = Node(body, world, home, args)
        return node

    def _mark(self, cell: Cell) -> None:
        """The readers of a written key are outdated, what depends on them perhaps; iterative, for long chains."""
        waiting = [node for node in cell.dependents if not node.state]
        for node in cell.dependents:
            node.state = DIRTY
        while waiting:
            node = waiting.pop()
            if node.roots:
                self._pending[node] = None
            for member in node.ring or ():  # a cycle has one result, so it is outdated as a whole
                if not member.state:
                    waiting.append(member)
                member.state = DIRTY
            for reader in node.dependents:
                if not reader.state:
                    reader.state, reader.suspects = CHECK, {node: None}
                    waiting.append(reader)
                elif reader.state == CHECK and reader.suspects is not None:
                    reader.suspects[node] = None

    def _refresh(self, node: Node) -> None:
        """Bring a node up to date, or raise Cycle if that needs a call that is still running."""
        if node.state == DIRTY:
            self._run(node)
        elif node.state == CHECK:
            self._verify(node)
        if node.state:
            self._entangle(node)

    def _entangle(self, node: Node) -> NoReturn:
        """The running function has read a node that leads back to it: both are on one cycle."""
        self._join(self._stack[-1], node)
        if self._reads is not None:
            self._reads[node] = None
        raise Cycle(Call(node.body.__qualname__, node.key))

    @staticmethod
    def _join(reader: Node, node: Node) -> None:
        reader.looped, reader.low = True, min(reader.low, node.low)

    def _verify(self, node: Node) -> None:
        """Refresh suspects in the order they were read until one has changed; iterative, for long chains."""
        path = [(node, node.doubts())]
        while path:
            node, doubts = path[-1]
            if node.state == CHECK:
                suspect = next(filter(outdated, doubts), None)
                if suspect is None:
                    node.state, node.suspects = CLEAN, None
                elif suspect.state >= RUNNING:  # what is running asked for us: only a run can find the cycle
                    node.state = DIRTY
                else:
                    path.append((suspect, suspect.doubts()))
                    continue
            if node.state == DIRTY:
                self._run(node)
            path.pop()
            if node.state == OPEN and path and path[-1][0].state == CHECK:
                path[-1][0].state = DIRTY

    def _run(self, node: Node) -> None:
        """Compute a node and replace its edges.

        RecursionError can come from any call here, so what must not be skipped is done without calling anything.
        """
        depth, opened, outer = len(self._stack), len(self._open), self._reads
        reads: dict[Point, None] = {}
        self._stack.append(node)
        self._started += 1
        node.state, node.ring, node.looped, node.low = RUNNING, None, False, self._started
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
                each.state, each.ring = DIRTY, ()
                self._strays[each] = None
            for dep in reads:
                self._strays[dep] = None
            del self._open[opened:]
            raise
        finally:
            self._reads = outer
            del self._stack[depth:]

    def _result(self, node: Node) -> object:
        self.runs[node.body.__qualname__] += 1
        try:
            value = node.body(node.world, *node.key)
        except (RecursionError, MemoryError):
            raise
        except Exception as error:
            value = Failed(without_frames(error))
        if self._broken is not None:  # the body swallowed an error that is no result
            raise self._broken
        return value

    def _link(self, node: Node, reads: dict[Point, None]) -> None:
        old = node.deps
        new = tuple(reads) if len(reads) <= WIDE else dict(zip(reads, range(len(reads)), strict=True))
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

    def _commit(self, node: Node, value: object) -> None:
        old = node.value
        if old is not value and old != value:
            node.value = value
            for reader in node.dependents:
                if reader.state == CHECK:
                    reader.state = DIRTY
        node.state = CLEAN

    def _close(self, node: Node, opened: int) -> None:
        """Tarjan's algorithm: the lowest node of a cycle ends it for all, so who came first makes no difference."""
        if node.low < node.index:
            node.state, node.ring = OPEN, ()
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
            for dead in unneeded(stray):
                del dead.home[dead.key]  # type: ignore[arg-type]
                for dep in dead.deps:
                    dep.dependents.pop(cast(Node, dead), None)
                    waiting.append(dep)
