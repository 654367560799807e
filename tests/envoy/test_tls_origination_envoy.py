"""A DestinationRule's TLS to servers that are no part of the mesh: real proxies, a TLS server beside them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from core.model.service import WorkloadKey
from core.simulate import Call
from istioctl.testing.caller import send
from istioctl.testing.certificates import Pair, made
from istioctl.testing.mesh import TestMesh, mesh

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

HOST = "api.example.com"
MESH = "services:\n  sleep:\n    workloads:\n      v1: {command: [echo]}\n"


class Site:
    """A server of `HOST`, its certificate, and a client's; both signed by themselves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        for name, pair in (("server", made(HOST)), ("client", made("client")), ("other", made(HOST))):
            self._write(name, pair)

    def _write(self, name: str, pair: Pair) -> None:
        pair.write(self.path(f"{name}.crt"), self.path(f"{name}.key"))

    def path(self, name: str) -> Path:
        return self.folder / name

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Site"]:
        """Answers every request with the server name of the handshake and the name in the client's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server.crt"), self.path("server.key"))
        context.load_verify_locations(self.path("client.crt"))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        context.sni_callback = self._named
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    def _named(self, line: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.named = name or "nobody"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                line = writer.get_extra_info("ssl_object")
                shown = "client" if line.getpeercert() else "nothing"
                headers = f"x-sni: {self.named}\r\nx-shown: {shown}\r\nx-alpn: {line.selected_alpn_protocol()}"
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{headers}\r\n\r\n".encode())
                await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(folder: Path) -> AsyncIterator[Site]:
    async with Site(folder).serving() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(folder: Path, site: Site) -> AsyncIterator[TestMesh]:
    """On a machine that trusts another server than ours."""
    (folder / "mesh.yaml").write_text(MESH)
    site.path("system.pem").write_bytes(site.path("other.crt").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(site.path("system.pem")))
        async with mesh(folder / "mesh.yaml", state=folder / "state") as found:
            yield found


def documents(port: int, tls: Mapping[str, object]) -> str:
    """The host on port 80 as HTTP, whose server takes TLS on another one."""
    kind = "networking.istio.io/v1"
    ports = [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": port}]
    entry = {"hosts": [HOST], "ports": ports, "resolution": "STATIC", "endpoints": [{"address": "127.0.0.1"}]}
    rule = {"host": HOST, "trafficPolicy": {"tls": tls}}
    both = (("ServiceEntry", entry), ("DestinationRule", rule))
    return yaml.safe_dump_all(
        [{"apiVersion": kind, "kind": name, "metadata": {"name": "api"}, "spec": spec} for name, spec in both]
    )


async def asked(live: TestMesh, site: Site, tls: Mapping[str, object]) -> tuple[int, dict[str, str]]:
    await live.clear()
    await live.apply(documents(site.port, tls))
    assert not live.container.proxies().blames()
    reply = await send(live, Call(source=WorkloadKey("default", "sleep-v1"), host=HOST))
    return reply.status, reply.headers


async def test_simple_tls_names_the_host_of_the_request_and_checks_it(live: TestMesh, site: Site) -> None:
    """And offers what is spoken, not what sidecars offer each other."""
    status, headers = await asked(live, site, {"mode": "SIMPLE", "caCertificates": str(site.path("server.crt"))})
    assert (status, headers["x-sni"], headers["x-alpn"], headers["x-shown"]) == (200, HOST, "http/1.1", "nothing")


async def test_a_server_name_of_ones_own(live: TestMesh, site: Site) -> None:
    """The certificate has to be for that name; or for others that the rule names."""
    roots = {"mode": "SIMPLE", "caCertificates": str(site.path("server.crt")), "sni": "other.example.com"}
    status, _ = await asked(live, site, roots)
    assert status == 503
    status, headers = await asked(live, site, roots | {"subjectAltNames": [HOST]})
    assert (status, headers["x-sni"]) == (200, "other.example.com")


async def test_another_name_than_the_one_wanted_is_not_trusted(live: TestMesh, site: Site) -> None:
    roots = {"mode": "SIMPLE", "caCertificates": str(site.path("server.crt"))}
    assert (await asked(live, site, roots | {"subjectAltNames": ["other.example.com"]}))[0] == 503


async def test_other_roots_do_not_trust_the_server(live: TestMesh, site: Site) -> None:
    """Nor do the system's, which are meant where none are given."""
    assert (await asked(live, site, {"mode": "SIMPLE", "caCertificates": str(site.path("other.crt"))}))[0] == 503
    assert (await asked(live, site, {"mode": "SIMPLE"}))[0] == 503


async def test_without_roots_the_machine_decides(live: TestMesh, site: Site) -> None:
    """Whatever its bundle is called, and as it is when the rule comes."""
    bundle = site.path("system.pem")
    before = bundle.read_bytes()
    bundle.write_bytes(site.path("server.crt").read_bytes())
    assert (await asked(live, site, {"mode": "SIMPLE"}))[0] == 200
    bundle.write_bytes(before)


async def test_who_skips_verification_takes_any_server(live: TestMesh, site: Site) -> None:
    status, headers = await asked(live, site, {"mode": "SIMPLE", "insecureSkipVerify": True})
    assert (status, headers["x-sni"]) == (200, HOST)


async def test_mutual_tls_shows_the_files_of_the_rule(live: TestMesh, site: Site) -> None:
    files = {"clientCertificate": str(site.path("client.crt")), "privateKey": str(site.path("client.key"))}
    tls = {"mode": "MUTUAL", "caCertificates": str(site.path("server.crt")), **files}
    status, headers = await asked(live, site, tls)
    assert (status, headers["x-shown"]) == (200, "client")
