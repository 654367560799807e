"""A light, steady load on the mesh, so that there is something to see. Not for measuring: no limit is reached."""

import asyncio
import contextlib

from istioctl.demo.entrance import TIMEOUT, Entrance

MOST_AT_ONCE = 64
"""Calls under way; when answers are slow, calls become fewer instead of piling up."""

FINEST = 0.02
"""Seconds: at higher rates several calls start together."""


class Load:
    """Calls the page `rate` times a second; `sent` and `failed` count what came of it."""

    def __init__(self, entrance: Entrance, *, rate: float) -> None:
        self._entrance = entrance
        self._rate = rate
        self._free = asyncio.Semaphore(MOST_AT_ONCE)
        self.sent = 0
        self.failed = 0

    async def run(self) -> None:
        """Never ends. What could not be sent in time is left out, not made up for."""
        clock = asyncio.get_running_loop().time
        due = clock()
        async with asyncio.TaskGroup() as calls:
            while True:
                now = clock()
                if now - due > 1.0:
                    due = now
                while due <= now:
                    due += 1 / self._rate
                    if not self._free.locked():
                        await self._free.acquire()
                        calls.create_task(self._one())
                await asyncio.sleep(max(FINEST, due - clock()))

    async def _one(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                good = await self._call()
        except (OSError, TimeoutError, ValueError):
            good = False
        finally:
            self._free.release()
        self.sent += 1
        self.failed += 0 if good else 1

    async def _call(self) -> bool:
        """Whether the page came: HTTP/1.1 by hand, on a connection of its own."""
        host, port = self._entrance.server
        reader, writer = await asyncio.open_connection(host, port)
        try:
            head = f"GET {self._entrance.target} HTTP/1.1\r\nhost: {self._entrance.host}\r\nconnection: close\r\n"
            writer.write(f"{head}user-agent: istioctl-demo\r\n\r\n".encode())
            answer = await reader.read()
            return answer[9:12] == b"200"
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
