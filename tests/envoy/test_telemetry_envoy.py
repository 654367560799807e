"""Istio's standard metrics as two real Envoys count them, with real calls between them: every label has to be right."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
import pytest_asyncio

from core.envoy import clusters, endpoints, listeners
from core.envoy.access_log import KEYS
from core.envoy.filters.peer_metadata import HEADER
from core.manager.ca.authority import Authority
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.mesh import AccessLog
from core.model.peer import Peer
from core.model.service import Locality, WorkloadKey
from core.model.workload import Explicit, Workload
from core.view.listener import FilterChain, HttpChain, Listener, Serve, Socket, TcpChain
from core.view.route import ForwardTo, Route, RouteConfiguration, VirtualHost, WeightedUpstream
from core.view.security import NO_TLS, ClientSecurity, MeshClient, MeshServer, ServerSecurity
from core.view.upstream import (
    Discovered,
    Endpoint,
    LoadAssignment,
    LocalityEndpoints,
    Nowhere,
    ServiceRef,
    Static,
    Upstream,
)
from proxy.metrics import istio_names
from proxy.testing.sidecars import Sidecar, certify

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

ADDRESS = "127.77.11.1"
OUT_HTTP, OUT_TCP, OUT_PLAIN, OUT_NOWHERE, OUT_HOLE, OUT_TCP_HOLE, IN_HTTP, IN_TCP, IN_PLAIN = range(21001, 21010)
EDGE, EDGE_WITHOUT_ROUTE = 20998, 20999
DEADLINE = 20.0
SERVICE = ServiceRef("web.shop.svc.cluster.local", "web", "shop")
WEB = Workload(
    key=WorkloadKey("shop", "web-v1-2"),
    address="127.77.11.2",
    service_account="seller",
    labels=Labels.of({"app": "web", "version": "v1", "service.istio.io/workload-name": "web-v1"}),
    capture=Explicit(),
)
SLEEP = Workload(
    key=WorkloadKey("home", "sleep"),
    address="127.77.11.3",
    service_account="sleeper",
    labels=Labels.of({"app.kubernetes.io/name": "bed", "service.istio.io/canonical-revision": "r7"}),
    capture=Explicit(),
)
SLEEPER, SELLER = "spiffe://cluster.local/ns/home/sa/sleeper", "spiffe://cluster.local/ns/shop/sa/seller"

FROM_SLEEP = {
    "source_workload": "sleep",
    "source_workload_namespace": "home",
    "source_principal": SLEEPER,
    "source_app": "unknown",
    "source_version": "unknown",
    "source_cluster": "default",
    "source_canonical_service": "bed",
    "source_canonical_revision": "r7",
}
TO_WEB = {
    "destination_workload": "web-v1",
    "destination_workload_namespace": "shop",
    "destination_principal": SELLER,
    "destination_app": "web",
    "destination_version": "v1",
    "destination_cluster": "default",
    "destination_canonical_service": "web",
    "destination_canonical_revision": "v1",
}
TO_SERVICE = {
    "destination_service": "web.shop.svc.cluster.local",
    "destination_service_name": "web",
    "destination_service_namespace": "shop",
}
NOBODY = dict.fromkeys(FROM_SLEEP, "unknown")
NOWHERE = dict.fromkeys(TO_WEB, "unknown")
HTTP = {"request_protocol": "http", "response_code": "200", "grpc_response_status": "", "response_flags": "-"}
TCP = {"request_protocol": "tcp", "response_flags": "-"}
AT_SOURCE = {"reporter": "source", "connection_security_policy": "unknown"}
MUTUAL = {"reporter": "destination", "connection_security_policy": "mutual_tls"}
PLAIN = {"reporter": "destination", "connection_security_policy": "none"}

NO_LOG, JSON_LOG = AccessLog(), AccessLog(file="access.log", encoding="JSON")

Series = tuple[str, dict[str, str], float]


# -- two sidecars ------------------------------------------------------------------------------------------------------


def listening(port: int, serve: Serve, security: ServerSecurity = NO_TLS) -> bytes:
    inbound = port >= IN_HTTP
    return listeners.encode(
        Listener(
            name=f"{port}",
            bind=Socket(ADDRESS, port),
            direction="inbound" if inbound else "outbound",
            chains=(FilterChain(serve=serve, security=security),),
            access_log=NO_LOG if inbound else JSON_LOG,
        )
    )


def http(upstream: str) -> HttpChain:
    action = ForwardTo(upstreams=(WeightedUpstream(upstream),))
    hosts = (VirtualHost("all", ("*",), (Route(action=action),)),)
    return HttpChain(stat_prefix=upstream, routes=RouteConfiguration(upstream, hosts))


def tcp(upstream: str) -> TcpChain:
    return TcpChain(stat_prefix=upstream, upstreams=(WeightedUpstream(upstream),))


def calling(port: int, security: ClientSecurity, name: str) -> list[bytes]:
    upstream = Upstream(name=name, endpoints=Discovered(), http="follow", security=security, service=SERVICE, port=80)
    found = Endpoint(ADDRESS, port, workload=str(Peer.of(WEB.key, WEB.labels)))
    return [
        clusters.encode(upstream),
        endpoints.encode(LoadAssignment(name, (LocalityEndpoints(Locality(), (found,)),))),
    ]


def of_sleep() -> list[bytes]:
    seller = SpiffeId("cluster.local", "ns/shop/sa/seller")
    mutual = MeshClient(sni="outbound_.80_._.web.shop.svc.cluster.local", identities=(seller,))
    return [
        *calling(IN_HTTP, mutual, "http"),
        *calling(IN_TCP, mutual, "tcp"),
        *calling(IN_PLAIN, NO_TLS, "plain"),
        listening(OUT_HTTP, http("http")),
        listening(OUT_TCP, tcp("tcp")),
        listening(OUT_PLAIN, http("plain")),
        listening(OUT_NOWHERE, http("gone")),
        listening(EDGE, msgspec.structs.replace(http("BlackHoleCluster"), edge=True)),
        listening(EDGE_WITHOUT_ROUTE, HttpChain(stat_prefix="x", routes=RouteConfiguration("x", ()), edge=True)),
        clusters.encode(Upstream(name="BlackHoleCluster", endpoints=Nowhere())),
        listening(OUT_HOLE, http("BlackHoleCluster")),
        listening(OUT_TCP_HOLE, tcp("BlackHoleCluster")),
    ]


def of_web(app: int) -> list[bytes]:
    upstream = Upstream(
        name="inbound|80||", endpoints=Static(ADDRESS, app), http="follow", service=SERVICE, security=NO_TLS
    )
    return [
        clusters.encode(upstream),
        listening(IN_HTTP, http("inbound|80||"), MeshServer()),
        listening(IN_TCP, tcp("inbound|80||"), MeshServer()),
        listening(IN_PLAIN, http("inbound|80||")),
    ]


class Watched(Sidecar):
    """With its metrics as the agent shows them."""

    async def series(self, *, usedonly: str = "?usedonly") -> list[Series]:
        return list(parsed(istio_names(await self.ask(f"/stats/prometheus{usedonly}"))))

    async def seen(self, name: str, labels: dict[str, str], *, at_least: float = 1) -> float:
        """The value of the series with exactly these labels. Histograms come with Envoy's next flush, after 5 s."""
        found: list[Series] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE):
                while True:
                    found = [each for each in await self.series() if each[0] == name]
                    values = [value for _, have, value in found if have == labels]
                    if values and sum(values) >= at_least:
                        assert len(values) == 1
                        return values[0]
                    await asyncio.sleep(0.05)
        pytest.fail(f"no {name} with {labels}, but {found}")


