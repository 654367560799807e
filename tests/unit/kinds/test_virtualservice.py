"""What a VirtualService means, field by field."""

from collections.abc import Callable

import pytest

from core.ir.lowered import Lowered
from core.ir.routing import ANY_SOURCE, Destination, Forward, HttpRoute, Match, Mirror, RouteRule, Share
from core.ir.values import (
    INHERIT,
    Abort,
    Delay,
    Exact,
    Fault,
    HeaderOps,
    Headers,
    Prefix,
    Present,
    Redirect,
    Regex,
    RegexRewrite,
    Respond,
    Retry,
    Rewrite,
    UriRewrite,
)
from core.model.config import ConfigKey, Origin
from core.model.labels import Labels

LowerSpec = Callable[[str, object], Lowered]
KEY = ConfigKey("networking.istio.io", "VirtualService", "shop", "sample")
A = "a.shop.svc.cluster.local"
TO_A: dict[str, object] = {"route": [{"destination": {"host": "a"}}]}


@pytest.fixture
def rule(lower_spec: LowerSpec) -> Callable[[object], RouteRule]:
    def lower(spec: object) -> RouteRule:
        lowered = lower_spec("vs", spec)
        (only,) = lowered.rules
        assert isinstance(only, RouteRule)
        return only

    return lower


@pytest.fixture
def route(rule: Callable[[object], RouteRule]) -> Callable[[object], HttpRoute]:
    return lambda spec: rule({"hosts": ["a"], "http": [spec]}).http[0]


@pytest.fixture
def forward(route: Callable[[object], HttpRoute]) -> Callable[[dict[str, object]], Forward]:
    def lower(spec: dict[str, object]) -> Forward:
        action = route(TO_A | spec).action
        assert isinstance(action, Forward)
        return action

    return lower


@pytest.fixture
def match(route: Callable[[object], HttpRoute]) -> Callable[[object], Match]:
    return lambda spec: route(TO_A | {"match": [spec]}).matches[0]


Rule = Callable[[object], RouteRule]
Route = Callable[[object], HttpRoute]
Forwarding = Callable[[dict[str, object]], Forward]
Matching = Callable[[object], Match]


def test_the_least_that_can_be_said(rule: Rule) -> None:
    """Everything that is left out is inherited or means everybody, in sidecars."""
    origin = Origin(KEY, "spec")
    assert rule({"hosts": ["a"], "http": [TO_A]}) == RouteRule(
        hosts=(A,),
        gateways=("mesh",),
        visible_to=("*",),
        http=(
            HttpRoute(
                action=Forward(shares=(Share(Destination(A)),), timeout=INHERIT, retry=INHERIT),
                origin=origin.at("http").at(0),
            ),
        ),
        created=7.0,
        origin=origin,
    )


def test_hosts_are_resolved_in_the_namespace(rule: Rule) -> None:
    """Without a dot a host belongs to the namespace; with one, or as a wildcard, it is literal; case is dropped."""
    hosts = ["Reviews", "api.example.com", "*.example.com", "web.shop.svc.cluster.local."]
    assert rule({"hosts": hosts, "http": [TO_A]}).hosts == (
        "reviews.shop.svc.cluster.local",
        "api.example.com",
        "*.example.com",
        "web.shop.svc.cluster.local",
    )


def test_gateways_and_visibility_are_full_names(rule: Rule) -> None:
    """A gateway without a namespace is the document's; "." is its namespace."""
    lowered = rule({"hosts": ["*"], "gateways": ["edge", "infra/edge"], "exportTo": [".", "team"], "http": [TO_A]})
    assert lowered.gateways == ("shop/edge", "infra/edge")
    assert lowered.visible_to == ("shop", "team")


def test_addresses_are_hosts_at_gateways(rule: Rule) -> None:
    """An IP address may be a host where a gateway serves it."""
    assert rule({"hosts": ["10.0.0.1", "::1"], "gateways": ["edge"], "http": [TO_A]}).hosts == ("10.0.0.1", "::1")


