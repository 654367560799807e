"""Services that documents declare: beside those of platforms, gone with their document, hidden from whom they are."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from core.compiler.view import ProxyView
from core.envoy import clusters
from core.manager.testing.facts import Plane, document, instance, service, workload, workload_key
from core.manager.xds.resource import ResourceType
from core.model.change import ConfigGone, InstancePut, ServiceGone
from core.model.config import Document
from core.model.labels import Labels
from core.model.service import Locality, ServiceKey
from core.view.upstream import Discovered, Endpoint, Resolved, Upstream

HOST = "api.example.com"
UPSTREAM = f"outbound|80||{HOST}"


def entry(name: str = "api", *, namespace: str = "default", **fields: object) -> Document:
    spec: dict[str, object] = {
        "hosts": [HOST],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "192.0.2.1"}],
    }
    return document("ServiceEntry", name, spec | fields, namespace=namespace)


def created(declaring: Document, when: float) -> Document:
    return msgspec.structs.replace(declaring, created=when)


def view(plane: Plane, name: str = "a") -> ProxyView:
    return ProxyView(plane.world.inputs, workload_key(name))


def endpoints(plane: Plane, name: str = "a", *, upstream: str = UPSTREAM) -> list[Endpoint]:
    assignment = view(plane, name).endpoints()[upstream]
    return [endpoint for locality in assignment.localities for endpoint in locality.endpoints]


def listeners(plane: Plane) -> Sequence[str]:
    return [listener.name for listener in view(plane).listeners()]


def sent(plane: Plane, type_: ResourceType, name: str = "a") -> set[str]:
    return {found for group in plane.pusher.groups(workload_key(name)) for found in group[type_].resources}


def test_a_document_declares_a_service_with_instances() -> None:
    """Ports have the endpoint's own numbers, or else the target; the endpoints are discovered like any others."""
    ports = [{"number": 80, "name": "http", "targetPort": 8080}, {"number": 81, "name": "http-2"}]
    one = {"address": "192.0.2.1", "ports": {"http-2": 7}, "weight": 3, "locality": "r/z"}
    plane = Plane(workload("a"), entry(ports=ports, endpoints=[one, {"address": "192.0.2.2"}]))
    assert isinstance(view(plane).upstreams()[UPSTREAM].endpoints, Discovered)
    assert endpoints(plane) == [Endpoint("192.0.2.2", 8080), Endpoint("192.0.2.1", 8080, 3)]
    assert endpoints(plane, upstream=f"outbound|81||{HOST}") == [Endpoint("192.0.2.2", 81), Endpoint("192.0.2.1", 7, 3)]


def test_names_are_part_of_the_upstream() -> None:
    """With resolution DNS nothing is discovered: the proxy looks the names up itself, those of the subset only."""
    eu = {"address": "eu.example.com", "labels": {"place": "eu"}, "locality": "eu"}
    declaring = entry(resolution="DNS", endpoints=[eu, {"address": "us.example.com"}])
    subset = {"host": HOST, "subsets": [{"name": "eu", "labels": {"place": "eu"}}]}
    plane = Plane(workload("a"), declaring, document("DestinationRule", "p", subset))
    found = view(plane).upstreams()
    everywhere, in_eu = found[UPSTREAM].endpoints, found[f"outbound|80|eu|{HOST}"].endpoints
    assert isinstance(everywhere, Resolved)
    assert isinstance(in_eu, Resolved)
    names = [e.address for locality in everywhere.localities for e in locality.endpoints]
    assert names == ["us.example.com", "eu.example.com"]
    (only,) = in_eu.localities
    assert (only.locality, only.endpoints) == (Locality("eu"), (Endpoint("eu.example.com", 80),))
    assert view(plane).endpoints() == {}


def test_without_endpoints_each_host_is_looked_up_itself() -> None:
    """Of several hosts each has its own name behind it."""
    plane = Plane(workload("a"), entry(hosts=[HOST, "www.example.com"], resolution="DNS", endpoints=[]))
    for host in (HOST, "www.example.com"):
        found = view(plane).upstreams()[f"outbound|80||{host}"].endpoints
        assert isinstance(found, Resolved)
        assert [e for locality in found.localities for e in locality.endpoints] == [Endpoint(host, 80)]


