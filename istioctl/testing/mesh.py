"""A whole mesh in the test's own process: Manager, agents, echo applications. Only the Envoys are children."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from core.compiler.inputs import Inputs
from core.compiler.view import ProxyView
from core.errors import Misconfigured
from core.kinds.decode import decode
from core.manager.container import ManagerContainer
from core.manager.paths import agent_directory, ca_socket, xds_socket
from core.manager.process import running
from core.manager.settings import Scalar, Settings
from core.model.config import ConfigKey, Document
from core.model.protocol import Protocol
from core.model.service import WorkloadKey
from core.model.workload import Workload
from core.ports import ConfigStore
from istioctl.testing.echo import Speaks, echo
from istioctl.testing.ground import Ground, OnHost
from istioctl.testing.journal import Journal
from istioctl.testing.observed import OUTSIDE, app_name
from platforms.local.addresses import Allocator
from platforms.local.decode import load
from platforms.local.ledger import Ledger
from platforms.local.mesh import LEDGER
from platforms.local.meshfile import MeshFile
from platforms.local.plan import Plan, plan
from platforms.local.slots import claimed
from proxy import binary
from proxy.agent import Agent, AgentSettings, Host
from proxy.bootstrap import Transport
from proxy.envoy_process import Knobs
from proxy.identity.authority import Local
from proxy.lifeline import lifeline

_PATIENCE = 15.0
_ON_OTHER_TERMS = (
    r"/stats?filter=^listener_manager\.total_(filter_chains_draining|listeners_draining|listeners_warming)$"
)
"""Whether some listener still serves as it did before its last change."""


class TestMesh:
    """Rules are applied through the store, as the config API does it; `apply` returns when every proxy has answered."""

    __test__ = False

    def __init__(self, container: ManagerContainer, site: "Laid", agents: dict[WorkloadKey, Agent]) -> None:
        apps = site.apps
        self.container = container
        self.plan = site.plan
        self.ground = site.ground
        self.agents = agents
        self.journal = apps.journal
        self.outside = apps.outside
        self.rules = ""
        self._applied: dict[ConfigKey, None] = {}
        store = container.platform().config
        assert store is not None
        self._store: ConfigStore = store

    @property
    def inputs(self) -> Inputs:
        inputs: Inputs = self.container.world().inputs
        return inputs

    def workload(self, name: str) -> Workload:
        """By the name of the workload, with its namespace where that is not `default`: `sleep-v1`, `sleep-v1.shop`."""
        name, _, namespace = name.partition(".")
        key = WorkloadKey(namespace or "default", name)
        return next(workload for workload in self.plan.workloads if workload.key == key)

    def view(self, name: str) -> ProxyView:
        return ProxyView(self.inputs, self.workload(name).key)

    async def apply(self, text: str, *, namespace: str = "default") -> tuple[ConfigKey, ...]:
        """Puts the documents and waits until they are in force. Raises `Misconfigured` when one cannot be decoded.

        `rules` is what was applied since the last `clear`, as text.
        """
        stored = [await self._put(document) for document in documents(text, namespace=namespace)]
        self._applied |= dict.fromkeys(document.key for document in stored)
        await self.settled(lambda: all(self._known(document) for document in stored))
        self.rules += text
        return tuple(document.key for document in stored)

    async def _put(self, document: Document) -> Document:
        old = await self._store.get(document.key)
        return await self._store.put(msgspec.structs.replace(document, revision=old.revision if old else ""))

    def _known(self, document: Document) -> bool:
        known = self.container.world().documents.get(document.key)
        return known is not None and known.revision == document.revision

    async def clear(self) -> None:
        """Removes everything that was applied and waits until that is in force."""
        gone, self._applied = self._applied, {}
        self.rules = ""
        for key in gone:
            await self._store.delete(key)
        await self.settled(lambda: not gone.keys() & self.container.world().documents.keys())

    async def settled(self, seen: Callable[[], bool] = lambda: True) -> None:
        """Returns when `seen` holds, everything is compiled, and every proxy has answered. Raises `TimeoutError`."""
        manager, proxies = self.container.manager(), self.container.proxies()
        async with asyncio.timeout(_PATIENCE):
            while not seen() or not manager.idle or proxies.busy():  # noqa: ASYNC110 - all quiet at one moment
                await asyncio.sleep(0.002)

    async def drained(self) -> None:
        """Returns when no connection is left that some listener took on other terms. Raises `TimeoutError`."""
        async with asyncio.timeout(_PATIENCE):
            await asyncio.gather(*(_drained(agent) for agent in self.agents.values()))


async def _drained(agent: Agent) -> None:
    while any(not line.endswith(" 0") for line in (await agent.admin.get(_ON_OTHER_TERMS)).text.splitlines()):  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def documents(text: str, *, namespace: str) -> tuple[Document, ...]:
    decoded = decode(text, file="test.yaml", default_namespace=namespace)
    if decoded.diagnostics:
        raise Misconfigured("\n".join(map(str, decoded.diagnostics)))
    return decoded.documents


def _make(state: Path) -> None:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)


class Apps(msgspec.Struct, frozen=True):
    """The applications beside the proxies, and one that is no part of the mesh: on port `outside` of 127.0.0.1."""

    journal: Journal
    outside: int


class Laid(msgspec.Struct, frozen=True):
    """A mesh to which only Manager and proxies are missing."""

    plan: Plan
    ground: Ground
    apps: Apps


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How a mesh is run. `lifetime`: of certificates, in seconds.

    `listener_drain`: seconds that connections live on which a listener took on other terms than it has now. None, so
    that what is measured is the newest rules'; meshes that people run let them go on (`Knobs`).
    """

    transport: Transport = Transport.DELTA
    lifetime: float = 24 * 3600.0
    listener_drain: int = 0


