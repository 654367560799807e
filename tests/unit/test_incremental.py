"""The incremental engine, one promise per test; random programs are in tests/properties."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Callable

import pytest

from core.incremental import ABSENT, Call, Change, Cycle, Failed, Graph, Multimap, Root, Table, derived


class World:
    def __init__(self) -> None:
        self.graph = Graph()
        self.number: Table[str, int] = self.graph.table("number")
        self.link: Table[str, str] = self.graph.table("link")
        self.group: Multimap[str, str] = self.graph.multimap("group")


@derived
def double(world: World, key: str) -> int:
    return 2 * (world.number.get(key) or 0)


@derived
def sign(world: World, key: str) -> tuple[str, bool]:
    return (key, double(world, key) > 0)


@derived
def signs(world: World, group: str) -> tuple[tuple[str, bool], ...]:
    return tuple(sign(world, key) for key in world.group.get(group))


@derived
def inverse(world: World, key: str) -> float:
    return 1 / double(world, key)


@derived
def follow(world: World, key: str) -> str:
    target = world.link.get(key)
    return key if target is None else follow(world, target)


@derived
def switch(world: World, key: str) -> int:
    """Reads `inverse` only while the sign is positive."""
    return round(inverse(world, key) * 100) if sign(world, key)[1] else -1


@derived
def descend(world: World, depth: int) -> int:
    return descend(world, depth - 1) + 1 if depth else double(world, "a")


@pytest.fixture
def world() -> World:
    return World()


def settled(world: World, key: str = "a") -> Root[tuple[str, bool]]:
    root = world.graph.keep(sign, world, key)
    world.graph.settle()
    return root


# --- counting: what a change reaches, and nothing else, runs again ---


@pytest.mark.parametrize("size", [100, 5000])
def test_one_change_among_many_runs_what_it_reaches_for_any_size(world: World, size: int) -> None:
    for index in range(size):
        world.number.put(f"k{index}", 1)
        world.group.add("all", f"k{index}")
    world.graph.keep(signs, world, "all")
    world.graph.settle()
    world.number.put("k7", -1)
    with world.graph.counting() as runs:
        world.graph.settle()
    assert runs == {"double": 1, "sign": 1, "signs": 1}


def test_an_equal_result_stops_the_wave(world: World) -> None:
    world.number.put("a", 1)
    world.group.add("all", "a")
    world.graph.keep(signs, world, "all")
    world.graph.settle()
    world.number.put("a", 2)
    with world.graph.counting() as runs:
        assert world.graph.settle() == []
    assert runs == {"double": 1, "sign": 1}


def test_an_equal_result_keeps_the_old_object(world: World) -> None:
    world.number.put("a", 1)
    root = settled(world)
    old = root.value
    world.number.put("a", 2)
    world.graph.settle()
    assert root.value is old


def test_writing_an_equal_value_or_removing_what_is_absent_runs_nothing(world: World) -> None:
    world.number.put("a", 1)
    world.group.add("all", "a")
    world.graph.keep(signs, world, "all")
    world.graph.settle()
    world.number.put("a", 1)
    world.number.remove("b")
    world.group.add("all", "a")
    world.group.discard("all", "b")
    world.group.discard("none", "a")
    with world.graph.counting() as runs:
        world.graph.settle()
    assert not runs


def test_a_write_runs_nothing_before_settle(world: World) -> None:
    settled(world)
    with world.graph.counting() as runs:
        world.number.put("a", 5)
    assert not runs


def test_a_call_shared_by_two_readers_runs_once(world: World) -> None:
    world.graph.keep(sign, world, "a")
    world.graph.keep(inverse, world, "a")
    with world.graph.counting() as runs:
        world.graph.settle()
    assert runs["double"] == 1


def test_runs_counts_over_the_whole_life(world: World) -> None:
    settled(world)
    world.number.put("a", 1)
    world.graph.settle()
    assert world.graph.runs == {"double": 2, "sign": 2}


# --- tracking ---


def test_reading_an_absent_key_is_tracked(world: World) -> None:
    root = settled(world)
    assert root.value == ("a", False)
    world.number.put("a", 1)
    world.graph.settle()
    assert root.value == ("a", True)


def test_reading_an_absent_multimap_key_is_tracked(world: World) -> None:
    root = world.graph.keep(signs, world, "all")
    world.graph.settle()
    world.group.add("all", "a")
    world.graph.settle()
    assert root.value == (("a", False),)


def test_removing_a_row_is_seen(world: World) -> None:
    world.number.put("a", 1)
    root = settled(world)
    world.number.remove("a")
    world.graph.settle()
    assert root.value == ("a", False)


def test_a_later_dependency_that_an_earlier_one_makes_unneeded_is_not_computed(world: World) -> None:
    world.number.put("a", 1)
    root = world.graph.keep(switch, world, "a")
    world.graph.settle()
    world.number.put("a", 0)  # inverse() would now divide by zero, but nobody wants it
    with world.graph.counting() as runs:
        world.graph.settle()
    assert root.value == -1
    assert runs == {"double": 1, "sign": 1, "switch": 1}


def test_among_many_dependencies_the_earlier_one_is_verified_first(world: World) -> None:
    @derived
    def first_false(world: World) -> str | None:
        return next((key for key in world.group.get("all") if not sign(world, key)[1]), None)

    for index in range(30):
        world.number.put(f"k{index:02}", 1)
        world.group.add("all", f"k{index:02}")
    root = world.graph.keep(first_false, world)
    world.graph.settle()
    for index in reversed(range(10, 30)):
        world.number.put(f"k{index}", -1)
    with world.graph.counting() as runs:
        world.graph.settle()
    assert root.value == "k10"
    assert runs["sign"] == 1


def test_dependencies_of_the_last_run_are_the_only_ones(world: World) -> None:
    world.number.put("a", 1)
    world.graph.keep(switch, world, "a")
    world.graph.settle()
    world.number.put("a", -1)
    world.graph.settle()
    assert world.graph.settle() == []
    assert len(world.graph) == 4  # number[a], double, sign, switch: inverse is gone


def test_arguments_tell_calls_apart(world: World) -> None:
    world.number.put("a", 1)
    first, second = settled(world, "a"), settled(world, "b")
    assert (first.value, second.value) == (("a", True), ("b", False))


def test_graphs_share_nothing() -> None:
    one, two = World(), World()
    one.number.put("a", 1)
    assert (double(one, "a"), double(two, "a")) == (2, 0)


def test_a_derived_method_works_like_a_function() -> None:
    class Shop(World):
        @derived
        def price(self, key: str) -> int:
            return double(self, key) + 1

    shop = Shop()
    assert shop.price("a") == 1
    shop.number.put("a", 2)
    assert shop.price("a") == 5


# --- roots and changes ---


def test_changes_name_the_roots_whose_value_differs(world: World) -> None:
    root = world.graph.keep(double, world, "a")
    other = world.graph.keep(double, world, "b")
    assert world.graph.settle() == [Change(root, ABSENT, 0), Change(other, ABSENT, 0)]
    world.number.put("a", 3)
    assert world.graph.settle() == [Change(root, 0, 6)]
    assert world.graph.settle() == []


def test_a_value_that_came_back_before_settle_is_no_change(world: World) -> None:
    world.number.put("a", 1)
    world.graph.keep(double, world, "a")
    world.graph.settle()
    world.number.put("a", 2)
    assert double(world, "a") == 4
    world.number.put("a", 1)
    assert world.graph.settle() == []


def test_a_root_shows_the_last_settled_value_until_the_next_settle(world: World) -> None:
    root = world.graph.keep(double, world, "a")
    world.graph.settle()
    world.number.put("a", 1)
    assert double(world, "a") == 2
    assert root.value == 0
    world.graph.settle()
    assert root.value == 2


def test_a_root_has_no_value_before_settle_or_after_release(world: World) -> None:
    root = world.graph.keep(double, world, "a")
    with pytest.raises(LookupError, match=r"double\('a'\)"):
        _ = root.value
    world.graph.settle()
    root.release()
    root.release()
    with pytest.raises(LookupError):
        _ = root.value


def test_a_released_root_is_neither_computed_nor_reported(world: World) -> None:
    root = world.graph.keep(double, world, "a")
    world.graph.settle()
    world.number.put("a", 1)
    root.release()
    with world.graph.counting() as runs:
        assert world.graph.settle() == []
    assert not runs


def test_a_call_kept_twice_lives_until_both_roots_are_released(world: World) -> None:
    first, second = (world.graph.keep(double, world, "a") for _ in range(2))
    world.graph.settle()
    first.release()
    world.number.put("a", 1)
    assert world.graph.settle() == [Change(second, 0, 2)]
    second.release()
    world.graph.settle()
    assert len(world.graph) == 0


def test_only_derived_functions_can_be_kept(world: World) -> None:
    def plain(world: World) -> int:
        return 1

    with pytest.raises(TypeError, match="@derived"):
        world.graph.keep(plain, world)


# --- errors are results ---


def test_an_exception_is_a_result_that_every_reader_gets(world: World) -> None:
    root = world.graph.keep(inverse, world, "a")
    (change,) = world.graph.settle()
    assert isinstance(change.new, Failed)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            _ = root.value
        with pytest.raises(ZeroDivisionError):
            inverse(world, "a")
    assert world.graph.runs["inverse"] == 1


def test_an_equal_exception_stops_the_wave(world: World) -> None:
    @derived
    def negative(world: World, key: str) -> int:
        if double(world, key) < 0:
            raise ValueError("negative", key)
        return 0

    @derived
    def reader(world: World, key: str) -> int:
        return negative(world, key)

    world.number.put("a", -1)
    world.graph.keep(reader, world, "a")
    world.graph.settle()
    world.number.put("a", -2)
    with world.graph.counting() as runs:
        assert world.graph.settle() == []
    assert sum(runs.values()) == 2
    world.number.put("a", 2)
    (change,) = world.graph.settle()
    assert change.old == Failed(ValueError("negative", "a"))
    assert change.new == 0


def test_one_failing_root_leaves_the_others_alone(world: World) -> None:
    world.graph.keep(inverse, world, "a")
    good = world.graph.keep(double, world, "a")
    world.graph.settle()
    assert good.value == 0


def test_a_stored_exception_says_where_it_was_raised_and_holds_no_frames(world: World) -> None:
    class Big:
        pass

    seen: list[weakref.ref[Big]] = []

    @derived
    def failing(world: World) -> int:
        big = Big()
        seen.append(weakref.ref(big))
        try:
            return len(seen) // 0
        except ZeroDivisionError as error:
            raise ValueError("no") from error

    @derived
    def reader(world: World) -> int:
        return failing(world)

    world.graph.keep(reader, world)
    (change,) = world.graph.settle()
    gc.collect()
    assert seen[0]() is None
    assert isinstance(change.new, Failed)
    assert [note.partition(":")[0] for note in change.new.error.__notes__] == [f"raised at {__file__}"]


def test_rereading_a_failure_does_not_grow_its_traceback(world: World) -> None:
    def depth(error: BaseException) -> int:
        trace, found = error.__traceback__, 0
        while trace is not None:
            trace, found = trace.tb_next, found + 1
        return found

    depths = set()
    for _ in range(5):
        with pytest.raises(ZeroDivisionError) as caught:
            inverse(world, "a")
        depths.add(depth(caught.value))
    assert len(depths) == 1


# --- cycles ---


def test_a_cycle_is_the_result_of_all_its_calls_and_names_them(world: World) -> None:
    for key, target in ("ab", "bc", "ca"):
        world.link.put(key, target)
    roots = [world.graph.keep(follow, world, key) for key in "cab"]
    world.graph.settle()
    for root in roots:
        with pytest.raises(Cycle, match=r"need each other: follow\('a'\), follow\('b'\), follow\('c'\)$") as caught:
            _ = root.value
        assert caught.value.calls == (Call("follow", ("a",)), Call("follow", ("b",)), Call("follow", ("c",)))


def test_a_call_of_itself_is_a_cycle(world: World) -> None:
    world.link.put("a", "a")
    with pytest.raises(Cycle):
        follow(world, "a")


def test_a_cycle_heals_and_comes_back(world: World) -> None:
    root = world.graph.keep(follow, world, "a")
    for _ in range(3):
        world.link.put("a", "b")
        world.link.put("b", "a")
        world.graph.settle()
        with pytest.raises(Cycle):
            _ = root.value
        world.link.remove("b")
        world.graph.settle()
        assert root.value == "b"


@pytest.mark.parametrize("kept", ["a", "b", "c", "abc", "cba"])
def test_a_chain_that_closes_into_a_cycle_fails_as_a_whole(world: World, kept: str) -> None:
    world.link.put("c", "b")
    world.link.put("b", "a")
    roots = [world.graph.keep(follow, world, key) for key in ("c", *kept)]
    world.graph.settle()
    world.link.put("a", "c")
    world.graph.settle()
    for root in roots:
        with pytest.raises(Cycle) as caught:
            _ = root.value
        assert len(caught.value.calls) == 3


def test_a_reader_outside_the_cycle_can_turn_it_into_a_value(world: World) -> None:
    @derived
    def explain(world: World, key: str) -> str:
        try:
            return follow(world, key)
        except Cycle as cycle:
            return f"cycle of {len(cycle.calls)}"

    root = world.graph.keep(explain, world, "x")
    for key, target in ("xa", "ab", "ba"):
        world.link.put(key, target)
    world.graph.settle()
    assert root.value == "cycle of 2"


def test_a_member_of_a_cycle_cannot_escape_it_by_catching(world: World) -> None:
    """Otherwise the result would depend on which member is asked first."""

    @derived
    def stubborn(world: World, key: str) -> str:
        try:
            return stubborn(world, world.link.get(key) or "end") if key != "end" else key
        except Cycle:
            return "escaped"

    world.link.put("a", "b")
    world.link.put("b", "a")
    for key in "ab":
        with pytest.raises(Cycle):
            stubborn(world, key)


def test_a_change_beside_a_cycle_does_not_run_it(world: World) -> None:
    world.link.put("a", "a")
    world.graph.keep(follow, world, "a")
    world.graph.keep(double, world, "a")
    world.graph.settle()
    world.number.put("a", 1)
    with world.graph.counting() as runs:
        world.graph.settle()
    assert runs == {"double": 1}


def test_a_cycle_nobody_needs_is_dropped(world: World) -> None:
    for key, target in ("xa", "ab", "ba"):
        world.link.put(key, target)
    root = world.graph.keep(follow, world, "x")
    world.graph.settle()
    world.link.put("x", "y")
    world.graph.settle()
    assert root.value == "y"
    assert len(world.graph) == 4  # link[x], link[y], follow(x), follow(y)


# --- life time ---


def test_what_no_root_leads_to_is_dropped(world: World) -> None:
    root = settled(world)
    before = len(world.graph)
    extra = world.graph.keep(signs, world, "all")
    world.group.add("all", "a")
    world.group.add("all", "b")
    world.graph.settle()
    assert len(world.graph) > before
    extra.release()
    world.graph.settle()
    assert len(world.graph) == before
    root.release()
    world.graph.settle()
    assert len(world.graph) == 0


def test_a_call_from_outside_is_remembered_until_the_next_settle(world: World) -> None:
    with world.graph.counting() as runs:
        assert double(world, "a") == double(world, "a") == 0
    assert runs == {"double": 1}
    world.graph.settle()
    assert len(world.graph) == 0


def test_dropped_values_are_freed_without_the_garbage_collector(world: World) -> None:
    class Big:
        pass

    @derived
    def big(world: World, key: str) -> Big:
        double(world, key)
        return Big()

    root = world.graph.keep(big, world, "a")
    world.graph.settle()
    value = weakref.ref(root.value)
    gc.disable()
    try:
        root.release()
        world.graph.settle()
        del root
        assert value() is None
    finally:
        gc.enable()


# --- the writer's side ---


def test_the_writer_can_look_at_what_is_there(world: World) -> None:
    world.number.put("a", 1)
    world.group.add("all", "b")
    assert (len(world.number), "a" in world.number, "b" in world.number) == (1, True, False)
    assert (list(world.number.keys()), list(world.number.values())) == (["a"], [1])
    assert list(world.number.items()) == [("a", 1)]
    assert (len(world.group), "all" in world.group, list(world.group.keys())) == (1, True, ["all"])
    world.group.discard("all", "b")
    assert (len(world.group), world.group.get("all")) == (0, ())


def test_a_multimap_is_sorted_whatever_the_order_of_writing(world: World) -> None:
    for value in "cabca":
        world.group.add("all", value)
    assert world.group.get("all") == ("a", "b", "c")
    assert world.group.get("all") is world.group.get("all")
    world.group.discard("all", "b")
    assert world.group.get("all") == ("a", "c")


def test_untracked_reads_and_writes_raise_inside_derived_functions(world: World) -> None:
    root = settled(world)
    actions: list[Callable[[], object]] = [
        lambda: world.number.put("a", 1),
        lambda: world.number.remove("a"),
        lambda: len(world.number),
        lambda: "a" in world.number,
        lambda: list(world.number),
        lambda: world.number.keys(),
        lambda: world.number.values(),
        lambda: world.number.items(),
        lambda: world.group.add("a", "b"),
        lambda: world.group.discard("a", "b"),
        lambda: len(world.group),
        lambda: world.graph.keep(double, world, "a"),
        lambda: world.graph.settle(),
        lambda: root.release(),
    ]

    @derived
    def naughty(world: World, action: int) -> None:
        actions[action]()

    for index in range(len(actions)):
        with pytest.raises(RuntimeError, match=rf"naughty\({index}\) is derived"):
            naughty(world, index)


def test_two_inputs_cannot_have_one_name(world: World) -> None:
    with pytest.raises(ValueError, match="number"):
        world.graph.multimap("number")


# --- size ---


def test_a_chain_of_ten_thousand_is_marked_and_verified_without_recursion(world: World) -> None:
    top = 10_000
    for depth in range(0, top + 1, 50):
        descend(world, depth)
    root = world.graph.keep(descend, world, top)
    world.graph.settle()
    assert root.value == top
    world.number.put("a", 1)
    world.graph.settle()
    assert root.value == top + 2
    root.release()
    world.graph.settle()
    assert len(world.graph) == 0


def test_computing_too_deep_raises_from_settle_and_leaves_the_graph_sound(world: World) -> None:
    root = world.graph.keep(descend, world, 400)
    with pytest.raises(RecursionError):
        world.graph.settle()
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(10_000)
        world.graph.settle()
    finally:
        sys.setrecursionlimit(limit)
    assert root.value == 400
    root.release()
    world.graph.settle()
    assert len(world.graph) == 0


def test_swallowing_a_recursion_error_does_not_make_a_result(world: World) -> None:
    @derived
    def deaf(world: World) -> int:
        try:
            return descend(world, 5000)
        except RecursionError:
            return -1

    world.graph.keep(deaf, world)
    with pytest.raises(RecursionError):
        world.graph.settle()
    assert double(world, "a") == 0  # the graph goes on


def test_an_interrupt_leaves_the_graph_sound(world: World) -> None:
    pressed = [True]

    @derived
    def interrupted(world: World) -> int:
        if pressed:
            raise KeyboardInterrupt
        return double(world, "a")

    root = world.graph.keep(interrupted, world)
    with pytest.raises(KeyboardInterrupt):
        world.graph.settle()
    pressed.clear()
    assert world.graph.settle() == [Change(root, ABSENT, 0)]


def test_verifying_one_outdated_dependency_costs_the_same_for_any_number_of_them() -> None:
    """The sum over 20 times as many parts may not take even five times as long to verify (it would take 20)."""

    def cost(size: int) -> float:
        world = World()
        for index in range(size):
            world.number.put(f"k{index}", 1)
            world.group.add("all", f"k{index}")
        world.graph.keep(signs, world, "all")
        world.graph.settle()
        times = []
        for value in range(2, 40):
            start = time.perf_counter()
            world.number.put("k7", value)
            assert world.graph.settle() == []
            times.append(time.perf_counter() - start)
        return min(times)

    assert cost(10_000) < 5 * cost(500)