def test_a_document_that_changes_leaves_nothing_behind() -> None:
    """Hosts and endpoints that it no longer names are gone, at connected proxies as well; so is all when it goes."""
    plane = Plane(workload("a"), entry(endpoints=[{"address": "192.0.2.1"}, {"address": "192.0.2.2"}]))
    plane.connected("a")
    assert UPSTREAM in sent(plane, ResourceType.CLUSTER)
    plane.told(entry(hosts=["www.example.com"]))
    assert sent(plane, ResourceType.ENDPOINTS) == {"outbound|80||www.example.com"}
    assert endpoints(plane, upstream="outbound|80||www.example.com") == [Endpoint("192.0.2.1", 80)]
    plane.told(entry(hosts=["www.example.com"], resolution="DNS"))
    assert sent(plane, ResourceType.ENDPOINTS) == set()
    assert "outbound|80||www.example.com" in sent(plane, ResourceType.CLUSTER)
    plane.pusher.apply(ConfigGone(entry().key))
    plane.pusher.settle()
    assert not any("example" in name for name in sent(plane, ResourceType.CLUSTER))
    inputs = plane.world.inputs
    assert [*inputs.services.keys(), *inputs.instances.keys(), *inputs.declarations.keys()] == []
    assert plane.world.http_ports == {}


def test_a_document_that_becomes_wrong_declares_nothing() -> None:
    """Its services go with its last good version, as its rules would."""
    plane = Plane(workload("a"), entry())
    plane.told(entry(endpoints=[{"address": "nowhere"}]))
    assert UPSTREAM not in view(plane).upstreams()


def test_a_reverted_document_declares_what_it_did_before() -> None:
    """What proxies refuse goes out of force, and the last good version comes back."""
    plane = Plane(workload("a"), entry())
    plane.connected("a")
    plane.world.settled(1)
    plane.world.prove(1)
    plane.told(entry(hosts=["www.example.com"]))
    plane.pusher.revert(entry().key)
    plane.pusher.settle()
    assert sent(plane, ResourceType.ENDPOINTS) == {UPSTREAM}
    plane.pusher.restore(entry().key)
    plane.pusher.settle()
    assert sent(plane, ResourceType.ENDPOINTS) == {"outbound|80||www.example.com"}


def test_clusters_know_their_document() -> None:
    """When a proxy refuses the cluster, the document behind it is to blame."""
    plane = Plane(workload("a"), entry())
    plane.connected("a")
    group, _ = plane.pusher.groups(workload_key("a"))
    cluster = group[ResourceType.CLUSTER].resources[UPSTREAM]
    assert [getattr(origin, "document", None) for origin in cluster.origins] == [entry().key]


def test_platforms_and_documents_do_not_get_into_each_others_way() -> None:
    """A platform's service of the same host and namespace is another one: the older counts."""
    mine = service(f"default/{HOST}", created=5)
    behind = instance(f"default/{HOST}", "10.0.0.1")
    plane = Plane(workload("a"), mine, behind, created(entry(), 9))
    plane.connected("a")
    assert [e.address for e in endpoints(plane)] == ["10.0.0.1"]
    plane.told(created(entry(), 1))
    assert [e.address for e in endpoints(plane)] == ["192.0.2.1"]
    plane.pusher.apply(InstancePut(msgspec.structs.replace(behind, labels=Labels.of({"x": "y"}))))
    plane.pusher.apply(ConfigGone(entry().key))
    plane.pusher.settle()
    assert [e.address for e in endpoints(plane)] == ["10.0.0.1"]
    assert UPSTREAM in sent(plane, ResourceType.CLUSTER)
    plane.told(created(entry(), 9))
    plane.pusher.apply(ServiceGone(ServiceKey("default", HOST)))
    plane.pusher.settle()
    assert [e.address for e in endpoints(plane)] == ["192.0.2.1"]


def test_a_service_of_the_callers_namespace_comes_first() -> None:
    """Two documents declare one host: each namespace follows its own, others the older one."""
    plane = Plane(
        workload("a"),
        workload("b.shop", number=2),
        workload("c.third", number=3),
        created(entry("one", endpoints=[{"address": "192.0.2.1"}]), 2),
        created(entry("two", namespace="shop", endpoints=[{"address": "192.0.2.2"}]), 1),
    )
    found = {name: [e.address for e in endpoints(plane, name)] for name in ("a", "b.shop", "c.third")}
    assert found == {"a": ["192.0.2.1"], "b.shop": ["192.0.2.2"], "c.third": ["192.0.2.2"]}


def test_what_is_not_exported_does_not_exist() -> None:
    """Neither cluster nor endpoints nor virtual host; a rule that names it dangles."""
    rule = {"hosts": [HOST], "http": [{"route": [{"destination": {"host": HOST}}]}]}
    elsewhere = document("VirtualService", "r", rule)
    plane = Plane(workload("a"), workload("b.shop", number=2), entry(namespace="shop", exportTo=["."]), elsewhere)
    plane.connected("a", "b.shop")
    assert UPSTREAM in sent(plane, ResourceType.CLUSTER, "b.shop")
    for type_ in (ResourceType.CLUSTER, ResourceType.ENDPOINTS, ResourceType.LISTENER):
        assert not any(HOST in name for name in sent(plane, type_)), type_
    assert [found.code for found in plane.pusher.diagnostics(elsewhere.key)] == ["IST0101"]


