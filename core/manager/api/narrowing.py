"""Which documents of the Manager's status a client asks for: a mesh has thousands, and who waits looks often."""

from typing import Final

from msgspec import structs
from starlette.datastructures import QueryParams

from core.manager.api.failures import Failure
from core.manager.status import Applied, MeshStatus
from core.model.config import ConfigKey

DOCUMENT: Final = "document"
"""Names one as group/kind/namespace/name; may be repeated."""

SINCE: Final = "since"
"""A revision of the store: only documents that changed with it or later."""


def narrowed(status: MeshStatus, query: QueryParams) -> MeshStatus:
    """All documents, unless the query names some. Raises `Failure` 400."""
    if DOCUMENT not in query and SINCE not in query:
        return status
    wanted = {_key(text) for text in query.getlist(DOCUMENT)}
    since = _revision(query.get(SINCE, "0"))
    found = [each for each in status.progress.documents if not wanted or each.document in wanted]
    documents = tuple(each for each in found if _changed_at(each) >= since)
    return structs.replace(status, progress=structs.replace(status.progress, documents=documents))


def _key(text: str) -> ConfigKey:
    parts = text.split("/")
    if len(parts) != 4:
        raise Failure(400, f"{DOCUMENT}={text[:40]} is not group/kind/namespace/name")
    return ConfigKey(*parts)


def _revision(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise Failure(400, f"{SINCE}={text[:40]} is no revision")
    return int(text)


def _changed_at(applied: Applied) -> int:
    """Revisions of other stores need not be numbers; then every document is as new as can be."""
    return int(applied.revision) if applied.revision.isdecimal() else 1 << 63
