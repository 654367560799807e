"""Each delivery rule by itself, on delta and on state of the world. Who plays the proxy says what is written."""

import pytest

from core.manager.xds.exchange import Acked
from core.manager.xds.group import Group
from core.manager.xds.resource import PUSH_ORDER, ResourceType
from core.manager.xds.testing.script import Script, said
from core.manager.xds.testing.things import Thing, resource
from core.manager.xds.testing.wire import WIRES, Say

CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET = PUSH_ORDER
DELTA, WHOLE = WIRES


@pytest.fixture(params=WIRES, ids=["delta", "sotw"])
def script(request: pytest.FixtureRequest) -> Script:
    return Script(request.param)


# --- 1: only what is subscribed ---


def test_nothing_is_sent_before_it_is_asked_for(script: Script) -> None:
    assert script.publish(CLUSTER, Thing(name="a")) == []
    assert said(script.subscribe(CLUSTER)) == [(CLUSTER, ["a"])]


@pytest.mark.parametrize("type_", [CLUSTER, LISTENER])
def test_an_empty_wildcard_is_answered(script: Script, type_: ResourceType) -> None:
    assert said(script.subscribe(type_)) == [(type_, [])]


def test_only_names_asked_for_are_sent(script: Script) -> None:
    script.publish(ROUTES, Thing(name="r1"), Thing(name="r2"))
    assert said(script.settle_down(script.subscribe(ROUTES, "r2"))) == [(ROUTES, ["r2"])]
    assert script.publish(ROUTES, Thing(name="r1", salt=1)) == []


def test_names_added_later_are_sent_alone(script: Script) -> None:
    script.publish(ENDPOINTS, Thing(name="a"), Thing(name="b"))
    script.settle_down(script.subscribe(ENDPOINTS, "a"))
    assert said(script.subscribe(ENDPOINTS, "b")) == [(ENDPOINTS, ["b"])]


def test_names_dropped_are_not_sent_any_more(script: Script) -> None:
    script.publish(ENDPOINTS, Thing(name="a"), Thing(name="b"))
    script.settle_down(script.subscribe(ENDPOINTS, "a", "b"))
    assert script.unsubscribe(ENDPOINTS, "b") == []
    assert said(script.publish(ENDPOINTS, Thing(name="a", salt=1), Thing(name="b", salt=1))) == [(ENDPOINTS, ["a"])]


def test_clusters_may_be_asked_for_by_name(script: Script) -> None:
    """gRPC's own client never uses a wildcard."""
    script.publish(CLUSTER, Thing(name="a"), Thing(name="b"))
    assert said(script.settle_down(script.subscribe(CLUSTER, "b"))) == [(CLUSTER, ["b"])]
    assert script.publish(CLUSTER, Thing(name="a", salt=1)) == []


def test_a_wildcard_may_be_given_up_for_names() -> None:
    """Delta: by unsubscribing from `*`. A later acknowledgement without names does not bring it back."""
    script = Script(DELTA)
    script.publish(CLUSTER, Thing(name="a"), Thing(name="b"))
    script.settle_down(script.subscribe(CLUSTER))
    script.settle_down(script.subscribe(CLUSTER, "a"))
    script.unsubscribe(CLUSTER, "*")
    assert said(script.publish(CLUSTER, Thing(name="a", salt=1), Thing(name="b", salt=1))) == [(CLUSTER, ["a"])]


def test_a_wildcard_is_given_up_by_saying_names_without_it() -> None:
    """State of the world; and an empty request afterwards means nothing, not everything."""
    script = Script(WHOLE)
    script.publish(CLUSTER, Thing(name="a"), Thing(name="b"))
    script.settle_down(script.subscribe(CLUSTER))
    script.settle_down(script.subscribe(CLUSTER, "a"))
    assert said(script.settle_down(script.publish(CLUSTER, Thing(name="b", salt=1)))) == []
    script.unsubscribe(CLUSTER, "a")
    assert script.publish(CLUSTER, Thing(name="a", salt=1)) == []


