"""The Manager at work: watches a platform, settles what changed, serves proxies and says what was found.

What is to be done is decided elsewhere; here are the tasks, and when they run.
"""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Iterable

import msgspec

from core.diagnostics import Diagnostic
from core.errors import Misconfigured, NotFound, Unavailable
from core.manager.accepted import Accepted
from core.manager.ca.identities import Identities
from core.manager.propagation import Propagation
from core.manager.proxies import Proxies
from core.manager.pusher import Pusher
from core.manager.quarantine import Quarantine
from core.manager.refusals import Blame
from core.manager.status import Progress
from core.manager.verdicts import Verdicts
from core.manager.world import World
from core.model.change import Change, ConfigGone, ConfigPut, Synced, WorkloadGone, WorkloadPut
from core.model.config import ConfigKey
from core.model.service import WorkloadKey
from core.ports import ConfigStore, Elector, Platform, ServiceRegistry, VersionedStore

_log = logging.getLogger(__name__)

_LATER = 0.5
"""Seconds until a store that could not take findings is asked again."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a Manager is made of; the container puts it together. `elector`: None where there is no other Manager."""

    world: World
    pusher: Pusher
    proxies: Proxies
    quarantine: Quarantine
    verdicts: Verdicts
    accepted: Accepted
    identities: Identities
    elector: Elector | None = None


