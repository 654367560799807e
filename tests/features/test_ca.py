"""Certificates from a true Manager: over the workload's socket, HTTPS and gRPC; and proxies that show them."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import msgspec
import pytest
from click.testing import CliRunner
from cryptography import x509
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from core.manager.api import SOCKET
from core.manager.ca.attest import JoinTokens, Members
from core.manager.ca.authority import Authority
from core.manager.ca.messages import METHOD, SERVICE, read_response, write_request
from core.manager.ca.root import key_pem
from core.manager.ca.testing import csr, identity, issued, new_key
from core.manager.ca.tokens import Claims
from core.manager.container import ManagerContainer
from core.manager.paths import ca_socket, xds_socket
from core.manager.process import serving
from core.manager.settings import Settings
from core.manager.testing.client import Proxy
from core.manager.testing.facts import instance, service, workload, workload_key
from core.manager.xds.resource import ResourceType
from core.model.mesh import Mesh as MeshSettings
from core.model.workload import node_id
from istioctl.cli import app
from platforms.memory import MemoryPlatform

LOCAL = "127.0.0.1:0"


class Mesh:
    """A Manager in this process, with two workloads, `a` (service account `alice`) and `b` (`default`)."""

    def __init__(self, state: Path, platform: MemoryPlatform, container: ManagerContainer) -> None:
        self.state = state
        self.platform = platform
        self.container = container
        self.ports = container.doors().ports
        self.roots = container.authority().roots

    async def sign(self, name: str, body: bytes, query: str = "") -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=str(ca_socket(self.state, workload_key(name))))
        async with httpx.AsyncClient(transport=transport, base_url="http://ca") as client:
            return await client.post(f"/v1/certificate{query}", content=body)

    async def token(self, **wanted: object) -> str:
        return str((await self.ask_token(**wanted)).json()["token"])

    async def ask_token(self, **wanted: object) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=str(self.state / SOCKET))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.post("/v1/tokens", json=wanted)

    def pair(self, name: str = "alice") -> tuple[str, str]:
        """A chain and its key, for a service account."""
        return issued(identity(name), self.container.authority())

    async def https(
        self, body: bytes, *, token: str = "", pair: tuple[str, str] | None = None, roots: str = ""
    ) -> httpx.Response:
        context = ssl.create_default_context(cadata=roots or self.roots)
        if pair is not None:
            shown(context, pair)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(verify=context, base_url=f"https://127.0.0.1:{self.ports.https}") as client:
            return await client.post("/v1/certificate", content=body, headers=headers)

    def channel(self, port: int | None, pair: tuple[str, str] | None = None) -> grpc.aio.Channel:
        chain, key = pair or ("", "")
        credentials = grpc.ssl_channel_credentials(self.roots.encode(), key.encode() or None, chain.encode() or None)
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials)


def shown(context: ssl.SSLContext, pair: tuple[str, str]) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("".join(pair))
        file.flush()
        context.load_cert_chain(file.name)


@contextlib.asynccontextmanager
async def running(state: Path, **settings: object) -> AsyncIterator[Mesh]:
    platform = MemoryPlatform()
    alice = msgspec.structs.replace(workload("a"), service_account="alice")
    for fact in (alice, workload("b", number=2), service("web"), instance("web", "10.0.0.1")):
        platform.registry.put(fact)
    chosen = Settings(state=state, **{"ca_listen": LOCAL, "xds_listen": LOCAL, "csr_listen": LOCAL, **settings})  # type: ignore[arg-type]
    async with serving(chosen, platform.record) as container:
        yield Mesh(state, platform, container)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with running(tmp_path) as found:
        yield found


def uris(chain: str) -> list[str]:
    names = x509.load_pem_x509_certificate(chain.encode()).extensions
    return names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier
    )


# -- the workload's own socket -----------------------------------------------------------------------------------------


async def test_the_socket_says_who_is_asking(mesh: Mesh) -> None:
    """The certificate is the workload's, whatever it says; it is signed by the root that comes with it."""
    for name, account in (("a", "alice"), ("b", "default")):
        answer = (await mesh.sign(name, csr(new_key()))).json()
        assert answer["identity"] == f"spiffe://cluster.local/ns/default/sa/{account}"
        assert uris(answer["chain"]) == [answer["identity"]]
        assert answer["roots"] == mesh.roots
        assert answer["expires"] == pytest.approx(time.time() + 24 * 3600, abs=5)
    assert stat.S_IMODE(ca_socket(mesh.state, workload_key("a")).stat().st_mode) == 0o600
    assert stat.S_IMODE((mesh.state / "ca").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("query", "seconds"), [("?lifetime=60", 60), ("?lifetime=99999999", 24 * 3600), ("?lifetime=inf", 0)]
)
async def test_less_may_be_asked_for_and_never_more(mesh: Mesh, query: str, seconds: int) -> None:
    """A lifetime that is no number is refused."""
    response = await mesh.sign("a", csr(new_key()), query)
    if not seconds:
        assert response.status_code == 400
        return
    assert response.json()["expires"] == pytest.approx(time.time() + seconds, abs=5)


