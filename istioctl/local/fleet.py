"""The agents of a mesh: a process for each workload of the newest plan; what changes is started, stopped, replaced."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from random import Random

import msgspec

from core.errors import MeshError
from core.manager.paths import agent_directory, ca_socket, homes, xds_socket
from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.model.workload import AppPort, Workload
from istioctl.local.pods import Ground, on_host
from istioctl.local.sidecar import Sidecar
from platforms.local.plan import Application, Launch, Plan
from proxy.identity.authority import Local
from proxy.process import Command
from proxy.reports import Assignment
from proxy.settings import AgentSettings, Host, Scrape

_AGAIN = 1.0
"""Seconds until an agent that could not run is tried again."""

_DRAIN = 5.0
"""Seconds that calls to a workload which leaves may take to end, as in Istio."""


class Crew(msgspec.Struct, frozen=True):
    """What one agent runs: the workload it stands beside, and the command, if the mesh file gives one."""

    workload: Workload
    launch: Launch | None
    application: Application | None

    def outdated_by(self, newest: "Crew | None") -> bool:
        if newest is None or (self.workload, self.application) != (newest.workload, newest.application):
            return True
        if (self.launch is None) != (newest.launch is None):
            return True
        return self.launch is not None and newest.launch is not None and newest.launch.needs_restart(self.launch)


class Places(msgspec.Struct, frozen=True):
    """Two directories: `root` is the state directory, `home` the mesh file's; and where agents run."""

    root: Path
    home: Path
    ground: Ground = on_host


_Ground = Callable[[], AbstractAsyncContextManager[tuple[str, ...]]]

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
        self._posts: dict[WorkloadKey, Post] = {}
        self._leaving: dict[WorkloadKey, Post] = {}

    async def follow(self, plan: Plan) -> None:
        """Brings the agents to what `plan` says. Those that go drain meanwhile; those that are replaced do not."""
        wanted = _crews(plan)
        for key in self._crews.keys() - wanted.keys():
            self._leaving[key] = self._dismiss(key)
        replaced = [key for key, crew in self._crews.items() if crew.outdated_by(wanted[key])]
        await _gone([self._dismiss(key).hurried() for key in replaced])
        new = [key for key in wanted if key not in self._crews]
        await _gone([self._leaving.pop(key) for key in new if key in self._leaving])
        for key in new:
            self._crews[key] = wanted[key]
            self._posts[key] = self._post(wanted[key], plan.mesh)

    async def agent(self, key: WorkloadKey) -> Sidecar | None:
        """The agent of a workload, once it is at work; None when it does not run."""
        return await self._posts[key].agent() if key in self._posts else None

    def _post(self, crew: Crew, mesh: Mesh) -> "Post":
        ground = partial(self._places.ground, crew.workload, crew.application, mesh)
        return Post(self._work(crew, mesh), ground, host=self._host, group=self._group, ended=self._ended)

    def _dismiss(self, key: WorkloadKey) -> "Post":
        del self._crews[key]
        post = self._posts.pop(key)
        post.leave()
        return post

    def _work(self, crew: Crew, mesh: Mesh) -> Assignment:
        key, root = crew.workload.key, self._places.root
        xds, ca = (tuple(str(of(home, key)) for home in homes(root)) for of in (xds_socket, ca_socket))
        settings = AgentSettings(
            directory=str(agent_directory(root, key)),
            xds_sockets=xds,
            identity=Local(sockets=ca),
            hold_application=True,
            application_ports=_ports(crew.application),
            metrics=_metrics(crew.application),
            termination_drain=_DRAIN,
        )
        return Assignment(
            workload=crew.workload,
            mesh=mesh,
            settings=settings,
            envoy=self._host.envoy,
            command=self._command(crew.launch),
            pace=self._host.pace,
        )

    def _command(self, launch: Launch | None) -> Command | None:
        if launch is None:
            return None
        directory = (self._places.home / launch.directory).resolve()
        return Command(argv=launch.command, environment=launch.environment(), directory=str(directory))

    async def close(self) -> None:
        """Ends all of them at once, waiting for nobody's connections."""
        posts = [*self._leaving.values(), *map(self._dismiss, list(self._crews))]
        await _gone([post.hurried() for post in posts])


class Post:
    """The place of one agent: processes follow each other there until it is left."""

    def __init__(
        self, work: Assignment, ground: _Ground, *, host: Host, group: asyncio.TaskGroup, ended: Ended
    ) -> None:
        self._key = work.workload.key
        self._host = host
        self._ground = ground
        self._ended = ended
        self._said = ""
        self._sidecar = Sidecar(work, host=host, came=self._came)
        self._agent: asyncio.Future[Sidecar | None] = asyncio.get_running_loop().create_future()
        self.task = group.create_task(self._run(), name=str(self._key))

    async def agent(self) -> Sidecar | None:
        return await asyncio.shield(self._agent)

    def leave(self) -> None:
        self._set(None)
        self.task.cancel()

    def hurried(self) -> "Post":
        self._sidecar.hurry()
        return self

    async def _run(self) -> None:
        """Where there is no place for it yet, that is tried again as well."""
        while True:
            try:
                async with self._ground() as within:
                    await self._keep(within)
            except MeshError as error:
                self._cannot(error)
            await asyncio.sleep(_AGAIN)

    async def _keep(self, within: tuple[str, ...]) -> None:
        """One that cannot run (a port is taken) is tried again, and said once; one that was killed is started again."""
        failures, random, loop = 0, Random(), asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                exit = await self._sidecar.run(within=within)
            except MeshError as error:
                self._cannot(error)
                await asyncio.sleep(_AGAIN)
                continue
            failures = 0 if loop.time() - began > self._host.pace.healthy else failures
            self._host.log("agent.exited", workload=str(self._key), how=str(exit))
            await asyncio.sleep(self._host.pace.wait(failures, random))
            failures += 1

    def _cannot(self, error: MeshError) -> None:
        self._set(None)
        if self._said != str(error):
            self._said = str(error)
            self._ended(self._key, error)

    def _came(self) -> None:
        if self._said:
            self._host.log("agent.recovered", workload=str(self._key))
        self._said = ""
        self._set(self._sidecar)

    def _set(self, agent: Sidecar | None) -> None:
        if not self._agent.done():
            self._agent.set_result(agent)


def _crews(plan: Plan) -> dict[WorkloadKey, Crew]:
    launches = {launch.workload: launch for launch in plan.launches}
    applications = {each.workload: each for each in plan.applications}
    return {
        workload.key: Crew(workload, launches.get(workload.key), applications.get(workload.key))
        for workload in plan.workloads
    }


def _ports(application: Application | None) -> tuple[AppPort, ...]:
    """What only the agent can reach, so that it tells others how it is."""
    return application.ports if application is not None and application.place == "pod" else ()


def _metrics(application: Application | None) -> Scrape | None:
    if application is None or application.metrics is None:
        return None
    return Scrape(address=application.metrics.address, port=application.metrics.port, path=application.metrics.path)


async def _gone(posts: list[Post]) -> None:
    if posts:
        await asyncio.wait([post.task for post in posts])


@contextlib.asynccontextmanager
async def fleet(host: Host, places: Places, *, ended: Ended) -> AsyncIterator[Fleet]:
    """A fleet that is stopped when the block is left, whatever ended it. A bug in this process ends the block."""
    async with asyncio.TaskGroup() as group:
        agents = Fleet(host, places, group=group, ended=ended)
        try:
            yield agents
        finally:
            await agents.close()
