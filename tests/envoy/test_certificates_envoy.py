"""The agent's certificates with the real Envoy: there before it starts, renewed while it serves, kept in need."""

import asyncio
import itertools
import ssl
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.echo.v3.echo_pb2 import Echo
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf.any_pb2 import Any

from core.errors import Unavailable
from core.manager.ca.authority import Authority
from core.model.identity import CERTIFICATE, CERTIFICATE_FILE, ROOTS_FILE, SpiffeId
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.model.workload import Explicit, Workload
from proxy.agent import Agent, AgentSettings, Host
from proxy.binary import Binary, find
from proxy.events import silent
from proxy.identity import rotation
from proxy.identity.authority import Authority as ManagersDoor
from proxy.identity.authority import Local, Remote, Source
from proxy.identity.certificate import Certificate, Facts, Issued
from proxy.identity.rotation import Rotation
from proxy.identity.secrets import Secrets
from proxy.testing import Events
from proxy.testing.authority import StubAuthority, stub_authority
from proxy.testing.manager import StubManager

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

ADDRESS, PORT = "127.77.9.7", 18443


@pytest.fixture(scope="module")
def envoy() -> Binary:
    return find()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[StubManager]:
    manager = StubManager(tmp_path / "xds")
    manager.resources = [("tls", echo_behind_tls())]
    await manager.start()
    yield manager
    await manager.stop()


def echo_behind_tls() -> Any:
    """A listener that shows the certificate in the file that a Manager would name."""
    listener = Listener(name="tls", enable_reuse_port={"value": False})
    listener.address.socket_address.address = ADDRESS
    listener.address.socket_address.port_value = PORT
    chain = listener.filter_chains.add()
    chain.filters.add(name="envoy.filters.network.echo").typed_config.Pack(Echo())
    context = DownstreamTlsContext()
    secret = context.common_tls_context.tls_certificate_sds_secret_configs.add(name=CERTIFICATE)
    secret.sds_config.path_config_source.path = CERTIFICATE_FILE
    secret.sds_config.resource_api_version = ApiVersion.V3
    chain.transport_socket.name = "envoy.transport_sockets.tls"
    chain.transport_socket.typed_config.Pack(context)
    packed = Any()
    packed.Pack(listener)
    return packed


def agent(tmp_path: Path, envoy: Binary, events: Events, *, lifetime: int = 3600) -> Agent:
    workload = Workload(key=WorkloadKey("default", "a-1"), address=ADDRESS, capture=Explicit())
    settings = AgentSettings(
        directory=str(tmp_path / "a"),
        xds_sockets=(str(tmp_path / "xds"),),
        identity=Local(sockets=(str(tmp_path / "ca"),)),
        certificate_lifetime=lifetime,
    )
    return Agent(workload, mesh=Mesh(), settings=settings, host=Host(envoy=envoy, log=events))


async def shown(authority: StubAuthority) -> bytes:
    """The certificate that Envoy shows to a new connection, which has to be one of the mesh's root. It also serves."""
    context = ssl.create_default_context(cadata=authority.authority.roots)
    context.check_hostname = False
    reader, writer = await asyncio.open_connection(ADDRESS, PORT, ssl=context)
    try:
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate
    finally:
        writer.close()


@pytest.mark.usefixtures("manager")
async def test_envoy_serves_with_it(tmp_path: Path, envoy: Binary, events: Events) -> None:
    """The certificate is there before Envoy starts; its files are this user's alone, and gone after the stop."""
    async with stub_authority(tmp_path / "ca") as authority, agent(tmp_path, envoy, events) as sidecar:
        await sidecar.wait_ready(10)
        await shown(authority)
        order = [event for _, event, _ in events.all if event in ("certificate.issued", "envoy.started")]
        assert order == ["certificate.issued", "envoy.started"]
        certs = sidecar.files.directory / "certs"
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (certs, *certs.glob("*.json"))}
        assert modes == {"certs": 0o700, "default.json": 0o600, "ROOTCA.json": 0o600}
        facts = sidecar.state.certificate
        assert facts is not None
        assert facts.identity == "spiffe://cluster.local/ns/default/sa/default"
        assert abs(facts.renewal - time.time() - 1800) < 200
    assert not sidecar.files.directory.exists()