async def test_refusals_say_why(mesh: Mesh) -> None:
    """JSON with `error` and `fix`; 400 for what is no request, 403 for somebody else's name, 404 for another place."""
    other = x509.UniformResourceIdentifier(str(identity("bob")))
    for body, code, words in (
        (b"nonsense", 400, "not one CSR"),
        (b"x" * 100_000, 400, "larger than"),
        (csr(new_key(), other), 403, "sa/bob"),
    ):
        response = await mesh.sign("a", body)
        assert (response.status_code, set(response.json())) == (code, {"error", "fix"})
        assert words in response.json()["error"]
    assert (await mesh.sign("a", csr(new_key()), "/more")).status_code == 404


async def test_sockets_come_and_go_with_workloads(mesh: Mesh) -> None:
    """The one of a workload that is gone is closed, that of a new one opens."""
    mesh.platform.registry.put(workload("c", number=3))
    mesh.platform.registry.remove(workload_key("a"))
    await until(lambda: ca_socket(mesh.state, workload_key("c")).exists())
    await until(lambda: not ca_socket(mesh.state, workload_key("a")).exists())
    assert (await mesh.sign("c", csr(new_key()))).status_code == 200


async def test_hundreds_of_sockets_cost_nothing_while_idle(tmp_path: Path) -> None:
    """300 workloads: every socket answers, and an idle Manager does not work."""
    async with running(tmp_path) as mesh:
        for number in range(300):
            mesh.platform.registry.put(workload(f"w{number}", number=number % 250 + 1))
        await until(lambda: all(ca_socket(mesh.state, workload_key(f"w{n}")).exists() for n in range(300)), within=30)
        deadline = time.monotonic() + 20
        while (work := await work_in_half_a_second()) > 0.05:
            assert time.monotonic() < deadline, f"{work:.2f} s of work in half a second, and no end of it"
        assert (await mesh.sign("w299", csr(new_key()))).status_code == 200


async def work_in_half_a_second() -> float:
    """Seconds of this process's."""
    before = time.process_time()
    await asyncio.sleep(0.5)
    return time.process_time() - before


