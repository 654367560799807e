"""Reads a spec into its type, and when it does not fit says everything that is wrong with it, not only the first thing.

The quick way is msgspec alone. Only a document that it refuses is walked: that finds every unknown field and wrong
type with its path, and evens out what proto3 JSON allows (snake_case names, null for absent, 1.0 for 1).
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TypeVar, cast

import msgspec
from msgspec import inspect

from core.diagnostics import Severity
from core.kinds.findings import UNSUPPORTED, Context, Findings
from core.kinds.kind import Spec, json_name
from core.kinds.spelling import closest
from core.model.config import Origin

S = TypeVar("S", bound=Spec)

_DROP = object()
_LONGEST = 80
"""Characters of an unknown name that a message repeats."""


@cache
def _decoder(spec: type[Spec]) -> "msgspec.json.Decoder[Spec]":
    return msgspec.json.Decoder(spec)


@cache
def _shape(spec: type[Spec]) -> inspect.StructType:
    shape = inspect.type_info(spec)
    assert isinstance(shape, inspect.StructType)
    return shape


def read(context: Context, spec: type[S]) -> S | None:
    """The document's spec; None when nothing of it can be read. Fields that are wrong are reported and left out."""
    try:
        return cast(S, _decoder(spec).decode(context.document.spec))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_slowly(context, spec)


def _read_slowly(context: Context, spec: type[S]) -> S | None:
    value = _parse(context)
    if value is _DROP:
        return None
    walker = Walker(context.findings)
    plain = walker.struct(value, _shape(spec), context.root)
    try:
        result = msgspec.convert(plain, spec)
    except msgspec.ValidationError as error:
        context.error(context.root, f"the spec does not have the right shape: {error}")
        return None
    if context.findings.failed:
        context.findings.shape_is_wrong()
    return result


def _parse(context: Context) -> object:
    try:
        return msgspec.json.decode(context.document.spec)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        context.error(context.root, f"the spec is not JSON: {error}")
        return _DROP


class Walker:
    """Compares a decoded value with a type and returns it in the form that msgspec takes."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def struct(self, value: object, shape: inspect.StructType, at: Origin) -> dict[str, object]:
        """Null is an empty message, as in proto3 JSON."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong(value, "an object", at)
            return {}
        assert issubclass(shape.cls, Spec)
        target = _Target(shape.cls, {field.encode_name: field for field in shape.fields})
        for key, item in value.items():
            self._field(str(key), item, at, target)
        return target.result

    def _field(self, key: str, item: object, at: Origin, target: "_Target") -> None:
        name = target.name(key)
        if name is None:
            self._unknown(key, item, at, target)
        elif name in target.seen:
            self._findings.error(at.at(name), f"{name} is given twice, as {name} and in snake_case", fix="keep one")
        else:
            target.seen.add(name)
            checked = self.value(item, target.fields[name].type, at.at(name)) if item is not None else _DROP
            if checked is not _DROP:
                target.result[name] = checked

    def _unknown(self, key: str, item: object, at: Origin, target: "_Target") -> None:
        later = target.cls.later.get(json_name(key))
        if later and (item is None or item == []):
            return
        if later is None:
            meant = closest(json_name(key), target.fields, likeness=0.6)
            fix = f"did you mean {meant}?" if meant else f"known here: {', '.join(sorted(target.fields))}"
            self._findings.error(at.at(key[:_LONGEST]), f"unknown field {key[:_LONGEST]!r}", fix=fix)
            self._findings.meant(at.at(meant or key[:_LONGEST]))
        elif later is Severity.ERROR:
            self._findings.error(
                at.at(json_name(key)),
                f"{json_name(key)} is not supported yet, and ignoring it would change what the rule means",
                fix="take it out, or express the rule without it",
                code=UNSUPPORTED,
            )
        else:
            self._findings.warn(
                at.at(json_name(key)),
                f"{json_name(key)} is not supported yet and is ignored",
                fix="take it out, or live without it for now",
                code=UNSUPPORTED,
            )

    def value(self, value: object, shape: inspect.Type, at: Origin) -> object:
        """`value` as `shape` wants it, or _DROP."""
        match shape:
            case inspect.UnionType():
                return self.value(value, _without_none(shape), at)
            case inspect.StructType():
                return self.struct(value, shape, at)
            case inspect.VarTupleType():
                return self._list(value, shape.item_type, at)
            case inspect.DictType():
                return self._dict(value, shape.value_type, at)
        return self._scalar(value, shape, at)

    def _list(self, value: object, item: inspect.Type, at: Origin) -> object:
        if not isinstance(value, list):
            return self._wrong(value, "a list", at)
        checked = [self._item(element, item, at.at(i)) for i, element in enumerate(value)]
        return [_blank(item) if element is _DROP else element for element in checked]

    def _dict(self, value: object, item: inspect.Type, at: Origin) -> object:
        if not isinstance(value, dict):
            return self._wrong(value, "an object", at)
        checked = {key: self._item(element, item, at.at(key)) for key, element in value.items()}
        return {key: element for key, element in checked.items() if element is not _DROP}

    def _item(self, value: object, item: inspect.Type, at: Origin) -> object:
        """In a list or a map null is not "absent": leaving a condition out would widen the rule."""
        return self._wrong(None, _wanted(item), at) if value is None else self.value(value, item, at)

    def _scalar(self, value: object, shape: inspect.Type, at: Origin) -> object:
        if isinstance(shape, inspect.IntType) and isinstance(value, float) and value.is_integer():
            value = int(value)
        good = _fits(value, shape)
        return value if good else self._wrong(value, _wanted(shape), at)

    def _wrong(self, value: object, wanted: str, at: Origin) -> object:
        field = at.path.rsplit(".", 1)[-1]
        self._findings.error(at, f"{field} must be {wanted}, not {_shown(value)}", fix=_advice(value, wanted))
        return _DROP


