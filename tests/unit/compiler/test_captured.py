"""Capture `redirect`, outbound: which listener takes over what, and where it leads."""

import msgspec
import pytest

from core.compiler.view import ProxyView
from core.kinds import meshconfig
from core.manager.testing.facts import Fact, Plane, document, instance, redirected, service, workload, workload_key
from core.manager.xds.resource import ResourceType
from core.model.config import Document
from core.model.identity import SpiffeId
from core.model.service import Service
from core.simulate import Arrived, Call, Outcome, Refused, simulate
from core.simulate.accept import Connection, chain_for, plain
from core.view.listener import Captured, FilterChain, HttpChain, Listener, TcpChain
from core.view.route import WeightedUpstream
from core.view.security import MeshClient
from core.view.upstream import Discovered, OriginalDestination

IDENTITY = SpiffeId("cluster.local", "ns/default/sa/db")
OWN = (
    service("web", "80/http", "8080/grpc", addresses=["240.240.0.1"]),
    service("db", "80/tcp", "9000/tcp", addresses=["240.240.0.2"]),
    service("any", "9080", addresses=["240.240.0.3", "240.240.0.4"]),
)


def view(*facts: Fact, client: str = "client") -> ProxyView:
    return ProxyView(Plane(redirected("client"), redirected("far.away"), *facts).world.inputs, workload_key(client))


def captured(seen: ProxyView) -> dict[str, Listener]:
    return {each.name: each for each in seen.listeners() if isinstance(each.bind, Captured)}


def call(seen: ProxyView, address: str, port: int, *, protocol: str = "http", host: str = "") -> str:
    """The upstream that a call arrives at, or how it ends."""
    made = Call(source=seen.workload.key, host=host or address, port=port, via="captured", protocol=protocol)  # type: ignore[arg-type]
    return _end(simulate(seen, made, entrance=(address, port)))


def _end(outcome: Outcome) -> str:
    (result,) = outcome.results
    match result:
        case Arrived(upstream=upstream):
            return upstream
        case Refused():
            return "refused"
        case _:
            return str(result.status)


def entry(name: str, *ports: tuple[int, str], resolution: str = "STATIC", **spec: object) -> Fact:
    listed = [{"number": number, "name": f"p{number}", "protocol": protocol} for number, protocol in ports]
    endpoints = [{"address": "10.5.0.1" if resolution == "STATIC" else "there.example"}]
    hosts = [f"{name}.example"]
    return document(
        "ServiceEntry",
        name,
        {"hosts": hosts, "ports": listed, "resolution": resolution, "endpoints": endpoints, **spec},
    )


def test_one_listener_for_each_http_port_and_one_for_each_address_of_the_rest() -> None:
    """HTTP ports are shared, told apart by hosts; TCP and undeclared ports have a listener for every address."""
    assert captured(view(*OWN)).keys() == {
        "0.0.0.0_80", "0.0.0.0_8080", "240.240.0.2_80", "240.240.0.2_9000", "240.240.0.3_9080", "240.240.0.4_9080"
    }  # fmt: skip


def test_there_is_nothing_of_capture_none() -> None:
    """No forward proxy, no tunnels, no `http_proxy` routes."""
    plane = Plane(redirected("client"), *OWN)
    plane.connected("client")
    names = {
        name for group in plane.pusher.groups(workload_key("client")) for log in group.logs.values()
        for name in log.resources
    }  # fmt: skip
    assert "http_proxy" not in names
    assert not [name for name in names if name.startswith("internal|") or name.endswith("_15007")]
    assert {"virtualOutbound", "dns", "80", "8080", "any.default.svc.cluster.local:9080", "PassthroughCluster"} <= names


@pytest.mark.parametrize(
    ("address", "port", "host", "protocol", "wanted"),
    [
        ("240.240.0.1", 80, "web", "http", "outbound|80||web.default.svc.cluster.local"),
        ("240.240.0.1", 80, "", "http", "outbound|80||web.default.svc.cluster.local"),
        ("10.9.9.9", 80, "web", "http", "outbound|80||web.default.svc.cluster.local"),
        ("10.9.9.9", 80, "nobody.example", "http", "PassthroughCluster"),
        ("10.9.9.9", 80, "", "tcp", "PassthroughCluster"),
        ("10.9.9.9", 7777, "", "tcp", "PassthroughCluster"),
        ("10.9.9.9", 7777, "web", "http", "PassthroughCluster"),
        ("240.240.0.1", 8080, "web", "grpc", "outbound|8080||web.default.svc.cluster.local"),
        ("240.240.0.2", 80, "web", "http", "outbound|80||db.default.svc.cluster.local"),
        ("240.240.0.2", 9000, "", "tcp", "outbound|9000||db.default.svc.cluster.local"),
        ("240.240.0.4", 9080, "", "tcp", "outbound|9080||any.default.svc.cluster.local"),
        ("240.240.0.3", 9080, "whatever", "http", "outbound|9080||any.default.svc.cluster.local"),
        ("10.9.9.9", 15001, "", "tcp", "refused"),
    ],
)
def test_the_original_destination_decides(address: str, port: int, host: str, protocol: str, wanted: str) -> None:
    """The most specific listener takes over; what nobody claims goes where it was meant to go."""
    facts: tuple[Fact, ...] = (*OWN, *(instance(name, "10.1.0.9") for name in ("web", "db", "any")))
    assert call(view(*facts), address, port, host=host, protocol=protocol) == wanted