def test_request_matches(match: Matching) -> None:
    """Each condition of a match arrives, header names in lower case."""
    lowered = match(
        {
            "name": "m",
            "uri": {"prefix": "/A"},
            "ignoreUriCase": True,
            "scheme": {"exact": "https"},
            "method": {"regex": "GET|HEAD"},
            "authority": {"prefix": "a."},
            "headers": {"X-User": {"exact": ""}, "x-any": {}},
            "withoutHeaders": {"X-Bad": {"prefix": "b"}},
            "queryParams": {"Page": {"regex": "[0-9]+"}},
        }
    )
    request = lowered.request
    assert (lowered.name, lowered.source) == ("m", ANY_SOURCE)
    assert (request.path, request.ignore_path_case) == (Prefix("/A"), True)
    assert (request.scheme, request.method, request.authority) == (Exact("https"), Regex("GET|HEAD"), Prefix("a."))
    assert set(request.headers) == {("x-user", Exact("")), ("x-any", Present())}
    assert request.without_headers == (("x-bad", Prefix("b")),)
    assert request.query == (("Page", Regex("[0-9]+")),)
    assert str(lowered.origin) == "VirtualService shop/sample spec.http[0].match[0]"


def test_source_matches(match: Matching) -> None:
    """Labels, namespace, gateways and port choose callers, not requests."""
    source = match(
        {"sourceLabels": {"b": "2", "a": "1"}, "sourceNamespace": "x", "gateways": ["g", "mesh"], "port": 80}
    )
    assert source.source.labels == Labels.of({"a": "1", "b": "2"})
    assert (source.source.namespace, source.source.gateways, source.source.port) == ("x", ("shop/g", "mesh"), 80)


def test_weights(route: Route) -> None:
    """Weights are kept as they are among several destinations; a single one is taken whatever its weight."""
    two = [{"destination": {"host": "a", "subset": s}, "weight": w} for s, w in (("v1", 0), ("v2", 3))]
    action = route({"route": two}).action
    assert isinstance(action, Forward)
    assert [(share.destination.subset, share.weight) for share in action.shares] == [("v1", 0), ("v2", 3)]
    single = route({"route": [{"destination": {"host": "x.y", "port": {"number": 81}}, "weight": 0}]}).action
    assert isinstance(single, Forward)
    assert single.shares == (Share(Destination("x.y", "", 81), 1),)


@pytest.mark.parametrize(("text", "milliseconds"), [("0s", 0), ("1.5s", 1500), ("100ms", 100), ("1h30m", 5_400_000)])
def test_timeouts(forward: Forwarding, text: str, milliseconds: int) -> None:
    """A timeout is in milliseconds; 0s turns it off."""
    assert forward({"timeout": text}).timeout == milliseconds


