"""The agents of a mesh: one for each workload of the newest plan; what a plan changes is started, stopped, replaced."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from core.errors import MeshError
from core.manager.paths import xds_socket
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.model.workload import Workload
from platforms.local.plan import Launch, Plan
from proxy.agent import Agent, AgentSettings, Host
from proxy.process import Command


class Crew(msgspec.Struct, frozen=True):
    """What one agent runs: the workload it stands beside, and the command, if the mesh file gives one."""

    workload: Workload
    launch: Launch | None

    def outdated_by(self, newest: "Crew | None") -> bool:
        if newest is None or self.workload != newest.workload or (self.launch is None) != (newest.launch is None):
            return True
        return self.launch is not None and newest.launch is not None and newest.launch.needs_restart(self.launch)


class Fleet:
    """Owns the agents. `root` is the state directory, `home` the mesh file's. Whoever makes one must close it."""

    def __init__(self, host: Host, *, root: Path, home: Path, ended: Callable[[WorkloadKey, MeshError], None]) -> None:
        self._host = host
        self._root = root
        self._home = home
        self._ended = ended
        self._crews: dict[WorkloadKey, Crew] = {}
        self._tasks: dict[WorkloadKey, asyncio.Task[None]] = {}
        self.agents: dict[WorkloadKey, Agent] = {}

    async def follow(self, plan: Plan) -> None:
        """Brings the agents to what `plan` says; returns when those that had to go are gone."""
        wanted = _crews(plan)
        await self._stop(
            [key for key, crew in self._crews.items() if key not in wanted or crew.outdated_by(wanted[key])]
        )
        for key, crew in wanted.items():
            if key not in self._crews:
                self._crews[key] = crew
                self._tasks[key] = asyncio.create_task(self._run(crew, plan.mesh), name=str(key))

    async def _stop(self, keys: list[WorkloadKey]) -> None:
        tasks = [self._tasks.pop(key) for key in keys]
        for key in keys:
            del self._crews[key]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, crew: Crew, mesh: Mesh) -> None:
        key = crew.workload.key
        settings = AgentSettings(directory=str(self._directory(key)), xds_socket=str(xds_socket(self._root, key)))
        agent = Agent(crew.workload, mesh=mesh, settings=settings, host=self._host, command=self._command(crew.launch))
        try:
            async with agent:
                self.agents[key] = agent
                await asyncio.get_running_loop().create_future()
        except MeshError as error:
            self._ended(key, error)
        finally:
            self.agents.pop(key, None)

    def _directory(self, key: WorkloadKey) -> Path:
        return self._root / "proxies" / xds_socket(self._root, key).name

    def _command(self, launch: Launch | None) -> Command | None:
        if launch is None:
            return None
        directory = (self._home / launch.directory).resolve()
        return Command(argv=launch.command, environment=launch.environment(), directory=str(directory))

    async def close(self) -> None:
        await self._stop(list(self._crews))


def _crews(plan: Plan) -> dict[WorkloadKey, Crew]:
    launches = {launch.workload: launch for launch in plan.launches}
    return {workload.key: Crew(workload, launches.get(workload.key)) for workload in plan.workloads}


@contextlib.asynccontextmanager
async def fleet(
    host: Host, *, root: Path, home: Path, ended: Callable[[WorkloadKey, MeshError], None]
) -> AsyncIterator[Fleet]:
    """A fleet that is stopped when the block is left, whatever ended it."""
    agents = Fleet(host, root=root, home=home, ended=ended)
    try:
        yield agents
    finally:
        await agents.close()
