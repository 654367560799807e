"""Whatever is written, kept and released: roots equal a full recompute, and nothing runs twice or stays behind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import TypeVarTuple

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from core.incremental import ABSENT, Change, Cycle, Failed, Graph, Multimap, Root, Table, derived

KEYS = st.integers(0, 5)


Ts = TypeVarTuple("Ts")
Derived = Callable[["Zoo", int], object]
Write = tuple[Callable[..., None], *tuple[int, ...]]


class Interrupt(BaseException):
    """Comes at a bad time, as Ctrl-C or a full stack does."""


class Zoo:
    """Three inputs, what the multimap should hold, and the log of the calls that ran."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.number: Table[int, int] = self.graph.table("number")
        self.link: Table[int, int] = self.graph.table("link")
        self.group: Multimap[int, int] = self.graph.multimap("group")
        self.members: defaultdict[int, set[int]] = defaultdict(set)
        self.ran: Counter[tuple[str, int]] = Counter()
        self.fuse = -1  # calls until an Interrupt; negative: none

    def enter(self, function: str, key: int) -> None:
        self.ran[function, key] += 1
        self.fuse -= 1
        if self.fuse == 0:
            raise Interrupt

    def fill(self, other: Zoo) -> None:
        for key, value in other.number.items():
            self.number.put(key, value)
        for key, value in other.link.items():
            self.link.put(key, value)
        for key, members in other.members.items():
            for member in members:
                self.group.add(key, member)

    def clear(self) -> None:
        for key in list(self.number):
            self.number.remove(key)
        for key in list(self.link):
            self.link.remove(key)
        for key in list(self.group):
            empty_group(self, key)


def put_number(zoo: Zoo, key: int, value: int) -> None:
    zoo.number.put(key, value)


def remove_number(zoo: Zoo, key: int) -> None:
    zoo.number.remove(key)


def put_link(zoo: Zoo, key: int, target: int) -> None:
    zoo.link.put(key, target)


def remove_link(zoo: Zoo, key: int) -> None:
    zoo.link.remove(key)


def add_member(zoo: Zoo, key: int, member: int) -> None:
    zoo.group.add(key, member)
    zoo.members[key].add(member)


def discard_member(zoo: Zoo, key: int, member: int) -> None:
    zoo.group.discard(key, member)
    zoo.members[key].discard(member)


def fill_group(zoo: Zoo, key: int) -> None:
    for member in range(12):
        add_member(zoo, key, member)


def empty_group(zoo: Zoo, key: int) -> None:
    for member in zoo.group.get(key):
        discard_member(zoo, key, member)


@derived
def number(zoo: Zoo, key: int) -> int:
    zoo.enter("number", key)
    return zoo.number.get(key) or 0


@derived
def parity(zoo: Zoo, key: int) -> int:
    """Cuts most waves off."""
    zoo.enter("parity", key)
    return number(zoo, key) % 2


@derived
def total(zoo: Zoo, key: int) -> int:
    """A join; groups are wide enough for both representations of dependencies."""
    zoo.enter("total", key)
    return sum(number(zoo, member % 6) + parity(zoo, member % 6) * member for member in zoo.group.get(key))


@derived
def share(zoo: Zoo, key: int) -> int:
    """Raises, with arguments that depend on the data."""
    zoo.enter("share", key)
    if number(zoo, key) < 0:
        raise ValueError(number(zoo, key))
    return 12 // number(zoo, key)


@derived
def either(zoo: Zoo, key: int) -> int:
    """Reads different things at each run, and handles exceptions of what it reads."""
    zoo.enter("either", key)
    if parity(zoo, key):
        return total(zoo, (key + 1) % 6)
    try:
        return share(zoo, key)
    except ZeroDivisionError:
        return follow(zoo, key)


@derived
def follow(zoo: Zoo, key: int) -> int:
    """A chain, or a cycle when the data say so."""
    zoo.enter("follow", key)
    target = zoo.link.get(key)
    return number(zoo, key) if target is None else follow(zoo, target) + parity(zoo, key)


