"""The way of a call through a hand-made view: what the tables of calls do not reach, and the explanation."""

import pytest

from core.ir.traffic import Balance
from core.ir.values import Abort, Delay, Fault, HeaderOps, Headers, Respond
from core.model.config import ConfigKey, Origin
from core.model.service import Locality, WorkloadKey
from core.simulate import Answered, Arrived, Call, Outcome, Refused, simulate
from core.view.listener import FilterChain, HttpChain, InProcess, Listener, NamedRoutes, Serve, Socket, TcpChain
from core.view.route import ForwardTo, MirrorTo, Route, RouteConfiguration, Tunnel, VirtualHost, WeightedUpstream
from core.view.upstream import (
    Discovered,
    Endpoint,
    Internal,
    LoadAssignment,
    LocalityEndpoints,
    Nowhere,
    Static,
    Upstream,
)

ENTRANCE = ("127.0.0.1", 15007)
ORIGIN = Origin(ConfigKey("g", "VirtualService", "default", "v"), "spec.http[0]")


class View:
    """One listener at `ENTRANCE`, and what the test adds."""

    def __init__(self, serve: Serve, *, routes: tuple[Route, ...] = (), upstreams: tuple[Upstream, ...] = ()) -> None:
        self._listeners = [_listener("front", Socket(*ENTRANCE), serve)]
        self._routes = RouteConfiguration("routes", (VirtualHost("host", ("*",), routes),))
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self.assignments: dict[str, LoadAssignment] = {}

    def add(self, name: str, serve: Serve) -> None:
        self._listeners.append(_listener(name, InProcess(), serve))

    def listeners(self) -> tuple[Listener, ...]:
        return tuple(self._listeners)

    def routes(self, name: str) -> RouteConfiguration | None:
        return self._routes if name == "routes" else None

    def upstreams(self) -> dict[str, Upstream]:
        return self._upstreams

    def endpoints(self) -> dict[str, LoadAssignment]:
        return self.assignments


def _listener(name: str, bind: Socket | InProcess, serve: Serve) -> Listener:
    return Listener(name=name, bind=bind, direction="outbound", chains=(FilterChain(serve=serve),))


HTTP = HttpChain(stat_prefix="", routes=NamedRoutes("routes"))
CALL = Call(source=WorkloadKey("default", "sleep"), host="reviews", port=9080)
BYTES = Call(source=CALL.source, host="reviews", port=9080, protocol="tcp", via="virtual")


def _to(*names: str) -> ForwardTo:
    return ForwardTo(upstreams=tuple(WeightedUpstream(name) for name in names))


def _static(name: str) -> Upstream:
    return Upstream(name=name, endpoints=Static("127.0.0.2", 80))


def _made(view: View, call: Call = CALL) -> Outcome:
    return simulate(view, call, entrance=ENTRANCE)


def test_where_nothing_listens_the_connection_is_refused() -> None:
    """The only answer to a call to the wrong door."""
    (result,) = simulate(View(HTTP), CALL, entrance=("127.0.0.1", 1)).results
    assert isinstance(result, Refused)
    assert "127.0.0.1:1" in result.reason


def test_the_steps_name_the_document_behind_a_route() -> None:
    """An explanation leads from the listener to the upstream, and to the place in the document."""
    view = View(HTTP, routes=(Route(name="r", action=_to("a"), origin=ORIGIN),), upstreams=(_static("a"),))
    steps = _made(view).steps
    assert [(step.what, step.name) for step in steps] == [
        ("listener", "front"),
        ("route configuration", "routes"),
        ("virtual host", "host"),
        ("route", "r"),
        ("upstream", "a"),
    ]
    assert steps[3].origin == ORIGIN


def test_routes_that_do_not_exist_are_a_404() -> None:
    """As when a route configuration has not come yet."""
    (result,) = _made(View(HttpChain(stat_prefix="", routes=NamedRoutes("none")))).results
    assert result == Answered(share=1.0, status=404, flag="NR")


def test_a_connect_takes_only_tunnels_and_a_request_never_does() -> None:
    """The two kinds of routes do not see each other's calls."""
    routes = (Route(action=_to("a")), Route(action=Tunnel("t")))
    view = View(HTTP, routes=routes, upstreams=(_static("a"), _static("t")))
    (request,) = _made(view).results
    (connect,) = _made(view, Call(source=CALL.source, host="reviews", port=9080, via="tunnel")).results
    assert isinstance(request, Arrived)
    assert isinstance(connect, Arrived)
    assert (request.upstream, connect.upstream) == ("a", "t")


def test_a_tunnel_leads_into_another_listener_of_the_proxy() -> None:
    """What comes out of it is a call like any other, by that listener's rules."""
    inside = Upstream(name="inside", endpoints=Internal("back"))
    view = View(HTTP, routes=(Route(action=Tunnel("inside")),), upstreams=(inside, _static("a")))
    view.add("back", TcpChain(stat_prefix="", upstreams=(WeightedUpstream("a"),)))
    (result,) = _made(view, Call(source=CALL.source, host="reviews", port=9080, via="tunnel")).results
    assert isinstance(result, Arrived)
    assert result.upstream == "a"


