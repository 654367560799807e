"""Lets calls to a workload end by themselves before it stops: nobody waits longer than somebody is still talking.

Not for telling others that it leaves: its platform does that.
"""

import asyncio
import contextlib
import re

from core.errors import Unavailable
from core.model.workload import Explicit, Redirected, Workload
from proxy.events import Log
from proxy.health import Admin

PATH = "/drain_listeners?graceful&skip_exit"
"""Envoy tells its clients to go elsewhere (GOAWAY, `connection: close`), and goes on accepting."""
POLL = 0.05


async def drain(admin: Admin, workload: Workload, *, least: float, longest: float, log: Log) -> None:
    """Returns when no connection from others is open, between `least` and `longest` seconds from now."""
    with contextlib.suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(longest):
            reply = await admin.post(PATH)
            log("envoy.draining", answer=reply.text.strip())
            await asyncio.sleep(least)
            pattern = inbound(workload)
            while await _connections(admin, pattern):  # noqa: ASYNC110 - Envoy tells nobody
                await asyncio.sleep(POLL)


async def _connections(admin: Admin, pattern: str) -> int:
    """`server.total_connections` would lag behind by up to 5 s, Envoy's flush interval."""
    return sum((await admin.stats(pattern)).values())


def inbound(workload: Workload) -> str:
    """Which statistics count connections from others. The application's own calls go on until it has ended itself."""
    match workload.capture:
        case Explicit(app_ports=ports) if workload.role == "sidecar":
            names = [f"{workload.address}_{port.port}" for port in ports]
        case Redirected(inbound_port=port) if workload.role == "sidecar":
            names = [f"0.0.0.0_{port}"]
        case _:
            names = [f"{port.address}_{port.target}" for port in workload.ports]
    listeners = "|".join(map(re.escape, dict.fromkeys(names))) or "none"
    return rf"^listener\.({listeners})\.downstream_cx_active$"
