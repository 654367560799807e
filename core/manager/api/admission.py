"""Whether a submitted object may be stored: its envelope fits the path, and lowering it finds no error.

The quick way is msgspec alone. What it refuses is read once more as `istioctl validate` reads files, so that a mistake
around the spec has the same code, field and fix everywhere.
"""

import re
from typing import Final

import msgspec

from core.diagnostics import Diagnostic, Severity
from core.kinds.decode import LARGEST_SPEC, read
from core.kinds.findings import SCHEMA
from core.kinds.names import is_dns_label, is_dns_name, label_problem
from core.kinds.registry import lower
from core.manager.api.failures import Cause, Failure, cause_of, invalid
from core.manager.api.objects import Submitted, document_of, extra_of, with_extra
from core.manager.api.target import Target
from core.manager.api.tolerance import Tolerated, Validation, tolerate
from core.model.config import Document
from core.model.mesh import Mesh

_AT: Final = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<path>.*)`$", re.DOTALL)


class Admitted(msgspec.Struct, frozen=True):
    """A document that may be stored, and what its author should still hear about it."""

    document: Document
    warnings: tuple[Diagnostic, ...] = ()


def admit(body: bytes, target: Target, *, mesh: Mesh, validation: Validation = Validation.STRICT) -> Admitted:
    """Raises `Failure`: 400 when the object is not the one the path names, 422 when it is wrong in itself."""
    tolerated = tolerate(body, target.kind) if validation is not Validation.STRICT else Tolerated(body)
    submitted = _decode(tolerated.body, target)
    metadata = submitted.metadata
    _agree("apiVersion", submitted.api_version, target.api_version)
    _agree("kind", submitted.kind, target.kind.kind)
    _agree("namespace", metadata.namespace or target.namespace, target.namespace)
    _agree("name", metadata.name, target.name or metadata.name)
    here = msgspec.structs.replace(metadata, namespace=target.namespace)
    document = document_of(msgspec.structs.replace(submitted, metadata=here))
    if not _is_sound(document):
        raise _refused(target, _envelope(body, target) or (_unnamable(document),))
    admitted = _lowered(_with(document, tolerated), target, mesh=mesh)
    if validation is not Validation.WARN:
        return admitted
    return Admitted(admitted.document, (*map(_unknown, tolerated.unknown), *admitted.warnings))


def _with(document: Document, tolerated: Tolerated) -> Document:
    for part, value in tolerated.kept.items():
        known = extra_of(document, part)
        document = with_extra(document, part, value | known if isinstance(value, dict) else value)
    return document


def _unknown(path: str) -> Diagnostic:
    return Diagnostic(code=SCHEMA, severity=Severity.WARNING, message=f'unknown field "{path}"')


def _decode(body: bytes, target: Target) -> Submitted:
    try:
        return msgspec.json.decode(body, type=Submitted)
    except msgspec.ValidationError as error:
        raise _refused(target, _envelope(body, target) or (_shape(str(error)),)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"the body is not JSON: {error}") from error


def _envelope(body: bytes, target: Target) -> tuple[Cause, ...]:
    """What is wrong around the spec. Findings without a field are left to msgspec, which knows one."""
    text = body.decode("utf-8", "surrogateescape")
    entries = read(text, file="", default_namespace=target.namespace)
    found = [d for entry in entries for d in entry.diagnostics if d.severity is Severity.ERROR and d.origin]
    return tuple(map(cause_of, found))


def _shape(text: str) -> Cause:
    """msgspec says where at the end of its message; a Status says it in a field of its own."""
    found = _AT.match(text)
    if not found:
        return Cause("FieldValueInvalid", text)
    return Cause("FieldValueInvalid", found["what"], found["path"])


def _agree(what: str, given: str, expected: str) -> None:
    if given != expected:
        raise Failure(400, f"the {what} of the object ({given}) does not match the {what} on the URL ({expected})")


def _is_sound(document: Document) -> bool:
    key = document.key
    return (
        is_dns_name(key.name)
        and is_dns_label(key.namespace)
        and not any(label_problem(*pair) for pair in document.labels)
        and len(document.spec) <= LARGEST_SPEC
    )


def _unnamable(document: Document) -> Cause:
    """What the object itself does not say: its name is missing, or the namespace in the path is none."""
    if not document.key.name:
        return Cause("FieldValueRequired", "an object needs a name", "metadata.name")
    return Cause("FieldValueInvalid", f"{document.key.namespace!r} is not a namespace", "metadata.namespace")


def _lowered(document: Document, target: Target, *, mesh: Mesh) -> Admitted:
    found = lower(document, mesh).diagnostics
    if errors := tuple(cause_of(d) for d in found if d.severity is Severity.ERROR):
        raise _refused(msgspec.structs.replace(target, name=document.key.name), errors)
    return Admitted(document, found)


def _refused(target: Target, causes: tuple[Cause, ...]) -> Failure:
    return invalid(target.name, causes, group=target.kind.group, kind=target.kind.kind)