def test_bytes_that_can_go_nowhere_end_in_a_closed_connection() -> None:
    """There is nobody to whom an HTTP status could be said."""
    nowhere = Upstream(name="nowhere", endpoints=Nowhere())
    chain = TcpChain(stat_prefix="", upstreams=(WeightedUpstream("nowhere", 3), WeightedUpstream("none", 1)))
    results = _made(View(chain, upstreams=(nowhere,)), BYTES).results
    assert [(type(result), result.share) for result in results] == [(Refused, 0.75), (Refused, 0.25)]


def test_only_the_first_priority_with_endpoints_is_used() -> None:
    """Priority 1 waits until nobody is left in 0."""
    view = View(HTTP, routes=(Route(action=_to("a")),), upstreams=(Upstream(name="a", endpoints=Discovered()),))
    near, far = Endpoint("127.0.0.2", 1), Endpoint("127.0.0.3", 1, weight=2)
    full = (LocalityEndpoints(Locality("r"), (near,), 0, 1), LocalityEndpoints(Locality("s"), (far,), 1, 2))
    view.assignments["a"] = LoadAssignment("a", full)
    assert _endpoints(_made(view)) == (near,)
    view.assignments["a"] = LoadAssignment("a", (LocalityEndpoints(Locality("r"), (), 0, 1), full[1]))
    assert _endpoints(_made(view)) == (far,)


def _endpoints(outcome: Outcome) -> tuple[Endpoint, ...]:
    (result,) = outcome.results
    assert isinstance(result, Arrived)
    return result.endpoints


def test_random_sees_no_weights() -> None:
    """Envoy's RANDOM picks any endpoint alike; the others go by weight."""
    endpoints = (Endpoint("127.0.0.2", 1, weight=3), Endpoint("127.0.0.3", 1))
    chances = {}
    for policy in (Balance("RANDOM"), Balance("LEAST_REQUEST")):
        upstream = Upstream(name="a", endpoints=Discovered(), load_balancer=policy)
        view = View(HTTP, routes=(Route(action=_to("a")),), upstreams=(upstream,))
        view.assignments["a"] = LoadAssignment("a", (LocalityEndpoints(Locality(), endpoints, 0, 4),))
        (result,) = _made(view).results
        assert isinstance(result, Arrived)
        chances[policy.policy] = [share for _, share in result.chances()]
    assert chances == {"RANDOM": [0.5, 0.5], "LEAST_REQUEST": [0.75, 0.25]}


@pytest.mark.parametrize(
    ("policy", "by_locality", "expected"),
    [
        (Balance("ROUND_ROBIN"), False, [0.5, 0.25, 0.25]),
        (Balance("ROUND_ROBIN"), True, [2 / 15, 1 / 15, 0.8]),
        (Balance("RANDOM"), True, [0.1, 0.1, 0.8]),
    ],
)
def test_where_localities_have_weights_one_is_chosen_first(
    policy: Balance, by_locality: bool, expected: list[float]
) -> None:
    """And then one of its endpoints, by theirs."""
    upstream = Upstream(name="a", endpoints=Discovered(), load_balancer=policy, by_locality=by_locality)
    view = View(HTTP, routes=(Route(action=_to("a")),), upstreams=(upstream,))
    near = (Endpoint("127.0.0.2", 1, weight=2), Endpoint("127.0.0.3", 1))
    places = (LocalityEndpoints(Locality("r"), near, 0, 20), LocalityEndpoints(Locality("s"), near[1:], 0, 80))
    view.assignments["a"] = LoadAssignment("a", places)
    (result,) = _made(view).results
    assert isinstance(result, Arrived)
    assert [share for _, share in result.chances()] == pytest.approx(expected)


def test_a_fault_comes_before_copies_and_destinations() -> None:
    """What is aborted is neither forwarded nor copied, and shares still add up to 1."""
    fault = Fault(delay=Delay(100, 1_000_000), abort=Abort(503, 250_000))
    action = ForwardTo(upstreams=(WeightedUpstream("a"), WeightedUpstream("none")), mirrors=(MirrorTo("a", 1_000_000),))
    outcome = _made(View(HTTP, routes=(Route(action=action, fault=fault),), upstreams=(_static("a"),)))
    assert [(type(result), result.share) for result in outcome.results] == [
        (Answered, 0.25),
        (Arrived, 0.375),
        (Answered, 0.375),
    ]
    assert [mirror.share for mirror in outcome.mirrors] == [0.75]
    assert outcome.delay == Delay(100, 1_000_000)


def test_an_aborted_call_carries_the_headers_of_the_destination_chosen_for_it() -> None:
    """Envoy chooses before the fault strikes."""
    headers = Headers(response=HeaderOps(set=(("x", "two"),)))
    upstreams = (WeightedUpstream("a", 1), WeightedUpstream("b", 3, headers))
    route = Route(action=ForwardTo(upstreams=upstreams), fault=Fault(abort=Abort(418, 1_000_000)))
    results = _made(View(HTTP, routes=(route,))).results
    assert [(r.share, r.headers) for r in results if isinstance(r, Answered)] == [(0.25, ()), (0.75, (("x", "two"),))]


def test_grpc_clients_see_a_grpc_status() -> None:
    """The proxy's own answers are translated for them; a status that gRPC does not know is UNKNOWN."""
    for status, code in ((503, 14), (404, 12), (418, 2)):
        view = View(HTTP, routes=(Route(action=Respond(status)),))
        call = Call(source=CALL.source, host="reviews", port=9080, protocol="grpc", via="virtual", path="/a.B/C")
        (result,) = _made(view, call).results
        assert isinstance(result, Answered)
        assert (result.status, result.grpc) == (200, code)
