"""Text to documents: YAML or JSON, many documents, good ones beside broken ones. Specs are not looked into here."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from core.diagnostics import Diagnostic, Place, Severity, has_errors
from core.kinds import registry
from core.kinds.findings import (
    DUPLICATE_DOCUMENT,
    NOT_A_DOCUMENT,
    SCHEMA,
    TOO_LARGE,
    UNKNOWN_KIND,
)
from core.kinds.kind import Kind
from core.kinds.names import is_dns_label, is_dns_name, label_problem
from core.kinds.nodes import Field, Mapping, Node, Scalar, Sequence, Tree, locate, plain
from core.kinds.spelling import closest
from core.kinds.text import trees
from core.model.config import ConfigKey, Document, Origin
from core.model.labels import NO_LABELS, Labels

LARGEST_SPEC = 1024 * 1024
"""Bytes of a spec as JSON; etcd and Consul keep no more."""

_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_METADATA = (
    "name", "namespace", "labels", "annotations", "creationTimestamp", "generateName", "generation", "uid",
    "resourceVersion", "managedFields", "ownerReferences", "finalizers", "selfLink", "deletionTimestamp",
    "deletionGracePeriodSeconds",
)  # fmt: skip
_ISTIO_GROUPS = frozenset(
    f"{name}.istio.io"
    for name in ("networking", "security", "telemetry", "extensions", "config", "rbac", "authentication")
) | {"gateway.networking.k8s.io"}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One document of a text: `document` when it can be used, what is wrong with it, and where it stands.

    `key` is known as soon as kind and name are, even when something else is wrong; so is `draft`, the document as
    far as it could be read, which is good for finding more mistakes and for nothing else.
    """

    file: str
    line: int
    key: ConfigKey | None = None
    document: Document | None = None
    draft: Document | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    root: Node | None = None

    def place(self, path: str) -> Place:
        """Where the part of the document that `path` names is written."""
        return Place(self.file, *locate(self.root, path)) if self.root else Place(self.file, self.line)


class Decoded(msgspec.Struct, frozen=True):
    """A text, document by document in its order."""

    entries: tuple[Entry, ...]

    @property
    def documents(self) -> tuple[Document, ...]:
        return tuple(entry.document for entry in self.entries if entry.document)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(diagnostic for entry in self.entries for diagnostic in entry.diagnostics)


def decode(text: str, *, file: str, default_namespace: str) -> Decoded:
    """The documents in `text`; `file` is only a name for places. Never raises: what is wrong is a diagnostic."""
    return Decoded(without_doubles(read(text, file=file, default_namespace=default_namespace)))


def read(text: str, *, file: str, default_namespace: str) -> tuple[Entry, ...]:
    """As `decode`, but a document may be there twice."""
    return tuple(entry for tree in trees(text) for entry in _entries(tree, file, default_namespace))