def test_registry_only_lets_nothing_out() -> None:
    """502 for HTTP on a port that speaks it, refused otherwise; services are reached as before."""
    mesh = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}
    plane = Plane(redirected("client"), *OWN, instance("web", "10.1.0.9"))
    plane.told(Document(key=meshconfig.KEY, version="v1alpha1", spec=msgspec.json.encode(mesh)))
    seen = ProxyView(plane.world.inputs, workload_key("client"))
    assert call(seen, "10.9.9.9", 80, host="nobody.example") == "502"
    assert call(seen, "10.9.9.9", 80, protocol="tcp") == "refused"
    assert call(seen, "10.9.9.9", 7777, protocol="tcp") == "refused"
    assert call(seen, "240.240.0.1", 80, host="web") == "outbound|80||web.default.svc.cluster.local"
    assert "PassthroughCluster" not in seen.upstreams()


def test_a_service_without_an_address_has_the_port() -> None:
    """Declared TCP without an address: all of the port that is not HTTP of somebody else; the oldest comes first."""
    lone = entry("mail", (2525, "TCP"))
    assert call(view(lone), "10.9.9.9", 2525, protocol="tcp") == "outbound|2525||mail.example"
    both = (entry("mail", (80, "TCP")), *OWN, instance("web", "10.1.0.9"))
    assert call(view(*both), "10.9.9.9", 80, protocol="tcp") == "outbound|80||mail.example"
    assert call(view(*both), "10.9.9.9", 80, host="web") == "outbound|80||web.default.svc.cluster.local"
    rivals = (entry("zebra", (2525, "TCP")), entry("mail", (2525, "TCP")))
    assert call(view(*rivals), "10.9.9.9", 2525, protocol="tcp") == "outbound|2525||mail.example"


@pytest.mark.parametrize(
    "beside", [(), (service("web", "443/http", addresses=["240.240.0.1"]),)], ids=["alone", "http"]
)
def test_tls_without_an_address_goes_by_the_name_it_asks_for(beside: tuple[Fact, ...]) -> None:
    """Two hosts on port 443, perhaps HTTP on the same port: nobody gets what was meant for another."""
    seen = view(entry("one", (443, "TLS")), entry("two", (443, "HTTPS")), *beside)
    chains = captured(seen)["0.0.0.0_443"].chains

    def goes(name: str) -> object:
        connection = Connection(port=443, transport="tls", server_name=name, protocols=("h2", "http/1.1"))
        return _served(chain_for(chains, connection))

    assert goes("one.example") == _bytes_to("outbound|443||one.example")
    assert goes("two.example") == _bytes_to("outbound|443||two.example")
    assert goes("three.example") == goes("") == _bytes_to("PassthroughCluster")
    assert _served(chain_for(chains, plain(http=False, port=443))) == _bytes_to("PassthroughCluster")
    assert isinstance(_served(chain_for(chains, plain(http=True, port=443))), HttpChain if beside else TcpChain)


def _served(chain: FilterChain | None) -> object:
    return chain.serve if chain is not None else None


def _bytes_to(upstream: str) -> TcpChain:
    return TcpChain(stat_prefix=upstream, upstreams=(WeightedUpstream(upstream),))


def test_undeclared_ports_without_an_address_are_told_apart_by_hosts() -> None:
    """Two of them share the port: HTTP goes by its host, bytes to the first."""
    both = (entry("one", (8443, "")), entry("two", (8443, "")))
    seen = view(*both)
    assert captured(seen).keys() == {"0.0.0.0_8443"}
    assert call(seen, "10.9.9.9", 8443, host="two.example") == "outbound|8443||two.example"
    assert call(seen, "10.9.9.9", 8443, protocol="tcp") == "outbound|8443||one.example"


