"""What becomes of fields that are not known, when the client asked for less than `fieldValidation=Strict`.

As for custom resources of Kubernetes they are left out of the spec. Beside the spec, they are kept: others' tools put
their own things there. A field that is known and not supported yet stays, and is refused as always.
"""

from enum import StrEnum
from functools import cache

import msgspec
from msgspec import inspect

from core.kinds.kind import Kind, Spec, json_name
from core.manager.api.objects import GivenMetadata, Submitted


class Validation(StrEnum):
    """`fieldValidation` of a request. Strict refuses what is not known, Warn says so, Ignore is silent."""

    STRICT = "Strict"
    WARN = "Warn"
    IGNORE = "Ignore"


class Tolerated(msgspec.Struct, frozen=True):
    """`body` holds only what is known, `kept` what else is to be stored; `unknown` are the paths of both."""

    body: bytes
    kept: dict[str, object] = {}
    unknown: tuple[str, ...] = ()


def tolerate(body: bytes, kind: Kind) -> Tolerated:
    """What is no JSON object is given back as it is: others will say what is wrong with it."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Tolerated(body)
    if not isinstance(value, dict):
        return Tolerated(body)
    unknown: list[str] = []
    top, kept = _split(value, _names(Submitted))
    unknown += kept
    if isinstance(metadata := top.get("metadata"), dict):
        top["metadata"], beside = _split(metadata, _names(GivenMetadata))
        unknown += [f"metadata.{name}" for name in beside]
        kept |= {"metadata": beside} if beside else {}
    if isinstance(top.get("spec"), dict):
        top["spec"] = _known(top["spec"], inspect.type_info(kind.spec), "spec", unknown)
    return Tolerated(msgspec.json.encode(top), kept, tuple(unknown))


def _split(value: dict[str, object], names: frozenset[str]) -> tuple[dict[str, object], dict[str, object]]:
    known = {name: item for name, item in value.items() if name in names}
    return known, {name: item for name, item in value.items() if name not in names}


@cache
def _names(cls: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(cls.__struct_encode_fields__)


def _known(value: object, shape: inspect.Type, at: str, unknown: list[str]) -> object:
    match shape:
        case inspect.UnionType():
            kept = next(item for item in shape.types if not isinstance(item, inspect.NoneType))
            return _known(value, kept, at, unknown)
        case inspect.StructType() if isinstance(value, dict):
            return _fields(value, shape, at, unknown)
        case inspect.VarTupleType() if isinstance(value, list):
            return [_known(item, shape.item_type, f"{at}[{i}]", unknown) for i, item in enumerate(value)]
        case inspect.DictType() if isinstance(value, dict):
            return {key: _known(item, shape.value_type, f"{at}.{key}", unknown) for key, item in value.items()}
    return value


def _fields(value: dict[str, object], shape: inspect.StructType, at: str, unknown: list[str]) -> dict[str, object]:
    assert issubclass(shape.cls, Spec)
    types = {field.encode_name: field.type for field in shape.fields}
    result: dict[str, object] = {}
    for name, item in value.items():
        if json_name(name) in types:
            result[name] = _known(item, types[json_name(name)], f"{at}.{name}", unknown)
        elif json_name(name) in shape.cls.later:
            result[name] = item
        else:
            unknown.append(f"{at}.{name}")
    return result
