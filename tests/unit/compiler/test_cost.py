"""What a change costs: how many derived functions of the real compiler run, in small meshes and in large ones."""

from collections import Counter

import msgspec
import pytest

from core.manager.testing.facts import (
    Fact,
    Plane,
    document,
    documents,
    instance,
    service,
    service_key,
    workload,
    workload_key,
)
from core.manager.xds.resource import ResourceType
from core.model.change import ConfigGone, InstanceGone, ServiceGone
from core.model.config import Document
from core.model.service import Health, InstanceKey

Counts = dict[str, int]


def mesh(services: int) -> Plane:
    """Three proxies in two scopes, one of them with virtual listeners; two instances and a rule for each service."""
    plane = Plane(
        workload("a", number=1),
        workload("b", number=2),
        workload("v", number=3, virtual="127.64.0.0/13"),
        *(fact for i in range(services) for fact in facts(i)),
    )
    plane.connected("a", "b", "v")
    return plane


def facts(i: int) -> list[Fact]:
    address = f"240.240.{i // 250}.{i % 250 + 1}"
    instances = [instance(f"s{i}", f"10.{k}.{i // 250}.{i % 250}", labels={"version": f"v{k}"}) for k in range(2)]
    return [service(f"s{i}", "80/http", "9000/tcp", addresses=[address]), *instances, rule(i, timeout="9s")]


def rule(i: int, *, timeout: str) -> Document:
    route = {"timeout": timeout, "route": [{"destination": {"host": f"s{i}"}}]}
    return document("VirtualService", f"r{i}", {"hosts": [f"s{i}"], "http": [route]})


def runs(plane: Plane, fact: Fact) -> Counts:
    with plane.world.inputs.graph.counting() as counted:
        plane.told(fact)
    return dict(+Counter(counted))


@pytest.fixture(scope="module")
def small() -> Plane:
    return mesh(100)


@pytest.fixture(scope="module")
def large() -> Plane:
    return mesh(1000)


def test_an_endpoint_costs_its_load_assignments(small: Plane, large: Plane) -> None:
    """An instance that moves: at most 10 derived functions, nothing but load assignments, whatever the mesh's size."""
    moved = msgspec.structs.replace(instance("s7", "10.0.0.7"), address="10.9.9.9")
    counts = runs(small, moved)
    assert sum(counts.values()) <= 10
    # The findings are of the documents that name the service: whether a subset selects nobody.
    assert counts.keys() <= {"service_endpoints", "assignment", "findings"}
    assert runs(large, moved) == counts


def test_an_endpoint_that_fails_its_probe_costs_no_more(small: Plane, large: Plane) -> None:
    """Health is no different."""
    sick = msgspec.structs.replace(instance("s8", "10.0.0.8"), health=Health.UNHEALTHY)
    counts = runs(small, sick)
    assert 0 < sum(counts.values()) <= 10
    assert runs(large, sick) == counts


def test_an_endpoint_costs_clusters_only_if_it_brings_a_new_identity(small: Plane, large: Plane) -> None:
    """Clusters say who is trusted: a first instance of an account changes them, a second one does not."""
    first, second = (instance("s6", f"10.0.1.{i}", account="a") for i in range(2))
    counts = runs(small, first)
    assert counts["cluster"] == 2
    assert runs(large, first) == counts
    assert runs(small, second).keys() <= {"service_endpoints", "assignment", "findings"}
    assert runs(small, msgspec.structs.replace(first, health=Health.UNHEALTHY)).get("cluster", 0) == 0


def test_a_mode_costs_the_load_assignments_of_its_namespace_and_no_cluster(small: Plane) -> None:
    """Which endpoints speak mutual TLS is theirs to say; a mode that makes no difference to callers stops there."""
    text = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: a}, spec: {mtls: {mode: %s}}}"
    small.told(instance("s5", "10.0.1.7", account="a"))
    for mode, changed in (("STRICT", False), ("DISABLE", True)):
        (said,) = documents(text % mode)
        counts = runs(small, said)
        assert "cluster" not in counts
        assert "service_clusters" not in counts
        assert bool(counts.get("assignment")) is changed


def test_a_rule_costs_its_virtual_hosts(small: Plane, large: Plane) -> None:
    """A changed VirtualService: its host's parts (for each scope and port) and the way up, the same in any mesh."""
    counts = runs(small, rule(7, timeout="3s"))
    # Two scopes, and of each the host in the HTTP proxy's configuration and in that of port 80.
    assert counts["host_part"] == 4
    assert counts["routes"] == 2
    assert counts["port_routes"] == 4
    assert "cluster" not in counts
    assert "assignment" not in counts
    # The way from a host to the root of the directory, in four directories.
    assert counts["hosts_part"] <= 4 * 5
    assert runs(large, rule(7, timeout="3s")) == counts


def test_a_rule_that_says_the_same_costs_no_more_than_looking(small: Plane) -> None:
    """A document written again without a change of meaning stops at once: nothing is encoded, nothing pushed."""
    generation = small.pusher.generation
    counts = runs(small, msgspec.structs.replace(rule(9, timeout="9s"), revision="2"))
    assert sum(counts.values()) == 0
    assert small.pusher.generation == generation


def test_a_policy_costs_its_clusters(small: Plane, large: Plane) -> None:
    """A DestinationRule: the clusters of its service; no virtual host is looked at twice."""
    pool = {"connectionPool": {"tcp": {"maxConnections": 3}}}
    policy = document("DestinationRule", "p", {"host": "s7", "trafficPolicy": pool})
    counts = runs(small, policy)
    assert counts["cluster"] == 2
    assert "port_routes" not in counts
    assert runs(large, policy) == counts


def test_proxies_that_see_the_same_share_one_set_of_resources(large: Plane) -> None:
    """Workloads of one scope have one group; scopes that differ share equal clusters and load assignments."""
    (a, _), (b, _), (v, _) = (large.pusher.groups(workload_key(name)) for name in "abv")
    assert a is b
    assert a is not v
    for type_ in (ResourceType.CLUSTER, ResourceType.ENDPOINTS):
        assert all(resource is v[type_].resources[name] for name, resource in a[type_].resources.items())


def test_a_mesh_that_went_away_leaves_nothing() -> None:
    """After deleting all services and documents only what every proxy has is left."""
    plane, bare = mesh(30), mesh(0)
    for i in range(30):
        plane.pusher.apply(ConfigGone(rule(i, timeout="9s").key))
        for k in range(2):
            plane.pusher.apply(InstanceGone(InstanceKey(service_key(f"s{i}"), f"10.{k}.0.{i}")))
        plane.pusher.apply(ServiceGone(service_key(f"s{i}")))
    plane.pusher.settle()
    assert len(plane.world.inputs.graph) == len(bare.world.inputs.graph)
    for mine, wanted in zip(plane.pusher.groups(workload_key("v")), bare.pusher.groups(workload_key("v")), strict=True):
        assert {t: log.resources.keys() for t, log in mine.logs.items()} == {
            t: log.resources.keys() for t, log in wanted.logs.items()
        }
