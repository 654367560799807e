"""gRPC applications without a proxy, for tests: a platform in memory, a true Manager, agents, grpcio's own xDS.

Envoys stand beside some of them, for meshes of both. Not for meshes from files (`istioctl.local.testing`).
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from core.manager.container import ManagerContainer
from core.manager.paths import agent_directory, ca_socket, xds_socket
from core.manager.process import serving
from core.manager.settings import Settings
from core.manager.testing.facts import Fact, document, documents, service_key, workload_key
from core.manager.testing.grpc_app import METHOD, Outcome, Task, serve
from core.manager.testing.grpc_control import told
from core.model.config import Document
from core.model.identity import SpiffeId
from core.model.labels import Labels
from core.model.mesh import Mesh
from core.model.secret import Secret
from core.model.service import Instance, InstanceKey, Locality
from core.model.workload import AppPort, Explicit, Proxyless, Workload
from platforms.memory import MemoryPlatform
from proxy import binary
from proxy.agent import Agent, Host
from proxy.identity.authority import Local
from proxy.identity.certificate import Certificate, Issued, Key
from proxy.identity.pem import PemSecrets
from proxy.process import Command
from proxy.proxyless import agent_for
from proxy.reports import Assignment
from proxy.settings import AgentSettings

NETWORK = f"127.80.{os.getpid() % 250 + 1}"
REVIEWS = "xds:///reviews:9080"
PORT = 9080
SPIFFE = "spiffe://cluster.local/ns/default/sa/{}"
SUBSETS = [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]
VERSIONS = document("DestinationRule", "reviews", {"host": "reviews", "subsets": SUBSETS})


def rule(*routes: Mapping[str, object]) -> Document:
    return document("VirtualService", "reviews", {"hosts": ["reviews"], "http": list(routes)})


def to(version: str, weight: int = 100) -> Mapping[str, object]:
    return {"destination": {"host": "reviews", "subset": version}, "weight": weight}


def mutual_tls(mode: str) -> Document:
    (found,) = documents(
        f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: all, namespace: istio-system}}
spec: {{mtls: {{mode: {mode}}}}}
"""
    )
    return found


