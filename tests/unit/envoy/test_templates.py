"""Templates are only a faster way: their bytes are those that protobuf makes."""

from collections.abc import Callable
from typing import Literal

from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from core.envoy import clusters, endpoints, listeners, routes
from core.envoy.any import serialised
from core.envoy.templates import Templates, cut
from core.envoy.testing import catalogue
from core.ir.routing import ANY_REQUEST, RequestMatch
from core.ir.traffic import Balance, ConnectionPool, ConsistentHash, Outlier
from core.ir.values import DEFAULT_RETRY, NO_HEADERS, Fault, Headers, Retry
from core.model.config import ConfigKey, Origin
from core.model.identity import SpiffeId
from core.view.listener import Captured, Listener, Socket
from core.view.route import Action, ForwardTo, Route, WeightedUpstream
from core.view.security import NO_TLS, Automatic, ClientSecurity, MeshClient
from core.view.upstream import Discovered, Endpoint, Endpoints, HttpVersion, ServiceRef, Upstream

# Short texts over few letters, so that stand-ins, equal texts and equal lengths do occur.
NAMES = st.one_of(st.text(st.sampled_from("a^`~Q!.é"), max_size=4), st.from_regex(r"[a-z0-9.-]{0,60}", fullmatch=True))
PORTS = st.one_of(st.sampled_from((0, 80, 9080)), st.integers(0, 65535))
SERVICES = st.builds(ServiceRef, NAMES, NAMES, NAMES)
ORIGINS = st.builds(lambda name: Origin(ConfigKey("networking.istio.io", "VirtualService", "default", name)), NAMES)
POOLS = st.one_of(
    st.just(ConnectionPool()),
    st.sampled_from(catalogue.POOLS),
    st.builds(lambda limit: ConnectionPool(max_connections=limit), st.integers(0, 2**32 - 1)),
)


def automatic() -> st.SearchStrategy[Automatic]:
    identities = st.lists(st.builds(SpiffeId, st.just("cluster.local"), NAMES.filter(bool)), max_size=2).map(tuple)
    return st.builds(lambda sni, ids: Automatic(mesh=MeshClient(sni=sni, identities=ids)), NAMES, identities)


@st.composite
def upstreams(draw: st.DrawFn) -> Upstream:
    endpoints: Endpoints = draw(st.one_of(st.just(Discovered()), st.sampled_from(catalogue.ENDPOINTS)))
    http: HttpVersion = draw(st.sampled_from(catalogue.HTTP_VERSIONS))
    balancer: Balance | ConsistentHash = draw(st.sampled_from(catalogue.BALANCERS))
    outlier: Outlier | None = draw(st.sampled_from((None, *catalogue.OUTLIERS)))
    security: ClientSecurity = draw(st.one_of(st.sampled_from((NO_TLS, *catalogue.CLIENT_SECURITIES)), automatic()))
    return Upstream(
        name=draw(NAMES),
        endpoints=endpoints,
        http=http,
        connect_timeout=draw(st.integers(1, 100_000)),
        load_balancer=balancer,
        pool=draw(POOLS),
        outlier=outlier,
        security=security,
        service=draw(st.none() | SERVICES),
        subset=draw(NAMES),
        port=draw(PORTS),
        origins=tuple(draw(st.lists(ORIGINS, max_size=2))),
    )


@st.composite
def one_route(draw: st.DrawFn) -> Route:
    retry: Retry | None = draw(st.sampled_from((None, DEFAULT_RETRY, *catalogue.RETRIES)))
    forward = ForwardTo(upstreams=(WeightedUpstream(draw(NAMES)),), timeout=draw(st.integers(0, 100_000)), retry=retry)
    action: Action = draw(st.one_of(st.just(forward), st.sampled_from(catalogue.ACTIONS)))
    match: RequestMatch = draw(st.sampled_from((ANY_REQUEST, *catalogue.MATCHES)))
    fault: Fault | None = draw(st.sampled_from((None, *catalogue.FAULTS)))
    headers: Headers = draw(st.sampled_from((NO_HEADERS, catalogue.HEADERS)))
    return Route(
        name=draw(NAMES),
        match=match,
        action=action,
        fault=fault,
        headers=headers,
        operation=draw(NAMES),
        origin=draw(st.none() | ORIGINS),
    )


