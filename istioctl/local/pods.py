"""Where agents run: on the host as it is, or each in a pod of its own, with its traffic captured."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from core.errors import Misconfigured, Unavailable
from core.model.mesh import Mesh
from core.model.workload import Redirected, Workload
from platforms.local.plan import Application, search_domains
from platforms.local.plan_gateway import DOOR
from proxy.capture.fabric import Fabric
from proxy.capture.policy import ByMark, Policy

Ground = Callable[[Workload, Application | None, Mesh], AbstractAsyncContextManager[tuple[str, ...]]]
"""A place for a workload for as long as the context is open: the words that run a program there."""


@contextlib.asynccontextmanager
async def on_host(workload: Workload, application: Application | None, mesh: Mesh) -> AsyncIterator[tuple[str, ...]]:
    """Nothing is special about it."""
    yield ()


def pods(net: Fabric) -> Ground:
    """Raises `MeshError` when a pod cannot be made."""

    @contextlib.asynccontextmanager
    async def in_pod(workload: Workload, application: Application | None, mesh: Mesh) -> AsyncIterator[tuple[str, ...]]:
        name, namespace = str(workload.key), workload.key.namespace
        search = search_domains(namespace, mesh.domain_suffix)
        pod = await net.add(name, workload.address, policy=_policy(workload), search=search)
        try:
            await _reach_outside(net, name, application)
            await _open_doors(net, workload)
            yield pod.enter
        finally:
            with contextlib.suppress(Unavailable):  # when all pods are gone, this one is
                await net.remove(name)

    return in_pod


def _policy(workload: Workload) -> Policy | None:
    """None for gateways, which capture nothing."""
    match workload.capture:
        case Redirected() as capture:
            return Policy(
                mode="tproxy" if capture.transparent else "redirect",
                tproxy_mark=capture.tproxy_mark,
                proxy=ByMark(capture.mark),
                outbound_port=capture.outbound_port,
                inbound_port=capture.inbound_port,
                dns_port=capture.dns_port,
            )
        case _:
            return None


async def _reach_outside(net: Fabric, name: str, application: Application | None) -> None:
    """What somebody else started stays where it is."""
    if application is not None and application.place == "host":
        for port in application.ports:
            await net.attach(name, port.port, address=port.address, target=port.target)


async def _open_doors(net: Fabric, workload: Workload) -> None:
    """The ports of a gateway are open on the host."""
    for entry in workload.ports:
        try:
            listening = socket.create_server((DOOR, entry.target), backlog=1024)
        except OSError as error:
            text = f"{DOOR}:{entry.target} cannot be opened for the gateway {workload.key}: {error.strerror}"
            raise Misconfigured(text, fix="stop the program that holds it, or choose another port") from error
        with listening:
            await net.expose(listening, workload.address, entry.target)
