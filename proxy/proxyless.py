"""The agent of a gRPC application without a proxy: certificates kept fresh, gRPC's own bootstrap, the application.

As `Agent` in everything but Envoy, which does not run. Not for what the application is told: it asks for itself.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from core.model.mesh import Mesh
from core.model.workload import Proxyless, Workload
from proxy.agent import Agent
from proxy.grpc_bootstrap import GrpcFiles, Json, grpc_bootstrap
from proxy.identity.pem import PemSecrets
from proxy.process import Command
from proxy.relay import relaying
from proxy.reports import Assignment
from proxy.settings import AgentSettings, Host
from proxy.state import Phase

BOOTSTRAP = "GRPC_XDS_BOOTSTRAP"
"""The variable by which gRPC finds its bootstrap (gRFC A27)."""

EXPERIMENTS, FATAL = "GRPC_EXPERIMENTS", "xds_server_filter_chain_per_route"
"""An experiment that is on in the C core of 1.85: a server with it dies of the first call that it answers with an error
before anything else. Cores that do not know it say so in their log, and go on."""


class ProxylessAgent(Agent):
    """`async with` runs the workload's command; ready as soon as there is a certificate."""

    def __init__(
        self, workload: Workload, *, mesh: Mesh, settings: AgentSettings, host: Host, command: Command | None = None
    ) -> None:
        files = GrpcFiles(Path(settings.directory).absolute())
        told = None if command is None else _told(command, files.bootstrap)
        super().__init__(workload, mesh=mesh, settings=settings, host=host, command=told)
        self._files: GrpcFiles = files
        self._secrets = PemSecrets(files.directory, pair=self._pair())
        self._rotation = self._make_rotation()

    def _bootstrap(self) -> Json:
        xds = self._settings.xds or str(self._files.relay)
        return grpc_bootstrap(self._workload, self._mesh, xds=xds, certificates=self._certificates())

    def _certificates(self) -> Path | None:
        return self._files.directory / "certificates" if self._rotation is not None else None

    @contextlib.asynccontextmanager
    async def _run_envoy(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        """There is none: what would wait for it waits for the certificate."""
        async with self._relayed():
            waiting = group.create_task(self._until_certified())
            try:
                yield
            finally:
                waiting.cancel()
                await asyncio.wait([waiting])

    @contextlib.asynccontextmanager
    async def _relayed(self) -> AsyncIterator[None]:
        """Managers of this machine look to gRPC like one that is always there; elsewhere it has to find them itself."""
        if self._settings.xds is not None:
            yield
            return
        sockets = self._settings.xds_sockets
        async with relaying(self._files.relay, sockets, order=lambda all_: random.sample(all_, len(all_))):
            yield

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
    told = {BOOTSTRAP: str(bootstrap), **command.environment, EXPERIMENTS: _experiments(command)}
    return msgspec.structs.replace(command, environment=told)


def _experiments(command: Command) -> str:
    """Those that somebody asked for, and what he did not say himself."""
    own = command.environment.get(EXPERIMENTS, os.environ.get(EXPERIMENTS, ""))
    return own if FATAL in own else ",".join(filter(None, (own, f"-{FATAL}")))