@derived
def rescue(zoo: Zoo, key: int) -> object:
    """Stands outside the cycle and reports it."""
    zoo.enter("rescue", key)
    try:
        return follow(zoo, key) + share(zoo, key)
    except Cycle as cycle:
        return cycle.calls


@derived
def tangle(zoo: Zoo, key: int) -> int:
    """Members of cycles that overlap, catch Cycle and go on reading: who is asked first must make no difference."""
    zoo.enter("tangle", key)
    found = 0
    for member in zoo.group.get(key):
        try:
            found += tangle(zoo, member % 6)
        except Cycle:
            found += 100
            if number(zoo, key) > 2:
                break
    return found + (either(zoo, key) if number(zoo, key) % 3 == 0 else 1)


@derived
def ping(zoo: Zoo, key: int) -> int:
    zoo.enter("ping", key)
    return pong(zoo, zoo.link.get(key) or 0) + 1


@derived
def pong(zoo: Zoo, key: int) -> int:
    zoo.enter("pong", key)
    try:
        return ping(zoo, key) if parity(zoo, key) else tangle(zoo, key)
    except (Cycle, ArithmeticError):
        return rescue(zoo, key) == 0 or ping(zoo, (key + 1) % 6)


ZOO: list[Derived] = [number, parity, total, share, either, follow, rescue, tangle, ping, pong]
FUNCTIONS = st.sampled_from(ZOO)
WRITES = st.one_of(
    st.tuples(st.just(put_number), KEYS, st.integers(-1, 7)),
    st.tuples(st.just(put_link), KEYS, KEYS),
    st.tuples(st.just(add_member), KEYS, st.integers(0, 11)),
    st.tuples(st.just(discard_member), KEYS, st.integers(0, 11)),
    st.tuples(st.sampled_from([remove_number, remove_link, fill_group, empty_group]), KEYS),
)


def outcome(read: Callable[[*Ts], object], *arguments: *Ts) -> object:
    try:
        return read(*arguments)
    except Exception as error:
        return Failed(error)


def value(root: Root[object]) -> object:
    return root.value


