"""Whatever changes, however slowly the proxy reads: it is never led astray, and ends with what there is. The same cases
run on delta and on state of the world."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from core.manager.xds.group import Group, settle
from core.manager.xds.resource import PUSH_ORDER, ResourceType
from core.manager.xds.stream import Stream
from core.manager.xds.testing.envoy import ModelEnvoy
from core.manager.xds.testing.things import Thing, resource
from core.manager.xds.testing.wire import WIRES, Wire

CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET = PUSH_ORDER
Names = tuple[str, ...]
World = dict[ResourceType, dict[str, Thing]]

LONG_ENOUGH = 2000
"""Messages. A stream that still talks after so many, with nothing changing, will talk forever."""


class Publish(msgspec.Struct):
    world: World


class Endpoints(msgspec.Struct):
    """The endpoints of every cluster change, and nothing else does."""

    salt: int


class Pump(msgspec.Struct):
    """Deliver single messages: True to the proxy, False to the Manager."""

    to_proxy: list[bool]


class Reconnect(msgspec.Struct):
    """The stream breaks, and the proxy comes back to the same Manager."""


class Move(msgspec.Struct):
    """The proxy comes back to another Manager, which was started by now and is so many publications behind."""

    behind: int


Action = Publish | Endpoints | Pump | Reconnect | Move

salts = st.integers(0, 2)
rarely = st.sampled_from([False] * 9 + [True])


def some(letter: str, count: int) -> st.SearchStrategy[Names]:
    return st.lists(st.sampled_from([f"{letter}{n}" for n in range(count)]), unique=True, max_size=2).map(tuple)


some_clusters, some_listeners, some_routes, some_secrets = some("c", 4), some("l", 3), some("r", 3), some("s", 2)
traits = st.tuples(salts, rarely)
booleans = st.booleans()


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A closed world: whatever is named exists."""

    def make(name: str, clusters: Names = (), routes: Names = (), secrets: Names = ()) -> Thing:
        salt, bad = draw(traits)
        return Thing(name=name, salt=salt, bad=bad, clusters=clusters, routes=routes, secrets=secrets)

    listeners = [make(n, routes=draw(some_routes), secrets=draw(some_secrets)) for n in draw(some_listeners)]
    routes = [make(n, clusters=draw(some_clusters)) for n in sorted({n for li in listeners for n in li.routes})]
    names = sorted({*draw(some_clusters), *(name for route in routes for name in route.clusters)})
    clusters = [msgspec.structs.replace(make(n, secrets=draw(some_secrets)), eds=draw(booleans)) for n in names]
    endpoints = [make(cluster.name) for cluster in clusters if cluster.eds]
    secrets = [make(name) for name in sorted({name for user in (*listeners, *clusters) for name in user.secrets})]
    kinds = (clusters, endpoints, listeners, routes, secrets)
    return {type_: {thing.name: thing for thing in things} for type_, things in zip(PUSH_ORDER, kinds, strict=True)}


moves = st.integers(0, 2).map(Move)
actions = st.lists(
    st.one_of(
        worlds().map(Publish),
        salts.map(Endpoints),
        st.lists(st.booleans(), min_size=1, max_size=12).map(Pump),
        st.lists(st.booleans(), min_size=1, max_size=12).map(Pump),
        st.just(Reconnect()),
        moves,
    ),
    max_size=12,
)