def test_what_is_hidden_from_a_namespace_has_no_listener_there() -> None:
    """A ServiceEntry that is exported to its own namespace only: to others its port is nobody's."""
    private = entry("mail", (2525, "TCP"), exportTo=["."])
    assert call(view(private, client="far.away"), "10.9.9.9", 2525, protocol="tcp") == "PassthroughCluster"


def test_headless_services_keep_the_instance_that_was_called() -> None:
    """No address: each instance has its listener for TCP, and the connection goes on to it, not to another one."""
    headless = service("db", "9000/tcp")
    seen = view(headless, instance("db", "10.1.0.8"), instance("db", "10.1.0.9"))
    assert captured(seen).keys() == {"10.1.0.8_9000", "10.1.0.9_9000"}
    assert call(seen, "10.1.0.9", 9000, protocol="tcp") == "outbound|9000||db.default.svc.cluster.local"
    assert seen.upstreams()["outbound|9000||db.default.svc.cluster.local"].endpoints == OriginalDestination()
    assert not seen.endpoints()


@pytest.mark.parametrize(("second", "mutual"), [(IDENTITY, True), (None, False)], ids=["all", "some"])
def test_mutual_tls_to_headless_services_is_for_all_instances_or_for_none(
    second: SpiffeId | None, mutual: bool
) -> None:
    """Who does not choose an endpoint cannot look up whether it has a proxy."""
    first, other = instance("db", "10.1.0.8", workload="w1"), instance("db", "10.1.0.9", workload="w2")
    facts = (
        redirected("w1", number=8),
        redirected("w2", number=9),
        service("db", "9000/tcp"),
        msgspec.structs.replace(first, identity=IDENTITY),
        msgspec.structs.replace(other, identity=second),
    )
    upstream = view(*facts).upstreams()["outbound|9000||db.default.svc.cluster.local"]
    assert upstream.endpoints == OriginalDestination()
    assert isinstance(upstream.security, MeshClient) == mutual


def test_two_headless_services_on_one_address_do_not_both_listen() -> None:
    """The oldest has it, for one address and port can only lead to one."""
    services = (service("db", "9000/tcp", created=2.0), service("old", "9000/tcp", created=1.0))
    seen = view(*services, instance("db", "10.1.0.8"), instance("old", "10.1.0.8"))
    assert call(seen, "10.1.0.8", 9000, protocol="tcp") == "outbound|9000||old.default.svc.cluster.local"


def test_passthrough_is_for_redirected_callers_only() -> None:
    """A DestinationRule PASSTHROUGH: here the destination is kept; in capture `none` there is none to keep."""
    policy = document(
        "DestinationRule", "web", {"host": "web", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}}
    )
    facts = (*OWN, policy, redirected("client"), workload("explicit", number=2))
    inputs, name = Plane(*facts).world.inputs, "outbound|80||web.default.svc.cluster.local"
    here, there = (ProxyView(inputs, workload_key(each)).upstreams()[name] for each in ("client", "explicit"))
    assert (here.endpoints, there.endpoints) == (OriginalDestination(), Discovered())


def test_names_are_those_that_calls_may_use() -> None:
    """The host, its short forms as seen from the caller's namespace, aliases; nothing without an address."""
    named = service("web", "80/http", addresses=["240.240.0.1"], aliases=["shop.example"])
    facts: tuple[Service, ...] = (named, service("headless", "80/http"))
    (near,), (far,) = view(*facts).name_records(), view(*facts, client="far.away").name_records()
    full = ("web.default", "web.default.svc", "shop.example")
    assert near.names == ("web.default.svc.cluster.local", "web", *full)
    assert far.names == ("web.default.svc.cluster.local", *full)
    assert near.addresses == ("240.240.0.1",)


def test_the_view_and_the_resources_are_the_same() -> None:
    """What the simulator follows is what the proxy gets, by name; calls do not come to the table of names."""
    plane = Plane(
        redirected("client"), *OWN, entry("mail", (2525, "TCP")), entry("one", (443, "")), service("bare", "9/tcp")
    )
    plane.connected("client")
    seen = ProxyView(plane.world.inputs, workload_key("client"))
    logs = [log for group in plane.pusher.groups(workload_key("client")) for log in group.logs.items()]

    def given(type_: ResourceType) -> set[str]:
        return {name for of, log in logs if of is type_ for name in log.resources}

    assert given(ResourceType.LISTENER) == {each.name for each in seen.listeners()} | {"dns"}
    assert given(ResourceType.CLUSTER) == seen.upstreams().keys()
    assert given(ResourceType.ENDPOINTS) == seen.endpoints().keys()