def parsed(text: str) -> list[Series]:
    lines = re.findall(r"^(istio_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for name, labels, value in lines]


class Pair:
    def __init__(self, sleep: Watched, web: Watched, heads: list[str]) -> None:
        self.sleep, self.web, self.heads = sleep, web, heads


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """`sleep` calls `web`; each behind its own sidecar. `heads`: what the application got."""
    heads: list[str] = []
    authority = Authority.create()
    async with application(heads) as app:
        folders = [tmp_path_factory.mktemp(name) for name in ("sleep", "web")]
        for folder, workload in zip(folders, (SLEEP, WEB), strict=True):
            certify(folder, authority, workload)
        async with (
            Watched(folders[0], SLEEP, of_sleep()).running() as sleep,
            Watched(folders[1], WEB, of_web(app)).running() as web,
        ):
            yield Pair(sleep, web, heads)


@asynccontextmanager
async def application(heads: list[str]) -> AsyncIterator[int]:
    """Answers HTTP (`/503` with that code), and other bytes with themselves."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while got := await reader.read(65536):
                head = got.decode(errors="replace")
                heads.append(head)
                code = "503 Sorry" if " /503 " in head else "200 OK"
                kind = "content-type: application/grpc\r\ngrpc-status: 5\r\n" if " /grpc " in head else ""
                body = f"HTTP/1.1 {code}\r\n{kind}content-length: 5\r\n\r\nhello".encode()
                writer.write(body if " HTTP/1.1\r\n" in head else got)
        writer.close()

    async with await asyncio.start_server(serve, ADDRESS, 0) as server:
        yield server.sockets[0].getsockname()[1]


async def say(port: int, message: bytes) -> bytes:
    async with asyncio.timeout(DEADLINE):
        while True:
            with suppress(ConnectionRefusedError):
                reader, writer = await asyncio.open_connection(ADDRESS, port)
                break
            await asyncio.sleep(0.02)
        writer.write(message)
        answer = await reader.read(65536)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return answer


async def get(port: int, path: str, *headers: str, body: str = "") -> bytes:
    fields = ("host: web.shop", f"content-length: {len(body)}", *headers)
    return await say(port, "\r\n".join((f"POST {path} HTTP/1.1", *fields, "", body)).encode())


# -- what has to be true -----------------------------------------------------------------------------------------------


async def test_a_call_with_mutual_tls_is_counted_on_both_sides(pair: Pair) -> None:
    """Source and destination count the same call with all of Istio's labels, each from its own point of view."""
    assert b"200 OK" in await get(OUT_HTTP, "/a", body="12345678")
    await pair.sleep.seen("istio_requests_total", {**FROM_SLEEP, **TO_WEB, **TO_SERVICE, **HTTP, **AT_SOURCE})
    await pair.web.seen("istio_requests_total", {**FROM_SLEEP, **TO_WEB, **TO_SERVICE, **HTTP, **MUTUAL})


async def test_the_application_does_not_see_who_calls(pair: Pair) -> None:
    """The header in which proxies name themselves is gone when the application gets the request."""
    await get(OUT_HTTP, "/seen")
    head = next(head for head in pair.heads if " /seen " in head)
    assert HEADER not in head.lower()


async def test_codes_and_flags(pair: Pair) -> None:
    """Another response code is another series; so is a call that found nobody, told apart by Envoy's flag."""
    assert b"hello" in await get(OUT_HTTP, "/503")
    labels = {**FROM_SLEEP, **TO_WEB, **TO_SERVICE, **HTTP, "response_code": "503"}
    await pair.web.seen("istio_requests_total", {**labels, **MUTUAL})
    assert b"503 Service" in await get(OUT_NOWHERE, "/")
    nowhere = {**FROM_SLEEP, "source_principal": "unknown", **NOWHERE, "destination_service": "web.shop"}
    names = {"destination_service_name": "unknown", "destination_service_namespace": "unknown"}
    failed = {**HTTP, "response_code": "503", "response_flags": "NC", **AT_SOURCE}
    await pair.sleep.seen("istio_requests_total", {**nowhere, **names, **failed})


async def test_calls_to_no_service(pair: Pair) -> None:
    """Who calls a host that nobody registered is counted by that host, and by the cluster that took the call."""
    assert b"503 Service" in await get(OUT_HOLE, "/")
    with suppress(ConnectionResetError):
        assert await say(OUT_TCP_HOLE, b"x") == b""
    there = {**FROM_SLEEP, "source_principal": "unknown", **NOWHERE, "destination_service_namespace": "unknown"}
    hole = {**there, "destination_service_name": "BlackHoleCluster", **AT_SOURCE, "response_flags": "UH"}
    http = {"destination_service": "web.shop", "request_protocol": "http", "response_code": "503"}
    await pair.sleep.seen("istio_requests_total", {**hole, **http, "grpc_response_status": ""})
    tcp = {**hole, "destination_service": "unknown", "request_protocol": "tcp"}
    assert await pair.sleep.seen("istio_tcp_connections_opened_total", tcp) == 1
    assert await pair.sleep.seen("istio_tcp_connections_closed_total", tcp) == 1


async def test_grpc(pair: Pair) -> None:
    """Calls with a gRPC content type say so, and their status."""
    await get(OUT_HTTP, "/grpc", "content-type: application/grpc")
    labels = {**FROM_SLEEP, **TO_WEB, **TO_SERVICE, **HTTP, "request_protocol": "grpc", "grpc_response_status": "5"}
    await pair.sleep.seen("istio_requests_total", {**labels, **AT_SOURCE})
    await pair.web.seen("istio_requests_total", {**labels, **MUTUAL})


async def test_claims_in_plain_text_are_ignored(pair: Pair) -> None:
    """Who calls without a certificate is unknown, whatever it says; what it says does not reach the application."""
    await get(IN_PLAIN, "/forged", f"{HEADER}: admin;kube-system;admin;v1;x")
    labels = {**NOBODY, **TO_WEB, "destination_principal": "unknown", **TO_SERVICE, **HTTP, **PLAIN}
    await pair.web.seen("istio_requests_total", labels)
    assert "admin" not in next(head for head in pair.heads if " /forged " in head)
    assert not any(have["source_workload"] == "admin" for _, have, _ in await pair.web.series())


async def test_an_application_cannot_speak_for_its_proxy(pair: Pair) -> None:
    """What the application writes into the header is overwritten by its proxy, and taken off where none is sent."""
    before = await pair.web.series()
    await get(OUT_HTTP, "/lie", f"{HEADER}: admin;kube-system;admin;v1;x")
    await get(OUT_PLAIN, "/lie-in-plain", f"{HEADER}: admin;kube-system;admin;v1;x")
    assert not any("admin" in head for head in pair.heads)
    total = {**FROM_SLEEP, **TO_WEB, **TO_SERVICE, **HTTP, **MUTUAL}
    old = next((v for n, have, v in before if n == "istio_requests_total" and have == total), 0)
    assert await pair.web.seen("istio_requests_total", total, at_least=old + 1) == old + 1


async def test_a_proxy_does_not_tell_strangers_who_calls(pair: Pair) -> None:
    """Towards an upstream without mutual TLS, nothing is said about the workload."""
    await get(OUT_PLAIN, "/quiet")
    assert HEADER not in next(head for head in pair.heads if " /quiet " in head).lower()


async def test_sizes_and_durations(pair: Pair) -> None:
    """Histograms have Istio's names, the labels of the counter, and the sizes of bodies."""
    await get(OUT_HTTP, "/h", body="x" * 100)
    labels = {**FROM_SLEEP, **TO_WEB, **TO_SERVICE, **HTTP}
    for name in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
        await pair.sleep.seen(f"{name}_count", {**labels, **AT_SOURCE})
        await pair.web.seen(f"{name}_count", {**labels, **MUTUAL})
        await pair.web.seen(f"{name}_bucket", {**labels, **MUTUAL, "le": "+Inf"})
    sums = [v for name, _, v in await pair.web.series() if name == "istio_response_bytes_sum"]
    assert sum(sums) >= 5


async def test_tcp(pair: Pair) -> None:
    """Connections are counted when they open and when they close, with their bytes; the caller is its certificate."""
    assert await say(OUT_TCP, b"\x00bytes") == b"\x00bytes"
    known = {"source_workload_namespace": "home", "source_principal": SLEEPER}
    for side, labels in (
        (pair.sleep, {**FROM_SLEEP, **TO_WEB, **TO_SERVICE, **TCP, **AT_SOURCE}),
        (pair.web, {**NOBODY, **known, **TO_WEB, **TO_SERVICE, **TCP, **MUTUAL}),
    ):
        assert await side.seen("istio_tcp_connections_opened_total", labels) == 1
        assert await side.seen("istio_tcp_connections_closed_total", labels) == 1
        assert await side.seen("istio_tcp_sent_bytes_total", labels) == 6
        assert await side.seen("istio_tcp_received_bytes_total", labels) == 6


async def test_bytes_sent_ahead_arrive(pair: Pair) -> None:
    """The application is connected after the handshake; what the caller sent by then is not lost, much or little."""
    for size in (1, 65_536, 1_000_000):
        sent = b"\x01" * size
        reader, writer = await asyncio.open_connection(ADDRESS, OUT_TCP)
        writer.write(sent)
        async with asyncio.timeout(DEADLINE):
            assert await reader.readexactly(size) == sent
        writer.close()


async def test_access_log_as_json(pair: Pair) -> None:
    """One object for each request, with Istio's keys, and one for each TCP connection: not another when it begins."""
    await get(OUT_HTTP, "/logged")
    await say(OUT_TCP, b"\x00logged")
    log = pair.sleep.folder / "access.log"
    lines: list[dict[str, object]] = []
    async with asyncio.timeout(DEADLINE):
        while not any(line["bytes_sent"] == 7 for line in lines):
            await asyncio.sleep(0.1)
            lines = [msgspec.json.decode(line) for line in log.read_text().splitlines()]
    (request,) = [line for line in lines if line["path"] == "/logged"]
    assert request.keys() == KEYS.keys()
    assert (request["method"], request["response_code"], request["upstream_cluster"]) == ("POST", 200, "http")
    (connection,) = [line for line in lines if line["bytes_sent"] == 7]
    assert connection["method"] is None


async def test_strangers_name_no_series(pair: Pair) -> None:
    """Hosts that somebody outside calls at a gateway are no labels, with or without a route."""

    async def called(*hosts: str) -> list[Series]:
        """All series once these calls have been counted."""
        before = await requests(pair.sleep)
        for host in hosts:
            for port in (EDGE, EDGE_WITHOUT_ROUTE):
                await say(port, f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE):
            while await requests(pair.sleep) < before + 2 * len(hosts):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        return [each for each in await pair.sleep.series(usedonly="") if each[0] == "istio_requests_total"]

    first = await called("first.example.com")
    found = await called(*(f"{number}.example.com;reviews;shop" for number in range(20)))
    assert len(found) == len(first)
    assert not [labels for _, labels, _ in found if "example.com" in labels["destination_service"]]
    assert {labels["destination_service"] for _, labels, _ in found} >= {"unknown"}


async def requests(sidecar: Watched) -> float:
    return sum(value for name, _, value in await sidecar.series() if name == "istio_requests_total")


async def test_calls_add_no_series(pair: Pair) -> None:
    """A hundred different calls that differ in nothing that a label tells make not one new series."""
    await get(OUT_HTTP, "/again/0")
    await pair.sleep.seen("istio_request_bytes_count", {**FROM_SLEEP, **TO_WEB, **TO_SERVICE, **HTTP, **AT_SOURCE})
    before = len(await pair.sleep.series(usedonly=""))
    for number in range(100):
        await get(OUT_HTTP, f"/again/{number}", f"x-request-id: {number}", f"user-agent: {number}")
    assert len(await pair.sleep.series(usedonly="")) == before