class Play:
    """A Manager's stream and a proxy with a slow line between them."""

    def __init__(self, wire: Wire) -> None:
        # Names with an even number are shared, the others are the workload's own.
        self.shared, self.own = Group(), Group()
        self.world: World = {type_: {} for type_ in PUSH_ORDER}
        self.generation = 0
        self.published = [self.world]
        self.proxy = ModelEnvoy(wire)
        self.connect()

    def connect(self, *before: Stream) -> None:
        """`before`: what this Manager remembers of the proxy."""
        self.to_proxy: list[bytes] = []
        self.stream = Stream(dialect=self.proxy.wire.dialect, groups=[self.shared, self.own], before=before)
        self.proxy.connect(excused=not before)
        self.poll()

    def move(self, behind: int) -> None:
        """Generations are counted anew there."""
        self.shared, self.own, self.generation = Group(), Group(), 0
        self._put(self.published[-1 - behind :][0])
        self.connect()

    def act(self, action: Action) -> None:
        match action:
            case Publish(world):
                self.publish(world)
            case Endpoints(salt):
                clas = {n: msgspec.structs.replace(cla, salt=salt) for n, cla in self.world[ENDPOINTS].items()}
                self.publish({**self.world, ENDPOINTS: clas})
            case Pump(to_proxy):
                for yes in to_proxy:
                    self.deliver_to_proxy() if yes else self.deliver_to_manager()
            case Reconnect():
                self.connect(self.stream)
            case Move(behind):
                self.move(behind)
        if not self.to_proxy and not self.proxy.outbox:
            self.proxy.excused = False

    def publish(self, world: World) -> None:
        self.published.append(world)
        self._put(world)
        self.poll()

    def catch_up(self) -> None:
        """Every Manager hears of the newest, sooner or later."""
        if self.world != self.published[-1]:
            self._put(self.published[-1])
            self.poll()

    def _put(self, world: World) -> None:
        self.generation += 1
        self.world = world
        for type_ in PUSH_ORDER:
            for group, mine in ((self.shared, 0), (self.own, 1)):
                log, wanted = group[type_], {n: t for n, t in world[type_].items() if int(n[1:]) % 2 == mine}
                for name in set(log.resources) - set(wanted):
                    log.remove(name, self.generation)
                for thing in wanted.values():
                    log.put(resource(type_, thing), self.generation)
        settle([self.shared, self.own], self.generation)

    def poll(self) -> None:
        while (response := self.stream.poll()) is not None:
            self.to_proxy.append(response)
        unread = [self.proxy.wire.arrival(raw).type for raw in self.to_proxy]
        assert len(unread) == len(set(unread)), "two responses of a type are under way"

    def deliver_to_proxy(self) -> None:
        if self.to_proxy:
            self.proxy.handle(self.to_proxy.pop(0))
            assert not self.proxy.violations, self.proxy.violations

    def deliver_to_manager(self) -> None:
        if self.proxy.outbox:
            self.stream.receive(self.proxy.outbox.pop(0))
            self.poll()

    def drain(self) -> int:
        """Deliver everything until nobody says anything more; how often the proxy gave up waiting."""
        timeouts = 0
        for _ in range(LONG_ENOUGH):
            self.deliver_to_manager()
            self.deliver_to_proxy()
            if not self.proxy.outbox and not self.to_proxy:
                if not self.proxy.time_out():
                    return timeouts
                timeouts += 1
        raise AssertionError("they never come to rest")


def good(things: Iterable[Thing]) -> dict[str, Thing]:
    return {thing.name: thing for thing in things if not thing.bad}


def check_end(play: Play) -> None:
    """The proxy has the newest of all that it wants and can take, and nothing is left that was removed."""
    world, proxy = play.world, play.proxy
    bad = [thing for things in world.values() for thing in things.values() if thing.bad]
    for type_ in PUSH_ORDER:
        have = proxy.active[type_]
        named = proxy.named(type_)
        wanted = {n: t for n, t in good(world[type_].values()).items() if type_.has_wildcard or n in named}
        assert {name: have.get(name) for name in wanted} == wanted, type_
        assert not any(thing.bad for thing in have.values())
    assert not any(proxy.warming.values()), proxy.warming
    assert set(proxy.active[LISTENER]) <= set(world[LISTENER])
    if not any(world_has_bad(world, type_) for type_ in (LISTENER, ROUTES, SECRET)):
        assert set(proxy.active[CLUSTER]) <= set(world[CLUSTER])
    status = play.stream.status()
    assert status.delivered == play.generation
    assert not any(type_.waiting for type_ in status.types)
    event(f"bad at the end: {len(bad) > 0}")


def any_bad(actions: list[Action]) -> bool:
    worlds = [action.world for action in actions if isinstance(action, Publish)]
    return any(world_has_bad(world, type_) for world in worlds for type_ in PUSH_ORDER)


def world_has_bad(world: World, type_: ResourceType) -> bool:
    return any(thing.bad for thing in world[type_].values())


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: type(wire).__name__)
@settings(max_examples=max(500, settings().max_examples))
@given(actions=actions)
def test_a_proxy_is_never_led_astray_and_ends_with_what_there_is(wire: Wire, actions: list[Action]) -> None:
    """At no moment an accepted route leads to a cluster that does not serve, two responses of a type are under way, or
    a thing comes twice; when all is quiet the proxy has the newest of everything but what it refuses."""
    play = Play(wire)
    for action in actions:
        play.act(action)
    timeouts = play.drain()
    play.catch_up()
    timeouts += play.drain()
    check_end(play)
    # Who comes back half started, or has to be told twice what it refused, may be left waiting for what is gone by now.
    comes_back = any(isinstance(action, Reconnect | Move) for action in actions)
    assert timeouts == 0 or comes_back or (any_bad(actions) and not wire.is_delta)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: type(wire).__name__)
@settings(max_examples=max(300, settings().max_examples))
@given(worlds=st.lists(worlds(), min_size=2, max_size=3), back=st.one_of(st.just(Reconnect()), moves))
def test_who_was_served_and_comes_back_is_not_led_astray(wire: Wire, worlds: list[World], back: Action) -> None:
    """The same for a proxy that has everything, and loses its stream just when everything changes."""
    first, *others = worlds
    play = Play(wire)
    play.act(Publish(first))
    play.drain()
    for world in others:
        play.act(Publish(world))
    play.act(back)
    play.drain()
    play.catch_up()
    play.drain()
    check_end(play)
