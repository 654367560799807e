"""The sockets of this machine: whoever comes through a workload's own gets that workload's certificate."""

from pathlib import Path

from core.manager.ca.application import for_workload
from core.manager.ca.issuer import Issuer
from core.manager.ca.private import directory
from core.manager.ca.web import Listening
from core.manager.paths import ca_socket
from core.model.service import WorkloadKey


class Identities:
    """Owns them. Who may open one is who may enter the directory."""

    def __init__(self, issuer: Issuer, *, state: Path) -> None:
        self._issuer = issuer
        self._state = state
        self._sockets: dict[WorkloadKey, Listening] = {}

    async def serve(self, workloads: set[WorkloadKey]) -> None:
        """Opens the sockets of new workloads, and closes those of workloads that are gone. Raises `Misconfigured`."""
        directory(self._state / "ca")
        for key in workloads - self._sockets.keys():
            path = ca_socket(self._state, key)
            self._sockets[key] = await Listening.on_path(path, for_workload(self._issuer, key))
        await self._close(self._sockets.keys() - workloads)

    async def close(self) -> None:
        await self._close(set(self._sockets))

    async def _close(self, keys: set[WorkloadKey]) -> None:
        for key in keys:
            await self._sockets.pop(key).close()