def test_an_address_of_its_own_gives_a_virtual_listener() -> None:
    """Within the workload's network, at the host bits of the address; without addresses there is none."""
    plane = Plane(workload("a", virtual="127.64.8.0/21"), entry(addresses=["240.240.4.1"]))
    assert "127.64.12.1_80" in listeners(plane)
    plane.told(entry())
    assert "127.64.12.1_80" not in listeners(plane)


def test_addresses_that_fall_together_are_the_platforms_and_then_the_older_ones() -> None:
    """In a small network two addresses may mean one; no listener is there twice; one comes when its place is free."""
    network = "127.64.8.0/21"
    older = created(entry("older", hosts=["b.example.com"], addresses=["240.240.12.1"], ports=[_port(81)]), 1)
    newer = created(entry("newer", addresses=["240.240.20.1"], ports=[_port(82)]), 2)
    mine = service("mine", "83/http", addresses=["240.240.4.1"], created=9)
    plane = Plane(workload("a", virtual=network), newer)
    plane.connected("a")
    assert "127.64.12.1_82" in sent(plane, ResourceType.LISTENER)
    plane.told(older)
    assert _at(sent(plane, ResourceType.LISTENER)) == {"127.64.12.1_81"}
    plane.told(mine)
    assert _at(sent(plane, ResourceType.LISTENER)) == {"127.64.12.1_83"}
    plane.pusher.apply(ServiceGone(mine.key))
    plane.pusher.apply(ConfigGone(older.key))
    plane.pusher.settle()
    assert _at(sent(plane, ResourceType.LISTENER)) == {"127.64.12.1_82"}


def _port(number: int) -> dict[str, object]:
    return {"number": number, "name": "http"}


def _at(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith("127.64.12.1_")}


def test_a_short_name_belongs_to_the_document_that_declares_it() -> None:
    """A host that is a service's short form: the service keeps its other names, and no domain stands twice."""
    declaring = entry(hosts=["reviews.default", "reviews.default.svc.cluster.local"])
    plane = Plane(workload("a"), service("reviews"), declaring)
    found = view(plane).routes("80")
    assert found is not None
    domains = [domain for host in found.virtual_hosts for domain in host.domains]
    assert len(domains) == len(set(domains))
    hosts = {domain: host.name for host in found.virtual_hosts for domain in host.domains}
    assert hosts["reviews.default"] == "reviews.default:80"
    assert hosts["reviews"] == "reviews.default.svc.cluster.local:80"


def test_documents_that_disagree_on_a_protocol_are_told() -> None:
    """About the port, in both documents, for as long as both are there."""
    one, two = entry("one"), entry("two", ports=[{"number": 80, "name": "tcp"}], addresses=["240.240.4.1"])
    plane = Plane(one, two)
    for each, other in ((one, "two"), (two, "one")):
        (found,) = plane.pusher.diagnostics(each.key)
        assert (found.code, found.origin and found.origin.path) == ("IST0177", "spec.ports[0]")
        assert f"default/{other}" in found.message
    plane.pusher.apply(ConfigGone(two.key))
    plane.pusher.settle()
    assert plane.pusher.diagnostics(one.key) == ()


def test_an_endpoint_costs_its_load_assignment() -> None:
    """One endpoint of a document that moves: nothing of clusters, routes and listeners is computed again."""
    plane = Plane(workload("a"), entry())
    plane.connected("a")
    with plane.world.inputs.graph.counting() as counted:
        plane.told(entry(endpoints=[{"address": "192.0.2.9"}]))
    assert dict(+Counter(counted)).keys() == {"findings", "service_endpoints", "assignment"}
    assert [e.address for e in endpoints(plane)] == ["192.0.2.9"]


def test_a_document_that_brings_out_a_bug_of_ours_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last good version comes back, its new services go again, and other documents take effect."""
    encode = clusters.encode

    def broken(upstream: Upstream) -> bytes:
        if "spoilt" in upstream.name:
            raise KeyError("planted")
        return encode(upstream)

    monkeypatch.setattr(clusters, "encode", broken)
    plane = Plane(workload("a"), entry("bad"))
    plane.connected("a")
    plane.world.settled(1)
    plane.world.prove(1)
    plane.told(entry("bad", hosts=["spoilt.example.com", HOST], ports=[{"number": 81, "name": "http"}]))
    assert [found.code for found in plane.pusher.diagnostics(entry("bad").key)] == ["MSH3002"]
    assert sent(plane, ResourceType.ENDPOINTS) == {UPSTREAM}
    plane.told(entry("good", hosts=["good.example.com"]))
    assert sent(plane, ResourceType.ENDPOINTS) == {UPSTREAM, "outbound|80||good.example.com"}
    plane.pusher.apply(ConfigGone(entry("bad").key))
    plane.pusher.settle()
    assert sent(plane, ResourceType.ENDPOINTS) == {"outbound|80||good.example.com"}
    assert not any(name.startswith("outbound") and HOST in name for name in sent(plane, ResourceType.CLUSTER))
