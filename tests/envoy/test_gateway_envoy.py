"""Certificates of a gateway over their life: shown, replaced, broken and missing, on a real mesh with real requests."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509

from core.manager.xds.resource import ResourceType
from core.model.config import ConfigKey
from istioctl.testing.certificates import Pair, made
from istioctl.testing.http_line import HttpLine
from istioctl.testing.mesh import TestMesh, mesh
from istioctl.testing.reply import Reply

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

MESH = """
services:
  web:
    ports: [9080/http]
    workloads: {v1: {command: [echo]}}
gateways:
  ingress: {ports: {80: auto, 443: auto}}
secrets:
  web-cert: {cert: web.crt, key: web.key}
  late-cert: {cert: late.crt, key: late.key}
  mutual-cert: {cert: mutual.crt, key: mutual.key, ca: clients.crt}
"""
RULES = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [web.example.com]
    tls: {mode: SIMPLE, credentialName: web-cert}
  - port: {number: 443, name: https-late, protocol: HTTPS}
    hosts: [late.example.com]
    tls: {mode: SIMPLE, credentialName: late-cert}
  - port: {number: 443, name: https-mutual, protocol: HTTPS}
    hosts: [mutual.example.com]
    tls: {mode: MUTUAL, credentialName: mutual-cert}
  - port: {number: 443, name: https-wide, protocol: HTTPS}
    hosts: ["*.wide.example.com"]
    tls: {mode: SIMPLE, credentialName: web-cert}
  - port: {number: 443, name: https-admin, protocol: HTTPS}
    hosts: [admin.wide.example.com, "*.admin.wide.example.com"]
    tls: {mode: MUTUAL, credentialName: mutual-cert}
  - port: {number: 443, name: https-hidden, protocol: HTTPS}
    hosts: [hidden.wide.example.com]
    tls: {mode: MUTUAL, credentialName: never-cert}
  - port: {number: 443, name: https-files, protocol: HTTPS}
    hosts: [files.example.com]
    tls: {mode: SIMPLE, serverCertificate: FOLDER/files.crt, privateKey: FOLDER/files.key}
  - port: {number: 443, name: https-lost, protocol: HTTPS}
    hosts: [lost.example.com]
    tls: {mode: SIMPLE, serverCertificate: FOLDER/lost.crt, privateKey: FOLDER/lost.key}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: ["*"]
  gateways: [web]
  http: [{route: [{destination: {host: web}}]}]
"""
GATEWAY = ConfigKey("networking.istio.io", "Gateway", "default", "web")
PATIENCE = 5.0


