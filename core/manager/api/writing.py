"""Writes, from what was sent to what is stored: worked out, admitted, fields given to whose they are, committed.

Knows objects and the store, and nothing of HTTP.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import structs

from core.errors import Conflict
from core.manager.api import ownership
from core.manager.api.admission import Admitted, admit
from core.manager.api.failures import Failure
from core.manager.api.objects import extra_of, kept_status, thing_of, with_extra
from core.manager.api.ownership import APPLY, UPDATE, Entry, Manager
from core.manager.api.questions import check_revision
from core.manager.api.target import Target
from core.manager.api.tolerance import Validation
from core.model.config import Document, Put, Remove, uid_of, written
from core.model.mesh import Mesh
from core.ports import VersionedStore

Json = dict[str, object]
Patch = Callable[[Json], object]
"""What an object becomes. Raises `Failure`."""

ATTEMPTS: Final = 5
"""How often a patch is worked out anew because somebody else wrote in between; then the client is told."""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """How something is to be written. `author` is who is allowed to, `manager` what they call themselves."""

    target: Target
    manager: str
    author: str = ""
    validation: Validation = Validation.STRICT
    rehearsal: bool = False
    is_status: bool = False


class Written(msgspec.Struct, frozen=True):
    document: Document
    admitted: Admitted
    is_new: bool = False


class Writer:
    """`mesh` gives the mesh settings of the moment, `now` seconds since the epoch."""

    def __init__(self, store: VersionedStore, *, mesh: Callable[[], Mesh], now: Callable[[], float]) -> None:
        self._store = store
        self._mesh = mesh
        self._now = now

    async def create(self, body: bytes, intent: Intent) -> Written:
        """Raises `Failure`: 409 when it exists."""
        admitted = self._new(body, intent)
        document = admitted.document
        if await self._store.get(document.key):
            raise exists(intent.target, document)
        try:
            stored = await self._commit(document, None, intent)
        except Conflict as error:
            raise exists(intent.target, document) from error
        return Written(stored, admitted, is_new=True)

    async def replace(self, body: bytes, before: Document, intent: Intent) -> Written:
        """The resource version is the client's. Raises `Failure`, `Conflict`."""
        admitted = self._changed(body, before, intent)
        revision = await self.upon(admitted.document.revision, before)
        document = structs.replace(admitted.document, revision=revision)
        return Written(await self._commit(document, before, intent), admitted)

    async def upon(self, revision: str, before: Document) -> str:
        """What `revision` means for `before`: a watch shows the object, as it is, at the version of a report, too."""
        if revision == before.revision or not revision.isdecimal():
            return revision
        key = before.key
        reports = await self._store.reported(group=key.group, kind=key.kind, namespace=key.namespace, name=key.name)
        is_shown = any(int(before.revision) < int(revision) <= int(reported.revision) for reported in reports)
        return before.revision if is_shown else revision

    def put(self, body: bytes, intent: Intent, *, before: Document | None, revision: str) -> Put:
        """What a create (`revision` "") or a replace of that revision would write, where `before` is stored.

        Raises `Failure`, `Conflict`.
        """
        if before is None:
            admitted = self._new(body, intent)
            return Put(structs.replace(admitted.document, revision=revision))
        if not revision:
            raise exists(intent.target, before)
        admitted = admit(body, intent.target, mesh=self._mesh(), validation=intent.validation)
        _check_uid(admitted.document, before, intent.target)
        return Put(self._merged(structs.replace(admitted.document, revision=revision), body, before, intent))

    async def patch(self, before: Document, patch: Patch, intent: Intent) -> Written:
        """Raises `Failure`; `Conflict` when the patch names a version, or others write all the time."""
        plain = decoded(before, intent.target)
        after = patch(plain)
        if not isinstance(after, dict):
            raise Failure(422, "the patch leaves no object")
        metadata = after.get("metadata")
        if isinstance(metadata, dict) and not metadata.get("resourceVersion"):
            metadata["resourceVersion"] = before.revision
        written = await self.replace(msgspec.json.encode(after), before, intent)
        if intent.rehearsal:
            return structs.replace(written, document=structs.replace(written.document, revision=before.revision))
        return written

    async def apply(
        self, wanted: Mapping[str, object], before: Document | None, intent: Intent, *, force: str
    ) -> Written:
        """Server-side apply; `force` "true" takes fields from others. Raises `Failure` 409 for conflicts."""
        manager = Manager(intent.manager, APPLY, intent.target.api_version)
        if before is None:
            return await self._apply_new(wanted, intent, manager)
        live, entries = decoded(before, intent.target), _entries(before)
        await self._check_version(wanted, before, intent.target)
        if force != "true" and (causes := ownership.conflicts(live, entries, wanted, manager=manager)):
            raise ownership.conflicted(causes, intent.target.details)
        result = ownership.applied(live, entries, wanted, manager=manager, now=self._time())
        admitted = self._admit(_with_unknown(result.thing, wanted), intent)
        document = with_extra(admitted.document, "status", extra_of(before, "status"))
        document = _with_entries(document, result.entries)
        stored = await self._commit(document, before, intent)
        if intent.rehearsal:
            stored = structs.replace(stored, revision=before.revision)
        return Written(stored, admitted)

    async def _apply_new(self, wanted: Mapping[str, object], intent: Intent, manager: Manager) -> Written:
        admitted = self._admit(wanted, intent)
        own = Entry(manager=manager, fields=frozenset(ownership.leaves(wanted)), time=self._time())
        document = _with_entries(structs.replace(admitted.document, revision=""), (own,))
        return Written(await self._commit(document, None, intent), admitted, is_new=True)

    async def remove(self, documents: tuple[Document, ...], *, author: str) -> None:
        """All or none, and each only as it is here. Raises `Conflict`, `NotFound`."""
        await self._store.commit(tuple(Remove(one.key, one.revision) for one in documents), author=author)

    def _new(self, body: bytes, intent: Intent) -> Admitted:
        admitted = admit(body, intent.target, mesh=self._mesh(), validation=intent.validation)
        document = self._owned(structs.replace(admitted.document, revision=""), None, intent)
        return structs.replace(admitted, document=document)

    def _changed(self, body: bytes, before: Document, intent: Intent) -> Admitted:
        admitted = admit(body, intent.target, mesh=self._mesh(), validation=intent.validation)
        check_revision(admitted.document.revision, intent.target)
        return structs.replace(admitted, document=self._merged(admitted.document, body, before, intent))

    def _admit(self, thing: Mapping[str, object], intent: Intent) -> Admitted:
        body = msgspec.json.encode(thing)
        return admit(body, intent.target, mesh=self._mesh(), validation=intent.validation)

    async def _commit(self, document: Document, before: Document | None, intent: Intent) -> Document:
        if before:
            _check_uid(document, before, intent.target)
        if intent.rehearsal:
            return _rehearsed(document, before, self._now())
        (stored,) = await self._store.commit((Put(document),), author=intent.author)
        assert stored is not None
        return stored

    def _merged(self, document: Document, body: bytes, before: Document, intent: Intent) -> Document:
        """A write of the object leaves its status, and one of the status leaves all else."""
        if intent.is_status:
            given = msgspec.json.decode(body).get("status")
            return structs.replace(with_extra(before, "status", kept_status(given)), revision=document.revision)
        document = with_extra(document, "status", extra_of(before, "status"))
        return self._owned(document, before, intent)

    def _owned(self, document: Document, before: Document | None, intent: Intent) -> Document:
        given = extra_of(document, "metadata").get("managedFields")
        entries = _entries(before) if given is None else ownership.decode(given)
        old = ownership.leaves(decoded(before, intent.target)) if before else {}
        manager = Manager(intent.manager, UPDATE, intent.target.api_version)
        new = ownership.leaves(decoded(document, intent.target))
        return _with_entries(document, ownership.updated(entries, old, new, manager=manager, now=self._time()))

    async def _check_version(self, wanted: Mapping[str, object], before: Document, target: Target) -> None:
        """An applied object may name the version it was made for. Raises `Conflict`."""
        metadata = wanted.get("metadata")
        given = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if given and await self.upon(str(given), before) != before.revision:
            raise Conflict(f"{target} has been modified: it is at version {before.revision}, not {given}")

    def _time(self) -> str:
        return datetime.fromtimestamp(int(self._now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def decoded(document: Document, target: Target) -> Json:
    """The object as a client sees it, without findings, in plain values."""
    thing: Json = msgspec.json.decode(msgspec.json.encode(thing_of(document, version=target.version)))
    return thing


def exists(target: Target, document: Document) -> Failure:
    named = structs.replace(target, name=document.key.name)
    return Failure(409, f"{named} already exists", reason="AlreadyExists", details=named.details)


def _check_uid(document: Document, before: Document, target: Target) -> None:
    if document.uid not in ("", before.uid):
        raise Conflict(f"{target}: {document.uid} is the uid of another object, not of this: {before.uid}")


def _with_unknown(thing: Json, wanted: Mapping[str, object]) -> Json:
    """Whatever was applied that nobody can own comes along, so that admission says what it thinks of it."""
    metadata, given = thing.get("metadata"), wanted.get("metadata")
    if isinstance(metadata, dict) and isinstance(given, dict):
        thing = {**thing, "metadata": {**given, **metadata}}
    return {**wanted, **thing}


def _entries(document: Document | None) -> tuple[Entry, ...]:
    return ownership.decode(extra_of(document, "metadata").get("managedFields", [])) if document else ()


def _with_entries(document: Document, entries: tuple[Entry, ...]) -> Document:
    metadata = extra_of(document, "metadata")
    metadata.pop("managedFields", None)
    if entries:
        metadata["managedFields"] = ownership.encode(entries)
    return with_extra(document, "metadata", metadata)


def _rehearsed(document: Document, before: Document | None, now: float) -> Document:
    result = written(document, before, revision="", now=now)
    return result if before else structs.replace(result, uid=uid_of(document.key, revision="", created=now))