async def until(is_so: object, *, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


# -- HTTPS -------------------------------------------------------------------------------------------------------------


async def test_a_token_is_good_once_over_https(mesh: Mesh) -> None:
    """Then the certificate that it brought renews itself without one."""
    token = await mesh.token(serviceAccount="alice")
    key = new_key()
    first = await mesh.https(csr(key), token=token)
    assert first.json()["identity"] == str(identity("alice"))
    again = await mesh.https(csr(key), token=token)
    assert (again.status_code, "used before" in again.json()["error"]) == (403, True)
    pair = first.json()["chain"], key_pem(key).decode()
    renewed = await mesh.https(csr(new_key()), pair=pair)
    assert renewed.json()["identity"] == str(identity("alice"))
    assert renewed.json()["chain"] != pair[0]


async def test_a_bad_request_does_not_use_up_a_token(mesh: Mesh) -> None:
    token = await mesh.token(serviceAccount="alice")
    assert (await mesh.https(b"nonsense", token=token)).status_code == 400
    assert (await mesh.https(csr(new_key()), token=token)).status_code == 200


async def test_reusable_tokens_and_tokens_of_a_workload(mesh: Mesh) -> None:
    """`unlimited` is good again and again; a workload's token is for its service account while it has that."""
    many = await mesh.token(serviceAccount="alice", uses="unlimited")
    assert [(await mesh.https(csr(new_key()), token=many)).status_code for _ in range(3)] == [200] * 3
    own = await mesh.token(workload="a", uses="unlimited")
    assert (await mesh.https(csr(new_key()), token=own)).json()["identity"] == str(identity("alice"))
    mesh.platform.registry.put(workload("a"))
    await until(lambda: str(mesh.container.members().identity(workload_key("a"))).endswith("/default"))
    assert (await mesh.https(csr(new_key()), token=own)).status_code == 403


async def test_nobody_without_a_proof(mesh: Mesh) -> None:
    """No token and no certificate, a made-up token, a certificate of another root: no certificate."""
    assert (await mesh.https(csr(new_key()))).status_code == 403
    assert (await mesh.https(csr(new_key()), token="istio-join.e30.AAAA")).status_code == 403
    foreign = issued(identity("alice"), Authority.create())
    with pytest.raises((httpx.HTTPError, ssl.SSLError)):
        await mesh.https(csr(new_key()), pair=foreign)
    with pytest.raises(httpx.ConnectError, match="verify failed"):
        await mesh.https(csr(new_key()), roots=Authority.create().roots)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"serviceAccount": "a", "workload": "a"},
        {"serviceAccount": "a", "uses": "2"},
        {"serviceAccount": "a", "ttl": 0},
        {"serviceAccount": "a/b"},
        {"serviceAccount": "a", "typo": 1},
    ],
)
async def test_tokens_that_make_no_sense_are_not_made(mesh: Mesh, wanted: dict[str, object]) -> None:
    assert (await mesh.ask_token(**wanted)).status_code == 400


async def test_a_token_for_nobody_is_not_made(mesh: Mesh) -> None:
    assert (await mesh.ask_token(workload="nobody")).status_code == 404


async def test_who_left_the_mesh_cannot_stay_by_renewing(mesh: Mesh) -> None:
    """While nobody is called so; over HTTPS and gRPC alike. Afterwards the same certificate is good again."""
    pair = mesh.pair("alice")
    assert (await mesh.https(csr(new_key()), pair=pair)).status_code == 200
    mesh.platform.registry.remove(workload_key("a"))
    await until(lambda: mesh.container.members().workload(workload_key("a")) is None)
    refused = await mesh.https(csr(new_key()), pair=pair)
    assert (refused.status_code, "alice" in refused.json()["error"]) == (404, True)
    async with mesh.channel(mesh.ports.xds, pair) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create(channel, write_request(csr(new_key())))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    mesh.platform.registry.put(msgspec.structs.replace(workload("a"), service_account="alice"))
    await until(lambda: mesh.container.members().workload(workload_key("a")) is not None)
    assert (await mesh.https(csr(new_key()), pair=pair)).status_code == 200


