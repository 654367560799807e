"""What routes and route configurations say, read back with protobuf."""

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from core.envoy import routes
from core.envoy.any import packed, serialised
from core.envoy.names import FAULT, ROUTE_CONFIGURATION
from core.envoy.testing import catalogue
from core.envoy.wire import Rope
from core.ir.routing import RequestMatch
from core.ir.traffic import HashCookie
from core.ir.values import (
    DEFAULT_RETRY,
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
from core.view.route import (
    Action,
    ForwardTo,
    MirrorTo,
    Route,
    RouteConfiguration,
    Tunnel,
    VirtualHost,
    WeightedUpstream,
)

ONE = (WeightedUpstream("x"),)
TO_X = ForwardTo(upstreams=ONE)


def read(encoded: bytes) -> route_pb2.RouteConfiguration:
    envelope = Any.FromString(encoded)
    assert envelope.type_url == ROUTE_CONFIGURATION
    return route_pb2.RouteConfiguration.FromString(envelope.value)


def route(value: Route) -> route_components_pb2.Route:
    (only,) = route_components_pb2.VirtualHost.FromString(routes.encode_routes((value,))).routes
    return only


def forwarded(action: ForwardTo) -> route_components_pb2.RouteAction:
    return route(Route(action=action)).route


def match(value: RequestMatch, action: Action = TO_X) -> object:
    return MessageToDict(route(Route(match=value, action=action)).match, preserving_proto_field_name=True)


def test_paths() -> None:
    """Each kind of path is said in Envoy's words; no path is every path."""
    assert match(RequestMatch()) == {"prefix": "/"}
    assert match(RequestMatch(path=Exact("/a"))) == {"path": "/a"}
    assert match(RequestMatch(path=Regex("/a+"))) == {"safe_regex": {"regex": "/a+"}}
    assert match(RequestMatch(path=Prefix("/a"), ignore_path_case=True)) == {"prefix": "/a", "case_sensitive": False}


def test_pseudo_headers() -> None:
    """Method, scheme and authority are matched as headers."""
    value = RequestMatch(method=Exact("GET"), scheme=Prefix("http"), authority=Regex("a.*"))
    assert match(value) == {
        "prefix": "/",
        "headers": [
            {"name": ":method", "string_match": {"exact": "GET"}},
            {"name": ":scheme", "string_match": {"prefix": "http"}},
            {"name": ":authority", "string_match": {"safe_regex": {"regex": "a.*"}}},
        ],
    }


def test_headers_and_query() -> None:
    """Headers that must not match may be missing; query parameters match like headers."""
    value = RequestMatch(
        headers=(("a", Present()),),
        without_headers=(("b", Exact("v")), ("c", Present())),
        query=(("q", Prefix("v")), ("p", Present())),
    )
    assert match(value) == {
        "prefix": "/",
        "headers": [
            {"name": "a", "present_match": True},
            {
                "name": "b",
                "string_match": {"exact": "v"},
                "invert_match": True,
                "treat_missing_header_as_empty": True,
            },
            {"name": "c", "present_match": True, "invert_match": True},
        ],
        "query_parameters": [
            {"name": "q", "string_match": {"prefix": "v"}},
            {"name": "p", "present_match": True},
        ],
    }


def test_tunnels() -> None:
    """A tunnel takes CONNECT requests only, and lasts."""
    value = route(Route(match=RequestMatch(path=Exact("/ignored")), action=Tunnel("x")))
    assert MessageToDict(value.match) == {"connectMatcher": {}}
    assert value.route.cluster == "x"
    assert value.route.HasField("timeout")
    (upgrade,) = value.route.upgrade_configs
    assert upgrade.upgrade_type == "CONNECT"
    assert upgrade.HasField("connect_config")


def test_timeouts() -> None:
    """0 is said aloud, for Envoy's own default is 15 s; a gRPC caller's own deadline is capped by the route's."""
    none = forwarded(TO_X)
    assert none.HasField("timeout")
    assert none.timeout.ToMilliseconds() == 0
    assert not none.HasField("max_grpc_timeout")
    some = forwarded(ForwardTo(upstreams=ONE, timeout=1500))
    assert (some.timeout.ToMilliseconds(), some.max_grpc_timeout.ToMilliseconds()) == (1500, 1500)
    assert not some.HasField("max_stream_duration"), "it would switch the timeout off"


def test_weights() -> None:
    """One upstream is a cluster, several are shares of their sum."""
    assert forwarded(TO_X).cluster == "x"
    shares = forwarded(ForwardTo(upstreams=(WeightedUpstream("x", 9), WeightedUpstream("y", 1)))).weighted_clusters
    assert [(share.name, share.weight.value) for share in shares.clusters] == [("x", 9), ("y", 1)]


def test_retries() -> None:
    """Conditions, codes and times are the rule's; other endpoints are tried first where the rule says so."""
    assert not forwarded(TO_X).HasField("retry_policy")
    policy = forwarded(ForwardTo(upstreams=ONE, retry=DEFAULT_RETRY)).retry_policy
    assert policy.retry_on == "connect-failure,refused-stream,unavailable,cancelled"
    assert policy.num_retries.value == 2
    assert not policy.HasField("per_try_timeout")
    assert [p.name for p in policy.retry_host_predicate] == ["envoy.retry_host_predicates.previous_hosts"]
    assert policy.host_selection_retry_max_attempts == 5
    by_code = Retry(
        attempts=1, per_try_timeout=20, conditions=("5xx",), status_codes=(503,), ignore_previous_hosts=False
    )
    policy = forwarded(ForwardTo(upstreams=ONE, retry=by_code)).retry_policy
    assert policy.retry_on == "5xx,retriable-status-codes"
    assert list(policy.retriable_status_codes) == [503]
    assert policy.per_try_timeout.ToMilliseconds() == 20
    assert not policy.retry_host_predicate


def test_faults() -> None:
    """Faults are settings of the fault filter for this route alone."""
    fault = Fault(delay=Delay(1500, 100), abort=Abort(503, 1_000_000))
    settings = route(Route(action=TO_X, fault=fault)).typed_per_filter_config
    found = fault_pb2.HTTPFault.FromString(settings[FAULT].value)
    assert found.delay.fixed_delay.ToMilliseconds() == 1500
    assert (found.delay.percentage.numerator, found.delay.percentage.denominator) == (100, 2)
    assert found.abort.http_status == 503
    only_grpc = route(Route(action=TO_X, fault=Fault(abort=Abort(14, 1, "grpc")))).typed_per_filter_config
    found = fault_pb2.HTTPFault.FromString(only_grpc[FAULT].value)
    assert found.abort.grpc_status == 14
    assert not found.HasField("delay")
    assert not route(Route(action=TO_X)).typed_per_filter_config


def test_header_changes() -> None:
    """`set` overwrites, `add` appends, and what is removed in the end is not set at all."""
    ops = HeaderOps(set=(("a", "1"), ("B", "gone")), add=(("c", "2"),), remove=("b",))
    value = route(Route(action=TO_X, headers=Headers(request=ops)))
    actions = [(o.header.key, o.header.value, o.append_action) for o in value.request_headers_to_add]
    option = type(value.request_headers_to_add[0])
    assert actions == [("a", "1", option.OVERWRITE_IF_EXISTS_OR_ADD), ("c", "2", option.APPEND_IF_EXISTS_OR_ADD)]
    assert list(value.request_headers_to_remove) == ["b"]
    assert not value.response_headers_to_add


def test_header_changes_of_destinations() -> None:
    """Where a destination changes headers, the route's changes go before them, at each destination."""
    of_route = Headers(request=HeaderOps(set=(("a", "route"), ("b", "route"))))
    of_one = Headers(request=HeaderOps(set=(("a", "one"),), remove=("b",)))
    action = ForwardTo(upstreams=(WeightedUpstream("x", 1, of_one), WeightedUpstream("y", 1)))
    value = route(Route(action=action, headers=of_route))
    assert not value.request_headers_to_add
    one, other = value.route.weighted_clusters.clusters
    assert [o.header.value for o in one.request_headers_to_add] == ["route", "one"]
    assert list(one.request_headers_to_remove) == ["b"]
    assert [o.header.key for o in other.request_headers_to_add] == ["a", "b"]


def test_a_lone_destination_with_headers() -> None:
    """A single destination gets everything, whatever its weight says."""
    headers = Headers(response=HeaderOps(set=(("a", "1"),)))
    (share,) = forwarded(ForwardTo(upstreams=(WeightedUpstream("x", 0, headers),))).weighted_clusters.clusters
    assert (share.name, share.weight.value) == ("x", 1)


def test_authority() -> None:
    """Setting the Host header rewrites the authority, for Envoy allows it in no other way."""
    headers = Headers(request=HeaderOps(set=(("Host", "other"),)))
    value = route(Route(action=TO_X, headers=headers))
    assert value.route.host_rewrite_literal == "other"
    assert not value.request_headers_to_add
    assert forwarded(ForwardTo(upstreams=ONE, rewrite=Rewrite(authority="z"))).host_rewrite_literal == "z"
    action = ForwardTo(upstreams=(WeightedUpstream("x", 1, headers), WeightedUpstream("y")), rewrite=Rewrite(None, "z"))
    shares = forwarded(action).weighted_clusters.clusters
    assert [share.host_rewrite_literal for share in shares] == ["other", "z"]


def test_rewrites_and_redirects() -> None:
    """Paths are rewritten by prefix or regex, redirected by path or prefix."""
    assert forwarded(ForwardTo(upstreams=ONE, rewrite=Rewrite(UriRewrite("/b")))).prefix_rewrite == "/b"
    regex = forwarded(ForwardTo(upstreams=ONE, rewrite=Rewrite(RegexRewrite("a", "b")))).regex_rewrite
    assert (regex.pattern.regex, regex.substitution) == ("a", "b")
    full = Redirect(scheme="https", authority="z", port=8443, path="/p", code=308)
    assert MessageToDict(route(Route(action=full)).redirect, preserving_proto_field_name=True) == {
        "scheme_redirect": "https",
        "host_redirect": "z",
        "port_redirect": 8443,
        "path_redirect": "/p",
        "response_code": "PERMANENT_REDIRECT",
    }
    assert MessageToDict(route(Route(action=Redirect(prefix="/p"))).redirect) == {"prefixRewrite": "/p"}


def test_own_answers() -> None:
    """The proxy answers by itself, with bytes as they are."""
    answer = route(Route(action=Respond(418, b"\xff"))).direct_response
    assert (answer.status, answer.body.inline_bytes) == (418, b"\xff")
    assert not route(Route(action=Respond(200))).direct_response.HasField("body")


def test_mirrors_and_hashes() -> None:
    """Mirrors take a part in a million; a cookie without a life time is only read."""
    action = ForwardTo(upstreams=ONE, mirrors=(MirrorTo("y", 5),), hash_key=HashCookie("c"))
    (mirror,) = forwarded(action).request_mirror_policies
    assert (mirror.cluster, mirror.runtime_fraction.default_value.numerator) == ("y", 5)
    assert mirror.runtime_fraction.default_value.denominator == 2
    (hashing,) = forwarded(action).hash_policy
    assert not hashing.cookie.HasField("ttl")
    (hashing,) = forwarded(ForwardTo(upstreams=ONE, hash_key=HashCookie("c", "/", 0))).hash_policy
    assert hashing.cookie.HasField("ttl")


def test_what_tools_read() -> None:
    """A route tells its name, its operation in traces, and the document it comes from."""
    value = route(Route(name="n", action=TO_X, operation="x:80/*", origin=catalogue.ORIGIN))
    assert (value.name, value.decorator.operation) == ("n", "x:80/*")
    config = "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"
    assert MessageToDict(value.metadata.filter_metadata["istio"]) == {"config": config}


def test_configuration() -> None:
    """A configuration lists its virtual hosts in order and bears with clusters that are not there."""
    message = read(routes.encode(catalogue.route_configuration()))
    assert message.name == "9080"
    assert message.HasField("validate_clusters")
    assert not message.validate_clusters.value
    assert message.max_direct_response_body_size_bytes.value == 1 << 20
    first, last = message.virtual_hosts
    assert list(first.domains) == [catalogue.HOST, f"{catalogue.HOST}:9080", "*.wild.example"]
    assert len(first.routes) == len(list(catalogue.routes()))
    assert first.include_request_attempt_count
    assert last.domains == ["*"]


def test_ropes() -> None:
    """A configuration wrapped around ready-made virtual hosts is the one that is encoded as a whole, uncopied."""
    configuration = catalogue.route_configuration()
    chunks = [
        routes.encode_virtual_host(host.name, host.domains, routes.encode_routes(host.routes))
        for host in configuration.virtual_hosts
    ]
    rope = routes.wrap(configuration.name, chunks, sum(map(len, chunks)))
    assert rope[1] is chunks[0]
    assert Rope(*rope).join() == routes.encode(configuration)


def test_canonical() -> None:
    """The parts stand in the order in which protobuf writes them, so that equal contents are equal bytes."""
    empty = RouteConfiguration("", (VirtualHost("", (), ()),))
    for configuration in (catalogue.route_configuration(), empty):
        message = read(routes.encode(configuration))
        assert packed(message) == routes.encode(configuration) or not message.name
        inline = routes.inline(configuration)
        assert not any(host.include_request_attempt_count for host in inline.virtual_hosts), "the caller's proxy counts"
        for host in inline.virtual_hosts:
            host.include_request_attempt_count = True
        assert serialised(inline) == serialised(message)
