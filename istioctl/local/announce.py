"""Tells when a mesh is ready, where its workloads are and what one can do next; after an edit, only what is new."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import assert_never

from core.errors import MeshError
from core.model.protocol import Protocol
from core.model.service import Service, WorkloadKey
from core.model.workload import Explicit, Proxyless, Redirected, Workload
from istioctl.calling import istioctl_for
from istioctl.client import Api
from istioctl.local.fleet import Fleet
from istioctl.local.manager import ManagerProgram
from istioctl.local.sidecar import Sidecar
from istioctl.local.talk import Talk, sentence
from istioctl.options import DEFAULT_NAMESPACE
from platforms.local.plan import Application, Plan
from platforms.local.probe import answers, check

_PATIENCE = 30.0
"""Seconds until a sidecar that is not ready is reported; it goes on trying."""

_CALLS_PATIENCE, _LOOK = 3.0, 0.05
"""Seconds until calls should arrive everywhere, and between two looks; a mesh that is not whole is told as it is."""

_APPLICATION_PATIENCE = 5.0
"""Seconds that applications get to listen before somebody is told that they do not."""


class Announcer:
    """Knows what was told already. `state` is the state directory."""

    def __init__(self, managers: Sequence[ManagerProgram], agents: Fleet, talk: Talk, *, state: Path) -> None:
        self._managers = managers
        self._agents = agents
        self._talk = talk
        self._state = state
        self._told: dict[WorkloadKey, Sidecar] = {}
        self._met = False
        self._plan: Plan | None = None
        self.settled: asyncio.Future[Plan] = asyncio.get_running_loop().create_future()
        """The first plan, once all there was to start has been started."""

    def changed(self, plan: Plan) -> None:
        """The mesh file says something else than before."""
        before, self._plan = self._plan, plan
        if before is None:
            return
        old, new = ({workload.key for workload in each.workloads} for each in (before, plan))
        for key in old - new:
            self._told.pop(key, None)
        parts = [f"{word} {_listed(keys)}" for word, keys in (("new:", new - old), ("gone:", old - new)) if keys]
        self._talk.line("mesh file", "; ".join(["changed", *parts]))

    async def announce(self, plan: Plan) -> None:
        """Returns when everything there is to say of `plan` has been said."""
        begin, is_first = self._talk.elapsed(), not self._met
        await self._manager_ready()
        ready = sum(await asyncio.gather(*(self._ready(workload) for workload in plan.workloads)))
        await self._calls_arrive()
        took = self._talk.elapsed() - (0 if is_first else begin)
        stop = " Ctrl-C stops all." if is_first else ""
        self._talk.line("mesh", f"{ready} of {len(plan.workloads)} workloads ready after {took:.1f} s.{stop}")
        if not self.settled.done():
            self.settled.set_result(plan)
        if is_first and ready:
            self._talk.text(hints(plan, self._state))
        await asyncio.sleep(_APPLICATION_PATIENCE)
        launched = {launch.workload for launch in plan.launches}
        for each in plan.applications:
            told = "The command is told this place by $APP_IP and $PORT." if each.workload in launched else ""
            await self._application(each, told)

    async def _manager_ready(self) -> None:
        for each in self._managers:
            await each.ready.wait()
        if not self._met:
            several = f"{len(self._managers)} of them " if len(self._managers) > 1 else ""
            self._talk.line("manager", f"{several}ready after {self._talk.elapsed():.1f} s")
        self._met = True

    async def _calls_arrive(self) -> None:
        """Once proxies know every application, after the Manager has seen it listen; or when that takes too long."""
        deadline = self._talk.elapsed() + _CALLS_PATIENCE
        while self._talk.elapsed() < deadline:
            if await asyncio.to_thread(_calls_arrive, self._state):
                return
            await asyncio.sleep(_LOOK)

    async def _ready(self, workload: Workload) -> bool:
        key = workload.key
        agent = await self._agents.agent(key)
        if agent is None:
            return False
        try:
            await agent.wait_ready(_PATIENCE)
        except MeshError as error:
            self._talk.line(str(key), f"not ready: {sentence(str(error))} {sentence(error.fix)}")
            return False
        if self._told.get(key) is not agent:
            self._talk.line(str(key), f"ready at {place(workload)}")
        self._told[key] = agent
        return True

    async def _application(self, application: Application, advice: str) -> None:
        """An application that listens elsewhere gets no calls: the commonest mistake, and one that nobody sees."""
        for port, accepts in zip(application.ports, await answers(check(application, self._state)), strict=True):
            if not accepts:
                what = f"nothing listens at {port.address}:{port.target} yet, so it gets no calls."
                self._talk.line(str(application.workload), f"{what} {advice}".rstrip())


def _calls_arrive(state: Path) -> bool:
    try:
        with Api(state, timeout=_CALLS_PATIENCE) as api:
            progress = api.status().progress
    except MeshError:
        return False
    return progress.resting and not progress.unwell


def place(workload: Workload) -> str:
    """Where it is called: a gateway, from outside, at its ports on this host."""
    if workload.role == "sidecar":
        return workload.address
    doors = ((entry.port, entry.public or entry.target) for entry in workload.ports)
    return ", ".join(f"{_scheme(port)}://127.0.0.1:{target} (port {port})" for port, target in doors)


def _scheme(port: int) -> str:
    """What is usual; the Gateway documents decide."""
    return "https" if port in (443, 8443) else "http"


def hints(plan: Plan, state: Path) -> tuple[str, ...]:
    """What to try from a second terminal: a call that goes through a sidecar, and a rule."""
    call = _call(plan, state)
    apply = ("Change where calls go, from a second terminal:", f"  {istioctl_for(state)} apply -f rule.yaml")
    return ("", *call, *apply, "")


def _call(plan: Plan, state: Path) -> tuple[str, ...]:
    """From a pure client if there is one, to the first service that speaks HTTP and is not the caller's own."""
    proxied = (each for each in plan.workloads if not isinstance(each.capture, Proxyless))
    sidecars = [each for each in proxied if each.role == "sidecar"]
    called = {each.workload for each in plan.applications if each.ports}
    clients = [each for each in sidecars if each.key not in called] or sidecars
    if not clients:
        return ()
    client = clients[0]
    own = {instance.key.service for instance in plan.instances if instance.workload == client.key}
    others = [service for service in plan.services if service.key not in own and _http_port(service)]
    if not others:
        return ()
    service = others[0]
    url = f"http://{_name(service, client)}{_http_port(service)}/"
    return (f"Call a service as {client.key.name} does, through its sidecar:", f"  {_curl(client, state)} {url}")


def _curl(client: Workload, state: Path) -> str:
    match client.capture:
        case Explicit(http_proxy_port=port):
            return f"curl -x http://{client.address}:{port}"
        case Proxyless():
            return "curl"
        case Redirected():
            return f"{istioctl_for(state)} enter {client.key.name}{_in(client.key)} -- curl"
        case _:
            assert_never(client.capture)


def _in(key: WorkloadKey) -> str:
    return "" if key.namespace == DEFAULT_NAMESPACE else f" -n {key.namespace}"


def _name(service: Service, client: Workload) -> str:
    near = service.key.namespace == client.key.namespace
    return service.name if near else f"{service.name}.{service.key.namespace}"


def _http_port(service: Service) -> str:
    """As it stands in a URL, `:9080`; "" when no port of the service can speak HTTP."""
    ports = (port for port in service.ports if port.protocol.is_http or port.protocol is Protocol.AUTO)
    return next((f":{port.number}" for port in ports), "")


def _listed(keys: Iterable[WorkloadKey]) -> str:
    return ", ".join(map(str, sorted(keys)))
