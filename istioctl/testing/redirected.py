"""The ground of capture `redirect`: pods with rules of the kernel, and Envoys in them.

Echoes and callers stay in the test's own process; their sockets are in the pods. For tests only.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from core.model.mesh import Mesh
from core.model.service import WorkloadKey
from core.model.workload import AppPort, Interception, Workload
from core.simulate import Call
from istioctl.local.pods import pods
from istioctl.testing.ground import Place
from istioctl.testing.names import names
from istioctl.testing.wrapping import dialled, through
from platforms.local.plan import Application, Plan
from platforms.local.settings import CaptureMode
from proxy.capture.fabric import Fabric, fabric
from proxy.capture.outside import resolving
from proxy.capture.relay import Streams
from proxy.capture.wire import Network

STRANGER, _STRANGERS_ADDRESS = "stranger", "198.19.0.1"
"""Somebody in the same network, without a proxy."""

NAMES = {"known.test": "192.0.2.7"}
"""What the resolver of the host knows: addresses of nobody in the mesh (RFC 5737)."""

_OUTSIDE = 18080


class InPods:
    """Made by `in_pods`. Whatever leaves the network of the pods comes to the server outside."""

    capture: CaptureMode = "redirect"

    def __init__(self, net: Fabric, stack: contextlib.AsyncExitStack, interception: Interception) -> None:
        self.interception = interception
        self._net = net
        self._stack = stack
        self._within: dict[WorkloadKey, tuple[str, ...]] = {}

    async def lay(self, planned: Plan) -> None:
        applications = {each.workload: each for each in planned.applications}
        made = (self._pod(each, applications.get(each.key), planned.mesh) for each in planned.workloads)
        await asyncio.gather(self._net.add(STRANGER, _STRANGERS_ADDRESS, policy=None), *made)

    async def _pod(self, workload: Workload, application: Application | None, mesh: Mesh) -> None:
        pod = pods(self._net)(workload, application, mesh)
        self._within[workload.key] = await self._stack.enter_async_context(pod)

    def within(self, key: WorkloadKey) -> tuple[str, ...]:
        return self._within[key]

    async def listen(self, key: WorkloadKey, port: AppPort) -> socket.socket:
        return await self._net.listening(str(key), port.target)

    async def listen_outside(self) -> tuple[int, list[socket.socket]]:
        """What is said to be on 127.0.0.1 is on that of each pod."""
        connections, queries = await self._net.way_out()
        resolver = await self._stack.enter_async_context(names(NAMES))
        await self._stack.enter_async_context(resolving(queries, resolver=resolver))
        here = [await self._net.listening(name, _OUTSIDE) for name in map(str, self._within)]
        return _OUTSIDE, [connections, *here]

    @contextlib.asynccontextmanager
    async def way(self, call: Call, place: Place, inside: ssl.SSLContext | None) -> AsyncIterator[Place]:
        async def dial() -> Streams:
            return await dialled(await self._net.unbound(_caller(call)), place, inside)

        async with through(dial) as entrance:
            yield entrance


def _caller(call: Call) -> str:
    """The pod that this call comes from."""
    return str(call.source) if call.via == "captured" else STRANGER


@contextlib.asynccontextmanager
async def in_pods(*, interception: Interception = "REDIRECT", network: Network | None = None) -> AsyncIterator[InPods]:
    """Raises `Misconfigured` where this machine cannot. `network` None: as in `istioctl up`."""
    async with fabric(network) as net, contextlib.AsyncExitStack() as stack:
        yield InPods(net, stack, interception)