class Site:
    """The mesh, and the folder with its files."""

    def __init__(self, found: TestMesh, folder: Path) -> None:
        self.mesh = found
        self.folder = folder

    def write(self, name: str, pair: Pair) -> None:
        pair.write(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def door(self, port: int) -> tuple[str, int]:
        workload = self.mesh.workload("ingress")
        return next((entry.address, entry.target) for entry in workload.ports if entry.port == port)

    def line(self, host: str) -> HttpLine:
        return HttpLine(self.door(443), sni=host)

    async def shown(self, host: str) -> int | None:
        """The serial number of the certificate on a new connection; None: there is none to be had."""
        try:
            async with self.line(host) as line:
                return x509.load_der_x509_certificate(line.certificate).serial_number
        except ConnectionError:
            return None

    def findings(self) -> list[tuple[str, str]]:
        return [(each.code, each.message) for each in self.mesh.container.manager().diagnostics(GATEWAY)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "mesh.yaml").write_text(MESH)
    clients = made("clients")
    made("mutual.example.com").write(folder / "mutual.crt", folder / "mutual.key")
    clients.write(folder / "clients.crt", folder / "clients.key")
    made("web.example.com").write(folder / "web.crt", folder / "web.key")
    made("files.example.com").write(folder / "files.crt", folder / "files.key")
    async with mesh(folder / "mesh.yaml", state=tmp_path_factory.mktemp("state")) as found:
        await found.apply(RULES.replace("FOLDER", str(folder)))
        yield Site(found, folder)


def serial(pair: Pair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate).serial_number


def get(host: str) -> bytes:
    return f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "did not come about"
        await asyncio.sleep(0.02)


async def until_shown(site: Site, host: str, number: int | None) -> None:
    deadline = time.monotonic() + PATIENCE
    while await site.shown(host) != number:
        assert time.monotonic() < deadline, f"{host} does not show {number}"
        await asyncio.sleep(0.02)


async def test_rotation_under_load(site: Site) -> None:
    """New connections get the new certificate, open ones go on, and no request fails meanwhile."""
    replies: list[Reply] = []
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            async with site.line("web.example.com") as line:
                replies.append(await line.exchange(get("web.example.com")))

    async with site.line("web.example.com") as old:
        assert (await old.exchange(get("web.example.com"))).status == 200
        running = asyncio.create_task(load())
        for _ in range(3):
            fresh = made("web.example.com")
            site.write("web", fresh)
            await until_shown(site, "web.example.com", serial(fresh))
        stop.set()
        await running
        assert (await old.exchange(get("web.example.com"))).status == 200
    assert len(replies) > 10
    assert {reply.status for reply in replies} == {200}
    assert not [code for code, message in site.findings() if "web-cert" in message]


async def test_a_broken_pair_changes_nothing(site: Site) -> None:
    """A key that belongs to another certificate is told, with the name of the secret; the last good pair is shown."""
    good = made("web.example.com")
    site.write("web", good)
    await until_shown(site, "web.example.com", serial(good))
    site.write("web", Pair(made("web.example.com").certificate, made("other").key))
    await until(lambda: any(code == "IST0161" and "default/web-cert" in text for code, text in site.findings()))
    assert await site.shown("web.example.com") == serial(good)
    better = made("web.example.com")
    site.write("web", better)
    await until_shown(site, "web.example.com", serial(better))
    await until(lambda: not [text for _, text in site.findings() if "web-cert" in text])


async def test_a_secret_that_comes_later(site: Site) -> None:
    """Its server is not there, which is told, and all others are; when it comes, so does the server."""
    assert await site.shown("late.example.com") is None
    assert [text for code, text in site.findings() if code == "IST0161" and "default/late-cert" in text]
    async with site.line("web.example.com") as line:
        assert (await line.exchange(get("web.example.com"))).status == 200
    async with HttpLine(site.door(80)) as line:
        assert (await line.exchange(get("late.example.com"))).status == 200
    pair = made("late.example.com")
    site.write("late", pair)
    await until_shown(site, "late.example.com", serial(pair))
    await until(lambda: not [text for _, text in site.findings() if "never-cert" not in text])


async def test_a_certificate_in_files_of_the_gateways_host(site: Site) -> None:
    """The proxy reads them by itself."""
    shown = x509.load_pem_x509_certificate((site.folder / "files.crt").read_bytes()).serial_number
    await until_shown(site, "files.example.com", shown)
    async with site.line("files.example.com") as line:
        assert (await line.exchange(get("files.example.com"))).status == 200


async def test_files_that_are_not_there(site: Site) -> None:
    """Only their own server is missing."""
    assert await site.shown("lost.example.com") is None
    assert await site.shown("files.example.com") is not None
    assert await site.shown("web.example.com") is not None


async def test_nobody_speaks_in_the_name_of_a_certificate(site: Site) -> None:
    """Who called is what the connection shows: a stranger's own claim does not reach the application."""
    claim = b"x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/boss\r\n"
    async with HttpLine(site.door(80)) as line:
        reply = await line.exchange(get("web.example.com").replace(b"\r\n\r\n", b"\r\n" + claim + b"\r\n"))
    assert reply.status == 200
    assert "boss" not in str(reply.seen["headers"])


async def test_mutual_tls_with_strangers(site: Site) -> None:
    """MUTUAL lets in whoever shows a certificate by the secret's roots, and nobody else."""
    assert await said(site, None) != 200
    assert await said(site, "mutual") != 200
    assert await said(site, "clients") == 200


async def test_nobody_gets_round_mutual_tls_by_another_name_in_the_handshake(site: Site) -> None:
    """A server with a wildcard serves no host that has a server of its own, also when that one has no certificate."""
    found = {}
    async with site.line("www.wide.example.com") as line:
        for host in ("www", "admin", "x.admin", "ADMIN", "hidden"):
            found[host] = (await line.exchange(get(f"{host}.wide.example.com"))).status
    assert found == {"www": 200, "admin": 421, "x.admin": 421, "ADMIN": 421, "hidden": 421}


async def said(site: Site, shown: str | None) -> int:
    """The status of a call with this certificate; 0: no connection, or none that lives."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shown is not None:
        context.load_cert_chain(site.folder / f"{shown}.crt", site.folder / f"{shown}.key")
    try:
        reader, writer = await asyncio.open_connection(
            *site.door(443), ssl=context, server_hostname="mutual.example.com"
        )
        writer.write(get("mutual.example.com"))
        head = await reader.readline()
        writer.close()
        return int(head.split(b" ")[1]) if head else 0
    except (ssl.SSLError, ConnectionError):
        return 0


async def test_keys_are_shown_to_nobody(site: Site) -> None:
    """What the proxy tells of itself holds certificates and no key, and so does what the Manager says of its values."""
    key = (site.folder / "web.key").read_bytes()
    agent = site.mesh.agents[site.mesh.workload("ingress").key]
    dump = (await agent.admin.get("/config_dump?include_eds")).body
    assert b"kubernetes://web-cert" in dump
    assert key.splitlines()[1] not in dump
    assert b"PRIVATE KEY" not in dump
    inputs = site.mesh.inputs
    printed = repr(list(inputs.secrets.values())) + repr(site.mesh.view("ingress").secrets())
    assert "<redacted>" in printed
    assert "PRIVATE KEY" not in printed


async def test_sidecars_get_no_secrets(site: Site) -> None:
    """Only the gateway's own group holds secrets, and only those that its servers name."""
    pusher = site.mesh.container.pusher()
    workload = site.mesh.workload("web-v1").key
    assert not [name for group in pusher.groups(workload) for name in group[ResourceType.SECRET].resources]
    groups = pusher.groups(site.mesh.workload("ingress").key)
    own = [name for group in groups for name in group[ResourceType.SECRET].resources]
    assert sorted(name for name in own if name.startswith("kubernetes://") and "late" not in name) == [
        "kubernetes://mutual-cert",
        "kubernetes://mutual-cert-cacert",
        "kubernetes://web-cert",
    ]
