"""Where endpoints stand: by the caller's place, the policy in force, and nothing else."""

from collections.abc import Mapping
from fractions import Fraction

import pytest
import yaml

from core.compiler.inputs import Inputs
from core.compiler.nearness import Candidate, narrowed, narrowed_where_names, placed
from core.compiler.scope import NOWHERE, Near
from core.compiler.upstreams import load_assignments, upstreams
from core.manager.testing.facts import Plane, document, documents, instance, service, service_key
from core.model.labels import Labels
from core.model.locality import Alike, Distribute, Failover, LocalityPolicy, Portion
from core.model.service import Locality
from core.view.upstream import Endpoint, Resolved

KEY = service_key("s")
HERE = Near(Locality("eu", "a", "1"), Labels.of({"tier": "gold"}))
PLACES = ("eu/a/1", "eu/a/2", "eu/b", "us/a", "ap/a", "")
REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"


def candidate(place: str, weight: int = 1, **labels: str) -> Candidate:
    return Candidate(Endpoint(f"{place} {labels}", 80, weight), Locality.parse(place), Labels.of(labels))


EVERYWHERE = tuple(map(candidate, PLACES))


def standing(policy: LocalityPolicy, near: Near = HERE, *candidates: Candidate) -> list[set[str]]:
    """The places of each priority."""
    found = placed(candidates or EVERYWHERE, policy, near)
    assert {each.priority for each in found} == set(range(len({each.priority for each in found}))), "gaps"
    count = max((each.priority for each in found), default=-1) + 1
    return [{str(each.locality) for each in found if each.priority == priority} for priority in range(count)]


def weights(policy: LocalityPolicy, near: Near, *candidates: Candidate) -> dict[str, int]:
    return {str(each.locality): each.weight for each in placed(candidates or EVERYWHERE, policy, near)}


def distribute(source: str, **to: int) -> Distribute:
    places = tuple((Locality.parse(place.replace("_", "/")), part) for place, part in to.items())
    return Distribute((Portion(Locality.parse(source), places),))


def test_nobody_is_near_without_a_policy() -> None:
    assert standing(Alike()) == [set(PLACES)]


def test_the_nearest_come_first() -> None:
    assert standing(Failover()) == [{"eu/a/1"}, {"eu/a/2"}, {"eu/b"}, {"us/a", "ap/a", ""}]


def test_there_are_no_gaps() -> None:
    """gRPC takes no list of priorities with holes in it."""
    assert standing(Failover(), HERE, candidate("us/a"), candidate("eu/b")) == [{"eu/b"}, {"us/a"}]


def test_who_is_nowhere_has_those_next_to_it_that_are_nowhere() -> None:
    """As Istio: no locality is a locality like another."""
    assert standing(Failover(), NOWHERE) == [{""}, {"eu/a/1", "eu/a/2", "eu/b", "us/a", "ap/a"}]


def test_a_region_may_step_in_before_others() -> None:
    policy = Failover(regions=(("eu", "ap"), ("us", "eu")))
    assert standing(policy) == [{"eu/a/1"}, {"eu/a/2"}, {"eu/b"}, {"ap/a"}, {"us/a", ""}]


def test_labels_are_compared_up_to_the_first_that_differs() -> None:
    found = [candidate("a", tier="gold", v="1"), candidate("b", tier="gold"), candidate("c", v="1"), candidate("d")]
    policy = Failover(labels=(("tier", None), ("v", "1")))
    assert standing(policy, HERE, *found) == [{"a"}, {"b"}, {"c", "d"}]


def test_labels_that_neither_side_has_are_the_same() -> None:
    assert standing(Failover(labels=(("other", None),))) == [set(PLACES)]


def test_parts_of_the_locality_are_labels_too() -> None:
    policy = Failover(labels=((REGION, None), (ZONE, None)))
    assert standing(policy) == [{"eu/a/1", "eu/a/2"}, {"eu/b"}, {"us/a", "ap/a", ""}]


def test_regions_rank_within_labels() -> None:
    found = [candidate("us/a", tier="gold"), candidate("ap/a", tier="gold"), candidate("eu/a/1")]
    policy = Failover(regions=(("eu", "ap"),), labels=(("tier", None),))
    assert standing(policy, HERE, *found) == [{"ap/a"}, {"us/a"}, {"eu/a/1"}]


def test_one_locality_may_stand_in_several_priorities() -> None:
    found = [candidate("eu", tier="gold"), candidate("eu")]
    assert standing(Failover(labels=(("tier", None),)), HERE, *found) == [{"eu"}, {"eu"}]


def test_parts_are_weights_of_localities() -> None:
    assert weights(distribute("eu", eu_a_1=80, us=20), HERE) == {"eu/a/1": 80, "us/a": 20}


def test_several_localities_share_a_part_by_what_they_weigh() -> None:
    found = (candidate("eu/a", 1), candidate("eu/b", 2), candidate("us", 7))
    got = weights(distribute("", eu=70, us=30), HERE, *found)
    total = sum(got.values())
    assert {place: Fraction(weight, total) for place, weight in got.items()} == {
        "eu/a": Fraction(7, 30), "eu/b": Fraction(14, 30), "us": Fraction(9, 30),
    }  # fmt: skip


