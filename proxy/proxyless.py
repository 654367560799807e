"""The agent of a gRPC application without a proxy: certificates kept fresh, gRPC's own bootstrap, the application.

As `Agent` in everything but Envoy, which does not run. Not for what the application is told: it asks for itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from core.model.identity import CERTIFICATE
from core.model.mesh import Mesh
from core.model.workload import Proxyless, Workload, node_id
from proxy.agent import Agent
from proxy.bootstrap import Elsewhere
from proxy.envoy_process import Files
from proxy.identity.pem import CHAIN, KEY, ROOTS, PemSecrets
from proxy.process import Command
from proxy.reports import Assignment
from proxy.settings import AgentSettings, Host
from proxy.state import Phase

Json = dict[str, object]

BOOTSTRAP = "GRPC_XDS_BOOTSTRAP"
"""The variable by which gRPC finds its bootstrap (gRFC A27)."""

SERVER_TEMPLATE = "grpc/server?xds.resource.listening_address=%s"
"""How a server asks the Manager for its listener (gRFC A36); the Manager answers to this form alone."""

REFRESH = "2s"
"""How often gRPC looks at the files of its certificate. Left alone: 10 minutes, more than a short life."""


class GrpcFiles(Files, frozen=True):
    """As an agent's others, with the bootstrap under a name of its own."""

    @property
    def bootstrap(self) -> Path:
        return self.directory / "grpc-bootstrap.json"


class ProxylessAgent(Agent):
    """`async with` runs the workload's command; ready as soon as there is a certificate."""

    def __init__(
        self, workload: Workload, *, mesh: Mesh, settings: AgentSettings, host: Host, command: Command | None = None
    ) -> None:
        files = GrpcFiles(Path(settings.directory).absolute())
        told = None if command is None else _told(command, files.bootstrap)
        super().__init__(workload, mesh=mesh, settings=settings, host=host, command=told)
        self._files = files
        self._secrets = PemSecrets(files.directory, pair=self._pair())
        self._rotation = self._make_rotation()

    def _bootstrap(self) -> Json:
        settings = self._settings
        return grpc_bootstrap(
            self._workload, self._mesh, xds=settings.xds or settings.xds_socket, certificates=self._certificates()
        )

    def _certificates(self) -> Path | None:
        return self._files.directory / "certificates" if self._rotation is not None else None

    @contextlib.asynccontextmanager
    async def _run_envoy(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        """There is none: what would wait for it waits for the certificate."""
        waiting = group.create_task(self._until_certified())
        try:
            yield
        finally:
            waiting.cancel()
            await asyncio.wait([waiting])

    async def _until_certified(self) -> None:
        if self._rotation is not None:
            await self._rotation.standing.until(lambda standing: standing.facts is not None)
        self._become_unless_stopping(phase=Phase.READY)

    @contextlib.asynccontextmanager
    async def _drained(self) -> AsyncIterator[None]:
        """Others hear that this workload is leaving; calls that are under way the application ends by itself."""
        yield
        if self._settings.termination_drain > 0 and not self._hurry.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._settings.drain_minimum)


def agent_for(work: Assignment, host: Host) -> Agent:
    """The agent that this workload needs."""
    kind = ProxylessAgent if isinstance(work.workload.capture, Proxyless) else Agent
    return kind(work.workload, mesh=work.mesh, settings=work.settings, host=host, command=work.command)


def _told(command: Command, bootstrap: Path) -> Command:
    return msgspec.structs.replace(command, environment={BOOTSTRAP: str(bootstrap), **command.environment})


def grpc_bootstrap(workload: Workload, mesh: Mesh, *, xds: str | Elsewhere, certificates: Path | None) -> Json:
    """gRPC's bootstrap (gRFC A27, A29, A36): who it is, where its configuration comes from, which files it shows."""
    where = workload.locality
    node = {
        "id": node_id(workload, mesh.domain_suffix),
        "cluster": f"{workload.labels.get('app') or workload.key.name}.{workload.key.namespace}",
        "locality": {"region": where.region, "zone": where.zone, "sub_zone": where.subzone},
        "metadata": {"NAME": workload.key.name, "NAMESPACE": workload.key.namespace, "GENERATOR": "grpc"},
    }
    return {
        "xds_servers": [{**_server(xds, certificates), "server_features": ["xds_v3"]}],
        "node": node,
        "server_listener_resource_name_template": SERVER_TEMPLATE,
        **({"certificate_providers": _providers(certificates)} if certificates is not None else {}),
    }


def _server(xds: str | Elsewhere, certificates: Path | None) -> Json:
    """On this machine the workload's own socket; elsewhere by mutual TLS, the Manager known by its name."""
    if isinstance(xds, str):
        return {"server_uri": f"unix:{xds}", "channel_creds": [{"type": "insecure"}]}
    config = _files(certificates) if certificates is not None else {}
    return {"server_uri": f"dns:///{xds.host}:{xds.port}", "channel_creds": [{"type": "tls", "config": config}]}


def _providers(certificates: Path) -> Json:
    return {CERTIFICATE: {"plugin_name": "file_watcher", "config": _files(certificates)}}


def _files(certificates: Path) -> Json:
    return {
        "certificate_file": str(certificates / CHAIN),
        "private_key_file": str(certificates / KEY),
        "ca_certificate_file": str(certificates / ROOTS),
        "refresh_interval": REFRESH,
    }
