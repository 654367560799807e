"""What the engine itself costs per call, with bodies that do next to nothing.

Prints a table; run it with `python tests/benchmarks/bench_incremental.py`. Judges nothing: machines differ.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

from core.incremental import Graph, Multimap, Table, derived


class World:
    def __init__(self, size: int) -> None:
        self.graph = Graph()
        self.number: Table[int, int] = self.graph.table("number")
        self.group: Multimap[str, int] = self.graph.multimap("group")
        for key in range(size):
            self.number.put(key, key)
            self.group.add("all", key)


@derived
def part(world: World, key: int) -> int:
    return world.number.get(key) or 0


@derived
def positive(world: World, key: int) -> bool:
    return part(world, key) >= 0


@derived
def join(world: World) -> int:
    return sum([part(world, key) for key in world.group.get("all")])


@derived
def agreed(world: World) -> bool:
    return all(positive(world, key) for key in world.group.get("all"))


@derived
def nothing(world: World, key: int) -> None:
    return None


@derived
def fresh_calls(world: World) -> None:
    for key in range(LOOPS):
        nothing(world, key)


@derived
def memo_hits(world: World) -> float:
    nothing(world, 1)
    return timed(lambda: nothing(world, 1))


@derived
def input_reads(world: World) -> float:
    return timed(lambda: world.number.get(1))


@derived
def multimap_reads(world: World) -> float:
    return timed(lambda: world.group.get("all"))


LOOPS = 20_000


def timed(action: Callable[[], object]) -> float:
    """Microseconds per call, best of five, without the cost of calling a lambda."""

    def best(each: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(LOOPS):
                each()
            times.append(time.perf_counter() - start)
        return min(times) / LOOPS * 1e6

    return best(action) - best(lambda: None)


def fresh() -> float:
    """Microseconds for a call seen for the first time, edges included."""
    times = []
    for _ in range(5):
        world = World(0)
        world.graph.keep(fresh_calls, world)
        start = time.perf_counter()
        world.graph.settle()
        times.append(time.perf_counter() - start)
    return min(times) / LOOPS * 1e6


def change(function: Callable[[World], object], size: int) -> float:
    """Microseconds from a write to the end of settle()."""
    world = World(size)
    world.graph.keep(function, world)
    world.graph.settle()
    times = []
    for value in range(size, size + 50):
        start = time.perf_counter()
        world.number.put(size // 2, value)
        world.graph.settle()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def memory(size: int) -> float:
    """Bytes per kept call that has one input, one reader and its argument in a tuple."""
    world = World(size)
    gc.collect()
    tracemalloc.start()
    world.graph.keep(join, world)
    world.graph.settle()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / size


def main() -> None:
    world = World(1000)
    rows: list[tuple[str, float, str]] = [
        ("memo hit inside a derived function", memo_hits(world), "us"),
        ("input read inside a derived function", input_reads(world), "us"),
        ("multimap read inside a derived function", multimap_reads(world), "us"),
        ("fresh derived call, edge to its reader included", fresh(), "us"),
    ]
    for size in (1000, 5000, 20_000):
        rows.append((f"one of {size} parts changed, wave stopped before the join", change(agreed, size), "us"))
    for size in (1000, 5000, 20_000):
        rows.append((f"one of {size} parts changed, join computed again (per part)", change(join, size) / size, "us"))
    rows.append(("memory of a derived call and the input it reads", memory(5000), "bytes"))
    for what, value, unit in rows:
        print(f"{what:62} {value:9.2f} {unit}")


if __name__ == "__main__":
    main()