def test_retries(forward: Forwarding) -> None:
    """Status codes among the conditions make "retriable-status-codes" one; what is left out is Istio's default."""
    assert forward({"retries": {"attempts": 2}}).retry == Retry(attempts=2)
    assert forward({"retries": {}}).retry == Retry(attempts=0)
    spec = {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx, 503,reset", "retryIgnorePreviousHosts": False}
    assert forward({"retries": spec}).retry == Retry(
        attempts=3,
        per_try_timeout=2000,
        conditions=("5xx", "reset", "retriable-status-codes"),
        status_codes=(503,),
        ignore_previous_hosts=False,
    )


def test_faults(route: Route) -> None:
    """Percentages become parts per million, gRPC status names their numbers; 0 percent is no fault."""
    spec = {
        "delay": {"fixedDelay": "5s", "percentage": {"value": 0.1}},
        "abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100}},
    }
    assert route(TO_A | {"fault": spec}).fault == Fault(Delay(5000, 1000), Abort(14, 1_000_000, "grpc"))
    http = {"abort": {"httpStatus": 503, "percentage": {"value": 50}}}
    assert route(TO_A | {"fault": http}).fault == Fault(None, Abort(503, 500_000, "http"))
    assert route(TO_A | {"fault": {"abort": {"httpStatus": 503, "percentage": {"value": 0}}}}).fault is None


def test_headers(route: Route) -> None:
    """Operations of the route and of a destination stay apart."""
    action = {
        "headers": {"request": {"set": {"X-A": "1"}, "remove": ["X-B"]}, "response": {"add": {"x-c": "2"}}},
        "route": [{"destination": {"host": "a"}, "headers": {"response": {"remove": ["x-d"]}}}],
    }
    lowered = route(action)
    assert lowered.headers == Headers(HeaderOps(set=(("x-a", "1"),), remove=("x-b",)), HeaderOps(add=(("x-c", "2"),)))
    assert isinstance(lowered.action, Forward)
    assert lowered.action.shares[0].headers == Headers(response=HeaderOps(remove=("x-d",)))


@pytest.mark.parametrize("name", ["Host", ":authority", "host"])
def test_setting_host_rewrites_the_authority(route: Route, name: str) -> None:
    """Envoy refuses Host among headers, so it is a rewrite: of the route, or of its only destination."""
    operations = {"request": {"set": {name: "b.com:80", "x-a": "1"}}}
    of_route = route(TO_A | {"headers": operations})
    of_destination = route({"route": [{"destination": {"host": "a"}, "headers": operations}]})
    for lowered in (of_route, of_destination):
        assert isinstance(lowered.action, Forward)
        assert lowered.action.rewrite == Rewrite(authority="b.com:80")
    assert of_route.headers == Headers(HeaderOps(set=(("x-a", "1"),)))


def test_rewrites(forward: Forwarding) -> None:
    """A path is rewritten by text or by regex; the authority beside it."""
    assert forward({"rewrite": {"uri": "/b", "authority": "c"}}).rewrite == Rewrite(UriRewrite("/b"), "c")
    regex = {"uriRegexRewrite": {"match": "/x/(.*)", "rewrite": r"/y/\1"}}
    assert forward({"rewrite": regex}).rewrite == Rewrite(RegexRewrite("/x/(.*)", r"/y/\1"))


def test_mirrors(forward: Forwarding) -> None:
    """`mirror` and `mirrors` come to the same; without a percentage all is mirrored, with 0 nothing."""
    b = Destination("b.shop.svc.cluster.local")
    assert forward({"mirror": {"host": "b"}}).mirrors == (Mirror(b, 1_000_000),)
    assert forward({"mirror": {"host": "b"}, "mirrorPercentage": {"value": 10}}).mirrors == (Mirror(b, 100_000),)
    assert forward({"mirror": {"host": "b"}, "mirrorPercentage": {}}).mirrors == ()
    several = [{"destination": {"host": "b"}}, {"destination": {"host": "b"}, "percentage": {"value": 1}}]
    assert forward({"mirrors": several}).mirrors == (Mirror(b), Mirror(b, 10_000))


def test_redirects(route: Route) -> None:
    """301 unless said otherwise; a whole path or a prefix is replaced."""
    assert route({"redirect": {"uri": "/b", "authority": "c.com"}}).action == Redirect(path="/b", authority="c.com")
    spec = {"match": [{"uri": {"prefix": "/a"}}], "redirect": {"prefixRewrite": "/b", "port": 81, "scheme": "https"}}
    assert route(spec).action == Redirect(prefix="/b", port=81, scheme="https", code=301)
    assert route({"redirect": {"scheme": "https", "redirectCode": 308}}).action == Redirect(scheme="https", code=308)


def test_direct_responses(route: Route) -> None:
    """A body is text, or bytes in base64."""
    assert route({"directResponse": {"status": 503}}).action == Respond(503)
    assert route({"directResponse": {"status": 200, "body": {"string": "é"}}}).action == Respond(200, "é".encode())
    assert route({"directResponse": {"status": 200, "body": {"bytes": "AP8="}}}).action == Respond(200, b"\x00\xff")


def test_absent_may_be_null(route: Route) -> None:
    """As in proto3 JSON, null is absent, for messages and for fields that are not supported yet."""
    assert route(TO_A | {"match": None, "corsPolicy": None, "delegate": None}).matches == ()


def test_a_large_body_is_refused(lower_spec: LowerSpec) -> None:
    """1 MiB is the most; from 100 KiB on there is a warning."""
    codes = []
    for size in (100 * 1024, 100 * 1024 + 1, 1024 * 1024 + 1):
        body = {"directResponse": {"status": 200, "body": {"string": "x" * size}}}
        codes.append([d.code for d in lower_spec("vs", {"hosts": ["a"], "http": [body]}).diagnostics])
    assert codes == [[], ["IST0133"], ["IST0106"]]


def test_findings_are_bounded(lower_spec: LowerSpec) -> None:
    """A thousand mistakes give a hundred findings and one that says so."""
    found = lower_spec("vs", {"hosts": ["a"], "http": [TO_A | {"timeout": "x"}] * 1000}).diagnostics
    assert len(found) == 101
    assert "more than 100" in found[-1].message


def test_a_misspelt_field_is_one_mistake(lower_spec: LowerSpec) -> None:
    """That the field which was meant is missing is not reported as well."""
    (found,) = lower_spec("vs", {"host": ["a"], "http": [TO_A]}).diagnostics
    assert (found.message, found.fix) == ("unknown field 'host'", "did you mean hosts?")


def test_a_spec_that_is_no_object(lower_spec: LowerSpec) -> None:
    """Whatever a store holds, lowering answers with a finding."""
    anything: tuple[object, ...] = ([], 1, "x", True)
    for spec in anything:
        found = lower_spec("vs", spec).diagnostics
        assert found[0].message.startswith("spec must be an object")
