"""When something may go: never before the proxy can do without it."""

import pytest

from core.manager.xds.group import Group
from core.manager.xds.resource import PUSH_ORDER, Resource, ResourceType
from core.manager.xds.testing.script import Script, said
from core.manager.xds.testing.things import Thing, resource
from core.manager.xds.testing.wire import WIRES

CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET = PUSH_ORDER
DELTA, WHOLE = WIRES


@pytest.fixture(params=WIRES, ids=["delta", "sotw"])
def script(request: pytest.FixtureRequest) -> Script:
    return Script(request.param)


def test_a_cluster_stays_while_a_listener_is_refused(script: Script) -> None:
    """The old listener serves on; a refused one that never served holds nothing up."""
    script.run()
    [listeners] = script.publish_all({LISTENER: [Thing(name="l", salt=9)]}, {CLUSTER: ["a"]})
    assert script.refuse(listeners) == []
    [mended] = script.publish(LISTENER, Thing(name="l", salt=1))
    [removal] = script.ack(mended)
    assert removal.type is CLUSTER
    script.settle_down([removal])
    script.settle_down(script.publish(CLUSTER, Thing(name="b")))
    [listeners] = script.publish_all({LISTENER: [Thing(name="never served", salt=9)]}, {CLUSTER: ["b"]})
    assert [arrival.type for arrival in script.refuse(listeners)] == [CLUSTER]


def test_a_listener_that_comes_back_holds_up_what_it_needs(script: Script) -> None:
    """It was to go, came back before it went, and so was left alone: what the old one names must not go yet."""
    script.run()
    [clusters] = script.publish_all({CLUSTER: [Thing(name="b")]}, {LISTENER: ["l"], ROUTES: ["r"], CLUSTER: ["a"]})
    script.publish(LISTENER, Thing(name="l", salt=1))
    arrivals = script.settle_down([clusters])
    kinds = [arrival.type for arrival in arrivals]
    assert kinds.index(LISTENER) < kinds.index(CLUSTER, 1)
    assert not any("l" in (arrival.removed or ()) for arrival in arrivals)


def test_who_comes_back_keeps_its_clusters_until_it_says_what_for() -> None:
    """Delta tells of clusters first; listeners and routes that live on them are told of later."""
    script = Script(DELTA)
    script.publish(CLUSTER, Thing(name="b"))
    script.settle_down(script.subscribe(CLUSTER, versions={"gone": "x"}))
    assert script.poll() == []
    [listeners] = script.subscribe(LISTENER, versions={"l": "x"})
    assert listeners.removed == ("l",)
    [clusters] = script.ack(listeners)
    assert clusters.removed == ("gone",)


def test_routes_asked_for_before_the_clusters_are_there_come_after_them() -> None:
    """Who comes back asks for everything at once."""
    script = Script(DELTA)
    script.publish_all({CLUSTER: [Thing(name="b")], ROUTES: [Thing(name="r", clusters=("b",))]})
    [clusters] = script.subscribe(CLUSTER, versions={"gone": "x"})
    assert script.subscribe(ROUTES, "r", versions={"r": "old"}) == []
    assert said(script.ack(clusters)) == [(ROUTES, ["r"])]


def test_what_was_refused_and_went_is_told_to_be_gone() -> None:
    """State of the world: the proxy may have an older one from before this stream."""
    script = Script(WHOLE)
    script.publish(CLUSTER, Thing(name="bad", bad=True))
    [arrival] = script.subscribe(CLUSTER)
    assert script.refuse(arrival) == []
    assert said(script.publish(CLUSTER, without=["bad"])) == [(CLUSTER, [])]


def stand_in(type_: ResourceType, name: str) -> Resource | None:
    """As gRPC has it: for names that are called, and what these need."""
    return resource(type_, Thing(name=name, salt=404)) if type_ in (CLUSTER, ENDPOINTS, LISTENER) else None


def test_what_stands_in_for_something_goes_when_its_removal_would() -> None:
    """Routes leave a cluster first; only then it is replaced, and its endpoints after it."""
    script = Script(WHOLE, group=Group(stand_in=stand_in))
    script.publish_all({CLUSTER: [Thing(name="a"), Thing(name="b")], ENDPOINTS: [Thing(name="a")],
                        LISTENER: [Thing(name="l")], ROUTES: [Thing(name="r", clusters=("a",))]})  # fmt: skip
    for type_, name in ((LISTENER, "l"), (ROUTES, "r"), (CLUSTER, "a"), (ENDPOINTS, "a")):
        script.settle_down(script.subscribe(type_, name))
    first = script.publish_all({ROUTES: [Thing(name="r", clusters=("b",))]}, {CLUSTER: ["a"], ENDPOINTS: ["a"]})
    assert said(script.settle_down(first)) == [(ROUTES, ["r"]), (CLUSTER, ["a"]), (ENDPOINTS, ["a"])]


def test_a_stand_in_is_sent_at_once_and_gives_way() -> None:
    """To who asks for what is not there, and again when it goes; where there is none, nothing is said."""
    script = Script(WHOLE, group=Group(stand_in=stand_in))
    found = script.settle_down(script.subscribe(LISTENER, "l"))
    found += script.settle_down(script.publish(LISTENER, Thing(name="l")))
    found += script.settle_down(script.publish(LISTENER, without=["l"]))
    assert [[thing.salt for thing, _ in arrival.things] for arrival in found] == [[404], [0], [404]]
    assert script.subscribe(ROUTES, "r") == []
