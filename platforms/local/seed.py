"""Brings the documents of the mesh file into the config store, without undoing what somebody changed there since.

The file wins when *it* changed since it was last applied; otherwise what the store holds wins, deletions included.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from core.errors import Conflict, NotFound
from core.model.config import ConfigKey, Document, Put, Remove
from core.model.labels import Labels
from core.ports import VersionedStore
from platforms.local.decode_config import SOURCE

AUTHOR: Final = "mesh file"
"""Who has changed a document, when it was the file."""


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """What the file said when it was last applied (a digest), and the revision that made in the store."""

    digest: str
    revision: str


class SeedMemory(Protocol):
    """Where seeds are kept between starts."""

    async def seeds(self) -> dict[ConfigKey, Seed]: ...

    async def remember(self, key: ConfigKey, seed: Seed | None) -> None: ...


class Seeder:
    """Applies one reading of the file after the other."""

    def __init__(self, store: VersionedStore, memory: SeedMemory) -> None:
        self._store = store
        self._memory = memory

    async def apply(self, documents: Sequence[Document]) -> None:
        """Somebody who writes at the same moment wins; the file is not read as changed again because of that."""
        seeds = await self._memory.seeds()
        for document in documents:
            await self._put(document, seeds.get(document.key))
        for key in seeds.keys() - {document.key for document in documents}:
            await self._withdraw(key, seeds[key])

    async def _put(self, document: Document, seed: Seed | None) -> None:
        stored = await self._store.get(document.key)
        held = stored.revision if stored else ""
        changed = seed is None or seed.digest != digest(document)
        untouched = seed is not None and seed.revision == held
        if not changed and not untouched:
            return
        try:
            (result,) = await self._store.commit(
                (Put(msgspec.structs.replace(document, revision=held)),), author=AUTHOR
            )
        except Conflict:
            return
        assert result is not None
        newest = Seed(digest=digest(document), revision=result.revision)
        if newest != seed:
            await self._memory.remember(document.key, newest)

    async def _withdraw(self, key: ConfigKey, seed: Seed) -> None:
        try:
            await self._store.commit((Remove(key, seed.revision),), author=AUTHOR)
        except (Conflict, NotFound):
            pass
        finally:
            await self._memory.remember(key, None)


def digest(document: Document) -> str:
    """Of everything the author wrote; not of the line it stands in."""
    annotations = Labels(tuple(pair for pair in document.annotations if pair[0] != SOURCE))
    content = msgspec.json.encode((document.version, document.spec, document.labels, annotations))
    return hashlib.sha256(content).hexdigest()
