"""Asks an Envoy how it is, over its admin socket (a unix socket)."""

import asyncio
from urllib.parse import quote

import msgspec

from core.errors import Unavailable
from proxy.web.client import Question, Reply, exchange

TIMEOUT = 5.0
"""Seconds for one answer; a configuration dump of thousands of clusters takes one or two."""
POLL_FIRST, POLL_LAST = 0.02, 0.5
"""Seconds between two questions to an Envoy that is not ready yet; the wait grows from the one to the other."""


class Admin:
    """The admin interface behind the unix socket `path`. All of it raises `Unavailable` when nobody answers in time."""

    def __init__(self, path: str, *, timeout: float = TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout

    async def get(self, path: str) -> Reply:
        return await self._ask("GET", path)

    async def post(self, path: str) -> Reply:
        return await self._ask("POST", path)

    async def state(self) -> str:
        """`LIVE`, `PRE_INITIALIZING` (no configuration yet), `INITIALIZING` or `DRAINING`."""
        return (await self.get("/ready")).text.strip()

    async def ready(self) -> bool:
        """Whether traffic can flow: the first configuration has come, and the workers listen."""
        if (await self.get("/ready")).status != 200:
            return False
        return (await self.stats(r"^listener_manager\.workers_started$")).get("listener_manager.workers_started") == 1

    async def wait_ready(self) -> None:
        """Returns when `ready`; until then an Envoy that does not answer is one that is not ready. No time limit."""
        pause = POLL_FIRST
        while not await self._is_ready():
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_LAST)

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges whose whole name the regular expression finds; of text values and histograms nothing."""
        query = f"?filter={quote(pattern)}" if pattern else ""
        lines = (line.rpartition(": ") for line in (await self.get(f"/stats{query}")).text.splitlines())
        return {name: int(value) for name, _, value in lines if value.isdigit()}

    async def config_dump(self) -> dict[str, object]:
        """Envoy's `admin.v3.ConfigDump` as JSON, endpoints included."""
        return msgspec.json.decode((await self.get("/config_dump?include_eds")).body, type=dict[str, object])

    async def clusters(self) -> dict[str, object]:
        """Envoy's `admin.v3.Clusters` as JSON: every endpoint with its health and its counters."""
        return msgspec.json.decode((await self.get("/clusters?format=json")).body, type=dict[str, object])

    async def _is_ready(self) -> bool:
        try:
            return await self.ready()
        except Unavailable:
            return False

    async def _ask(self, method: str, path: str) -> Reply:
        try:
            async with asyncio.timeout(self._timeout):
                streams = await asyncio.open_unix_connection(self._path)
                return await exchange(streams, Question(method=method, path=path, host="envoy"))
        except (OSError, TimeoutError, ValueError) as error:
            fix = "Is this proxy running? Its log says why not."
            raise Unavailable(f"no answer from Envoy on {self._path} to {path}: {error!r}", fix=fix) from error
