"""OpenAPI v3 documents generated from the kinds: what `kubectl explain` shows, and how clients learn what is possible.

A client sends `dryRun` and `fieldValidation` only where the patch of a kind lists them.
"""

import hashlib
from functools import cache
from typing import Final

import msgspec
from msgspec import inspect

from core.kinds.kind import Kind, Spec
from core.manager.api import discovery

Json = dict[str, object]

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_QUERIES: Final = {
    "dryRun": "All: check and answer, and store nothing.",
    "fieldManager": "Who the fields that are written belong to.",
    "fieldValidation": "Strict, Warn or Ignore: what becomes of fields that are not known.",
}
_LISTING: Final = {
    "labelSelector": "Only objects with these labels.",
    "fieldSelector": "Only objects of this metadata.name or metadata.namespace.",
    "limit": "At most that many objects.",
    "continue": "Where the list before ended.",
    "watch": "Go on with every change.",
    "resourceVersion": "Where a watch begins.",
}
_PATCHES: Final = ("application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml")


def index() -> Json:
    """`/openapi/v3`: where the documents are. The hash lets clients keep one that has not changed."""
    return {"paths": {f"apis/{one}": {"serverRelativeURL": _url(one)} for one in _group_versions()}}


def _group_versions() -> list[str]:
    return [f"{group}/{version}" for group in discovery.groups() for version in discovery.versions(group)]


def _url(group_version: str) -> str:
    group, _, version = group_version.partition("/")
    digest = hashlib.sha256(document(group, version) or b"").hexdigest().upper()
    return f"/openapi/v3/apis/{group_version}?hash={digest}"


@cache
def document(group: str, version: str) -> bytes | None:
    """As JSON; None when there is no such group and version."""
    found = discovery.kinds(group, version)
    if not found:
        return None
    schemas: Json = {_META: _metadata()}
    paths: Json = {}
    for kind in found:
        schemas[_name(kind, version)] = _object(kind, version)
        schemas[_name(kind, version) + "List"] = _list(kind, version)
        paths |= _paths(kind, version)
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "Config API", "version": version},
            "paths": paths,
            "components": {"schemas": schemas},
        }
    )


def _name(kind: Kind, version: str) -> str:
    return ".".join((*reversed(kind.group.split(".")), version, kind.kind))


def _gvk(kind: Kind, version: str, *, suffix: str = "") -> Json:
    return {"group": kind.group, "version": version, "kind": kind.kind + suffix}


def _text(description: str = "") -> Json:
    return {"type": "string", **({"description": description} if description else {})}


def _metadata() -> Json:
    pairs: Json = {"type": "object", "additionalProperties": {"type": "string"}}
    return {
        "type": "object",
        "description": "What every object has: its name, its labels, and what the store knows about it.",
        "properties": {
            "name": _text("Unique in its namespace."),
            "namespace": _text(),
            "labels": pairs,
            "annotations": pairs,
            "uid": _text(),
            "resourceVersion": _text("Changes with every write; send it back to write only over what was read."),
            "generation": {"type": "integer", "format": "int64", "description": "Counts changes of the spec."},
            "creationTimestamp": {"type": "string", "format": "date-time"},
            "managedFields": {"type": "array", "items": {"type": "object"}},
        },
    }


def _object(kind: Kind, version: str) -> Json:
    return {
        "type": "object",
        "description": _words(kind.spec) or f"{kind.kind} of {kind.group}.",
        "properties": {
            "apiVersion": _text(f"{kind.group}/{version}"),
            "kind": _text(kind.kind),
            "metadata": {"allOf": [{"$ref": f"#/components/schemas/{_META}"}], "description": "Name and labels."},
            "spec": _schema(inspect.type_info(kind.spec), ()),
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True,
                       "description": "What the Manager found out about this object."},
        },
        "x-kubernetes-group-version-kind": [_gvk(kind, version)],
    }  # fmt: skip


