"""Rules that a gRPC application without a proxy cannot follow are told on their document, once there is one."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from core.compiler.findings import findings
from core.manager.testing.facts import Fact, Plane, document, documents, instance, service, workload_key
from core.model.config import Document
from core.model.workload import Proxyless, Redirected, Workload

CLIENT = Workload(key=workload_key("client"), address="127.16.0.9", capture=Proxyless(ports=(9080,)))
HERE = [{"destination": {"host": "reviews"}}]


def told(rule: Document, *others: Fact, client: Workload | None = CLIENT, port: str = "9080/grpc") -> dict[str, str]:
    """Place and message of each finding of this kind."""
    inputs = Plane(service("reviews", port), *([client] if client else []), rule, *others).world.inputs
    found = [each for each in findings(inputs, rule.key) if each.code == "MSH0020"]
    return {each.origin.path: each.message for each in found if each.origin is not None}


def routed(**route: object) -> Document:
    return document("VirtualService", "r", {"hosts": ["reviews"], "http": [{"route": HERE, **route}]})


def policy(**block: object) -> Document:
    return document("DestinationRule", "r", {"host": "reviews", "trafficPolicy": block})


@pytest.mark.parametrize(
    ("route", "place"),
    [
        ({"mirror": {"host": "reviews"}}, "spec.http[0].mirrors"),
        ({"rewrite": {"uri": "/x"}}, "spec.http[0].rewrite"),
        ({"headers": {"request": {"set": {"a": "b"}}}}, "spec.http[0].headers"),
        ({"retries": {"attempts": 2, "retryOn": "5xx,unavailable"}}, "spec.http[0].retries.retryOn"),
        ({"retries": {"attempts": 5}}, "spec.http[0].retries.attempts"),
        ({"retries": {"attempts": 2, "perTryTimeout": "1s"}}, "spec.http[0].retries.perTryTimeout"),
        ({"match": [{"queryParams": {"a": {"exact": "b"}}}]}, "spec.http[0].match[0].queryParams"),
        ({"match": [{"authority": {"exact": "b"}}]}, "spec.http[0].match[0].authority"),
        ({"match": [{"headers": {"x-bin": {"exact": "b"}}}]}, "spec.http[0].match[0].headers.x-bin"),
        ({"match": [{"method": {"exact": "GET"}}]}, "spec.http[0].match[0]"),
        ({"match": [{"withoutHeaders": {f"x-{i}": {} for i in range(5)}}]}, "spec.http[0].match[0].withoutHeaders"),
    ],
)
def test_what_is_not_followed_of_a_route_is_told(route: Mapping[str, object], place: str) -> None:
    assert list(told(routed(**route))) == [place]


@pytest.mark.parametrize("action", [{"redirect": {"uri": "/x"}}, {"directResponse": {"status": 404}}])
def test_routes_that_answer_by_themselves_fail_calls(action: Mapping[str, object]) -> None:
    rule = document("VirtualService", "r", {"hosts": ["reviews"], "http": [action]})
    (message,) = told(rule).values()
    assert "UNAVAILABLE" in message


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"tls": {"mode": "SIMPLE"}}, "tls"),
        ({"loadBalancer": {"simple": "RANDOM"}}, "loadBalancer.simple"),
        ({"loadBalancer": {"consistentHash": {"httpQueryParameterName": "a"}}}, "loadBalancer.consistentHash"),
        ({"outlierDetection": {"consecutive5xxErrors": 3}}, "outlierDetection"),
        ({"connectionPool": {"tcp": {"maxConnections": 3}}}, "connectionPool"),
    ],
)
def test_what_is_not_followed_of_a_policy_is_told(block: Mapping[str, object], place: str) -> None:
    assert list(told(policy(**block))) == [f"spec.trafficPolicy.{place}"]


FOLLOWED = (
    routed(timeout="1s", retries={"attempts": 2}, fault={"abort": {"httpStatus": 503, "percentage": {"value": 1}}}),
    routed(match=[{"headers": {"a": {"exact": "b"}}, "uri": {"prefix": "/a"}, "method": {"exact": "POST"}}]),
    policy(loadBalancer={"simple": "ROUND_ROBIN"}, connectionPool={"http": {"http2MaxRequests": 3}}),
    policy(loadBalancer={"consistentHash": {"httpHeaderName": "a"}}),
)


@pytest.mark.parametrize("rule", FOLLOWED)
def test_what_is_followed_is_not_told(rule: Document) -> None:
    assert told(rule) == {}


def test_nothing_is_told_where_nobody_calls_without_a_proxy() -> None:
    """No such workload, or a service whose ports cannot carry gRPC, or a rule for gateways."""
    rule = routed(mirror={"host": "reviews"})
    assert told(rule, client=None) == {}
    assert told(rule, client=replace(CLIENT, capture=Redirected())) == {}
    assert told(rule, port="9080/http") == {}
    assert len(told(rule, port="9080/http2")) == 1
    spec = {"hosts": ["reviews"], "gateways": ["g"], "http": [{"route": HERE, "mirror": {"host": "reviews"}}]}
    assert told(document("VirtualService", "r", spec)) == {}


def test_services_whose_names_are_looked_up_cannot_be_called() -> None:
    (entry,) = documents(
        """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: default}
spec: {hosts: [api.example.com], ports: [{number: 443, name: grpc, protocol: GRPC}], resolution: DNS}
"""
    )
    assert list(told(entry)) == ["spec.resolution"]
    assert told(entry, client=None) == {}


def test_the_mesh_s_mutual_tls_is_not_for_a_server_that_takes_plain_connections() -> None:
    """A rule that demands it is in conflict with a gRPC server without a proxy, unless STRICT holds there."""
    own = replace(instance("reviews", CLIENT.address, account="a", workload="client"), proxyless=True)
    strict = documents("kind: PeerAuthentication\napiVersion: security.istio.io/v1\n"
                       "metadata: {name: d, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n")  # fmt: skip
    rule = policy(tls={"mode": "ISTIO_MUTUAL"})
    for others, codes in (((), ["IST0113"]), (strict, [])):
        inputs = Plane(service("reviews", "9080/grpc"), CLIENT, own, rule, *others).world.inputs
        assert [each.code for each in findings(inputs, rule.key)] == codes