class Programs(RuleBasedStateMachine):
    """Batches of writes, keeps and releases, calls from outside, and settles."""

    roots = Bundle("roots")

    def __init__(self) -> None:
        super().__init__()
        self.zoo = Zoo()
        self.kept: dict[Root[object], tuple[Derived, int]] = {}
        self.known: dict[Root[object], object] = {}

    @rule(target=roots, function=FUNCTIONS, key=KEYS)
    def keep(self, function: Derived, key: int) -> Root[object]:
        root = self.zoo.graph.keep(function, self.zoo, key)
        self.kept[root] = (function, key)
        return root

    @rule(root=consumes(roots))
    def release(self, root: Root[object]) -> None:
        root.release()
        del self.kept[root]
        self.known.pop(root, None)

    @rule(writes=st.lists(WRITES, min_size=1, max_size=12))
    def write(self, writes: list[Write]) -> None:
        for write, *arguments in writes:
            write(self.zoo, *arguments)

    @rule(writes=st.lists(WRITES, min_size=1, max_size=12))
    def write_and_settle(self, writes: list[Write]) -> None:
        self.write(writes)
        self.settle()

    @rule(function=FUNCTIONS, key=KEYS)
    def ask_from_outside(self, function: Derived, key: int) -> None:
        _, (root,) = self.recompute([(function, key)])
        assert outcome(function, self.zoo, key) == outcome(value, root)

    @rule()
    def settle(self) -> None:
        self.zoo.ran.clear()
        changes = {change.root: change for change in self.zoo.graph.settle()}
        assert max(self.zoo.ran.values(), default=0) <= 1, "a call ran twice in one settle"
        self.check_values(changes)
        fresh, _ = self.recompute(list(self.kept.values()))
        assert self.zoo.ran.keys() <= fresh.ran.keys(), "a call ran that nobody needs"
        assert len(self.zoo.graph) == len(fresh.graph)
        self.zoo.ran.clear()
        assert self.zoo.graph.settle() == []
        assert not self.zoo.ran, "a settle without a write ran something"

    @rule(writes=st.lists(WRITES, max_size=12), calls=st.integers(1, 30))
    def settle_interrupted(self, writes: list[Write], calls: int) -> None:
        """The graph must be as sound as after any other step: the invariant below and the next settle see to it."""
        self.write(writes)
        self.zoo.fuse = calls
        before = {root: outcome(value, root) for root in self.known}
        try:
            for change in self.zoo.graph.settle():
                self.known[change.root] = change.new
        except Interrupt:
            assert {root: outcome(value, root) for root in self.known} == before
        self.zoo.fuse = -1

    def check_values(self, changes: dict[Root[object], Change]) -> None:
        assert changes.keys() <= self.kept.keys()
        for root, call in self.kept.items():
            now, before = outcome(value, root), self.known.get(root, ABSENT)
            _, (alone,) = self.recompute([call])
            assert now == outcome(value, alone)
            assert (root in changes) == (before != now)
            if root in changes:
                assert (changes[root].old, changes[root].new) == (before, now)
            self.known[root] = now

    def recompute(self, calls: list[tuple[Derived, int]]) -> tuple[Zoo, list[Root[object]]]:
        """On a fresh graph. One call on a graph of its own is also another order of evaluation."""
        fresh = Zoo()
        fresh.fill(self.zoo)
        roots = [fresh.graph.keep(function, fresh, key) for function, key in calls]
        fresh.graph.settle()
        return fresh, roots

    @invariant()
    def edges_run_both_ways(self) -> None:
        """Every dependency knows its reader and the other way round; who reads something outdated is outdated too."""
        for home in self.zoo.graph._memos.values():
            for node in home.values():
                assert all(node in dep.dependents for dep in node.deps)
                assert all(node in reader.deps for reader in node.dependents)
                assert not node.state or all(reader.state for reader in node.dependents)

    def teardown(self) -> None:
        for root in self.kept:
            root.release()
        self.zoo.clear()
        self.zoo.graph.settle()
        assert len(self.zoo.graph) == 0


TestPrograms = Programs.TestCase
TestPrograms.settings = settings(stateful_step_count=30)


def test_a_cycle_that_verification_enters_in_the_middle_is_found_whole() -> None:
    """Found by a search: tangle(4) runs to verify tangle(1) for tangle(0), and leads below tangle(0)."""
    state = Programs()
    state.write([(fill_group, 2), (put_link, 0, 2), (add_member, 1, 10)])
    state.keep(ping, 0)
    state.settle()
    state.write([(put_number, 0, 4), (add_member, 0, 1), (fill_group, 4)])
    state.settle()
    state.ask_from_outside(tangle, 1)
    state.teardown()


def test_a_cycle_entered_again_after_part_of_it_was_left_is_found_whole() -> None:
    """Found by a search: ping(0) starts at a depth where another member of its cycle had been before."""
    state = Programs()
    state.write([(put_number, 3, -1), (put_number, 5, -1), (put_link, 3, 4)])
    state.keep(pong, 5)
    state.settle()
    state.write([(put_link, 4, 5), (put_link, 0, 4), (put_link, 5, 3)])
    state.settle()
    state.ask_from_outside(ping, 0)
    state.teardown()


def test_an_interrupted_run_forgets_why_it_was_in_doubt() -> None:
    """Found by a search: suspects of the run before are no dependencies any more."""
    state = Programs()
    state.keep(pong, 5)
    state.settle_interrupted([(add_member, 5, 3), (fill_group, 2), (add_member, 5, 10), (put_number, 5, 4)], 29)
    state.settle_interrupted([(fill_group, 3), (put_number, 4, 2), (put_number, 3, 7)], 13)
    state.settle_interrupted([], 14)
    state.settle_interrupted([], 19)
    state.settle()
    state.teardown()