def test_what_does_not_exist_is_said_to_be_gone() -> None:
    """Delta has words for it."""
    script = Script(DELTA)
    [arrival] = script.subscribe(ROUTES, "r")
    assert (arrival.things, arrival.removed) == ((), ("r",))
    script.settle_down([arrival])
    assert said(script.publish(ROUTES, Thing(name="r"))) == [(ROUTES, ["r"])]


# --- 2: one response at a time, the newest behind it, nothing twice ---


def test_behind_a_response_waits_the_newest_and_no_queue(script: Script) -> None:
    script.run()
    [first] = script.publish(ENDPOINTS, Thing(name="a", salt=1))
    assert script.publish(ENDPOINTS, Thing(name="a", salt=2)) == []
    assert script.publish(ENDPOINTS, Thing(name="a", salt=3)) == []
    [second] = script.ack(first)
    assert [thing.salt for thing, _ in second.things] == [3]
    assert script.ack(second) == []


def test_what_went_back_meanwhile_is_not_sent(script: Script) -> None:
    script.run()
    [first] = script.publish(ENDPOINTS, Thing(name="a", salt=1))
    script.publish(ENDPOINTS, Thing(name="a", salt=2))
    script.publish(ENDPOINTS, Thing(name="a", salt=1))
    assert script.ack(first) == []


def test_asking_again_is_answered_again() -> None:
    script = Script(DELTA).run()
    assert said(script.subscribe(ENDPOINTS, "a")) == [(ENDPOINTS, ["a"])]


def test_a_reconnecting_proxy_gets_the_difference() -> None:
    """Delta tells what it has: what is unchanged stays unsaid, what is gone is said to be."""
    group = Script(DELTA).run().group
    script = Script(DELTA, group=group, generation=1)
    kept = resource(CLUSTER, Thing(name="a", eds=True)).version
    [answer] = script.subscribe(CLUSTER, versions={"a": kept, "vanished": "x"})
    assert (answer.things, answer.removed) == ((), ())
    script.subscribe(LISTENER, versions={"l": "old", "gone": "x"})
    [listeners] = script.ack(answer)
    assert (listeners.names, listeners.removed) == ({"l"}, ("gone",))
    [clusters] = script.ack(listeners)
    assert (clusters.things, clusters.removed) == ((), ("vanished",))
    same = resource(ENDPOINTS, Thing(name="a")).version
    assert script.subscribe(ENDPOINTS, "a", versions={"a": same}) == []


# --- 3: clusters and endpoints ---


def test_a_changed_cluster_and_its_endpoints_go_together(script: Script) -> None:
    """Unasked, unchanged, and before the cluster is acknowledged: Envoy withholds that until the endpoints come."""
    script.run()
    clusters, endpoints = script.publish(CLUSTER, Thing(name="a", eds=True, salt=1))
    assert said([clusters, endpoints]) == [(CLUSTER, ["a"]), (ENDPOINTS, ["a"])]


def test_endpoints_follow_when_their_slot_is_free(script: Script) -> None:
    """What was under way before the cluster does not count."""
    script.run()
    [before] = script.publish(ENDPOINTS, Thing(name="a", salt=1))
    [clusters] = script.publish(CLUSTER, Thing(name="a", eds=True, salt=1))
    assert said(script.ack(before)) == [(ENDPOINTS, ["a"])]
    assert clusters.type is CLUSTER


def test_endpoints_follow_when_they_are_asked_for(script: Script) -> None:
    script.run()
    script.publish_all({CLUSTER: [Thing(name="b", eds=True)], ENDPOINTS: [Thing(name="b")]})
    assert said(script.subscribe(ENDPOINTS, "b")) == [(ENDPOINTS, ["b"])]


def test_a_cluster_that_changed_while_the_proxy_was_away_gets_endpoints_that_did_not() -> None:
    group = Script(DELTA).run().group
    script = Script(DELTA, group=group, generation=1)
    script.subscribe(CLUSTER, versions={"a": "another"})
    same = resource(ENDPOINTS, Thing(name="a")).version
    assert said(script.subscribe(ENDPOINTS, "a", versions={"a": same})) == [(ENDPOINTS, ["a"])]


