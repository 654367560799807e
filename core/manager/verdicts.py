"""What proxies of one Manager refused is out of force at all of them: each writes its verdicts to a file, and reads
those of the others, and its own when it is started again. A verdict is about one revision of a document, so it is over
by itself when the document changes.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from core.errors import Unavailable
from core.manager.ca.private import directory
from core.manager.paths import refused_directory
from core.manager.quarantine import Quarantine
from core.manager.refusals import Blame
from core.manager.settings import Settings
from core.manager.world import World
from core.manager.xds.resource import ResourceType
from core.model.config import ConfigKey, Document
from core.model.service import WorkloadKey
from core.ports import ConfigStore, VersionedStore

EVERY: Final = 0.1
"""Seconds between two looks at the others' files."""

_REMEMBERED: Final = 16
"""Revisions of one document that were refused one after the other."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """As it stands in a file: these revisions of `document` were refused; the last is out of force, for this reason."""

    document: ConfigKey
    revisions: tuple[str, ...]
    workload: WorkloadKey
    type: str
    resource: str
    reason: str

    @property
    def blame(self) -> Blame:
        return Blame(self.workload, ResourceType(self.type), self.resource, self.reason, (self.document,))


class Verdicts:
    """Keeps `quarantine` and the files the same."""

    def __init__(self, settings: Settings, quarantine: Quarantine, world: World, store: ConfigStore) -> None:
        self._settings = settings
        self._quarantine = quarantine
        self._world = world
        self._store = store
        self._refused: dict[ConfigKey, tuple[str, ...]] = {}
        self._written: tuple[Verdict, ...] | None = None
        self._seen: dict[Path, object] = {}
        self._others: tuple[Verdict, ...] = ()
        self._earlier: tuple[Verdict, ...] | None = None

    async def run(self) -> None:
        """Until cancelled, or at once: who is alone has nobody to ask. To be called when all documents are known."""
        while self._settings.managers > 1:
            await self.take_up()
            self.write()
            await asyncio.sleep(EVERY)

    async def take_up(self) -> None:
        """Has everything out of force that others have, or that this Manager had before it was started again.

        The first time, all documents have to be known.
        """
        self._remember()
        self._look()
        for verdict in self._others:
            if self._is_news(verdict):
                await self._recall(verdict)
                # Also the document may have changed meanwhile.
                if self._is_news(verdict):
                    self._refused[verdict.document] = verdict.revisions
                    self._quarantine.blame(verdict.blame)

    def _remember(self) -> None:
        """What this Manager wrote in an earlier life, before it writes anything in this one."""
        if self._earlier is None:
            self._earlier = _verdicts(self._own)
            self._refused = {verdict.document: verdict.revisions for verdict in self._earlier}
            self._others = self._earlier

    def _is_news(self, verdict: Verdict) -> bool:
        document = self._world.documents.get(verdict.document)
        current = document is not None and document.revision == verdict.revisions[-1]
        return current and verdict.document not in self._quarantine.blames()

    async def _recall(self, verdict: Verdict) -> None:
        """A Manager that was not there when the document was good is told what it was."""
        if not self._world.knows_better(verdict.document) and (good := await self._last_good(verdict)):
            self._world.recall(good)

    async def _last_good(self, verdict: Verdict) -> Document | None:
        """The newest that nobody refused, as far back as the store remembers."""
        if not isinstance(self._store, VersionedStore):
            return None
        try:
            history = await self._store.history(verdict.document)
        except Unavailable:
            return None
        older = (each.document for each in reversed(history) if each.revision not in verdict.revisions)
        return next(older, None)

    def _look(self) -> None:
        if self._settings.managers == 1:
            return
        found = {path: _identity(path) for path in refused_directory(self._settings.state).glob("*.json")}
        found.pop(self._own, None)
        if found != self._seen:
            self._seen = found
            others = [verdict for path in found for verdict in _verdicts(path)]
            self._others = (*(self._earlier or ()), *others)

    def write(self) -> None:
        """Tells the others, and whoever comes after this process, what is out of force here."""
        if (verdicts := tuple(self._own_verdicts())) == self._written:
            return
        directory(self._own.parent)
        draft = self._own.with_suffix(".new")
        with contextlib.suppress(OSError):  # on a full disk others find out for themselves
            draft.write_bytes(msgspec.json.encode(verdicts))
            draft.replace(self._own)
            self._written = verdicts

    def _own_verdicts(self) -> Iterator[Verdict]:
        blames = self._quarantine.blames()
        self._refused = {key: revisions for key, revisions in self._refused.items() if key in self._world.documents}
        for key, blame in blames.items():
            if document := self._world.documents.get(key):
                yield Verdict(
                    document=key,
                    revisions=self._with(key, document.revision),
                    workload=blame.workload,
                    type=blame.type.value,
                    resource=blame.resource,
                    reason=blame.reason,
                )

    def _with(self, key: ConfigKey, revision: str) -> tuple[str, ...]:
        known = self._refused.get(key, ())
        if revision not in known:
            self._refused[key] = known = (*known, revision)[-_REMEMBERED:]
        return known

    @property
    def _own(self) -> Path:
        return refused_directory(self._settings.state) / f"{self._settings.number}.json"


def _identity(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _verdicts(path: Path) -> tuple[Verdict, ...]:
    """None where the file is gone, or of another release."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Verdict, ...])
    except (OSError, msgspec.DecodeError):
        return ()
