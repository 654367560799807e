"""What a change costs proxies of capture `redirect`, and what they share: as much as in capture `none`, or more."""

from collections import Counter

import msgspec
import pytest

from core.manager.testing.facts import Fact, Plane, document, instance, redirected, service, workload, workload_key
from core.manager.xds.resource import ResourceType
from core.model.config import Document
from core.model.workload import Workload

Counts = dict[str, int]


def mesh(services: int, *clients: Workload) -> Plane:
    plane = Plane(*clients, *(fact for i in range(services) for fact in facts(i)))
    plane.connected(*(str(client.key) for client in clients))
    return plane


def facts(i: int) -> list[Fact]:
    named = service(f"s{i}", "80/http", "9000/tcp", "9080", addresses=[f"240.240.{i // 250}.{i % 250 + 1}"])
    instances = [instance(f"s{i}", f"10.{k}.{i // 250}.{i % 250}", labels={"version": f"v{k}"}) for k in range(2)]
    return [named, *instances, rule(i, timeout="9s")]


def rule(i: int, *, timeout: str) -> Document:
    route = {"timeout": timeout, "route": [{"destination": {"host": f"s{i}"}}]}
    return document("VirtualService", f"r{i}", {"hosts": [f"s{i}"], "http": [route]})


def runs(plane: Plane, *told: Fact) -> Counts:
    with plane.world.inputs.graph.counting() as counted:
        plane.told(*told)
    return dict(+Counter(counted))


@pytest.fixture(scope="module")
def explicit() -> Plane:
    return mesh(200, workload("a", number=1), workload("b", number=2))


@pytest.fixture(scope="module")
def small() -> Plane:
    return mesh(200, redirected("a", number=1), redirected("b", number=2))


@pytest.fixture(scope="module")
def large() -> Plane:
    return mesh(1000, redirected("a", number=1), redirected("b", number=2))


def test_an_endpoint_costs_its_load_assignments(explicit: Plane, small: Plane, large: Plane) -> None:
    """No more than in capture `none`, in a mesh of any size: no listener, no name."""
    moved = msgspec.structs.replace(instance("s7", "10.0.0.7"), address="10.9.9.9")
    counts = runs(small, moved)
    assert counts.keys() <= {"service_endpoints", "assignment", "findings"}
    assert counts == runs(explicit, moved) == runs(large, moved)


def test_a_rule_costs_its_virtual_hosts(explicit: Plane, small: Plane, large: Plane) -> None:
    """A changed VirtualService: fewer places than in capture `none`, for there is no HTTP proxy; nothing of the DNS."""
    changed = rule(7, timeout="3s")
    counts = runs(small, changed)
    assert counts.keys() <= runs(explicit, changed).keys()
    assert sum(counts.values()) <= 20
    assert runs(large, changed) == counts


def test_a_new_service_costs_its_own_resources_and_the_way_up_the_names(small: Plane, large: Plane) -> None:
    """One record, one path in the directory, one listener that is put together by reference: in any mesh the same."""
    new = service("new", "80/http", "9000/tcp", "9080", addresses=["240.240.9.9"])
    counts = runs(small, new)
    assert counts["name_part"] == 1
    assert counts["names_part"] <= 4
    assert counts["dns_listeners"] == 1
    assert runs(large, new) == counts


def test_fifty_workloads_of_a_scope_share_one_set_of_bytes() -> None:
    """All that is outbound, and the listener that everything is led to, exist once."""
    clients = [redirected(f"w{number}", number=number) for number in range(50)]
    plane = mesh(20, *clients)
    groups = [plane.pusher.groups(client.key) for client in clients]
    assert len({id(shared) for shared, _ in groups}) == 1
    outbound = [own[ResourceType.LISTENER].resources["virtualOutbound"] for _, own in groups]
    assert len({id(each) for each in outbound}) == 1
    everything = [resource for _, own in groups for log in own.logs.values() for resource in log.resources.values()]
    assert len({id(each) for each in everything}) == len({each.name for each in everything})


def test_what_both_captures_have_alike_is_the_same_object() -> None:
    """Clusters and endpoints of services do not depend on how a call came to the proxy."""
    plane = mesh(5, redirected("a", number=1), workload("b", number=2))
    (a, _), (b, _) = (plane.pusher.groups(workload_key(name)) for name in "ab")
    for type_ in (ResourceType.CLUSTER, ResourceType.ENDPOINTS):
        alike = {name: resource for name, resource in a[type_].resources.items() if name.startswith("outbound|")}
        assert alike
        assert all(b[type_].resources[name] is resource for name, resource in alike.items())