@pytest.mark.usefixtures("manager")
async def test_renewed_while_serving(tmp_path: Path, envoy: Binary, events: Events) -> None:
    """At about half of its life another takes over: new connections see it, no connection fails, no rotation failed."""
    async with stub_authority(tmp_path / "ca", longest=6) as authority, agent(tmp_path, envoy, events) as sidecar:
        await sidecar.wait_ready(10)
        seen = [await shown(authority)]
        began = time.monotonic()
        while len(seen) < 3:
            assert time.monotonic() - began < 15
            certificate = await shown(authority)
            if certificate != seen[-1]:
                seen.append(certificate)
        issued = [when for when, event, _ in events.all if event == "certificate.issued"]
        assert all(2 < later - earlier < 5 for earlier, later in itertools.pairwise(issued)), issued
        assert not events.named("certificate.renewal_failed")
        stats = await sidecar.admin.stats("sds")
        assert sum(n for name, n in stats.items() if name.endswith("key_rotation_failed")) == 0
        assert sum(n for name, n in stats.items() if name.endswith("update_success")) >= 3


@pytest.mark.usefixtures("manager")
async def test_no_manager_at_the_start(tmp_path: Path, envoy: Binary, events: Events) -> None:
    """Without a Manager nothing starts, which is said, once; as soon as there is one, all goes on by itself."""
    async with agent(tmp_path, envoy, events) as sidecar:
        with pytest.raises(Unavailable, match=r"no certificate after 3 s: no Manager at .*/ca"):
            await sidecar.wait_ready(3)
        assert sidecar.state.pid is None
        assert len(events.named("certificate.missing")) == 1
        async with stub_authority(tmp_path / "ca") as authority:
            await sidecar.wait_ready(5)
            await shown(authority)


@pytest.mark.usefixtures("manager")
async def test_no_manager_later(tmp_path: Path, envoy: Binary, events: Events) -> None:
    """A Manager that is away when a renewal is due: said once; the old one serves on, and is renewed later."""
    async with agent(tmp_path, envoy, events) as sidecar:
        async with stub_authority(tmp_path / "ca", longest=6) as authority:
            await sidecar.wait_ready(10)
        first = await shown(authority)
        failed = await events.take("certificate.renewal_failed")
        assert "no Manager at" in str(failed["reason"])
        assert await shown(authority) == first
        asked = len(events.named("certificate.issued"))
        await authority.start()
        await events.take("certificate.issued", count=asked + 1, within=5)
        await authority.stop()
        assert len(events.named("certificate.renewal_failed")) == 1
        assert sidecar.state.certificate is not None


@pytest.mark.usefixtures("manager")
async def test_expired_is_told(tmp_path: Path, envoy: Binary, events: Events) -> None:
    """When no new one came in time, that it ran out is told as well, once."""
    async with agent(tmp_path, envoy, events) as sidecar:
        async with stub_authority(tmp_path / "ca", longest=5) as authority:
            await sidecar.wait_ready(10)
            authority.refusal = 503, "the disk is full", "Free some space."
            expired = await events.take("certificate.expired", within=10)
        assert expired["fix"] == "Free some space."
        assert len(events.named("certificate.expired")) == 1


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("ahead", [-60.0, 60.0])
async def test_clocks_may_differ(tmp_path: Path, envoy: Binary, events: Events, ahead: float) -> None:
    """A Manager whose clock is a minute off: even short certificates are renewed at half of their life."""
    async with stub_authority(tmp_path / "ca", longest=6) as authority:
        authority.ahead = ahead
        async with agent(tmp_path, envoy, events) as sidecar:
            await sidecar.wait_ready(10)
            await events.take("certificate.issued", count=2, within=6)
        assert authority.asked <= 3


