"""The config API over a store in memory, with the command line beside it, and no proxies. For tests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from click.testing import Result

from core.diagnostics import Diagnostic, Reported
from core.manager.api import SOCKET
from core.manager.api.application import ConfigApi
from core.manager.api.https import for_owner
from core.manager.api.server import serve
from core.model.config import ConfigKey
from core.model.mesh import Mesh
from platforms.memory import MemoryConfigStore

Run = Callable[..., Result]


class _Judged(MemoryConfigStore):
    """Says of its documents what a test has put into `findings`, as if a Manager had just reported it."""

    def __init__(self, findings: dict[ConfigKey, tuple[Diagnostic, ...]]) -> None:
        super().__init__()
        self._findings = findings

    async def status(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        return self._findings.get(key, ())

    async def reported(
        self, *, group: str = "", kind: str = "", namespace: str = "", name: str = ""
    ) -> tuple[Reported, ...]:
        found = await self.list(group=group, kind=kind, namespace=namespace)
        known = [document.key for document in found if document.key in self._findings]
        return tuple(Reported(revision="0", key=key, findings=self._findings[key]) for key in known)


class ApiAlone:
    """`store` is what it serves, `findings` what it is to find wrong with an object."""

    def __init__(self, run: Run) -> None:
        self.findings: dict[ConfigKey, tuple[Diagnostic, ...]] = {}
        self.store = _Judged(self.findings)
        self._run = run

    async def istioctl(self, *args: str, stdin: str = "") -> Result:
        """Beside the API, in a thread of its own, as a process would."""
        return await asyncio.to_thread(lambda: self._run(*args, stdin=stdin))

    @contextlib.asynccontextmanager
    async def serving(self, state: Path) -> AsyncIterator[None]:
        """On the socket of the state directory `state`, which is made if need be."""
        await asyncio.to_thread(state.mkdir, exist_ok=True)
        api = ConfigApi(self.store, mesh=Mesh, proxies=lambda: ())
        async with serve(for_owner(api.application(), state), state / SOCKET):
            try:
                yield
            finally:
                api.close()
