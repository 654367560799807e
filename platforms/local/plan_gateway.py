"""From the gateways of a mesh file to workloads: a proxy each, with nothing behind it."""

from collections.abc import Callable

from core.model.service import WorkloadKey
from core.model.workload import EntryPort, Explicit, Workload
from platforms.local.meshfile import GatewaySpec

DOOR = "127.0.0.1"
"""Where the ports of gateways are open on this host: people type them into their browser."""


def gateway(spec: GatewaySpec, address: str, *, door: str, free: Callable[[WorkloadKey, int], int]) -> Workload:
    """`address` is the workload's own, `door` where it listens; `free` gives a port for one that the file leaves open.

    In a pod the door is the pod's address, and something else leads from the host's port to it.
    """
    ports = ((port, target or free(spec.key, port)) for port, target in spec.ports)
    return Workload(
        key=spec.key,
        address=address,
        service_account=spec.service_account,
        labels=spec.labels,
        locality=spec.locality,
        capture=Explicit(),
        role="gateway",
        ports=tuple(EntryPort(port, door, target, public=target) for port, target in ports),
    )