def test_a_request_that_looks_like_an_acknowledgement_is_answered() -> None:
    """State of the world: Envoy waits for endpoints and has no other words for it."""
    script = Script(WHOLE).run()
    again = script.say(Say(type=ENDPOINTS, names=["a"], nonce=script.nonces[ENDPOINTS]))
    assert said(again) == [(ENDPOINTS, ["a"])]
    assert script.settle_down(again) == again


def test_what_was_written_before_a_cluster_does_not_count_as_its_endpoints(script: Script) -> None:
    """Routes that need the changed cluster wait for the endpoints that were sent behind it."""
    script.run()
    [before] = script.publish(ENDPOINTS, Thing(name="a", salt=1))
    [clusters] = script.publish_all(
        {CLUSTER: [Thing(name="a", eds=True, salt=1)], ROUTES: [Thing(name="r", salt=1, clusters=("a",))]}
    )
    assert script.ack(clusters) == []
    [again] = script.ack(before)
    assert said([again]) == [(ENDPOINTS, ["a"])]
    assert said(script.ack(again)) == [(ROUTES, ["r"])]


# --- 4: rounds ---


def test_routes_wait_for_the_cluster_they_lead_to(script: Script) -> None:
    script.run()
    [clusters] = script.publish_all({CLUSTER: [Thing(name="b")], ROUTES: [Thing(name="r", clusters=("b",))]})
    assert clusters.type is CLUSTER
    assert said(script.ack(clusters)) == [(ROUTES, ["r"])]


def test_routes_wait_for_the_endpoints_of_their_cluster(script: Script) -> None:
    script.run()
    clusters, endpoints = script.publish_all(
        {CLUSTER: [Thing(name="a", eds=True, salt=1)], ROUTES: [Thing(name="r", salt=1, clusters=("a",))]}
    )
    assert script.ack(clusters) == []
    assert said(script.ack(endpoints)) == [(ROUTES, ["r"])]


def test_a_cluster_goes_after_the_routes_that_stopped_naming_it(script: Script) -> None:
    script.run()
    [clusters] = script.publish_all(
        {CLUSTER: [Thing(name="b")], ROUTES: [Thing(name="r", clusters=("b",))]}, {CLUSTER: ["a"]}
    )
    assert clusters.names >= {"b"}
    assert "a" not in (clusters.removed or ())
    assert (clusters.names == {"a", "b"}) == (clusters.removed is None)
    [routes] = script.ack(clusters)
    [removal] = script.ack(routes)
    assert (removal.removed == ("a",)) or (removal.removed is None and removal.names == {"b"})


def test_a_cluster_stays_while_routes_are_refused(script: Script) -> None:
    """The proxy lives on the old routes, which name it. When they are mended, it goes."""
    script.run()
    [clusters] = script.publish_all(
        {CLUSTER: [Thing(name="b")], ROUTES: [Thing(name="r", salt=9, clusters=("b",))]}, {CLUSTER: ["a"]}
    )
    [routes] = script.ack(clusters)
    assert script.refuse(routes) == []
    [mended] = script.publish(ROUTES, Thing(name="r", clusters=("b",)))
    assert said([mended]) == [(ROUTES, ["r"])]
    [removal] = script.ack(mended)
    assert removal.type is CLUSTER


def test_a_change_waits_for_the_round_that_is_under_way(script: Script) -> None:
    """The newest routes name a cluster that this round does not bring: both come with the next."""
    script.run()
    [clusters] = script.publish_all({CLUSTER: [Thing(name="b")], ROUTES: [Thing(name="r", clusters=("b",))]})
    assert script.publish_all({CLUSTER: [Thing(name="c")], ROUTES: [Thing(name="r", clusters=("c",))]}) == []
    [routes] = script.ack(clusters)
    assert [thing.clusters for thing, _ in routes.things] == [("b",)]
    [next_clusters] = script.ack(routes)
    assert "c" in next_clusters.names
    [next_routes] = script.ack(next_clusters)
    assert [thing.clusters for thing, _ in next_routes.things] == [("c",)]