def test_key_is_in_no_argument_and_no_environment(tmp_path: Path) -> None:
    """What makes keys gets nothing and says everything on its output, so no key passes where others can look."""
    key, request = asyncio.run(rotation.request())
    assert key.pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert request.startswith(b"-----BEGIN CERTIFICATE REQUEST-----")
    assert "PRIVATE" not in repr(key)


@pytest.mark.usefixtures("manager")
async def test_what_a_killed_agent_left_serves_until_there_is_a_manager(
    tmp_path: Path, envoy: Binary, events: Events
) -> None:
    """An agent that comes back while the Manager is away serves with the certificate on disk, and says so."""
    async with stub_authority(tmp_path / "ca") as authority:
        key, request = await rotation.request()
        signed = authority.authority.sign(request, identity=SpiffeId("cluster.local", "ns/default/sa/default"))
        issued = Issued(chain=signed.chain, roots=signed.roots, identity="", expires=signed.expires)
        Secrets(tmp_path / "a").write(Certificate(key=key, issued=issued, since=0, renewal=0))
        await authority.stop()
        async with agent(tmp_path, envoy, events) as sidecar:
            await sidecar.wait_ready(10)
            await shown(authority)
            adopted = sidecar.state.certificate
            assert adopted is not None
            assert adopted.identity == "spiffe://cluster.local/ns/default/sa/default"
            assert abs(adopted.expires - signed.expires) < 1
            await events.take("certificate.renewal_failed")
            await authority.start()
            await events.take("certificate.issued", within=40)


async def adopting(folder: Path, source: Source, roots: str = "") -> Facts | None:
    """What an agent makes of a certificate that lies in its directory when its first try has failed."""
    signer = Authority.create()
    key, asked = await rotation.request()
    signed = signer.sign(asked, identity=SpiffeId("cluster.local", "ns/default/sa/default"))
    left = Issued(chain=signed.chain, roots=roots or signed.roots, identity="", expires=signed.expires)
    secrets = Secrets(folder)
    secrets.write(Certificate(key=key, issued=left, since=0, renewal=0))
    rotating = Rotation(ManagersDoor(source), secrets, log=silent)
    running = asyncio.create_task(rotating.run())
    try:
        async with asyncio.timeout(10):
            await rotating.standing.until(lambda standing: bool(standing.reason))
    finally:
        running.cancel()
    return rotating.standing.value.facts


async def test_roots_of_another_mesh_are_not_trusted_while_the_manager_is_away(tmp_path: Path) -> None:
    """A directory that was used for another mesh is no reason to believe in its root."""
    ours = tmp_path / "roots.pem"
    ours.write_text(Authority.create().roots)
    nobody = Remote(
        url="https://127.0.0.1:1", roots=str(ours), identity="spiffe://cluster.local/ns/istio-system/sa/istiod"
    )
    assert await adopting(tmp_path / "other", nobody) is None
    assert await adopting(tmp_path / "same", nobody, roots=ours.read_text()) is not None


async def test_a_manager_that_says_no_is_heard(tmp_path: Path) -> None:
    """What lies on the disk does not outvote it."""
    async with stub_authority(tmp_path / "ca") as authority:
        authority.refusal = 403, "not for you", ""
        assert await adopting(tmp_path / "a", Local(sockets=(str(tmp_path / "ca"),))) is None


def test_a_broken_leftover_is_no_certificate(tmp_path: Path) -> None:
    """Half a file, or somebody else's, is passed over."""
    for text in ("", "{}", '{"resources": []}', '{"resources": [{"tls_certificate": {}}]}'):
        for name in (CERTIFICATE_FILE, ROOTS_FILE):
            (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "a" / name).write_text(text)
        assert Secrets(tmp_path / "a").read() is None