class _Target:
    """A message being read: its type, its fields by JSON name, and what was read so far."""

    def __init__(self, cls: type[Spec], fields: Mapping[str, inspect.Field]) -> None:
        self.cls = cls
        self.fields = fields
        self.result: dict[str, object] = {}
        self.seen: set[str] = set()
        self._names = {field.name: name for name, field in fields.items()}

    def name(self, key: str) -> str | None:
        """The JSON name of the field that `key` spells, in camelCase or snake_case."""
        return key if key in self.fields else self._names.get(key)


def _without_none(shape: inspect.UnionType) -> inspect.Type:
    return next(item for item in shape.types if not isinstance(item, inspect.NoneType))


def _blank(shape: inspect.Type) -> object:
    """Stands for a list element that could not be read, so that the others keep their index."""
    match shape:
        case inspect.StructType() | inspect.DictType():
            return {}
        case inspect.IntType() | inspect.FloatType():
            return 0
    return ""


def _fits(value: object, shape: inspect.Type) -> bool:
    match shape:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool) and _within(value, shape)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.LiteralType():
            return value in shape.values
        case inspect.StrType():
            return isinstance(value, str)
    return True


def _within(value: int, shape: inspect.IntType) -> bool:
    return (shape.ge is None or value >= shape.ge) and (shape.le is None or value <= shape.le)


def _wanted(shape: inspect.Type) -> str:
    match shape:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            bounds = f" from {shape.ge} to {shape.le}" if shape.ge is not None and shape.le is not None else ""
            return f"a whole number{bounds}"
        case inspect.FloatType():
            return "a number"
        case inspect.LiteralType():
            return f"one of {', '.join(_texts(shape.values))}"
        case inspect.StrType():
            return "text"
        case inspect.VarTupleType():
            return "a list"
    return "an object"


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _shown(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:60]!r}"
        case list():
            return "a list"
    return "an object"


def _advice(value: object, wanted: str) -> str:
    """What to type instead, for the mistakes that YAML invites."""
    match value:
        case bool() if wanted == "text" or wanted.startswith("one of"):
            return "YAML reads bare yes, no, on, off, true and false as booleans: put the text in quotes"
        case int() | float() if wanted == "text":
            return f"put it in quotes; if it is a time, give it a unit: {value}s"
        case str() if wanted.startswith(("a whole number", "a number", "true or false")):
            return "write it without quotes" if _bare(value) else ""
        case str() if wanted.startswith("one of"):
            meant = closest(value, wanted.removeprefix("one of ").split(", "), likeness=0.6)
            return f"did you mean {meant}?" if meant else ""
        case str() if wanted == "a list" and re.fullmatch(r"[\w./*-]{1,60}", value):
            return f"write [{value}]"
        case dict() if wanted == "a list":
            return 'begin each element with "- "'
        case None if wanted == "an object":
            return "write {} for an empty one"
    return ""


def _bare(text: str) -> bool:
    return text.lower() in ("true", "false") or text.strip().removeprefix("-").replace(".", "", 1).isdigit()
