"""Which revision of each document all proxies took, kept for the Manager's next life: proxies that come back then say
which resources they have, and not of what documents those were made. Not for what is refused: that is `verdicts`.
"""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from core.errors import Unavailable
from core.manager.ca.private import directory
from core.manager.paths import refused_directory
from core.manager.settings import Settings
from core.manager.world import World
from core.model.config import ConfigKey, Document
from core.ports import ConfigStore, VersionedStore


class Accepted:
    """Owns the file, and what stood in it when this life began."""

    def __init__(self, settings: Settings, world: World, store: ConfigStore) -> None:
        self._path: Path = refused_directory(settings.state) / f"{settings.number}.accepted"
        self._world = world
        self._store = store
        self._earlier: Mapping[ConfigKey, frozenset[str]] | None = None
        self._written: Mapping[ConfigKey, str] = {}

    def knew(self, key: ConfigKey) -> bool:
        """Whether proxies took the document as it is now before this Manager was started."""
        document = self._world.documents.get(key)
        return document is not None and document.revision in (self._earlier or {}).get(key, ())

    async def recall(self) -> None:
        """Once, when all documents are known: what changed since can be put back to what proxies took.

        Proxies of any Manager: they may have left this one long before it ended. Verdicts are to be taken up before;
        they know better.
        """
        if self._earlier is not None:
            return
        self._written = _read(self._path)
        self._earlier = earlier = _together(_read(path) for path in self._path.parent.glob("*.accepted"))
        documents, known = self._world.documents, self._world.knows_better
        for key in [key for key in earlier if key in documents and not self.knew(key) and not known(key)]:
            if good := await self._newest(key, earlier[key]):
                self._world.recall(good)

    async def _newest(self, key: ConfigKey, revisions: frozenset[str]) -> Document | None:
        """As far back as the store remembers."""
        if not isinstance(self._store, VersionedStore):
            return None
        try:
            history = await self._store.history(key)
        except Unavailable:
            return None
        return next((each.document for each in reversed(history) if each.revision in revisions), None)

    def write(self) -> None:
        """What is known to be good by now, as it is; of what is not, what was the last time."""
        documents, proved = self._world.documents, self._world.is_proved
        accepted = {key: documents[key].revision for key in documents if proved(key)}
        accepted = {key: revision for key, revision in self._written.items() if key in documents} | accepted
        if accepted == self._written:
            return
        directory(self._path.parent)
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # on a full disk the next life knows less
            draft.write_bytes(msgspec.json.encode(tuple(accepted.items())))
            draft.replace(self._path)
            self._written = accepted


def _together(every: Iterable[Mapping[ConfigKey, str]]) -> dict[ConfigKey, frozenset[str]]:
    found: dict[ConfigKey, frozenset[str]] = {}
    for accepted in every:
        for key, revision in accepted.items():
            found[key] = found.get(key, frozenset()) | {revision}
    return found


def _read(path: Path) -> dict[ConfigKey, str]:
    """Nothing where there is no file, or one of another release."""
    try:
        return dict(msgspec.json.decode(path.read_bytes(), type=tuple[tuple[ConfigKey, str], ...]))
    except (OSError, msgspec.DecodeError):
        return {}