def test_weights_stay_small_whatever_endpoints_weigh() -> None:
    """The weights of all localities together have to fit 32 bits."""
    found = (candidate("eu/a", 999_983), candidate("eu/b", 999_979), candidate("us/a", 3), candidate("us/b", 999_961))
    assert sum(weights(distribute("", eu=50, us=50), HERE, *found).values()) <= 1_000_003


def test_a_place_that_no_part_is_for_gets_what_there_would_be_without_a_rule() -> None:
    assert standing(distribute("us", us=100)) == [set(PLACES)]


def test_parts_for_nobody_leave_nobody() -> None:
    assert weights(distribute("eu", sa=100), HERE) == {}


# -- which policy ------------------------------------------------------------------------------------------------------


def plane(*policies: Mapping[str, object], mesh: Mapping[str, object] | None = None) -> Inputs:
    """The service `s` with an instance, and documents of which each is a `spec` without its host."""
    found = Plane(service("s", "80/http", "9000/tcp"), instance("s", "10.0.0.1"))
    if mesh is not None:
        found.told(*documents(SETTINGS + yaml.safe_dump({"spec": {"localityLbSetting": mesh}})))
    for number, policy in enumerate(policies):
        found.told(document("DestinationRule", f"s{number}", {"host": "s", **policy}))
    return found.world.inputs


SETTINGS = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\n"
WATCHED: dict[str, object] = {"outlierDetection": {}}
LABELS = {"failoverPriority": ["tier"]}
PARTS = {"distribute": [{"from": "eu", "to": {"eu": 100}}]}


def balanced(**setting: object) -> dict[str, object]:
    return {"loadBalancer": {"localityLbSetting": setting}}


@pytest.mark.parametrize(
    ("policy", "mesh", "matters"),
    [
        ({}, None, Near()),
        ({}, PARTS, Near(HERE.locality)),
        (WATCHED, None, Near(HERE.locality)),
        (WATCHED, {"enabled": False}, Near()),
        (WATCHED, LABELS, Near(labels=HERE.labels)),
        (WATCHED | balanced(enabled=False), None, Near()),
        (WATCHED | balanced(enabled=True), {"enabled": False}, Near(HERE.locality)),
        (WATCHED | balanced(**LABELS), None, Near(labels=HERE.labels)),
        (WATCHED | balanced(failoverPriority=["tier", ZONE]), None, HERE),
        (WATCHED | balanced(failoverPriority=["tier=gold"]), None, Near()),
        (balanced(**LABELS), None, Near()),
        (balanced(**PARTS), None, Near(HERE.locality)),
        ({"portLevelSettings": [{"port": {"number": 9000}, **WATCHED}]}, None, Near(HERE.locality)),
        ({"portLevelSettings": [{"port": {"number": 9999}, **WATCHED}]}, None, Near()),
    ],
)
def test_only_what_makes_a_difference_of_a_place_is_looked_at(
    policy: Mapping[str, object], mesh: Mapping[str, object] | None, matters: Near
) -> None:
    """By the port's policy if it has one, then the service's, then the mesh's; failover needs outlier detection."""
    given = [{"trafficPolicy": policy}] if policy else []
    assert narrowed(plane(*given, mesh=mesh), "default", KEY, HERE) == matters


def test_a_subset_inherits_the_load_balancer_with_its_localities_or_replaces_both() -> None:
    subsets = [
        {"name": "heir"},
        {"name": "own", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}},
        {"name": "else", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}},
    ]
    inputs = plane({"trafficPolicy": balanced(**PARTS), "subsets": subsets})
    found = {each.subset: each.by_locality for each in upstreams(inputs, "default", KEY) if each.port == 80}
    assert found == {"": True, "heir": True, "own": False, "else": True}


def test_upstreams_do_not_depend_on_where_callers_are() -> None:
    """Only their load assignments do."""
    inputs = plane({"trafficPolicy": balanced(**PARTS)})
    assert upstreams(inputs, "default", KEY, HERE) == upstreams(inputs, "default", KEY)
    here, nowhere = (load_assignments(inputs, "default", KEY, near) for near in (HERE, NOWHERE))
    assert here != nowhere


def test_names_that_are_looked_up_have_places_too() -> None:
    """Their endpoints are a part of the upstream, which therefore is another one for each place."""
    entry = {
        "hosts": ["api.example.com"], "resolution": "DNS",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": f"{place}.example.com", "locality": place} for place in ("eu", "us")],
    }  # fmt: skip
    rule = document("DestinationRule", "a", {"host": "api.example.com", "trafficPolicy": WATCHED})
    inputs = Plane(document("ServiceEntry", "a", entry), rule).world.inputs
    (key,) = inputs.services.keys()
    assert narrowed_where_names(inputs, "default", key, HERE) == Near(HERE.locality)
    for near, first in ((HERE, "eu"), (Near(Locality("us")), "us")):
        (upstream,) = upstreams(inputs, "default", key, near)
        assert isinstance(upstream.endpoints, Resolved)
        assert [str(each.locality) for each in upstream.endpoints.localities if each.priority == 0] == [first]


def test_who_is_known_twice_is_called_once() -> None:
    """Two instances at one address and port are one endpoint, and weigh as much as one."""
    (place,) = placed((candidate("eu/a"), candidate("eu/a"), candidate("eu/a", 3, tier="x")), Failover(), HERE)
    assert ([each.weight for each in place.endpoints], place.weight) == ([1, 3], 4)
