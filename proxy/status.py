"""What an agent tells over HTTP: whether calls may come, metrics of proxy and application as one, and how all of it is.

Not for Envoy's admin interface, which stays a socket of this user's own.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from core.errors import Unavailable
from core.model.workload import AppPort, Explicit, Proxyless, Workload
from proxy.health import Admin
from proxy.metrics import istio_names, merged
from proxy.settings import Scrape
from proxy.state import State
from proxy.web.client import Question, exchange
from proxy.web.server import JSON, Answer, Pages

READY_PORT, METRICS_PORT = 15021, 15020
"""Istio's."""
PROBE_TIMEOUT, SCRAPE_TIMEOUT = 1.0, 5.0
PROBE_AGE = 0.5
"""Seconds for which the answer of a probe is good; several may ask."""
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class PortHealth(msgspec.Struct, frozen=True):
    """Whether the application takes connections for what arrives at `port` of the workload."""

    port: int
    accepting: bool


class Status:
    """The pages of one agent. `state` tells how it is now, `quit` asks it to stop."""

    def __init__(
        self, workload: Workload, *, admin: Admin, state: Callable[[], State], quit: Callable[[], None]
    ) -> None:
        self._workload = workload
        self._admin = admin
        self._state = state
        self._quit = quit
        self._ports: tuple[AppPort, ...] = ()
        self._scrape: Scrape | None = None
        self._probed: tuple[float, tuple[PortHealth, ...]] | None = None

    def watch(self, ports: Iterable[AppPort], scrape: Scrape | None) -> None:
        """What there is to look at of the application; without this, what capture knows of."""
        capture = self._workload.capture
        known = capture.app_ports if isinstance(capture, Explicit) else ()
        self._ports = tuple({port.port: port for port in (*known, *ports)}.values())
        self._scrape = scrape

    def pages(self) -> Pages:
        return {
            ("GET", "/healthz/ready"): self.ready,
            ("GET", "/stats/prometheus"): self.metrics,
            ("GET", "/app-health"): self.application,
            ("GET", "/state"): self.state,
            ("POST", "/quitquitquit"): self.quit,
        }

    async def ready(self) -> Answer:
        reason = self._state().unready
        return Answer(status=503, body=f"{reason}\n".encode()) if reason else Answer(body=b"ready\n")

    async def metrics(self) -> Answer:
        """One source that fails does not take the other with it."""
        own, theirs = await asyncio.gather(self._envoy_metrics(), self._application_metrics())
        return Answer(body=merged(own, theirs).encode(), type=PROMETHEUS)

    async def application(self) -> Answer:
        now = asyncio.get_running_loop().time()
        if self._probed is None or now - self._probed[0] > PROBE_AGE:
            found = await asyncio.gather(*map(_probe, self._ports))
            self._probed = now, tuple(found)
        return Answer(body=msgspec.json.encode({"ports": self._probed[1]}), type=JSON)

    async def state(self) -> Answer:
        state = self._state()
        told = {"workload": str(self._workload.key), "ready": not state.unready, **msgspec.to_builtins(state)}
        return Answer(body=msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n", type=JSON)

    async def quit(self) -> Answer:
        self._quit()
        return Answer(body=b"stopping\n")

    async def _envoy_metrics(self) -> str:
        if isinstance(self._workload.capture, Proxyless):
            return "# no metrics of the mesh: gRPC without a proxy has none\n"
        try:
            return istio_names((await self._admin.get("/stats/prometheus?usedonly")).text)
        except Unavailable as error:
            return f"# no metrics of Envoy: {_one_line(str(error))}\n"

    async def _application_metrics(self) -> str:
        if self._scrape is None:
            return ""
        try:
            async with asyncio.timeout(SCRAPE_TIMEOUT):
                return await _fetch(self._scrape)
        except (OSError, TimeoutError, ValueError) as error:
            return f"# no metrics of the application: {_one_line(repr(error))}\n"


async def _fetch(scrape: Scrape) -> str:
    """Raises OSError and ValueError."""
    streams = await asyncio.open_connection(scrape.address, scrape.port)
    accept = {"accept": "text/plain; version=0.0.4"}
    host = f"{scrape.address}:{scrape.port}"
    reply = await exchange(streams, Question(path=scrape.path, host=host, headers=accept))
    if reply.status != 200:
        raise ValueError(f"HTTP {reply.status} from {host}{scrape.path}")
    lines = [line for line in reply.text.splitlines() if line != "# EOF"]
    return "\n".join((*lines, ""))


async def _probe(port: AppPort) -> PortHealth:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            _, writer = await asyncio.open_connection(port.address, port.target)
    except (OSError, TimeoutError):
        return PortHealth(port.port, accepting=False)
    writer.close()
    return PortHealth(port.port, accepting=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())
