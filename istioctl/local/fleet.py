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

_AGAIN = 1.0
"""Seconds until an agent that could not run is tried again."""


class Crew(msgspec.Struct, frozen=True):
    """What one agent runs: the workload it stands beside, and the command, if the mesh file gives one."""

    workload: Workload
    launch: Launch | None

    def outdated_by(self, newest: "Crew | None") -> bool:
        if newest is None or self.workload != newest.workload or (self.launch is None) != (newest.launch is None):
            return True
        return self.launch is not None and newest.launch is not None and newest.launch.needs_restart(self.launch)


class Places(msgspec.Struct, frozen=True):
    """Two directories: `root` is the state directory, `home` the mesh file's."""

    root: Path
    home: Path


Ended = Callable[[WorkloadKey, MeshError], None]
"""Takes why the agent of a workload does not run."""


class Fleet:
    """Owns the agents; they run in `group`. Whoever makes one must close it."""

    def __init__(self, host: Host, places: Places, *, group: asyncio.TaskGroup, ended: Ended) -> None:
        self._host = host
        self._places = places
        self._group = group
        self._ended = ended
        self._crews: dict[WorkloadKey, Crew] = {}
        self._tasks: dict[WorkloadKey, asyncio.Task[None]] = {}
        self._agents: dict[WorkloadKey, asyncio.Future[Agent | None]] = {}

    async def follow(self, plan: Plan) -> None:
        """Brings the agents to what `plan` says; returns when those that had to go are gone."""
        wanted = _crews(plan)
        await self._stop(
            [key for key, crew in self._crews.items() if key not in wanted or crew.outdated_by(wanted[key])]
        )
        for key, crew in wanted.items():
            if key not in self._crews:
                self._crews[key] = crew
                self._agents[key] = asyncio.get_running_loop().create_future()
                self._tasks[key] = self._group.create_task(self._run(crew, plan.mesh), name=str(key))

    async def agent(self, key: WorkloadKey) -> Agent | None:
        """The agent of a workload, once it is at work; None when it does not run."""
        return await asyncio.shield(self._agents[key]) if key in self._agents else None

    async def _stop(self, keys: list[WorkloadKey]) -> None:
        tasks = [self._tasks.pop(key) for key in keys]
        for key in keys:
            del self._crews[key]
            _set(self._agents.pop(key), None)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, crew: Crew, mesh: Mesh) -> None:
        """One agent after the other: one that cannot run (a port is taken) is tried again, and said once."""
        key, said = crew.workload.key, ""
        while True:
            try:
                async with self._agent(crew, mesh) as agent:
                    if said:
                        self._host.log("agent.recovered", workload=str(key))
                    _set(self._agents[key], agent)
                    await asyncio.get_running_loop().create_future()
            except MeshError as error:
                _set(self._agents[key], None)
                if said != str(error):
                    said = str(error)
                    self._ended(key, error)
            await asyncio.sleep(_AGAIN)

    def _agent(self, crew: Crew, mesh: Mesh) -> Agent:
        key, root = crew.workload.key, self._places.root
        settings = AgentSettings(directory=str(self._directory(key)), xds_socket=str(xds_socket(root, key)))
        command = self._command(crew.launch)
        return Agent(crew.workload, mesh=mesh, settings=settings, host=self._host, command=command)

    def _directory(self, key: WorkloadKey) -> Path:
        return self._places.root / "proxies" / xds_socket(self._places.root, key).name

    def _command(self, launch: Launch | None) -> Command | None:
        if launch is None:
            return None
        directory = (self._places.home / launch.directory).resolve()
        return Command(argv=launch.command, environment=launch.environment(), directory=str(directory))

    async def close(self) -> None:
        await self._stop(list(self._crews))


def _crews(plan: Plan) -> dict[WorkloadKey, Crew]:
    launches = {launch.workload: launch for launch in plan.launches}
    return {workload.key: Crew(workload, launches.get(workload.key)) for workload in plan.workloads}


def _set(future: asyncio.Future[Agent | None], agent: Agent | None) -> None:
    if not future.done():
        future.set_result(agent)


@contextlib.asynccontextmanager
async def fleet(host: Host, places: Places, *, ended: Ended) -> AsyncIterator[Fleet]:
    """A fleet that is stopped when the block is left, whatever ended it. A bug in an agent ends the block."""
    async with asyncio.TaskGroup() as group:
        agents = Fleet(host, places, group=group, ended=ended)
        try:
            yield agents
        finally:
            await agents.close()
