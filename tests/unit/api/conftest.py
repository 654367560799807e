"""An API over a store in memory, called without a socket."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from core.manager.api.application import ConfigApi
from core.manager.status import Held, Progress, ProxyStatus
from core.model.mesh import Mesh
from platforms.memory import MemoryConfigStore

NOON = 1_700_000_000.0
"""2023-11-14T22:13:20Z"""


class World:
    """What the API is told from outside; tests set it."""

    def __init__(self) -> None:
        self.store = MemoryConfigStore(clock=lambda: NOON)
        self.proxies: tuple[ProxyStatus, ...] = ()
        self.held: tuple[Held, ...] = ()
        self.progress = Progress()

    def api(self) -> ConfigApi:
        return ConfigApi(
            self.store,
            mesh=Mesh,
            proxies=lambda: self.proxies,
            held=lambda: self.held,
            progress=lambda: self.progress,
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(world.api().application(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://manager") as client:
        yield client


@pytest.fixture
def rule() -> Callable[..., dict[str, object]]:
    """A VirtualService that is right, as JSON; keywords go into its metadata."""

    def build(host: str = "reviews", **metadata: object) -> dict[str, object]:
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "reviews"} | metadata,
            "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
        }

    return build