def thrice(encode: Callable[[], bytes]) -> set[bytes]:
    """The first call meets a shape, the second makes its template, the third uses it."""
    return {encode() for _ in range(3)}


@given(upstreams())
def test_upstreams(upstream: Upstream) -> None:
    """Whatever the upstream, its cluster is byte for byte what protobuf alone makes of it."""
    expected = clusters.build(*clusters.taken_apart(upstream))
    assert thrice(lambda: clusters.encode(upstream)) == {expected}


@given(one_route())
def test_routes(route: Route) -> None:
    """Whatever the route, its bytes are what protobuf alone makes of it."""
    expected = routes.build(*routes.taken_apart(route))
    assert thrice(lambda: routes.encode_routes((route,))) == {expected}


@given(NAMES, PORTS, st.integers(1, 2**20), st.sampled_from(catalogue.HEALTHS), NAMES, st.booleans())
def test_endpoints(
    address: str, port: int, weight: int, health: Literal["HEALTHY", "DRAINING"], workload: str, mutual: bool
) -> None:
    """Whatever the endpoint, its bytes are what protobuf alone makes of it."""
    endpoint = Endpoint(address, port, weight, health, workload, mutual)
    expected = endpoints.build(*endpoints.taken_apart(endpoint))
    assert thrice(lambda: endpoints.encode_endpoint(endpoint)) == {expected}


@given(st.sampled_from(list(catalogue.listeners())), NAMES, NAMES)
def test_listeners(listener: Listener, name: str, address: str) -> None:
    """Whatever the listener, its bytes are what protobuf alone makes of it."""
    placed = isinstance(listener.bind, Socket | Captured)
    bind = structs.replace(listener.bind, address=address) if placed else listener.bind
    renamed = structs.replace(listener, name=name, bind=bind)
    assert listeners.put_together(*listeners.taken_apart(renamed)) == renamed
    expected = listeners.build(*listeners.taken_apart(renamed))
    assert thrice(lambda: listeners.encode(renamed)) == {expected}


def test_too_many_texts_are_no_harm() -> None:
    """A message with more texts than there are letters for stand-ins is built by protobuf each time."""
    templates = Templates(struct)
    texts = tuple("abcdefghijklmnop")
    for _ in range(3):
        assert templates.render("", texts) == struct("", texts)
    assert not len(templates)


def struct(shape: str, texts: tuple[str, ...]) -> bytes:
    """A message in which the texts appear twice: each alone, and one after the other."""
    fields = {f"{shape}{number}": Value(string_value=text) for number, text in enumerate(texts)}
    return serialised(Struct(fields=fields | {"all": Value(string_value="|".join(texts))}))


@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=20), st.sampled_from(("", "^`~", "QZX")))
@example([("^", "^", "`"), ("a", "b", "c"), ("d", "e", "f")], "^")
def test_any_message(rows: list[tuple[str, str, str]], shape: str) -> None:
    """Templates never mix up texts, even when the message or the texts look like stand-ins."""
    templates = Templates(struct)
    for row in rows * 3:
        assert templates.render(shape, row) == struct(shape, row)


def test_a_template_saves_the_building() -> None:
    """From the third message of a shape on, protobuf is not asked any more."""
    built: list[tuple[str, ...]] = []

    def counted(shape: str, texts: tuple[str, ...]) -> bytes:
        built.append(texts)
        return struct(shape, texts)

    templates = Templates(counted)
    for name in ("aaaa", "bbbb", "cccc", "dddd"):
        templates.render("", (name,))
    assert [texts for texts in built if texts[0].isalpha()] == [("aaaa",), ("bbbb",)]


def test_memory_is_bounded() -> None:
    """A mesh in motion meets ever new shapes; only so many are remembered."""
    templates = Templates(struct, limit=10)
    for number in range(1000):
        for _ in range(2):
            templates.render(str(number), ("text",))
    assert len(templates) <= 10


def test_cut_refuses_nothing_but_proves_nothing() -> None:
    """Cutting where letters are ambiguous gives a wrong template; that is why each is tried before it is used."""
    assert cut(b"xx-x", [b"x"]).fill([b"y"]) == b"yy-y"
