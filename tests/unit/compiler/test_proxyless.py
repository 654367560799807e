"""What gRPC applications without a proxy see of rules that gRPC cannot follow, and how endpoints are secured."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from core.compiler.inputs import Inputs
from core.compiler.proxyless import grpc_assignments, grpc_servers, grpc_upstreams, target_routes, targets, would_be
from core.compiler.scope import scope_of
from core.manager.testing.facts import Plane, document, documents, instance, service, service_key, workload_key
from core.model.workload import Proxyless, Workload
from core.view.route import ForwardTo, Route
from core.view.security import NO_TLS, MeshClient, MeshServer

CLIENT = Workload(key=workload_key("client"), address="127.16.0.9", capture=Proxyless(ports=(9080, 9999)))
KEY = service_key("reviews")


def strict() -> str:
    return "kind: PeerAuthentication\napiVersion: security.istio.io/v1\nmetadata: {name: d, namespace: istio-system}\n"


def plane(*routes: Mapping[str, object]) -> Inputs:
    rules = [document("VirtualService", "r", {"hosts": ["reviews"], "http": list(routes)})] if routes else []
    return Plane(service("reviews", "9080/grpc", "9000/tcp"), CLIENT, *rules).world.inputs


def routes(*given: Mapping[str, object]) -> tuple[Route, ...]:
    (found,) = target_routes(plane(*given), scope_of(CLIENT, frozenset()), KEY)
    return found.virtual_hosts[0].routes


HERE = [{"destination": {"host": "reviews"}}]


def test_every_name_of_a_port_that_carries_http_is_a_target_with_the_same_routes() -> None:
    found = targets(plane(), "default", KEY)
    stems = ("reviews.default.svc.cluster.local", "reviews", "reviews.default", "reviews.default.svc")
    assert [each.name for each in found] == [f"{stem}:9080" for stem in stems]
    assert {each.routes for each in found} == {"reviews.default.svc.cluster.local:9080"}


def test_short_names_are_for_callers_of_the_same_namespace() -> None:
    assert "reviews:9080" not in {each.name for each in targets(plane(), "elsewhere", KEY)}


@pytest.mark.parametrize(
    "match",
    [
        {"queryParams": {"a": {"exact": "b"}}},
        {"authority": {"exact": "reviews:9080"}},
        {"method": {"exact": "GET"}},
        {"scheme": {"exact": "https"}},
        {"withoutHeaders": {f"x-{i}": {"exact": "a"} for i in range(5)}},
    ],
)
def test_routes_that_no_call_can_match_are_passed_over(match: Mapping[str, object]) -> None:
    assert len(routes({"match": [match], "route": HERE}, {"route": HERE})) == 1


@pytest.mark.parametrize("method", [{"exact": "POST"}, {"prefix": "PO"}, {"regex": "P.*"}])
def test_what_holds_for_every_call_is_no_condition(method: Mapping[str, str]) -> None:
    (found,) = routes({"match": [{"method": method}], "route": HERE})
    assert found.match.method is None


def test_a_header_that_must_not_match_may_be_missing() -> None:
    """gRPC takes a missing header for one that does not differ, so there is a route for either case."""
    found = routes({"match": [{"withoutHeaders": {"x": {"exact": "a"}}}], "route": HERE})
    assert len(found) == 2


@pytest.mark.parametrize(("asked", "made"), [(2, 2), (4, 4), (9, 4)])
def test_there_are_no_more_attempts_than_gRPC_makes(asked: int, made: int) -> None:
    (found,) = routes({"route": HERE, "retries": {"attempts": asked}})
    assert isinstance(found.action, ForwardTo)
    assert found.action.retry is not None
    assert found.action.retry.attempts == made


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("reviews:1", "reviews.default.svc.cluster.local", 1),
        ("reviews", "reviews.default.svc.cluster.local", 0),
        ("reviews.shop.svc:80", "reviews.shop.svc.cluster.local", 80),
        ("api.example.com", "api.example.com", 0),
    ],
)
def test_who_is_missing_is_named_also_where_the_port_was_forgotten(target: str, host: str, port: int) -> None:
    assert would_be(target, "default", "cluster.local") == f"outbound|{port}||{host}"


def test_actions_keep_only_where_calls_go() -> None:
    (found,) = routes({"route": HERE, "rewrite": {"uri": "/x"}, "mirror": {"host": "reviews"},
                       "headers": {"request": {"set": {"a": "b"}}}})  # fmt: skip
    assert isinstance(found.action, ForwardTo)
    assert (bool(found.headers), found.action.mirrors, found.action.rewrite.path) == (False, (), None)


def test_beside_endpoints_with_mutual_tls_plain_ones_are_left_out() -> None:
    """And where none has it, all are called plainly."""
    plain, mesh = instance("reviews", "10.0.0.1"), instance("reviews", "10.0.0.2", account="a")
    mixed = Plane(service("reviews", "9080/grpc"), plain, mesh).world.inputs
    (assignment,), (upstream,) = grpc_assignments(mixed, "default", KEY), grpc_upstreams(mixed, "default", KEY)
    assert [e.address for place in assignment.localities for e in place.endpoints] == ["10.0.0.2"]
    assert [place.weight for place in assignment.localities] == [1]
    assert isinstance(upstream.security, MeshClient)
    (upstream,) = grpc_upstreams(Plane(service("reviews", "9080/grpc"), plain).world.inputs, "default", KEY)
    assert upstream.security == NO_TLS


@pytest.mark.parametrize(("mode", "secured"), [("STRICT", True), ("PERMISSIVE", False), ("DISABLE", False)])
def test_servers_and_those_who_call_them_agree(mode: str, secured: bool) -> None:
    """A server is asked for at its own address or at all; a port without a service has no terms."""
    own = replace(instance("reviews", CLIENT.address, account="a", workload="client"), proxyless=True)
    rule = documents(f"{strict()}spec: {{mtls: {{mode: {mode}}}}}\n")
    inputs = Plane(service("reviews", "9080/grpc"), CLIENT, own, *rule).world.inputs
    servers = grpc_servers(inputs, CLIENT.key)
    assert [(each.address, each.port) for each in servers] == [
        (address, 9080) for address in (CLIENT.address, "0.0.0.0", "[::]")
    ]
    assert {isinstance(each.security, MeshServer) for each in servers} == {secured}
    (upstream,) = grpc_upstreams(inputs, "default", KEY)
    assert isinstance(upstream.security, MeshClient) is secured
