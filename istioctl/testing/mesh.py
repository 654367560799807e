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
from core.manager.paths import xds_socket
from core.manager.process import running
from core.manager.settings import Scalar, Settings
from core.model.config import ConfigKey, Document
from core.model.protocol import Protocol
from core.model.service import WorkloadKey
from core.model.workload import Workload
from core.ports import ConfigStore
from istioctl.testing.echo import Speaks, echo
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
from proxy.lifeline import lifeline

_PATIENCE = 15.0


class TestMesh:
    """Rules are applied through the store, as the config API does it; `apply` returns when every proxy has answered."""

    __test__ = False

    def __init__(self, container: ManagerContainer, plan: Plan, agents: dict[WorkloadKey, Agent], apps: "Apps") -> None:
        self.container = container
        self.plan = plan
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


@contextlib.asynccontextmanager
async def mesh(mesh_file: Path, *, state: Path, transport: Transport = Transport.DELTA) -> AsyncIterator[TestMesh]:
    """Runs the mesh of `mesh_file` with an echo behind each workload, whatever command the file gives."""
    with claimed(None) as slot, lifeline() as line:
        options: dict[str, Scalar] = {"mesh_file": str(mesh_file), "state": str(state), "slot": slot, "slot_held": True}
        _make(state)
        planned = plan(loaded(mesh_file), Allocator(slot, ledger=Ledger(state / LEDGER)))
        async with contextlib.AsyncExitStack() as stack:
            apps = await stack.enter_async_context(_applications(planned))
            settings = Settings(state=state, options={**options, "first_probe_interval": 0.02})
            container = await stack.enter_async_context(running(settings))
            host = Host(envoy=await asyncio.to_thread(binary.find), lifeline=line)
            agents = {
                workload.key: await stack.enter_async_context(_agent(workload, planned, state, host, transport))
                for workload in planned.workloads
            }
            await asyncio.gather(*(agent.wait_ready(_PATIENCE) for agent in agents.values()))
            found = TestMesh(container, planned, agents, apps)
            await found.settled(lambda: _all_healthy(found))
            yield found


def loaded(path: Path) -> MeshFile:
    """A mesh file, decoded. Raises `Misconfigured` with all that is wrong with it."""
    decoded = load(path)
    if decoded.file is None:
        raise Misconfigured("\n".join(map(str, decoded.diagnostics)))
    return decoded.file


@contextlib.asynccontextmanager
async def _applications(planned: Plan) -> AsyncIterator[Apps]:
    journal = Journal()
    async with contextlib.AsyncExitStack() as stack:
        for workload in planned.workloads:
            await stack.enter_async_context(_application(workload, planned, journal))
        (port,) = await stack.enter_async_context(echo(OUTSIDE, "127.0.0.1", {0: "auto"}, journal=journal))
        yield Apps(journal, port)


def _application(
    workload: Workload, planned: Plan, journal: Journal
) -> contextlib.AbstractAsyncContextManager[tuple[int, ...]]:
    spoken = _spoken(workload.key, planned)
    app_ports = workload.capture.app_ports
    address = app_ports[0].address if app_ports else "127.0.0.1"
    ports = {port.target: spoken[port.port] for port in app_ports}
    return echo(app_name(workload.key), address, ports, journal=journal)


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


def _agent(workload: Workload, plan: Plan, state: Path, host: Host, transport: Transport) -> Agent:
    directory = state / "proxies" / xds_socket(state, workload.key).name
    socket = str(xds_socket(state, workload.key))
    settings = AgentSettings(directory=str(directory), xds_socket=socket, transport=transport)
    return Agent(workload, mesh=plan.mesh, settings=settings, host=host)


def _all_healthy(mesh: TestMesh) -> bool:
    instances = mesh.inputs.instances.values()
    return len(instances) == len(mesh.plan.instances) and all(i.health == "healthy" for i in instances)