class Site:
    """A platform in memory, a Manager on it, and agents with their applications."""

    def __init__(self, state: Path, *, managers: int = 1) -> None:
        self.state = state
        self.platform = MemoryPlatform()
        self.settings = [Settings(state=state, number=number + 1, managers=managers) for number in range(managers)]
        self.running: dict[int, ManagerContainer] = {}
        self.stack = contextlib.AsyncExitStack()
        self._own = {number: contextlib.AsyncExitStack() for number in range(managers)}
        self._number = 0
        self.lifetime = 24 * 3600
        self.addresses: dict[str, str] = {}

    async def tell(self, *facts: Fact) -> None:
        for fact in facts:
            if isinstance(fact, Document):
                await self.platform.config.apply(fact)
            else:
                assert not isinstance(fact, Secret)
                self.platform.registry.put(fact)

    @property
    def manager(self) -> ManagerContainer:
        """The only one."""
        (found,) = self.running.values()
        return found

    async def start_manager(self, number: int = 0) -> None:
        served = serving(self.settings[number], self.platform.record)
        self.running[number] = await self._own[number].enter_async_context(served)

    async def stop_manager(self, number: int = 0) -> None:
        await self._own[number].aclose()
        self.running.pop(number, None)

    def control(self, name: str) -> Path:
        return self.state / f"{name}.ctl"

    async def proxyless(self, name: str, *, serves: str = "", place: str = "") -> Agent:
        """A workload at `place` (a locality) with an application that calls and, if it serves a service, is called."""
        address = self.addresses[name] = self._address()
        version = Labels.of({"version": name})
        found = Workload(
            key=workload_key(name),
            address=address,
            service_account=name,
            labels=version,
            locality=Locality.parse(place),
            capture=Proxyless(ports=(PORT,) if serves else ()),
        )
        await self.tell(found)
        if serves:
            await self.tell(self.instance(serves, found, proxyless=True))
        served = [name, f"{address}:{PORT}"] if serves else []
        argv = (sys.executable, "-m", "core.manager.testing.grpc_app", str(self.control(name)), *served)
        return await self._agent(found, Command(argv=argv))

    async def sidecar(self, name: str, *, serves: str) -> Agent:
        """A workload whose plain gRPC server stands behind a real Envoy."""
        address, port = self._address(), AppPort(PORT, self._address(), PORT)
        server = serve(name, f"{port.address}:{port.target}", xds=False)
        self.stack.callback(server.stop, None)
        found = Workload(
            key=workload_key(name),
            address=address,
            service_account=name,
            labels=Labels.of({"version": name}),
            capture=Explicit(app_ports=(port,)),
        )
        await self.tell(found, self.instance(serves, found, proxyless=False))
        return await self._agent(found, None)

    def disguise(self, name: str, identity: SpiffeId) -> None:
        """Puts another certificate of the same authority where the application looks for its own."""
        directory = agent_directory(self.state, workload_key(name))
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self.manager.authority().certify(key.public_key(), identity=identity)
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        shown = Issued(chain=issued.chain, roots=issued.roots, identity=str(identity), expires=issued.expires)
        PemSecrets(directory).write(Certificate(key=Key(text), issued=shown, since=0.0, renewal=0.0))

    def instance(self, of: str, workload: Workload, *, proxyless: bool, identity: str = "") -> Instance:
        return Instance(
            key=InstanceKey(service_key(of), workload.key.name),
            address=workload.address,
            ports=((f"p{PORT}", PORT),),
            labels=workload.labels,
            locality=workload.locality,
            identity=SpiffeId.of(
                "cluster.local", namespace="default", service_account=identity or workload.service_account
            ),
            workload=workload.key,
            proxyless=proxyless,
        )

    def _address(self) -> str:
        self._number += 1
        return f"{NETWORK}.{self._number}"

    async def _agent(self, workload: Workload, command: Command | None) -> Agent:
        key, homes = workload.key, [each.home for each in self.settings]
        xds = tuple(str(xds_socket(home, key)) for home in homes)
        ca = tuple(str(ca_socket(home, key)) for home in homes)
        settings = AgentSettings(
            directory=str(agent_directory(self.state, key)),
            xds_sockets=xds,
            identity=Local(sockets=ca),
            certificate_lifetime=self.lifetime,
            hold_application=True,
        )
        envoy = binary.find("")
        work = Assignment(workload=workload, mesh=Mesh(), settings=settings, envoy=envoy, command=command)
        output = lambda _, line: print(line)  # noqa: E731
        agent = await self.stack.enter_async_context(agent_for(work, Host(envoy=envoy, output=output)))
        await agent.wait_ready(20.0)
        return agent

    def refused(self) -> list[str]:
        """What clients and servers would not take of what they were sent."""
        return [f"{each}" for proxy in self.manager.proxies().status() for each in proxy.refused]

    async def ask(self, name: str, target: str = REVIEWS, **wish: object) -> Outcome:
        return await told(self.control(name), msgspec.convert({"target": target, **wish}, Task))

    async def until(self, name: str, expected: set[str], target: str = REVIEWS, **wish: object) -> Outcome:
        """Calls until all are answered, and by these; the last outcome after 15 s."""
        outcome = Outcome()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(15.0):
                while outcome.failures or set(outcome.answers) != expected:
                    outcome = await self.ask(name, target, **{"count": 20, "timeout": 2.0, **wish})
        assert (set(outcome.answers), outcome.failures) == (expected, {})
        return outcome


async def answered(proxy: str, target: str, expected: str) -> None:
    """Calls through the HTTP proxy of a sidecar until the answer is the expected one."""
    through = [("grpc.http_proxy", proxy)]
    async with asyncio.timeout(15.0), grpc.aio.insecure_channel(target, options=through) as channel:
        call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        answer = ""
        while answer != expected:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = str(await call(b"", timeout=2.0), "ascii")