def test_endpoints_do_not_wait_for_rules(script: Script) -> None:
    script.run()
    script.publish_all({CLUSTER: [Thing(name="b")], ROUTES: [Thing(name="r", clusters=("b",))]})
    assert said(script.publish(ENDPOINTS, Thing(name="a", salt=1))) == [(ENDPOINTS, ["a"])]


def test_endpoints_go_after_a_cluster_that_changed_with_them(script: Script) -> None:
    """The cluster says whom it trusts: an endpoint that shows somebody new would be refused by the one before."""
    script.run()
    [clusters] = script.publish_all({CLUSTER: [Thing(name="b")]})
    changed = {CLUSTER: [Thing(name="a", eds=True, salt=1)], ENDPOINTS: [Thing(name="a", salt=1)]}
    assert script.publish_all(changed) == []
    first, second = script.ack(clusters)
    assert "a" in first.names
    assert (second.type, [thing.salt for thing, _ in second.things]) == (ENDPOINTS, [1])


def test_endpoints_go_after_their_cluster_even_if_that_is_refused(script: Script) -> None:
    """They are as good for the cluster as it was."""
    script.run()
    [clusters] = script.publish_all({CLUSTER: [Thing(name="b")]})
    bad = {CLUSTER: [Thing(name="a", eds=True, bad=True)], ENDPOINTS: [Thing(name="a", salt=1)]}
    assert script.publish_all(bad) == []
    arrivals = script.ack(clusters)
    arrivals += script.refuse(next(each for each in arrivals if each.type is CLUSTER))
    assert 1 in [thing.salt for each in arrivals if each.type is ENDPOINTS for thing, _ in each.things]


def test_a_listener_gets_its_routes_while_it_warms(script: Script) -> None:
    """It names routes that are new to the proxy: they are answered inside the round, as they were when it began."""
    script.run()
    [listeners] = script.publish_all({LISTENER: [Thing(name="l2", routes=("r2",))], ROUTES: [Thing(name="r2")]})
    script.publish(ROUTES, Thing(name="r2", salt=1))
    [routes] = script.subscribe(ROUTES, "r2")
    assert [(thing.name, thing.salt) for thing, _ in routes.things] == [("r2", 0)]
    assert script.ack(listeners) == []
    [newer] = script.ack(routes)
    assert [(thing.name, thing.salt) for thing, _ in newer.things] == [("r2", 1)]


def test_secrets_are_answered_at_once(script: Script) -> None:
    """A cluster cannot be acknowledged before its secret has come."""
    script.run()
    [clusters] = script.publish_all({CLUSTER: [Thing(name="b", secrets=("t",))], SECRET: [Thing(name="t")]})
    assert clusters.type is CLUSTER
    assert said(script.subscribe(SECRET, "t")) == [(SECRET, ["t"])]


def test_a_cluster_that_comes_back_while_it_is_to_go_stays(script: Script) -> None:
    script.run()
    [clusters] = script.publish_all(
        {CLUSTER: [Thing(name="b")], ROUTES: [Thing(name="r", clusters=("b",))]}, {CLUSTER: ["a"]}
    )
    script.publish(CLUSTER, Thing(name="a", eds=True))
    arrivals = script.settle_down([clusters])
    assert not any("a" in (arrival.removed or ()) for arrival in arrivals)
    assert all("a" in arrival.names for arrival in arrivals if arrival.type is CLUSTER and arrival.removed is None)


# --- 6: nonces and unknown types ---


def test_an_old_nonce_acknowledges_nothing(script: Script) -> None:
    script.run()
    [first] = script.publish(ENDPOINTS, Thing(name="a", salt=1))
    [second] = script.publish(ENDPOINTS, Thing(name="a", salt=2)) or script.ack(first)
    assert script.ack(first) == []
    assert script.publish(ENDPOINTS, Thing(name="a", salt=3)) == []
    assert said(script.ack(second)) == [(ENDPOINTS, ["a"])]


