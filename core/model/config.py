"""Configuration documents as a store keeps them: identity, metadata, and the spec as undecoded JSON."""

import uuid
from typing import Final

import msgspec

from core.errors import Conflict
from core.model.labels import NO_LABELS, Labels

_OBJECTS: Final = uuid.UUID("5b0b5d0e-6d4c-5c1d-9f57-3c2f0f6a1a52")


class ConfigKey(msgspec.Struct, frozen=True, order=True):
    """Group and kind identify the schema (all served versions share one), namespace and name the document."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration object.

    `spec` is canonical JSON (sorted keys, no spaces), so that equal specs are equal bytes.
    `revision` is the store's opaque version ("" before it is stored); `generation` counts changes of the spec;
    `created` is seconds since the epoch; `source` is "file:line" where that is known.
    `extra` is what others keep in the object and the mesh does not model: canonical JSON of the object's remaining
    fields, like `{"metadata":{"finalizers":["x"]},"status":{…}}`. A changed `extra` is a new revision of the same
    generation. `uid` is given by the store and stays for one life of the object (`Document` made anew: another one).
    """

    key: ConfigKey
    version: str = "v1"
    spec: bytes = b"{}"
    labels: Labels = NO_LABELS
    annotations: Labels = NO_LABELS
    created: float = 0.0
    revision: str = ""
    generation: int = 0
    source: str = ""
    uid: str = ""
    extra: bytes = b"{}"


def written(document: Document, stored: Document | None, *, revision: str, now: float) -> Document:
    """What a store holds after `document` was put over `stored`: `stored` itself when nothing changes.

    `revision` is the one a change would get, `now` is in seconds since the epoch. The rule of `ConfigStore.put`.
    Raises `Conflict` when `document.revision` is not the stored one.
    """
    held = stored.revision if stored else ""
    if document.revision != held:
        raise Conflict(f"{document.key} is at revision {held or 'none'}, not {document.revision or 'none'}",
                       fix="read it again and apply the change to what is stored now")  # fmt: skip
    document = msgspec.structs.replace(document, spec=canonical(document.spec), extra=canonical(document.extra))
    if stored is None:
        uid = uid_of(document.key, revision=revision, created=now)
        return msgspec.structs.replace(document, revision=revision, generation=1, created=now, uid=uid)
    if _content(document) == _content(stored):
        return stored
    generation = stored.generation + (document.spec != stored.spec)
    return msgspec.structs.replace(
        document, revision=revision, generation=generation, created=stored.created, uid=stored.uid
    )


def uid_of(key: ConfigKey, *, revision: str, created: float) -> str:
    """The uid of the object that came to be at `revision`: no store uses a revision twice, so nobody else has it."""
    return str(uuid.uuid5(_OBJECTS, f"{key.group}/{key} {revision} {created!r}"))


def canonical(text: bytes) -> bytes:
    """JSON with sorted keys and no spaces. Raises `msgspec.DecodeError` for what is no JSON."""
    return msgspec.json.encode(msgspec.json.decode(text), order="sorted")


def _content(document: Document) -> tuple[str, bytes, bytes, Labels, Labels]:
    return document.version, document.spec, document.extra, document.labels, document.annotations


class Put(msgspec.Struct, frozen=True, tag=True):
    """Write a document over the one of its revision ("": there must be none)."""

    document: Document


class Remove(msgspec.Struct, frozen=True, tag=True):
    """Delete a document, if it is at `revision` ("": at any)."""

    key: ConfigKey
    revision: str = ""


Write = Put | Remove


class Revised(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one document, as a store remembers it. `document` None: it was deleted; `before` None: it was made.

    `revision` is the store's at that moment, `at` is in seconds since the epoch, `author` who did it ("" unknown).
    """

    revision: str
    key: ConfigKey
    document: Document | None
    before: Document | None
    author: str = ""
    at: float = 0.0


class Snapshot(msgspec.Struct, frozen=True):
    """Documents in key order, as of one revision of the store."""

    documents: tuple[Document, ...]
    revision: str


class Origin(msgspec.Struct, frozen=True, order=True):
    """The place in a document that something was compiled from; `path` like "spec.http[0].match[1]"."""

    config: ConfigKey
    path: str = ""

    def at(self, step: str | int) -> "Origin":
        """The same origin one step further in: a field name, or an index."""
        if isinstance(step, int):
            return Origin(self.config, f"{self.path}[{step}]")
        return Origin(self.config, f"{self.path}.{step}" if self.path else step)

    def __str__(self) -> str:
        return f"{self.config} {self.path}".rstrip()
