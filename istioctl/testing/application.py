"""The echo as a program: `python -m istioctl.testing.application NAME`, in a mesh file. For tests only.

It listens on the ports that it is told of by variables (`$PORT_HTTP`, `$PORT_TCP`, `$PORT_GRPC`), at `$APP_IP`, as soon
as there is no file `$HOLD` (any more).
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from istioctl.testing.echo import Speaks, echo
from istioctl.testing.journal import Arrival, Journal


class _Nothing(Journal):
    """Nobody here could look at it, and it would grow for as long as the mesh runs."""

    def note(self, arrival: Arrival) -> int:
        return 0


async def main(name: str, environment: Mapping[str, str]) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    hold = Path(environment["HOLD"]) if environment.get("HOLD") else None
    while hold is not None and hold.exists():  # noqa: ASYNC110 - there is no event for that
        await asyncio.sleep(0.02)
    async with _listening(name, environment):
        await stop.wait()


def _listening(name: str, environment: Mapping[str, str]) -> contextlib.AbstractAsyncContextManager[None]:
    speaks: tuple[Speaks, ...] = get_args(Speaks)
    ports = [(each, environment.get(f"PORT_{each.upper()}")) for each in speaks]
    sockets = [
        (socket.create_server((environment["APP_IP"], int(port)), backlog=256), each) for each, port in ports if port
    ]
    return echo(name, sockets, journal=_Nothing())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], os.environ))