async def test_nobody_becomes_the_manager(mesh: Mesh) -> None:
    """Agents elsewhere know the Manager by its identity: no token is made for it, and no workload gets it."""
    wanted = {"namespace": "istio-system", "serviceAccount": "istiod"}
    assert (await mesh.ask_token(**wanted)).status_code == 400
    claims = Claims(id="1" * 32, namespace="istio-system", service_account="istiod", expires=int(time.time()) + 60)
    forged = mesh.container.tokens().make(claims).value.decode()
    assert (await mesh.https(csr(new_key()), token=forged)).status_code == 403
    own = mesh.container.own_certificate().current()
    shown_by_manager = (own.chain.decode(), own.key.value.decode())
    assert (await mesh.https(csr(new_key()), pair=shown_by_manager)).status_code in (403, 404)
    liar = msgspec.structs.replace(workload("istiod.istio-system", number=9), service_account="istiod")
    mesh.platform.registry.put(liar)
    path = ca_socket(mesh.state, liar.key)
    await until(path.is_socket)
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(transport=transport, base_url="http://ca") as client:
        assert (await client.post("/v1/certificate", content=csr(new_key()))).status_code == 403


async def test_two_credentials_are_none(mesh: Mesh) -> None:
    """Which of them counts must not depend on who reads them; and neither is used up."""
    tokens = [await mesh.token(workload="a"), await mesh.token(workload="b")]
    context = ssl.create_default_context(cadata=mesh.roots)
    async with httpx.AsyncClient(verify=context, base_url=f"https://127.0.0.1:{mesh.ports.https}") as client:
        headers = [("Authorization", f"Bearer {token}") for token in tokens]
        reply = await client.post("/v1/certificate", content=csr(new_key()), headers=headers)
    assert reply.status_code == 400
    async with mesh.channel(mesh.ports.csr) as channel:
        method = channel.unary_unary(f"/{SERVICE}/{METHOD}")  # type: ignore[call-arg]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(write_request(csr(new_key())), metadata=[("authorization", f"Bearer {t}") for t in tokens])
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    for token in tokens:
        assert (await mesh.https(csr(new_key()), token=token)).status_code == 200


async def test_the_servers_certificate_is_made_anew_in_place(tmp_path: Path) -> None:
    """With certificates of 6 s the server shows a newer one after half of that, without being restarted."""
    async with running(tmp_path, certificate_lifetime=6.0) as mesh:
        seen: set[bytes] = set()

        def look() -> bool:
            context = ssl.create_default_context(cadata=mesh.roots)
            address = ("127.0.0.1", mesh.ports.https or 0)
            with socket.create_connection(address) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
                seen.add(tls.getpeercert(binary_form=True) or b"")
            return len(seen) >= 3

        deadline = time.monotonic() + 20
        while not await asyncio.to_thread(look):
            assert time.monotonic() < deadline, f"{len(seen)} certificates were shown"
            await asyncio.sleep(0.2)


# -- gRPC --------------------------------------------------------------------------------------------------------------


async def create(channel: grpc.aio.Channel, request: bytes, *, token: str = "") -> tuple[str, ...]:
    method = channel.unary_unary(f"/{SERVICE}/{METHOD}")  # type: ignore[call-arg]
    metadata = [("authorization", f"Bearer {token}")] if token else None
    return read_response(await method(request, metadata=metadata))


async def test_certificates_over_grpc(mesh: Mesh) -> None:
    """With a token where no certificate is asked for, with a certificate where one is; the root is last."""
    key = new_key()
    async with mesh.channel(mesh.ports.csr) as channel:
        leaf, root = await create(channel, write_request(csr(key), lifetime=60), token=await mesh.token(workload="a"))
    assert (uris(leaf), root) == ([str(identity("alice"))], mesh.roots)
    async with mesh.channel(mesh.ports.xds, (leaf, key_pem(key).decode())) as channel:
        renewed, _ = await create(channel, write_request(csr(new_key())))
    assert uris(renewed) == uris(leaf)


