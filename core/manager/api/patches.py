"""The two patches that Kubernetes' custom resources take: JSON merge patch (RFC 7386) and JSON patch (RFC 6902)."""

import copy
from typing import Final, Literal

import msgspec

from core.manager.api.failures import Failure

Json = object
"""Whatever `msgspec.json.decode` gives."""

MOST_OPERATIONS: Final = 10_000

MOST_COPIED: Final = 3 * 1024 * 1024
"""Bytes of JSON: copies of copies would double with every step."""

_INDEX_END: Final = "-"


class Operation(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """One step of a JSON patch."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: str
    value: msgspec.Raw = msgspec.Raw(b"")
    from_: str = ""


def merged(target: Json, patch: Json) -> Json:
    """RFC 7386 §2. Neither argument is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def decode_operations(body: bytes) -> tuple[Operation, ...]:
    """Raises `Failure`: 400 for what is no JSON patch, 413 for too long a one."""
    try:
        operations = msgspec.json.decode(body, type=tuple[Operation, ...])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(400, f"the body is no JSON patch: {error}") from error
    if len(operations) > MOST_OPERATIONS:
        raise Failure(413, f"the patch has {len(operations)} operations; at most {MOST_OPERATIONS} are possible")
    return operations


def patched(target: Json, operations: tuple[Operation, ...]) -> Json:
    """All steps or none; `target` stays as it is. Raises `Failure` 422 naming the step that cannot be done."""
    result = copy.deepcopy(target)
    copied = 0
    for number, operation in enumerate(operations):
        try:
            copied += _weight(result, operation)
            if copied > MOST_COPIED:
                raise Failure(413, f"the patch copies more than {MOST_COPIED} bytes")
            result = _step(result, operation)
        except (KeyError, IndexError, ValueError, TypeError, msgspec.DecodeError) as error:
            said = f"step {number} of the patch, {operation.op} {operation.path}, cannot be done: {error}"
            raise Failure(422, said) from error
    return result


def _step(document: Json, operation: Operation) -> Json:
    path = _split(operation.path)
    match operation.op:
        case "add":
            return _add(document, path, _value(operation))
        case "remove":
            return _remove(document, path)
        case "replace":
            _find(document, path)
            return _add(_remove(document, path), path, _value(operation)) if path else _value(operation)
        case "move":
            source = _split(operation.from_)
            if path[: len(source)] == source and path != source:
                raise ValueError("a value cannot be moved into itself")
            found = _find(document, source)
            return _add(_remove(document, source), path, found)
        case "copy":
            return _add(document, path, copy.deepcopy(_find(document, _split(operation.from_))))
    if _find(document, path) != _value(operation):
        raise ValueError("the value there is another one")
    return document


def _weight(document: Json, operation: Operation) -> int:
    if operation.op != "copy":
        return 0
    return len(msgspec.json.encode(_find(document, _split(operation.from_))))


def _value(operation: Operation) -> Json:
    if not bytes(operation.value):
        raise ValueError("value is missing")
    return msgspec.json.decode(operation.value)


def _split(pointer: str) -> list[str]:
    """RFC 6901. Raises `ValueError`."""
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _find(document: Json, path: list[str]) -> Json:
    for part in path:
        document = _child(document, part)
    return document


def _child(value: Json, part: str) -> Json:
    if isinstance(value, dict):
        if part not in value:
            raise KeyError(f"there is no {part}")
        return value[part]
    if isinstance(value, list):
        return value[_index(part, len(value) - 1)]
    raise TypeError(f"{part} is asked of something that is neither object nor list")


def _index(part: str, largest: int) -> int:
    if not part.isascii() or not part.isdigit() or (part[0] == "0" and part != "0") or int(part) > largest:
        raise IndexError(f"there is no index {part}")
    return int(part)


def _add(document: Json, path: list[str], value: Json) -> Json:
    if not path:
        return value
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == _INDEX_END else _index(last, len(parent)), value)
    else:
        raise TypeError(f"nothing can be put into the parent of {last}")
    return document


def _remove(document: Json, path: list[str]) -> Json:
    if not path:
        raise ValueError("the whole object cannot be removed")
    _find(document, path)
    parent, last = _find(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        del parent[last]
    elif isinstance(parent, list):
        del parent[int(last)]
    return document
