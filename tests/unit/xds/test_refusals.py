"""What a refused response leads to, on delta and on state of the world."""

import pytest

from core.manager.xds.exchange import Refused
from core.manager.xds.resource import PUSH_ORDER
from core.manager.xds.testing.script import Script, said
from core.manager.xds.testing.things import Thing, resource
from core.manager.xds.testing.wire import WIRES

CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET = PUSH_ORDER
DELTA, _ = WIRES


@pytest.fixture(params=WIRES, ids=["delta", "sotw"])
def script(request: pytest.FixtureRequest) -> Script:
    return Script(request.param)


def test_the_good_ones_of_a_refused_response_go_again_and_the_bad_one_does_not(script: Script) -> None:
    script.run()
    script.publish(ROUTES, *(Thing(name=f"r{n}", bad=n == 7) for n in range(20)))
    todo = script.subscribe(ROUTES, *(f"r{n}" for n in range(20)))
    delivered, responses = set(), 0
    while todo:
        arrival = todo.pop(0)
        responses += 1
        bad = any(thing.bad for thing, _ in arrival.things)
        delivered |= set() if bad else arrival.names
        todo += script.refuse(arrival, "r7 is bad") if bad else script.ack(arrival)
    assert delivered == {f"r{n}" for n in range(20)} - {"r7"}
    assert responses <= 11
    [refused] = [event for event in script.events if isinstance(event, Refused)]
    assert refused.resource == resource(ROUTES, Thing(name="r7", bad=True))
    assert (refused.type, refused.message) == (ROUTES, "r7 is bad")


def test_what_was_refused_comes_again_when_it_has_changed(script: Script) -> None:
    script.run()
    [arrival] = script.publish(ROUTES, Thing(name="r", bad=True))
    assert script.refuse(arrival) == []
    assert script.publish(ROUTES, Thing(name="other")) == []
    assert said(script.publish(ROUTES, Thing(name="r", salt=1))) == [(ROUTES, ["r"])]
    assert {status.type for status in script.stream.status().types if status.refused} == {ROUTES}


def test_going_back_to_what_the_proxy_has_ends_a_refusal(script: Script) -> None:
    script.run()
    [arrival] = script.publish(ROUTES, Thing(name="r", bad=True))
    script.refuse(arrival)
    assert script.publish(ROUTES, Thing(name="r", clusters=("a",))) == []
    assert not any(status.refused for status in script.stream.status().types)


def test_a_refused_cluster_does_not_hold_up_the_round(script: Script) -> None:
    script.run()
    [clusters] = script.publish_all({CLUSTER: [Thing(name="b", bad=True)], ROUTES: [Thing(name="r", salt=1)]})
    assert said(script.refuse(clusters)) == [(ROUTES, ["r"])]


def test_refusing_an_unchanged_good_one_does_not_go_round_in_circles(script: Script) -> None:
    """Endpoints go again behind a changed cluster; refused, they are not sent a third time."""
    script.run()
    clusters, endpoints = script.publish(CLUSTER, Thing(name="a", eds=True, salt=1))
    assert script.refuse(endpoints) == []
    assert script.ack(clusters) == []


def test_refusing_an_empty_answer_is_told_and_not_repeated(script: Script) -> None:
    [arrival] = script.subscribe(CLUSTER)
    assert script.refuse(arrival, "odd") == []
    assert Refused(CLUSTER, None, "odd") in script.events


def test_state_of_the_world_tries_a_suspect_beside_what_is_accepted() -> None:
    script = Script(WIRES[1]).run()
    [clusters] = script.publish(CLUSTER, Thing(name="bad", bad=True), Thing(name="good"))
    assert clusters.names == {"a", "bad", "good"}
    [first] = script.refuse(clusters)
    assert first.names == {"a", "bad"}
    [second] = script.refuse(first)
    assert second.names == {"a", "good"}


def test_a_suspect_goes_again_as_it_is_now(script: Script) -> None:
    """Not as it was when it was refused together with others; endpoints change all the time."""
    script.run()
    script.publish(ENDPOINTS, Thing(name="x"), Thing(name="y"))
    [arrival] = script.subscribe(ENDPOINTS, "x", "y")
    script.publish(ENDPOINTS, Thing(name="x", salt=1), Thing(name="y", salt=1))
    responses = script.settle_down(script.refuse(arrival))
    assert [(thing.name, thing.salt) for each in responses for thing, _ in each.things] == [("x", 1), ("y", 1)]


def test_what_is_taken_back_gets_its_endpoints_again() -> None:
    """State of the world: the good cluster of a refused response may have been applied. Beside the next suspect it goes
    as it was accepted, so it changes once more, and waits for endpoints once more."""
    script = Script(WIRES[1]).run()
    clusters, endpoints = script.publish(CLUSTER, Thing(name="bad", bad=True), Thing(name="a", eds=True, salt=1))
    script.ack(endpoints)
    first, again = script.refuse(clusters)
    assert said([first, again]) == [(CLUSTER, ["a", "bad"]), (ENDPOINTS, ["a"])]
    assert [thing.salt for thing, _ in first.things if thing.name == "a"] == [0]


def test_what_a_proxy_brought_is_known_when_there_is_the_same() -> None:
    """It says a version; what that was made of is told with the next refusal, so that only what is new is suspected."""
    script = Script(DELTA)
    script.publish(ROUTES, Thing(name="r"))
    version = resource(ROUTES, Thing(name="r")).version
    script.settle_down(script.subscribe(ROUTES, "r", versions={"r": version}))
    (arrival,) = script.publish(ROUTES, Thing(name="r", salt=1))
    script.refuse(arrival)
    (refused,) = [event for event in script.events if isinstance(event, Refused)]
    assert refused.held == resource(ROUTES, Thing(name="r"))
    assert refused.held.origins