async def test_grpc_refuses_like_https(mesh: Mesh) -> None:
    """Nothing said, a used token, no request."""
    token = await mesh.token(serviceAccount="alice")
    async with mesh.channel(mesh.ports.csr) as channel:
        await create(channel, write_request(csr(new_key())), token=token)
        for request, credential, code in (
            (write_request(csr(new_key())), "", grpc.StatusCode.UNAUTHENTICATED),
            (write_request(csr(new_key())), token, grpc.StatusCode.PERMISSION_DENIED),
            (b"\xff\xff", token, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await create(channel, request, token=credential)
            assert refused.value.code() is code


# -- proxies over mutual TLS -------------------------------------------------------------------------------------------


def node(name: str) -> str:
    return node_id(workload(name), "cluster.local")


@contextlib.asynccontextmanager
async def connected(mesh: Mesh, proxy: Proxy, pair: tuple[str, str] | None, port: int | None) -> AsyncIterator[Proxy]:
    async with mesh.channel(port, pair) as channel, proxy.conversing(channel):
        yield proxy


async def test_a_proxy_is_who_its_certificate_says(mesh: Mesh) -> None:
    """It gets its workload's configuration, and is in the status like any other."""
    async with connected(mesh, Proxy(node("a")), mesh.pair("alice"), mesh.ports.xds) as proxy:
        await proxy.until(lambda p: p.came)
        await until(lambda: [each.workload.name for each in mesh.container.proxies().status()] == ["a"])
    await until(lambda: not mesh.container.proxies().status())


@pytest.mark.parametrize("name", ["b", "nobody"])
async def test_a_proxy_cannot_be_another(mesh: Mesh, name: str) -> None:
    """A certificate of one workload does not open the stream of another."""
    async with connected(mesh, Proxy(node(name)), mesh.pair("alice"), mesh.ports.xds) as proxy:
        await proxy.until(lambda p: p.code)
        assert proxy.code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION)
        assert not proxy.came


async def test_no_proxy_without_a_certificate(mesh: Mesh) -> None:
    """Where none is asked for, there is no configuration; where one is demanded, there is not even a connection."""
    async with connected(mesh, Proxy(node("a")), None, mesh.ports.csr) as proxy:
        await proxy.until(lambda p: p.code)
        assert (proxy.code, proxy.came) == (grpc.StatusCode.PERMISSION_DENIED, [])
    for pair in (None, issued(identity("alice"), Authority.create())):
        async with connected(mesh, Proxy(node("a")), pair, mesh.ports.xds) as proxy:
            await proxy.until(lambda p: p.code)
            assert (proxy.code, proxy.came) == (grpc.StatusCode.UNAVAILABLE, [])


async def test_a_stream_ends_with_its_certificate(mesh: Mesh) -> None:
    """Not much later, and without a failure."""
    pair = issued(identity("alice"), mesh.container.authority(), lifetime=5)
    async with connected(mesh, Proxy(node("a")), pair, mesh.ports.xds) as proxy:
        await proxy.until(lambda p: p.came)
        assert proxy.code is None
        await proxy.until(lambda p: p.code, within=8)
        assert proxy.code is grpc.StatusCode.OK


async def test_a_stream_ends_with_its_workload(mesh: Mesh) -> None:
    async with connected(mesh, Proxy(node("a")), mesh.pair("alice"), mesh.ports.xds) as proxy:
        await proxy.until(lambda p: p.came)
        mesh.platform.registry.remove(workload_key("a"))
        await proxy.until(lambda p: p.code)


async def test_streams_have_an_age_also_on_this_machine(tmp_path: Path) -> None:
    """They end in time, and whoever comes back is served on."""
    async with running(tmp_path, stream_age=0.5) as mesh:
        proxy = Proxy(node("a"))
        for _ in range(2):
            async with proxy.connected(xds_socket(tmp_path, workload_key("a"))):
                await proxy.until(lambda p: p.code)
                assert proxy.code is grpc.StatusCode.OK
        assert mesh.container.proxies().busy() is False


def frames(received: bytes) -> list[int]:
    """The types of the HTTP/2 frames (RFC 9113 §4.1)."""
    types, at = [], 0
    while at + 9 <= len(received):
        types.append(received[at + 3])
        at += 9 + int.from_bytes(received[at : at + 3], "big")
    return types


GO_AWAY = 7


async def test_connections_are_replaced_before_their_certificates_end(tmp_path: Path) -> None:
    """A client with certificates of 5 s is asked before their end to connect anew (RFC 9113 §6.8)."""
    async with running(tmp_path, certificate_lifetime=5.0) as mesh:
        context = ssl.create_default_context(cadata=mesh.roots)
        shown(context, mesh.pair())
        context.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.ports.xds, ssl=context)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        received, begun = b"", time.monotonic()
        async with asyncio.timeout(10):
            while GO_AWAY not in frames(received):
                received += await reader.read(4096)
        assert 1.5 < time.monotonic() - begun < 5
        # grpc would wait for this client to agree.
        writer.transport.abort()