def without_doubles(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The second document of one name is refused, and says where the first is."""
    first: dict[ConfigKey, Entry] = {}
    result = []
    for entry in entries:
        if entry.key and entry.key in first:
            entry = _refused(entry, first[entry.key])
        elif entry.key:
            first[entry.key] = entry
        result.append(entry)
    return tuple(result)


def _refused(entry: Entry, first: Entry) -> Entry:
    assert entry.key
    found = Diagnostic(
        code=DUPLICATE_DOCUMENT,
        severity=Severity.ERROR,
        message=f"{entry.key} is given twice, first in {Place(first.file, first.line)}",
        fix="rename one, or take it out",
        origin=Origin(entry.key, "metadata.name"),
        place=entry.place("metadata.name"),
    )
    return msgspec.structs.replace(entry, document=None, diagnostics=(*entry.diagnostics, found))


def _entries(tree: Tree, file: str, default_namespace: str) -> Iterator[Entry]:
    if tree.problems:
        places = ((problem, Place(file, problem.line, problem.column)) for problem in tree.problems)
        found = tuple(
            Diagnostic(code=one.code, severity=Severity.ERROR, message=one.message, fix=one.fix, place=place)
            for one, place in places
        )
        yield Entry(file=file, line=tree.line, diagnostics=found)
    elif tree.root:
        yield from _objects(tree.root, file, default_namespace)


def _objects(root: Node, file: str, default_namespace: str) -> Iterator[Entry]:
    """The object itself, or those of a `kind: List`."""
    items = _items(root)
    if items is None:
        yield _Reader(root, file, default_namespace).entry()
        return
    for item in items:
        yield from _objects(item, file, default_namespace)


def _items(root: Node) -> tuple[Node, ...] | None:
    if not isinstance(root, Mapping):
        return None
    kind, items = root.get("kind"), root.get("items")
    is_list = kind and isinstance(kind.value, Scalar) and str(kind.value.value).endswith("List")
    if not is_list or not items:
        return None
    if isinstance(items.value, Sequence):
        return items.value.items
    return () if _is_null(items) else None


class _Reader:
    """Reads one object. Everything that is wrong is collected; the document exists only if nothing is."""

    def __init__(self, root: Node, file: str, default_namespace: str) -> None:
        self._root = root
        self._file = file
        self._default = default_namespace
        self._found: list[Diagnostic] = []

    def entry(self) -> Entry:
        key, draft = None, None
        if isinstance(self._root, Mapping):
            key, draft = self._read(self._root)
        else:
            self._error("", "a document must be an object", code=NOT_A_DOCUMENT, fix="begin with apiVersion: and kind:")
        found = tuple(self._with_key(diagnostic, key) for diagnostic in self._found)
        return Entry(
            file=self._file,
            line=self._root.line,
            key=key,
            document=None if has_errors(found) else draft,
            draft=draft,
            diagnostics=found,
            root=self._root,
        )

    def _with_key(self, diagnostic: Diagnostic, key: ConfigKey | None) -> Diagnostic:
        """Origins were made before the document's name was known."""
        if key is None or diagnostic.origin is None:
            return msgspec.structs.replace(diagnostic, origin=None)
        return msgspec.structs.replace(diagnostic, origin=Origin(key, diagnostic.origin.path))

    def _error(self, path: str, message: str, *, fix: str = "", code: str = SCHEMA) -> None:
        place = Place(self._file, *locate(self._root, path))
        origin = Origin(ConfigKey("", "", "", ""), path)
        found = Diagnostic(code=code, severity=Severity.ERROR, message=message, fix=fix, origin=origin, place=place)
        self._found.append(found)

    def _read(self, root: Mapping) -> tuple[ConfigKey | None, Document | None]:
        self._unknown(root, _TOP, "")
        kind, version = self._kind(root)
        metadata = self._mapping(root.get("metadata"), "metadata")
        name = self._name(metadata)
        if kind is None or not name:
            return None, None
        assert metadata
        key = ConfigKey(kind.group, kind.kind, self._namespace(metadata, kind), name)
        return key, self._document(root, metadata, key, version)

    def _document(self, root: Mapping, metadata: Mapping, key: ConfigKey, version: str) -> Document | None:
        """None when the spec cannot be read: then there is nothing to look into."""
        spec = self._spec(root)
        labels, annotations = self._labels(metadata), self._texts(metadata, "annotations")
        created = self._created(metadata)
        if spec is None:
            return None
        return Document(
            key=key,
            version=version,
            spec=spec,
            labels=labels,
            annotations=annotations,
            created=created,
            source=f"{self._file}:{self._root.line}",
        )

    def _kind(self, root: Mapping) -> tuple[Kind | None, str]:
        api, word = self._text(root, "apiVersion", ""), self._text(root, "kind", "")
        for field, text, example in (("apiVersion", api, "networking.istio.io/v1"), ("kind", word, "VirtualService")):
            if text == "":
                fix = f"add {field}: {example}"
                self._error(field, f"{field} is missing", fix=fix, code=NOT_A_DOCUMENT)
        if not api or not word:
            return None, ""
        group, slash, version = api.rpartition("/")
        kind = registry.find(group if slash else "", word)
        if kind is None:
            self._unknown_kind(group if slash else "", word)
        elif version not in kind.versions:
            served = ", ".join(f"{group}/{one}" for one in kind.versions)
            message = f"version {version!r} of {word} is not known"
            self._error("apiVersion", message, fix=f"write {served.replace(', ', ' or ')}", code=UNKNOWN_KIND)
        return kind, version

    def _unknown_kind(self, group: str, word: str) -> None:
        elsewhere = next((one for one in registry.KINDS if one.kind == word), None)
        if elsewhere:
            message = f"{word} belongs to the group {elsewhere.group}, not to {group!r}"
            fix = f"write apiVersion: {elsewhere.group}/{elsewhere.versions[0]}"
            self._error("apiVersion", message, fix=fix, code=UNKNOWN_KIND)
            return
        known = tuple(one.kind for one in registry.KINDS)
        if meant := closest(word, known):
            self._error("kind", f"the kind {word[:80]!r} is not known", fix=f"did you mean {meant}?", code=UNKNOWN_KIND)
        elif group in _ISTIO_GROUPS:
            fix = f"take it out; supported are {', '.join(known)}"
            self._error("kind", f"{word[:80]} of {group} is not supported yet", fix=fix, code=UNKNOWN_KIND)
        else:
            message = f"the kind {word[:80]!r} of group {group[:80]!r} is not known"
            self._error("kind", message, fix=f"known are {', '.join(known)}", code=UNKNOWN_KIND)

    def _name(self, metadata: Mapping | None) -> str:
        name = self._text(metadata, "name", "metadata") if metadata else ""
        if name == "":
            fix = "add metadata: {name: …}"
            self._error("metadata.name", "metadata.name is missing", fix=fix, code=NOT_A_DOCUMENT)
        elif name and not is_dns_name(name):
            fix = 'lower-case letters, digits, "-" and ".", at most 253'
            self._error("metadata.name", f"the name {name[:80]!r} is not valid", fix=fix)
        return name or ""

    def _namespace(self, metadata: Mapping, kind: Kind) -> str:
        namespace = self._text(metadata, "namespace", "metadata")
        if namespace and not is_dns_label(namespace):
            fix = 'at most 63 lower-case letters, digits and "-"'
            self._error("metadata.namespace", f"the namespace {namespace[:80]!r} is not valid", fix=fix)
        return namespace or kind.namespace or self._default

    def _spec(self, root: Mapping) -> bytes | None:
        """Canonical JSON; None when there is something else, or too much of it."""
        field = root.get("spec")
        spec = self._mapping(field, "spec")
        if field is None or spec is None:
            return None if field and not _is_null(field) else b"{}"
        text = msgspec.json.encode(plain(spec), order="sorted")
        if len(text) > LARGEST_SPEC:
            message = f"the spec has {len(text)} bytes; at most {LARGEST_SPEC} are possible"
            self._error("spec", message, fix="split it into several documents", code=TOO_LARGE)
            return None
        return text

    def _labels(self, metadata: Mapping) -> Labels:
        labels = self._texts(metadata, "labels")
        for key, value in labels:
            if problem := label_problem(key, value):
                fix = "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
                self._error(f"metadata.labels.{key}", problem, fix=fix)
        return labels

    def _texts(self, metadata: Mapping, name: str) -> Labels:
        mapping = self._mapping(metadata.get(name), f"metadata.{name}")
        if mapping is None or not mapping.fields:
            return NO_LABELS
        pairs = ((field.key, self._text(mapping, field.key, f"metadata.{name}")) for field in mapping.fields)
        return Labels.of({key: text or "" for key, text in pairs})

    def _created(self, metadata: Mapping) -> float:
        text = self._text(metadata, "creationTimestamp", "metadata")
        if not text:
            return 0.0
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError):
            path = "metadata.creationTimestamp"
            self._error(
                path, f"creationTimestamp {text[:80]!r} is not a time", fix='for example "2025-01-31T10:00:00Z"'
            )
            return 0.0

    def _text(self, mapping: Mapping, name: str, path: str) -> str | None:
        """The text, "" when it is absent or null, None when it was something else and that was reported."""
        field = mapping.get(name)
        if field is None or _is_null(field):
            return ""
        if isinstance(field.value, Scalar) and isinstance(field.value.value, str):
            return field.value.value
        fix = "put it in quotes" if isinstance(field.value, Scalar) else ""
        where = f"{path}.{name}" if path else name
        self._error(where, f"{name} must be text, not {_shown(field.value)}", fix=fix)
        return None

    def _mapping(self, field: Field | None, path: str) -> Mapping | None:
        if field is None or _is_null(field):
            return None
        if not isinstance(field.value, Mapping):
            self._error(path, f"{path} must be an object, not {_shown(field.value)}")
            return None
        if path == "metadata":
            self._unknown(field.value, _METADATA, path)
        return field.value

    def _unknown(self, mapping: Mapping, known: tuple[str, ...], path: str) -> None:
        for field in mapping.fields:
            if field.key not in known:
                meant = closest(field.key, known, likeness=0.6)
                fix = f"did you mean {meant}?" if meant else f"known here: {', '.join(known[:5])}"
                where = f"{path}.{field.key}" if path else field.key
                self._error(where, f"unknown field {field.key[:80]!r}", fix=fix)


def _is_null(field: Field) -> bool:
    return isinstance(field.value, Scalar) and field.value.value is None


def _shown(node: Node) -> str:
    match node:
        case Scalar(value=bool() as value):
            return f"the boolean {str(value).lower()}"
        case Scalar(value=value):
            return f"{str(value)[:60]!r}" if isinstance(value, str) else f"the number {value}"
        case Sequence():
            return "a list"
    return "an object"