def test_a_request_with_an_old_nonce_is_passed_over() -> None:
    """State of the world: the proxy says its names again when it has read what was sent since."""
    script = Script(WHOLE).run()
    script.publish(ENDPOINTS, Thing(name="b"))
    old = script.nonces[ENDPOINTS]
    [arrival] = script.publish(ENDPOINTS, Thing(name="a", salt=1))
    assert script.say(Say(type=ENDPOINTS, names=["a", "b"], nonce=old)) == []
    assert script.ack(arrival) == []
    assert script.say(Say(type=ENDPOINTS, names=["a", "b"], nonce=old)) == []
    assert said(script.say(Say(type=ENDPOINTS, names=["a", "b"], nonce=arrival.nonce))) == [(ENDPOINTS, ["b"])]


def test_a_first_request_with_a_foreign_nonce_is_answered(script: Script) -> None:
    """It is from a stream that broke."""
    script.publish(CLUSTER, Thing(name="a"))
    script.nonces[CLUSTER] = "from another life"
    assert said(script.subscribe(CLUSTER)) == [(CLUSTER, ["a"])]


def test_an_unknown_type_is_passed_over(script: Script) -> None:
    request = script.wire.request(Say(type=CLUSTER)).replace(b"cluster.v3.Cluster", b"cluster.v9.Cluster")
    script.stream.receive(request)
    assert script.poll() == []
    assert said(script.subscribe(CLUSTER)) == [(CLUSTER, [])]


# --- and whoever watches ---


def test_status_tells_generations(script: Script) -> None:
    script.run()
    [arrival] = script.publish(ENDPOINTS, Thing(name="a", salt=1))
    status = {each.type: each for each in script.stream.status().types}[ENDPOINTS]
    assert (status.sent, status.acked, status.waiting) == (2, 1, True)
    assert script.stream.status().delivered == 1
    script.ack(arrival)
    status = {each.type: each for each in script.stream.status().types}[ENDPOINTS]
    assert (status.sent, status.acked, status.waiting) == (2, 2, False)
    assert script.stream.status().delivered == 2
    assert Acked(ENDPOINTS, 2) in script.events


def test_a_stream_may_come_to_follow_other_groups(script: Script) -> None:
    """Only what differs is sent, and what the new groups do not have goes, in the order of any round."""
    script.run()
    other = Group()
    other[CLUSTER].put(resource(CLUSTER, Thing(name="b")), 5)
    other[LISTENER].put(resource(LISTENER, Thing(name="l", routes=("r",))), 5)
    other[ROUTES].put(resource(ROUTES, Thing(name="r", clusters=("b",))), 5)
    script.stream.watch([other])
    arrivals = script.settle_down(script.poll())
    types = [arrival.type for arrival in arrivals]
    assert types[:2] == [CLUSTER, ROUTES]
    assert LISTENER not in types
    assert arrivals[-1].type in (CLUSTER, ENDPOINTS, SECRET)


def test_a_reader_far_behind_gets_everything_that_differs(script: Script) -> None:
    """The log forgot what changed since; what is unchanged is not sent all the same."""
    script.run()
    [first] = script.publish(CLUSTER, Thing(name="new"))
    for number in range(200):
        script.publish(CLUSTER, Thing(name=f"n{number}"))
        script.publish(CLUSTER, without=[f"n{number}"])
    script.publish(CLUSTER, Thing(name="last"))
    [second] = script.ack(first)
    assert second.names == ({"last"} if second.removed is not None else {"a", "new", "last"})
    assert script.ack(second) == []


def test_a_push_costs_what_changed() -> None:
    """The names that are looked up for one changed cluster are counted: as many for 10 clusters as for 2000."""
    assert lookups(10) == lookups(2000)


def lookups(size: int) -> int:
    script = Script(DELTA)
    script.publish(CLUSTER, *(Thing(name=f"c{n}") for n in range(size)))
    script.settle_down(script.subscribe(CLUSTER))
    log = script.group[CLUSTER]
    log.resources = counted = CountedDict(log.resources)
    script.settle_down(script.publish(CLUSTER, Thing(name="c3", salt=1)))
    return counted.count


class CountedDict(dict):  # type: ignore[type-arg]
    count = 0

    def get(self, *args):  # type: ignore[no-untyped-def]
        self.count += 1
        return super().get(*args)

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.count += len(self)
        return super().__iter__()