async def test_a_proxy_that_does_not_read_ends_as_well(tmp_path: Path) -> None:
    """Much is under way to it when its time comes: the stream ends, and it can come back for all of it."""
    async with running(tmp_path, stream_age=1.0) as mesh:
        for number in range(400):
            mesh.platform.registry.put(service(f"s{number}"))
        path = xds_socket(tmp_path, workload_key("a"))
        await until(lambda: not mesh.container.manager()._dirty.is_set(), within=30)
        options = (("grpc.http2.lookahead_bytes", 1), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.insecure_channel(f"unix:{path}", options=options) as channel:
            method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
            call = channel.stream_stream(method)()  # type: ignore[call-arg]
            request = DeltaDiscoveryRequest(type_url=ResourceType.CLUSTER.url)
            request.node.id = node("a")
            await call.write(request.SerializeToString())
            await until(lambda: mesh.container.server().streams())
            await until(lambda: not mesh.container.server().streams(), within=10)
            call.cancel()
        proxy = Proxy(node("a"))
        async with proxy.connected(path):
            await proxy.until(lambda p: len(p.names(ResourceType.CLUSTER)) > 400)


# -- the command line --------------------------------------------------------------------------------------------------


async def test_the_command_makes_a_token_that_works(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the token alone, so that it can be piped; what it is good for goes to stderr."""
    monkeypatch.setenv("ISTIO_STATE_DIR", str(mesh.state))
    asked = ["token", "create", "--workload", "a", "--ttl", "90s"]
    result = await asyncio.to_thread(CliRunner().invoke, app, asked)
    assert result.stderr == f"good for {identity('alice')}, once, within 1m30s\n"
    assert (await mesh.https(csr(new_key()), token=result.stdout.strip())).status_code == 200
    asked = ["token", "create", "--service-account", "ci", "-n", "build", "--uses", "unlimited", "-o", "json"]
    made = json.loads((await asyncio.to_thread(CliRunner().invoke, app, asked)).stdout)
    assert (set(made), made["uses"]) == ({"token", "identity", "expires", "uses"}, "unlimited")
    answer = await mesh.https(csr(new_key()), token=made["token"])
    assert answer.json()["identity"] == made["identity"] == str(identity("ci", namespace="build"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "name either a --workload or a --service-account"),
        (["--workload", "a", "--ttl", "soon"], "no duration"),
        (["--workload", "nobody"], "no workload nobody.default is registered"),
    ],
)
async def test_the_command_says_what_is_wrong(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, args: list[str], words: str
) -> None:
    monkeypatch.setenv("ISTIO_STATE_DIR", str(mesh.state))
    result = await asyncio.to_thread(CliRunner().invoke, app, ["token", "create", *args])
    assert result.exit_code != 0
    assert words in result.stderr


# -- Managers as processes ---------------------------------------------------------------------------------------------

MESH_FILE = """
services:
  web:
    ports: [80/http]
    workloads:
      v1: {command: [sleep, infinity]}
"""


class Program:
    """A Manager process that runs on `state`, of a mesh with the workload web-v1."""

    def __init__(self, state: Path) -> None:
        self.state = state
        state.mkdir(exist_ok=True)
        mesh_file = state.parent / "mesh.yaml"
        mesh_file.write_text(MESH_FILE)
        options = {"mesh_file": str(mesh_file), "state": str(state)}
        settings = {"state": str(state), "options": options, "ca_listen": LOCAL}
        command = [sys.executable, "-m", "core.manager", json.dumps(settings)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", self.end()
        with self._api() as client:
            trust = client.get("/v1/trust").json()
        self.roots, self.port = trust["roots"], trust["ports"]["https"]

    def _api(self) -> httpx.Client:
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.state / SOCKET)), base_url="http://api")

    def token(self) -> str:
        with self._api() as client:
            return str(client.post("/v1/tokens", json={"workload": "web-v1"}).json()["token"])

    def join(self, token: str) -> int:
        """The status code."""
        return join(self.port, self.roots, token)

    def end(self, number: int = signal.SIGTERM) -> str:
        """What it said."""
        if self._process.poll() is not None:
            return ""
        os.kill(self._process.pid, number)
        return "".join(self._process.communicate(timeout=20))


def join(port: int, roots: str, token: str) -> int:
    with httpx.Client(verify=ssl.create_default_context(cadata=roots), base_url=f"https://127.0.0.1:{port}") as client:
        return client.post(
            "/v1/certificate", content=csr(new_key()), headers={"Authorization": f"Bearer {token}"}
        ).status_code


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Callable[[], Program]]:
    """Starts them on one state directory; none is left behind."""
    started: list[Program] = []

    def start() -> Program:
        started.append(Program(tmp_path / "state"))
        return started[-1]

    yield start
    for program in started:
        program.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_replay_is_refused_after_a_restart(programs: Callable[[], Program], number: int) -> None:
    """However the Manager ended, the root is the same, a used token stays used, and an unused one is good."""
    before = programs()
    used, unused = before.token(), before.token()
    assert before.join(used) == 200
    said = before.end(number)
    after = programs()
    assert after.roots == before.roots
    assert (after.join(used), after.join(unused), after.join(unused)) == (403, 200, 403)
    said += after.end()
    assert "certificate refused" in said
    assert not any(token.rpartition(".")[2] in said for token in (used, unused))


SECOND = """
import asyncio, sys
from pathlib import Path
from core.manager.ca.tokens import Claims
from core.manager.container import ManagerContainer
from core.manager.settings import Settings
from platforms.memory import MemoryPlatform

async def main():
    container = ManagerContainer(
        settings=Settings(state=Path(sys.argv[1]), ca_listen="127.0.0.1:0"), platform=MemoryPlatform().record
    )
    await container.doors().open(container.proxies().open)
    print(container.doors().ports.https, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await container.doors().close()

asyncio.run(main())
"""


def test_of_two_managers_exactly_one_takes_a_token(tmp_path: Path) -> None:
    """Two processes share a state directory; both are asked at once, many times: each token is good once."""
    command = [sys.executable, "-c", SECOND, str(tmp_path)]
    managers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        ports = [int(each.stdout.readline()) for each in managers]  # type: ignore[union-attr]
        maker = JoinTokens(
            tmp_path / "identity",
            Members(settings=MeshSettings, workload=lambda key: None, within=lambda namespace: ()),
        )
        roots = (tmp_path / "identity" / "root.pem").read_text()
        with ThreadPoolExecutor(8) as pool:
            for number in range(10):
                claims = Claims(
                    id=f"{number:032x}", namespace="default", service_account="a", expires=int(time.time()) + 60
                )
                token = maker.make(claims).value.decode()
                codes = list(pool.map(lambda port, token=token: join(port, roots, token), ports * 4))
                assert sorted(codes) == [200, *[403] * 7]
    finally:
        for each in managers:
            each.communicate("", timeout=20)