def _list(kind: Kind, version: str) -> Json:
    items: Json = {"type": "array", "items": {"$ref": f"#/components/schemas/{_name(kind, version)}"}}
    properties = {"apiVersion": _text(), "kind": _text(), "metadata": {"type": "object"}, "items": items}
    return {
        "type": "object",
        "properties": properties,
        "x-kubernetes-group-version-kind": [_gvk(kind, version, suffix="List")],
    }


def _schema(shape: inspect.Type, inside: tuple[type, ...]) -> Json:
    match shape:
        case inspect.UnionType():
            kept = next(item for item in shape.types if not isinstance(item, inspect.NoneType))
            return _schema(kept, inside)
        case inspect.StructType():
            return _struct(shape, inside)
        case inspect.VarTupleType():
            return {"type": "array", "items": _schema(shape.item_type, inside)}
        case inspect.DictType():
            return {"type": "object", "additionalProperties": _schema(shape.value_type, inside)}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            bounds = {"minimum": shape.ge, "maximum": shape.le}
            return {"type": "integer", **{name: bound for name, bound in bounds.items() if bound is not None}}
        case inspect.FloatType():
            return {"type": "number"}
        case inspect.LiteralType():
            return {"type": "string", "enum": [str(value) for value in shape.values]}
        case inspect.StrType():
            return {"type": "string"}
    return {"x-kubernetes-preserve-unknown-fields": True}


def _struct(shape: inspect.StructType, inside: tuple[type, ...]) -> Json:
    if shape.cls in inside:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    further = (*inside, shape.cls)
    words = _words(shape.cls)
    return {
        "type": "object",
        **({"description": words} if words else {}),
        "properties": {field.encode_name: _schema(field.type, further) for field in shape.fields},
    }


def _words(cls: type) -> str:
    """Its own docstring: the base's is about something else."""
    found = cls.__dict__.get("__doc__") or ""
    return "" if found == Spec.__doc__ else " ".join(found.split())


def _paths(kind: Kind, version: str) -> Json:
    base = f"/apis/{kind.group}/{version}"
    collection = f"{base}/namespaces/{{namespace}}/{kind.plural}"
    one = collection + "/{name}"
    return {
        f"{base}/{kind.plural}": {"get": _operation(kind, version, "list", _LISTING)},
        collection: {
            "get": _operation(kind, version, "list", _LISTING),
            "post": _operation(kind, version, "post", _QUERIES, takes=("application/json",)),
            "delete": _operation(kind, version, "deletecollection", _LISTING),
            "parameters": [_placed("namespace")],
        },
        one: {**_verbs(kind, version), "delete": _operation(kind, version, "delete", {"dryRun": _QUERIES["dryRun"]}),
              "parameters": [_placed("namespace"), _placed("name")]},
        f"{one}/status": {**_verbs(kind, version), "parameters": [_placed("namespace"), _placed("name")]},
    }  # fmt: skip


def _verbs(kind: Kind, version: str) -> Json:
    patch = {**_QUERIES, "force": "Take fields from those they belong to (only for apply)."}
    return {
        "get": _operation(kind, version, "get", {}),
        "put": _operation(kind, version, "put", _QUERIES, takes=("application/json",)),
        "patch": _operation(kind, version, "patch", patch, takes=_PATCHES),
    }


def _operation(kind: Kind, version: str, action: str, queries: dict[str, str], *, takes: tuple[str, ...] = ()) -> Json:
    suffix = "List" if action in ("list", "deletecollection") else ""
    schema = {"$ref": f"#/components/schemas/{_name(kind, version)}{suffix}"}
    content = {"application/json": {"schema": schema}}
    body = {"requestBody": {"content": {media: {"schema": {"type": "object"}} for media in takes}}} if takes else {}
    parameters = [
        {"name": name, "in": "query", "description": words, "schema": {"type": "string"}, "uniqueItems": True}
        for name, words in queries.items()
    ]
    return {
        "parameters": parameters,
        **body,
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind, version),
    }


def _placed(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
