"""Kubernetes objects on the wire, and their passage from and to `Document`. No server, no store, no rules."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from core.diagnostics import Diagnostic, Severity
from core.model.config import ConfigKey, Document, canonical
from core.model.labels import Labels

_EMPTY: Final = msgspec.Raw(b"{}")


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`ObjectMeta`, as far as a store keeps it."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class GivenMetadata(
    Metadata, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """As people and clusters write it. What only a store knows is let through and not kept; a misspelling is not."""

    self_link: msgspec.Raw = _EMPTY
    generate_name: msgspec.Raw = _EMPTY
    managed_fields: msgspec.Raw = _EMPTY
    owner_references: msgspec.Raw = _EMPTY
    finalizers: msgspec.Raw = _EMPTY
    deletion_timestamp: msgspec.Raw = _EMPTY
    deletion_grace_period_seconds: msgspec.Raw = _EMPTY


class MessageType(msgspec.Struct, frozen=True):
    code: str


class ValidationMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`istio.analysis.v1alpha1.AnalysisMessageBase`, with what it says. `field` is a path like `spec.http[0]`."""

    type: MessageType
    level: str
    message: str
    field: str = ""
    fix: str = ""


class Findings(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The `status` of an object (Istio `IstioStatus`)."""

    validation_messages: tuple[ValidationMessage, ...] = ()


NOTHING_FOUND: Final = Findings()


class Resource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One object as it is read; without a finding it has no status."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: msgspec.Raw
    status: Findings = NOTHING_FOUND


class Submitted(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One object as it is written: what the store owns (status) may come back and is not looked at."""

    api_version: str
    kind: str
    metadata: GivenMetadata
    spec: msgspec.Raw = _EMPTY
    status: msgspec.Raw = _EMPTY


class ResourceList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    api_version: str
    kind: str
    metadata: Metadata = Metadata()
    items: tuple[Resource, ...]


def document_of(submitted: Submitted) -> Document:
    """What the mesh does not model is in `extra`, but for the status.

    Raises `msgspec.DecodeError` when the spec is not JSON.
    """
    group, _, version = submitted.api_version.rpartition("/")
    metadata = submitted.metadata
    return Document(
        key=ConfigKey(group, submitted.kind, metadata.namespace, metadata.name),
        version=version,
        spec=canonical(bytes(submitted.spec)),
        labels=Labels.of(metadata.labels),
        annotations=Labels.of(metadata.annotations),
        revision=metadata.resource_version,
        uid=metadata.uid,
        extra=canonical(msgspec.json.encode(_rest(metadata))),
    )


def _rest(metadata: GivenMetadata) -> dict[str, object]:
    given = {
        "finalizers": metadata.finalizers,
        "managedFields": metadata.managed_fields,
        "ownerReferences": metadata.owner_references,
    }
    kept = {name: raw for name, raw in given.items() if bytes(raw) not in (b"{}", b"[]", b"null")}
    return {"metadata": kept} if kept else {}


def resource_of(document: Document, findings: tuple[Diagnostic, ...] = (), *, version: str = "") -> Resource:
    """The object in the served `version` ("": the one it was written in); all versions of a kind share one schema."""
    key = document.key
    return Resource(
        api_version=f"{key.group}/{version or document.version}",
        kind=key.kind,
        metadata=_metadata(document),
        spec=msgspec.Raw(document.spec),
        status=Findings(tuple(map(message_of, findings))) if findings else NOTHING_FOUND,
    )


def _metadata(document: Document) -> Metadata:
    created = datetime.fromtimestamp(int(document.created), UTC) if document.created else None
    return Metadata(
        name=document.key.name,
        namespace=document.key.namespace,
        uid=document.uid,
        resource_version=document.revision,
        generation=document.generation,
        creation_timestamp=created,
        labels=document.labels.as_dict(),
        annotations=document.annotations.as_dict(),
    )


def message_of(found: Diagnostic) -> ValidationMessage:
    return ValidationMessage(
        type=MessageType(found.code),
        level=found.severity.upper(),
        message=found.message,
        field=found.origin.path if found.origin else "",
        fix=found.fix,
    )


def thing_of(document: Document, findings: tuple[Diagnostic, ...] = (), *, version: str = "") -> dict[str, object]:
    """The whole object as it is answered: `resource_of`, what others keep in it, and a status. The spec is raw JSON."""
    key = document.key
    extra = msgspec.json.decode(document.extra)
    return {
        "apiVersion": f"{key.group}/{version or document.version}",
        "kind": key.kind,
        "metadata": extra.pop("metadata", {}) | msgspec.to_builtins(_metadata(document)),
        "spec": msgspec.Raw(document.spec),
        "status": _status(findings, extra.pop("status", {})),
        **extra,
    }


ACCEPTED: Final = "Accepted"
"""The condition that the Manager sets: it has the object, and knows of nothing that keeps it from being in force."""


def _status(findings: tuple[Diagnostic, ...], given: dict[str, object]) -> dict[str, object]:
    errors = [found for found in findings if found.severity is Severity.ERROR]
    accepted: dict[str, object] = {
        "type": ACCEPTED,
        "status": "False" if errors else "True",
        "reason": errors[0].code if errors else "InOrder",
        "message": errors[0].message if errors else "",
    }
    others = given.get("conditions")
    messages = {"validationMessages": [message_of(found) for found in findings]} if findings else {}
    return {
        **given,
        "conditions": [accepted, *(others if isinstance(others, list) else ())],
        **messages,
    }


def kept_status(given: object) -> dict[str, object]:
    """Of a status that somebody wrote, what is not the Manager's to say."""
    if not isinstance(given, dict):
        return {}
    kept = {name: value for name, value in given.items() if name != "validationMessages"}
    if isinstance(kept.get("conditions"), list):
        kept["conditions"] = [one for one in kept["conditions"] if not _is_ours(one)]
    return {name: value for name, value in kept.items() if value != []}


def _is_ours(condition: object) -> bool:
    return isinstance(condition, dict) and condition.get("type") == ACCEPTED


def with_extra(document: Document, part: str, value: object) -> Document:
    """The document with `value` as this top-level part of what others keep in it; {} takes it away."""
    extra = msgspec.json.decode(document.extra)
    extra.pop(part, None)
    if value != {}:
        extra[part] = value
    return msgspec.structs.replace(document, extra=canonical(msgspec.json.encode(extra)))


def extra_of(document: Document, part: str) -> dict[str, object]:
    """A copy of that part; {} when there is none."""
    found = msgspec.json.decode(document.extra).get(part)
    return found if isinstance(found, dict) else {}