USUAL = Manner()


@contextlib.asynccontextmanager
async def mesh(
    mesh_file: Path,
    *,
    state: Path,
    ground: Ground | None = None,
    manner: Manner = USUAL,
) -> AsyncIterator[TestMesh]:
    """Runs the mesh of `mesh_file` with an echo behind each workload, whatever command the file gives.

    `ground` None is this host.
    """
    with claimed(None) as slot, lifeline() as line:
        _make(state)
        async with contextlib.AsyncExitStack() as stack:
            site = await stack.enter_async_context(_laid(mesh_file, slot, state, ground or OnHost()))
            options = {"mesh_file": str(mesh_file), "state": str(state), "slot": slot, **_options(site.ground)}
            settings = Settings(state=state, options=options, certificate_lifetime=manner.lifetime)
            container = await stack.enter_async_context(running(settings))
            host = Host(envoy=await asyncio.to_thread(binary.find), lifeline=line)
            agents = {
                workload.key: await stack.enter_async_context(_agent(workload, site, state, host, manner))
                for workload in site.plan.workloads
            }
            await asyncio.gather(*(agent.wait_ready(_PATIENCE) for agent in agents.values()))
            found = TestMesh(container, site, agents)
            await found.settled(lambda: _all_healthy(found))
            yield found


@contextlib.asynccontextmanager
async def _laid(mesh_file: Path, slot: int, state: Path, ground: Ground) -> AsyncIterator[Laid]:
    numbers = Allocator(slot, ledger=Ledger(state / LEDGER))
    planned = plan(loaded(mesh_file), numbers, capture=ground.capture, interception=ground.interception)
    await ground.lay(planned)
    async with _applications(planned, ground) as apps:
        yield Laid(planned, ground, apps)


def _options(ground: Ground) -> dict[str, Scalar]:
    """What is in a pod cannot be probed from here; agents that run in the pods do that otherwise."""
    found: dict[str, Scalar] = {"slot_held": True, "capture": ground.capture, "first_probe_interval": 0.02}
    found["interception"] = ground.interception
    return found if ground.capture == "none" else {**found, "probe_interval": None}


def loaded(path: Path) -> MeshFile:
    """A mesh file, decoded. Raises `Misconfigured` with all that is wrong with it."""
    decoded = load(path)
    if decoded.file is None:
        raise Misconfigured("\n".join(map(str, decoded.diagnostics)))
    return decoded.file


@contextlib.asynccontextmanager
async def _applications(planned: Plan, ground: Ground) -> AsyncIterator[Apps]:
    journal = Journal()
    async with contextlib.AsyncExitStack() as stack:
        for each in planned.applications:
            spoken = _spoken(each.workload, planned)
            ports = [(await ground.listen(each.workload, port), spoken[port.port]) for port in each.ports]
            await stack.enter_async_context(echo(app_name(each.workload), ports, journal=journal))
        port, outside = await ground.listen_outside()
        await stack.enter_async_context(echo(OUTSIDE, [(each, "auto") for each in outside], journal=journal))
        yield Apps(journal, port)


def _spoken(key: WorkloadKey, planned: Plan) -> dict[int, Speaks]:
    """What the application speaks on each port of the workload, as its service declares it."""
    services = {service.key: service for service in planned.services}
    return {
        number: _speaks(port.protocol)
        for instance in planned.instances
        if instance.workload == key
        for port in services[instance.key.service].ports
        if (number := instance.port(port.name)) is not None
    }


def _speaks(protocol: Protocol) -> Speaks:
    if protocol is Protocol.AUTO:
        return "auto"
    if protocol.is_http2:
        return "grpc"
    return "http" if protocol.is_http else "tcp"


def _agent(workload: Workload, site: Laid, state: Path, host: Host, manner: Manner) -> Agent:
    """It runs here, wherever its Envoy does; where it has no address of its own, it cannot be asked for anything."""
    own_ports = None if site.ground.capture == "none" else 0
    settings = AgentSettings(
        directory=str(agent_directory(state, workload.key)),
        xds_sockets=(str(xds_socket(state, workload.key)),),
        identity=Local(sockets=(str(ca_socket(state, workload.key)),)),
        transport=manner.transport,
        within=site.ground.within(workload.key),
        envoy=Knobs(listener_drain=manner.listener_drain),
        ready_port=own_ports,
        metrics_port=own_ports,
    )
    return Agent(workload, mesh=site.plan.mesh, settings=settings, host=host)


def _all_healthy(mesh: TestMesh) -> bool:
    instances = mesh.inputs.instances.values()
    return len(instances) == len(mesh.plan.instances) and all(i.health == "healthy" for i in instances)
