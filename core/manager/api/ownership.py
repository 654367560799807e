"""Which manager set which field (`metadata.managedFields`): the base of server-side apply, and of its conflicts.

As for every custom resource without merge keys, a list is one field: who sets one of its elements sets all of them.
Source: Kubernetes, "Server-Side Apply".
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

import msgspec

from core.manager.api.failures import Cause, Details, Failure

Path = tuple[str, ...]
Leaves = Mapping[Path, object]
"""Values that have no fields of their own, by where they are."""

APPLY: Final = "Apply"
UPDATE: Final = "Update"

_KEPT: Final = ("labels", "annotations", "finalizers", "ownerReferences")
"""What somebody can own of the metadata."""


class Manager(msgspec.Struct, frozen=True):
    """Somebody who writes, in a version of the API."""

    name: str
    operation: Literal["Apply", "Update"]
    api_version: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One of `managedFields`."""

    manager: Manager
    fields: frozenset[Path]
    time: str = ""

    def is_of(self, manager: Manager) -> bool:
        return (self.manager.name, self.manager.operation) == (manager.name, manager.operation)


class _Wire(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    manager: str = ""
    operation: Literal["Apply", "Update"] = "Update"
    api_version: str = ""
    time: str = ""
    fields_type: str = "FieldsV1"
    fields: dict[str, object] = msgspec.field(name="fieldsV1", default_factory=dict)


def leaves(thing: Mapping[str, object]) -> dict[Path, object]:
    """Of the parts of an object that can be owned: its spec, its labels and annotations."""
    metadata = thing.get("metadata")
    kept = {name: metadata[name] for name in _KEPT if name in metadata} if isinstance(metadata, dict) else {}
    result: dict[Path, object] = {}
    _collect({"metadata": kept, "spec": thing.get("spec") or {}}, (), result)
    result.pop(("metadata",), None)
    result.pop(("spec",), None)
    return result


def _collect(value: object, at: Path, into: dict[Path, object]) -> None:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            _collect(item, (*at, name), into)
    else:
        into[at] = value


def decode(given: object) -> tuple[Entry, ...]:
    """`managedFields` as in an object; what is none of ours to understand is left out."""
    try:
        found = msgspec.convert(given, tuple[_Wire, ...])
    except msgspec.ValidationError:
        return ()
    return tuple(
        Entry(
            manager=Manager(one.manager, one.operation, one.api_version),
            fields=frozenset(_paths(one.fields, ())),
            time=one.time,
        )
        for one in found
        if one.manager
    )


def _paths(fields: object, at: Path) -> Iterable[Path]:
    named = [name for name in fields if name.startswith("f:")] if isinstance(fields, dict) else []
    if not named and at:
        yield at
    for name in named:
        yield from _paths(fields[name], (*at, name[2:]))  # type: ignore[index]  # it has names


def encode(entries: Iterable[Entry]) -> list[object]:
    return [
        msgspec.to_builtins(
            _Wire(
                manager=one.manager.name,
                operation=one.manager.operation,
                api_version=one.manager.api_version,
                time=one.time,
                fields=_tree(one.fields),
            )
        )
        for one in entries
        if one.fields
    ]


def _tree(fields: frozenset[Path]) -> dict[str, object]:
    root: dict[str, object] = {}
    for path in sorted(fields):
        node = root
        for part in path:
            node = node.setdefault(f"f:{part}", {})  # type: ignore[assignment]
    return root


def updated(
    entries: tuple[Entry, ...], before: Leaves, after: Leaves, *, manager: Manager, now: str
) -> tuple[Entry, ...]:
    """After `manager` wrote the whole object: what it changed is its own, and what is gone is nobody's."""
    changed = frozenset(path for path, value in after.items() if path not in before or before[path] != value)
    if not changed and before.keys() == after.keys():
        return entries
    mine = next((entry.fields for entry in entries if entry.is_of(manager)), frozenset())
    others = [_only(entry, entry.fields & after.keys() - changed) for entry in entries if not entry.is_of(manager)]
    time = now if changed else next((entry.time for entry in entries if entry.is_of(manager)), now)
    own = Entry(manager=manager, fields=(mine & after.keys()) | changed, time=time)
    return tuple(entry for entry in (*others, own) if entry.fields)


def _only(entry: Entry, fields: frozenset[Path]) -> Entry:
    return msgspec.structs.replace(entry, fields=fields)


class Applied(msgspec.Struct, frozen=True):
    """What an object becomes by server-side apply, and whose its fields are then."""

    thing: dict[str, object]
    entries: tuple[Entry, ...]


def applied(
    live: Mapping[str, object], entries: tuple[Entry, ...], wanted: Mapping[str, object], *, manager: Manager, now: str
) -> Applied:
    """`wanted` laid over `live`; what `manager` applied before, and nobody else has, is taken away.

    Fields of others that would change become the manager's: who must not do that, asks `conflicts` first.
    """
    new, old = leaves(wanted), leaves(live)
    mine = next((entry.fields for entry in entries if entry.is_of(manager)), frozenset())
    taken = _changing(new, old)
    lost = _around(taken)
    others = [_only(entry, frozenset(path for path in entry.fields if not lost(path)))
              for entry in entries if not entry.is_of(manager)]  # fmt: skip
    shared = frozenset(path for entry in others for path in entry.fields)
    thing: dict[str, object] = msgspec.json.decode(msgspec.json.encode(live))
    for path in mine - new.keys() - shared:
        _drop(thing, path)
    for path, value in new.items():
        _set(thing, path, value)
    fields = frozenset(new)
    held = next((entry for entry in entries if entry.is_of(manager)), None)
    same = held is not None and held.fields == fields and not taken
    own = Entry(manager=manager, fields=fields, time=held.time if held and same else now)
    there = leaves(thing)
    return Applied(thing, tuple(e for e in (*(_only(o, o.fields & there.keys()) for o in others), own) if e.fields))


def conflicts(
    live: Mapping[str, object], entries: tuple[Entry, ...], wanted: Mapping[str, object], *, manager: Manager
) -> tuple[Cause, ...]:
    """The fields of others that this would change."""
    lost = _around(_changing(leaves(wanted), leaves(live)))
    return tuple(
        Cause("FieldManagerConflict", f'conflict with "{entry.manager.name}"{_version(entry)}', _dotted(path))
        for entry in entries
        if not entry.is_of(manager)
        for path in sorted(entry.fields)
        if lost(path)
    )


def conflicted(causes: tuple[Cause, ...], details: Details) -> Failure:
    """409 in the words by which kubectl knows what to advise."""
    said = "; ".join(f"{cause.message}: {cause.field}" for cause in causes)
    count = f"{len(causes)} conflict{'' if len(causes) == 1 else 's'}"
    return Failure(409, f"Apply failed with {count}: {said}", details=msgspec.structs.replace(details, causes=causes))


def _version(entry: Entry) -> str:
    return f" using {entry.manager.api_version}" if entry.manager.operation == UPDATE else ""


def _dotted(path: Path) -> str:
    return "".join(f".{part}" for part in path)


def _changing(new: Leaves, old: Leaves) -> frozenset[Path]:
    """An empty object changes nothing where there are fields already."""
    filled = frozenset(path[:n] for path in old for n in range(1, len(path)))
    changed = (path for path, value in new.items() if path not in old or old[path] != value)
    return frozenset(path for path in changed if not (new[path] == {} and path in filled))


def _around(taken: Iterable[Path]) -> Callable[[Path], bool]:
    """Whether a place is one of `taken`, above one, or below one. In time that does not grow with their number."""
    places = frozenset(taken)
    above = frozenset(path[:n] for path in places for n in range(1, len(path) + 1))
    return lambda path: path in above or any(path[:n] in places for n in range(1, len(path)))


def _set(thing: dict[str, object], path: Path, value: object) -> None:
    node = thing
    for part in path[:-1]:
        below = node.get(part)
        if not isinstance(below, dict):
            below = node[part] = {}
        node = below
    if not (value == {} and isinstance(node.get(path[-1]), dict)):
        node[path[-1]] = value


def _drop(thing: dict[str, object], path: Path) -> None:
    """And the objects around it that are empty then."""
    chain = [thing]
    for part in path[:-1]:
        below = chain[-1].get(part)
        if not isinstance(below, dict):
            return
        chain.append(below)
    chain[-1].pop(path[-1], None)
    for depth in range(len(path) - 1, 1, -1):
        if not chain[depth] and chain[depth - 1].get(path[depth - 1]) == {}:
            del chain[depth - 1][path[depth - 1]]