class Manager:
    """Runs until cancelled. `ready` is set once every source has told all and the first sockets are open."""

    def __init__(self, parts: Parts, *, platform: Platform, coalesce: float) -> None:
        if platform.registry is None or platform.config is None:
            message = f"platform {platform.name} has no service registry or no config store"
            raise Misconfigured(message, fix="combine it with a platform that has")
        self.ready = asyncio.Event()
        self._registry: ServiceRegistry = platform.registry
        self._store: ConfigStore = platform.config
        self._parts = parts
        self._coalesce = coalesce
        self._dirty = asyncio.Event()
        self._secrets = platform.secrets
        self._unsynced = 2 if platform.secrets is None else 3
        self._workloads: set[WorkloadKey] = set()
        self._pushed = asyncio.Event()
        self._propagation = Propagation()
        self._findings: dict[ConfigKey, None] = {}
        self._found = asyncio.Event()
        parts.quarantine.on_blame(self._prove)
        parts.quarantine.on_change(self._stir)
        parts.quarantine.on_verdict(self._judged)
        parts.pusher.on_findings(lambda key, diagnostics: self.found(key))

    @property
    def idle(self) -> bool:
        """Everything that was told is compiled and handed to the streams."""
        return not self._dirty.is_set() and not self._unsynced

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(self._registry.watch()), name="registry")
            tasks.create_task(self._follow(self._store.watch()), name="config")
            if self._secrets is not None:
                tasks.create_task(self._follow(self._secrets.watch()), name="secrets")
            tasks.create_task(self._push(), name="push")
            tasks.create_task(self._lead(), name="report")
            tasks.create_task(self._agree(), name="verdicts")
            tasks.create_task(self._note(), name="accepted")
            tasks.create_task(self._parts.quarantine.try_suspects(self), name="quarantine")

    async def answered(self, *, within: float) -> None:
        """Returns when all proxies have answered all that was told, at the latest after `within` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self.idle or self._parts.proxies.busy():
                    await self._pushed.wait()
                    await self._parts.proxies.answered(within=within)

    def progress(self) -> Progress:
        """How far documents have come here."""
        return Progress(
            generation=self._parts.pusher.generation,
            trying=not self._parts.quarantine.calm,
            resting=self.idle and not self._parts.proxies.busy(),
            unwell=self._propagation.unwell,
            documents=self._propagation.documents(),
        )

    def blames(self) -> tuple[Blame, ...]:
        """What proxies refuse at this moment."""
        return self._parts.proxies.blames()

    async def _follow(self, changes: AsyncIterator[Change]) -> None:
        async for change in changes:
            self._take(change)

    def _take(self, change: Change) -> None:
        match change:
            case Synced():
                self._unsynced -= 1
            case WorkloadPut(workload):
                self._workloads.add(workload.key)
            case WorkloadGone(key):
                self._workloads.discard(key)
            case ConfigPut(document):
                self._parts.quarantine.forgive(document.key)
            case ConfigGone(key):
                self._parts.quarantine.forgive(key)
        self._parts.pusher.apply(change)
        self._propagation.take(change)
        self._stir()

    def _stir(self) -> None:
        self._dirty.set()
        self._pushed.clear()

    def _prove(self) -> None:
        """What has come to all proxies, and is not doubted, is good: documents that turn bad go back to that."""
        parts = self._parts
        if parts.world.unproved and parts.quarantine.calm:
            delivered = parts.proxies.delivered()
            parts.world.prove(min(delivered, default=parts.pusher.generation))
            if delivered:
                parts.accepted.write()

    async def _note(self) -> None:
        """Also when nothing changes any more: whoever comes after a crash asks for it."""
        await self.ready.wait()
        while True:
            await asyncio.sleep(_LATER)
            self._prove()

    async def _agree(self) -> None:
        await self.ready.wait()
        await self._parts.verdicts.run()

    async def _push(self) -> None:
        """Nothing is compiled or served before every source has told all: no proxy ever gets half a mesh."""
        while True:
            await self._dirty.wait()
            if self._unsynced:
                self._dirty.clear()
                continue
            if not self.ready.is_set():
                _settle_memory()
            # At once when all proxies are idle; otherwise changes gather for a moment.
            await self._parts.proxies.answered(within=self._coalesce)
            await self._parts.verdicts.take_up()
            await self._parts.accepted.recall()
            self._prove()
            self._dirty.clear()
            self._parts.pusher.settle()
            self._parts.world.settled(self._parts.pusher.generation)
            self._propagation.settled(self._parts.pusher.generation)
            await self._parts.identities.serve(self._workloads)
            await self._parts.proxies.serve(self._workloads)
            self.ready.set()
            if self.idle:
                self._pushed.set()

    # -- findings ------------------------------------------------------------------------------------------------------

    def _judged(self, key: ConfigKey) -> None:
        self._parts.verdicts.write()
        self.found(key)

    def found(self, key: ConfigKey) -> None:
        """The findings about a document may have changed; the store is told soon."""
        self._findings[key] = None
        self._found.set()

    def diagnostics(self, key: ConfigKey) -> tuple[Diagnostic, ...]:
        """Everything known to be wrong with a document, what proxies said included."""
        return (*self._parts.pusher.diagnostics(key), *self._parts.quarantine.diagnostics(key))

    async def _lead(self) -> None:
        """Of several Managers one writes findings: where they know different things, they would take turns."""
        if self._parts.elector is None:
            await self._report()
        while self._parts.elector is not None:
            try:
                await self._parts.elector.lead(self._take_over)
            except Unavailable as error:
                _log.warning("not leading any more", extra={"reason": str(error)})
                await asyncio.sleep(_LATER)

    async def _take_over(self, term: int) -> None:
        """Whoever led before may have died with something untold. What is as it was is not written again."""
        _log.info("leading", extra={"term": term})
        await self.ready.wait()
        self._findings.clear()
        for key in tuple(self._parts.world.documents):
            if not await self._is_told(key):
                self.found(key)
        await self._report()

    async def _is_told(self, key: ConfigKey) -> bool:
        if not isinstance(self._store, VersionedStore):
            return False
        try:
            return await self._store.status(key) == self.diagnostics(key)
        except Unavailable:
            return False

    async def _report(self) -> None:
        """Not before everything is known: what is found until then is not true, and watches would tell of it."""
        await self.ready.wait()
        while True:
            await self._found.wait()
            self._found.clear()
            noted, self._findings = self._findings, {}
            await self._tell(noted)

    async def _tell(self, keys: Iterable[ConfigKey]) -> None:
        for key in keys:
            try:
                await self._store.report(key, self.diagnostics(key))
            except NotFound:
                continue
            except Unavailable:
                self.found(key)
                await asyncio.sleep(_LATER)


def _settle_memory() -> None:
    """What was read at the start stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
