"""What a Manager says of documents when it begins: nothing that is not so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from core.diagnostics import Reported
from core.manager.process import serving
from core.manager.settings import Settings
from core.model.change import RegistryChange
from core.model.config import ConfigKey, Document
from core.ports import Platform, ServiceRegistry
from platforms.memory.platform import MemoryPlatform

SPEC = b'{"hosts":["a"],"http":[{"route":[{"destination":{"host":"nowhere.example.com"}}]}]}'


class Late:
    """A registry that has nothing to tell until everything else has had its turn."""

    def __init__(self, inner: ServiceRegistry) -> None:
        self._inner = inner

    async def watch(self) -> AsyncIterator[RegistryChange]:
        for _ in range(200):
            await asyncio.sleep(0)
        async for change in self._inner.watch():
            yield change


def late(memory: MemoryPlatform) -> Platform:
    return msgspec.structs.replace(memory.record, registry=Late(memory.registry))


def key(name: str) -> ConfigKey:
    return ConfigKey("networking.istio.io", "VirtualService", "default", name)


async def reports_until(memory: MemoryPlatform, since: str, name: str) -> list[Reported]:
    """Those after `since`, to the first about that document."""
    told: list[Reported] = []
    async with asyncio.timeout(10):
        async for event in memory.config.events(since):
            if isinstance(event, Reported):
                told.append(event)
                if event.key == key(name):
                    break
    return told


async def test_a_restart_takes_no_finding_back(tmp_path: Path) -> None:
    """Somebody who waits until a rule is accepted is not told so because the Manager does not know all services yet."""
    memory = MemoryPlatform()
    settings = Settings(state=tmp_path / "state", platform="memory")
    await memory.config.put(Document(key=key("old"), spec=SPEC))
    async with serving(settings, memory.record):
        (told,) = await reports_until(memory, "0", "old")
        assert [found.code for found in told.findings] == ["IST0101"]
    since = (await memory.config.snapshot()).revision
    async with serving(settings, late(memory)):
        await memory.config.put(Document(key=key("new"), spec=SPEC))
        assert {told.key.name for told in await reports_until(memory, since, "new")} == {"new"}
    memory.close()
