"""What localities cost: nothing until a rule makes them matter, and then only for the services that it is about."""

from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest

from core.manager.testing.facts import Fact, Plane, change, document, instance, service, workload, workload_key
from core.manager.xds.resource import Resource, ResourceType
from core.model.change import ConfigGone
from core.model.config import Document
from core.model.labels import Labels
from core.model.service import Instance, Locality
from core.model.workload import Proxyless, Workload

SERVICES = 60
PLACES = ("eu/a", "eu/b", "us/a", "")
Counts = dict[str, int]


def client(number: int, place: str, **labels: str) -> Workload:
    found = workload(f"w{number}", number=number + 1, labels=labels)
    return msgspec.structs.replace(found, locality=Locality.parse(place))


def at(of: str, number: int, place: str) -> Instance:
    return msgspec.structs.replace(instance(of, f"10.{number}.0.{int(of[1:])}"), locality=Locality.parse(place))


def rule(of: str, **policy: object) -> Document:
    return document("DestinationRule", of, {"host": of, "trafficPolicy": policy})


def mesh(places: tuple[str, ...]) -> Plane:
    """A client in each place, and two instances of each service."""
    facts: list[Fact] = [client(number, place) for number, place in enumerate(places)]
    for i in range(SERVICES):
        facts += [service(f"s{i}"), at(f"s{i}", 1, "eu/a"), at(f"s{i}", 2, "us/a")]
    return connected(Plane(*facts), len(places))


def connected(plane: Plane, clients: int) -> Plane:
    plane.connected(*(f"w{number}" for number in range(clients)))
    return plane


def runs(plane: Plane, *told: Fact | ConfigGone) -> Counts:
    """Clients whose scope changes come back, as the Manager has them do."""
    moved: list[str] = []
    plane.pusher.on_regroup(lambda key: moved.append(key.name))
    with plane.world.inputs.graph.counting() as counted:
        for each in told:
            plane.pusher.apply(each if isinstance(each, ConfigGone) else change(each))
            plane.pusher.settle()
        plane.connected(*moved)
    return dict(+Counter(counted))


def endpoints(plane: Plane, number: int, of: str) -> Resource:
    scope, _ = plane.pusher.groups(workload_key(f"w{number}"))
    return scope[ResourceType.ENDPOINTS].resources[f"outbound|80||{of}.default.svc.cluster.local"]


def test_places_alone_cost_nothing() -> None:
    """As long as no rule makes them matter, all clients are of one scope."""
    plane = mesh(PLACES)
    assert len(list(plane.pusher.scopes())) == 1
    assert runs(plane, rule("s1", loadBalancer={"simple": "RANDOM"})).get("service_endpoints", 0) <= 1


def test_a_rule_makes_a_scope_for_each_place_in_which_only_its_service_is_another() -> None:
    plane = mesh(PLACES)
    counts = runs(plane, rule("s1", outlierDetection={}))
    assert len(list(plane.pusher.scopes())) == len(PLACES)
    # Each place has looked at each service once, found that it does not matter, and shares everything that is built.
    assert counts["assignment"] == 2, "one in eu, one in us; who has no place keeps the old one"
    assert counts["cluster"] == 1
    assert "host_part" not in counts
    assert counts["routes"] == 1, "a policy may say how requests are hashed"
    assert len({id(endpoints(plane, number, "s2")) for number in range(len(PLACES))}) == 1
    assert len({endpoints(plane, number, "s1").version for number in range(len(PLACES))}) == 3


def test_an_endpoint_costs_its_load_assignments_and_nothing_else() -> None:
    """One for each place where a rule is, one in all where none is."""
    plane = mesh(PLACES)
    plane.told(rule("s1", outlierDetection={}))
    runs(plane, rule("s1", outlierDetection={}))
    connected(plane, len(PLACES))
    for of, most in (("s1", len(PLACES)), ("s2", 1)):
        counts = runs(plane, at(of, 3, "eu/b"))
        assert counts.keys() <= {"service_endpoints", "assignment", "findings"}
        assert 1 <= counts["assignment"] <= most
        assert counts["service_endpoints"] <= len(PLACES)


def test_when_the_last_rule_goes_all_share_again() -> None:
    plane = mesh(PLACES)
    found = rule("s1", outlierDetection={})
    runs(plane, found)
    runs(plane, ConfigGone(found.key))
    assert len(list(plane.pusher.scopes())) == 1


def test_a_rule_costs_no_scope_where_nobody_knows_places() -> None:
    plane = mesh(("", "", ""))
    counts = runs(plane, rule("s1", outlierDetection={}))
    assert len(list(plane.pusher.scopes())) == 1
    assert "assignment" not in counts


def test_labels_make_a_scope_only_if_a_rule_compares_them() -> None:
    facts = [client(number, "eu", tier=tier, odd=str(number)) for number, tier in enumerate(("a", "a", "b"))]
    plane = connected(Plane(*facts, service("s1"), at("s1", 1, "eu")), len(facts))
    setting = {"localityLbSetting": {"failoverPriority": ["tier"]}}
    runs(plane, rule("s1", outlierDetection={}, loadBalancer=setting))
    assert len(list(plane.pusher.scopes())) == 2


@pytest.mark.parametrize("policy", [{"outlierDetection": {}}, {"loadBalancer": {"simple": "RANDOM"}}])
def test_grpc_clients_without_a_proxy_are_no_different(policy: Mapping[str, object]) -> None:
    places = ("eu/a", "us/a")
    clients = [
        msgspec.structs.replace(client(number, place), capture=Proxyless()) for number, place in enumerate(places)
    ]
    plane = Plane(*clients, service("s1"), service("s2"), at("s1", 1, "eu/a"), at("s1", 2, "us/a"), at("s2", 1, "eu/a"))
    connected(plane, len(places))
    runs(plane, rule("s1", **policy))
    found = [endpoints(plane, number, "s1") for number in range(len(places))]
    assert (found[0] != found[1]) is ("outlierDetection" in policy)
    assert endpoints(plane, 0, "s2") is endpoints(plane, 1, "s2")


def test_labels_of_rules_and_of_places_are_kept_apart() -> None:
    """A label that only failover compares makes no other routes."""
    plane = connected(Plane(client(0, "eu", tier="a"), client(1, "us", tier="b"), service("s1")), 2)
    setting = {"localityLbSetting": {"failoverPriority": ["tier"]}}
    runs(plane, rule("s1", outlierDetection={}, loadBalancer=setting))
    assert {scope.labels for scope in plane.pusher.scopes()} == {Labels()}
