"""Values of the view, every field in every variant at least once. A new field or variant belongs in here."""

from collections.abc import Iterator
from typing import Literal

from msgspec import structs

from core.ir.routing import RequestMatch
from core.ir.traffic import (
    Balance,
    ConnectionPool,
    ConsistentHash,
    HashCookie,
    HashHeader,
    HashKey,
    HashQuery,
    HashSourceIp,
    KeepAlive,
    Outlier,
)
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
    StringMatch,
    UriRewrite,
    ValueMatch,
)
from core.model.config import ConfigKey, Origin
from core.model.identity import SpiffeId
from core.model.mesh import AccessLog
from core.model.service import Locality
from core.view.listener import (
    HTTP_BYTES,
    PLAIN_HTTP,
    Captured,
    ChainMatch,
    FilterChain,
    HttpChain,
    InProcess,
    Listener,
    NamedRoutes,
    Serve,
    Socket,
    TcpChain,
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
from core.view.security import (
    MESH_HTTP,
    MESH_TCP,
    Automatic,
    ClientSecurity,
    MeshClient,
    MeshServer,
    Originate,
    Terminate,
)
from core.view.upstream import (
    AnyHost,
    Discovered,
    Endpoint,
    Endpoints,
    HttpVersion,
    Internal,
    LoadAssignment,
    LocalityEndpoints,
    Nowhere,
    OriginalDestination,
    Resolved,
    ServiceRef,
    Static,
    Upstream,
)

HOST = "reviews.default.svc.cluster.local"
SERVICE = ServiceRef(HOST, "reviews", "default")
ORIGIN = Origin(ConfigKey("networking.istio.io", "VirtualService", "default", "reviews"), "spec.http[0]")
UPSTREAM = f"outbound|9080||{HOST}"
OTHER = f"outbound|9080|v2|{HOST}"

HEADERS = Headers(
    request=HeaderOps(
        set=(("x-set", "1"), ("x-empty", ""), ("Host", "other")), add=(("x-add", "2"),), remove=("x-remove",)
    ),
    response=HeaderOps(set=(("x-set", "1"),), add=(("x-add", "2"),), remove=("x-remove",)),
)

HTTP_VERSIONS: tuple[HttpVersion, ...] = ("none", "http1", "http2", "follow")
ENDPOINTS: tuple[Endpoints, ...] = (
    Discovered(),
    Static("127.0.0.1", 8080),
    Internal("0.0.0.0_80"),
    AnyHost(),
    OriginalDestination(),
    OriginalDestination(source="127.0.0.6", mark=1337),
    Nowhere(),
    Resolved(),
    Resolved((LocalityEndpoints(Locality("r", "z"), (Endpoint("localhost", 80), Endpoint("::1", 8080, 3)), 0, 4),)),
)
POOLS = (
    ConnectionPool(
        max_connections=1,
        connect_timeout=1500,
        max_connection_duration=60_000,
        keep_alive=KeepAlive(probes=3, time=7200, interval=75),
        max_pending_requests=2,
        max_requests=3,
        max_requests_per_connection=4,
        max_retries=5,
        max_concurrent_streams=6,
        http_idle_timeout=7000,
    ),
    ConnectionPool(keep_alive=KeepAlive(), http_idle_timeout=1),
)
OUTLIERS = (
    Outlier(),
    Outlier(consecutive_5xx=0, consecutive_gateway_errors=3, max_ejection_percent=100, min_health_percent=50),
    Outlier(split_local_errors=True, interval=1, base_ejection_time=1500),
)
HASH_KEYS: tuple[HashKey, ...] = (
    HashHeader("x-user"),
    HashCookie("session"),
    HashCookie("session", "/", 0),
    HashCookie("session", "/", 1500),
    HashSourceIp(),
    HashQuery("user"),
)
BALANCERS: tuple[Balance | ConsistentHash, ...] = (
    Balance(),
    Balance("ROUND_ROBIN"),
    Balance("RANDOM"),
    Balance("PASSTHROUGH"),
    ConsistentHash(key=HASH_KEYS[0]),
    ConsistentHash(key=HASH_KEYS[0], algorithm="MAGLEV", size=65537),
)


SNI = f"outbound_.9080_._.{HOST}"
IDENTITIES = tuple(SpiffeId.of("cluster.local", namespace="default", service_account=name) for name in ("a", "b"))
MESH_CLIENTS = tuple(
    MeshClient(sni=SNI, identities=IDENTITIES[:count], protocols=protocols)
    for count, protocols in enumerate((MESH_TCP, ("istio-h2", "istio"), ()))
)
CLIENT_SECURITIES: tuple[ClientSecurity, ...] = (
    *MESH_CLIENTS,
    *(Automatic(mesh=mesh) for mesh in MESH_CLIENTS),
    Originate(),
    Originate(sni="api.example.com", verify=False),
    Originate(sni="api.example.com", names=("example.com", "spiffe://cluster.local/ns/a/sa/b")),
)


def upstreams() -> Iterator[Upstream]:
    for endpoints in ENDPOINTS:
        for http in HTTP_VERSIONS:
            yield _upstream(len(http), endpoints=endpoints, http=http)
            for pool in POOLS:
                yield _upstream(pool.max_connections, endpoints=endpoints, http=http, pool=pool)
    for balancer in BALANCERS:
        yield _upstream(0, endpoints=Discovered(), load_balancer=balancer)
    for security in CLIENT_SECURITIES:
        for http in HTTP_VERSIONS:
            yield _upstream(0, endpoints=Discovered(), http=http, security=security)
    for outlier in OUTLIERS:
        yield _upstream(0, endpoints=Discovered(), outlier=outlier)
        yield _upstream(0, endpoints=Discovered(), outlier=outlier, by_locality=True)
    for balancer in BALANCERS:
        yield _upstream(0, endpoints=Discovered(), load_balancer=balancer, by_locality=True)


def _upstream(port: int, **fields: object) -> Upstream:
    subset = "v2" if port else ""
    return Upstream(name=UPSTREAM, service=SERVICE, subset=subset, port=port, origins=(ORIGIN,), **fields)  # type: ignore[arg-type]


PATHS: tuple[StringMatch | None, ...] = (None, Exact("/a"), Prefix("/a/"), Regex("/a/.*"))
_VALUES: tuple[ValueMatch, ...] = (Exact("v"), Prefix("v"), Regex("v+"), Present())
MATCHES = (
    *(RequestMatch(path=path, ignore_path_case=ignore) for path in PATHS for ignore in (False, True)),
    RequestMatch(scheme=Exact("http"), method=Regex("GET|POST"), authority=Prefix("reviews")),
    RequestMatch(headers=tuple((f"x-{i}", value) for i, value in enumerate(_VALUES))),
    RequestMatch(without_headers=tuple((f"x-{i}", value) for i, value in enumerate(_VALUES))),
    RequestMatch(query=tuple((f"q{i}", value) for i, value in enumerate(_VALUES))),
)
FAULTS = (
    Fault(delay=Delay(5000, 1_000_000)),
    Fault(abort=Abort(503, 100_000)),
    Fault(delay=Delay(1, 1), abort=Abort(14, 1, "grpc")),
)
RETRIES = (
    DEFAULT_RETRY,
    Retry(attempts=1, per_try_timeout=1500, conditions=("5xx",), status_codes=(503, 429), ignore_previous_hosts=False),
)
REWRITES = (
    Rewrite(authority="other"),
    Rewrite(path=UriRewrite("/b")),
    Rewrite(path=RegexRewrite("^/a/(.*)$", "/b/\\1"), authority="other"),
)
_ONE = (WeightedUpstream(UPSTREAM),)
_TWO = (WeightedUpstream(UPSTREAM, 9), WeightedUpstream(OTHER, 1, HEADERS), WeightedUpstream(OTHER, 0))
ACTIONS: tuple[Action, ...] = (
    ForwardTo(upstreams=_ONE),
    ForwardTo(upstreams=_TWO, timeout=1500, retry=DEFAULT_RETRY),
    ForwardTo(upstreams=(WeightedUpstream(UPSTREAM, 0, HEADERS),)),
    ForwardTo(upstreams=_ONE, mirrors=(MirrorTo(OTHER, 1_000_000), MirrorTo(UPSTREAM, 1))),
    *(ForwardTo(upstreams=_ONE, retry=retry) for retry in RETRIES),
    *(ForwardTo(upstreams=_ONE, hash_key=key) for key in HASH_KEYS),
    *(Redirect(code=code, authority="other") for code in (301, 302, 303, 307, 308)),
    Redirect(scheme="https", port=8443, path="/new"),
    Redirect(prefix="/new"),
    Respond(200),
    Respond(503, b"\xff not text"),
    Tunnel(UPSTREAM),
)


def routes() -> Iterator[Route]:
    yield Route(name="default", action=ACTIONS[0], operation=f"{HOST}:9080/*", origin=ORIGIN)
    for match in MATCHES:
        yield Route(match=match, action=ACTIONS[0])
        yield Route(match=match, action=Tunnel(UPSTREAM))
    for rewrite in REWRITES:
        for path in PATHS:
            yield Route(match=RequestMatch(path=path), action=ForwardTo(upstreams=_ONE, rewrite=rewrite))
    for fault in FAULTS:
        yield Route(action=ACTIONS[0], fault=fault)
    for action in ACTIONS:
        yield Route(name="plain", action=action)
        yield Route(action=action, headers=HEADERS)


def route_configuration() -> RouteConfiguration:
    hosts = (
        VirtualHost(f"{HOST}:9080", (HOST, f"{HOST}:9080", "*.wild.example"), tuple(routes())),
        VirtualHost("allow_any", ("*",), (Route(name="allow_any", action=ACTIONS[0]),)),
    )
    return RouteConfiguration("9080", hosts)


_SERVES: tuple[Serve, ...] = (
    HttpChain(stat_prefix="http", routes=NamedRoutes("9080")),
    HttpChain(stat_prefix="http", routes=route_configuration()),
    HttpChain(stat_prefix="http", routes=NamedRoutes("http_proxy"), forward_proxy=True, any_host=True),
    TcpChain(stat_prefix="tcp", upstreams=_ONE),
    TcpChain(stat_prefix="tcp", upstreams=_TWO, idle_timeout=1500),
)


_LOG = AccessLog(file="/dev/stdout")
_OTHER_LOG = AccessLog(file="/dev/stderr", format="%START_TIME%")
_JSON_LOG = AccessLog(file="/dev/null", encoding="JSON", format='{"a": "%PROTOCOL%", "b": {"c": 1}}')


def listeners() -> Iterator[Listener]:
    """With distinct names and addresses, so that one proxy can have them all."""
    for number, serve in enumerate(_SERVES):
        name = f"127.9.0.1_{9000 + number}"
        chains = (FilterChain(name="only", serve=serve),)
        yield Listener(name=name, bind=Socket("127.9.0.1", 9000 + number), direction="outbound", chains=chains)
    sniffed = (FilterChain(name="http", match=HTTP_BYTES, serve=_SERVES[0]), FilterChain(name="any", serve=_SERVES[3]))
    inbound = Socket("127.9.0.1", 9100)
    yield Listener(name="inbound", bind=inbound, direction="inbound", chains=sniffed, access_log=_LOG)
    yield from _secured()
    yield from _redirected()
    for number, log in enumerate((AccessLog(), _OTHER_LOG, _JSON_LOG)):
        yield Listener(
            name=f"internal-{number}",
            bind=InProcess(),
            direction="outbound",
            chains=sniffed[: number + 1],
            sniff_timeout=number * 100,
            access_log=log,
        )


_SECURED = (
    FilterChain(
        name="mesh-http",
        match=ChainMatch(transport="tls", protocols=MESH_HTTP),
        security=MeshServer(protocols=("h2", "http/1.1")),
        serve=_SERVES[0],
    ),
    FilterChain(name="plain-http", match=ChainMatch(transport="plain", protocols=PLAIN_HTTP), serve=_SERVES[0]),
    FilterChain(name="mesh", match=ChainMatch(transport="tls"), security=MeshServer(), serve=_SERVES[3]),
    FilterChain(
        name="gateway",
        match=ChainMatch(server_names=("api.example.com", "*.example.com")),
        security=Terminate(
            secret="s", roots="r", min_version="TLSV1_2", max_version="1.3", ciphers=("ECDHE-RSA-AES128-GCM-SHA256",)
        ),
        serve=_SERVES[0],
    ),
    FilterChain(
        name="any", match=ChainMatch(server_names=("b.test",)), security=Terminate(secret="s"), serve=_SERVES[3]
    ),
)


def _secured() -> Iterator[Listener]:
    for number, direction in enumerate(_DIRECTIONS):
        bind = Socket("127.9.0.1", 9200 + number)
        yield Listener(name=f"secured-{direction}", bind=bind, direction=direction, chains=_SECURED)


_DIRECTIONS: tuple[Literal["inbound", "outbound"], ...] = ("inbound", "outbound")


def _redirected() -> Iterator[Listener]:
    idle = FilterChain(match=ChainMatch(port=9000), serve=TcpChain(stat_prefix="x", upstreams=_ONE, protocols=MESH_TCP))
    chains = (*(structs.replace(each, match=structs.replace(each.match, port=80)) for each in _SECURED), idle)
    rest = FilterChain(match=HTTP_BYTES, serve=_SERVES[0])
    for number, direction in enumerate(_DIRECTIONS):
        bind = Socket("127.9.0.1", 9300 + number)
        yield Listener(name=f"redirected-{direction}", bind=bind, direction=direction, chains=chains, original=True)
    yield Listener(
        name="transparent",
        bind=Socket("127.9.0.1", 9302),
        direction="inbound",
        chains=(*chains, rest),
        original=True,
        transparent=True,
        mark=1337,
    )
    yield Listener(name="0.0.0.0_80", bind=Captured("0.0.0.0", 80), direction="outbound", chains=(*chains, rest))


HEALTHS: tuple[Literal["HEALTHY", "DRAINING"], ...] = ("HEALTHY", "DRAINING")
LOAD_ASSIGNMENTS = (
    LoadAssignment("nobody"),
    LoadAssignment(
        "somebody",
        (
            LocalityEndpoints(
                Locality("r", "z", "s"), (Endpoint("127.0.0.1", 80, mutual=True), Endpoint("127.0.0.2", 80, 3)), 0, 4
            ),
            LocalityEndpoints(Locality(), (Endpoint("::1", 65535, 1, "DRAINING", "reviews-v1.default"),), 1, 1),
        ),
    ),
)
