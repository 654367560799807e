"""How `get -w` prints changes: a row, an object or a name for each, in the formats of `get`. Asks nobody."""

from collections.abc import Callable, Iterable

from core.kinds.kind import Kind
from istioctl.listing import cells, columns_of
from istioctl.names import qualified
from istioctl.output import Rows, as_json, as_yaml
from istioctl.watching import Change

Printer = Callable[[Iterable[Change]], str]
"""Changes as the next text of a stream. One of these prints one stream."""


def printer(kind: Kind, *, output: str, namespaces: bool, events: bool) -> Printer:
    """`events`: say with each object what happened to it, too."""
    match output:
        case "json":
            return lambda changes: "\n".join(as_json(_shown(each, events)) for each in changes)
        case "yaml":
            return lambda changes: "\n".join(f"---\n{as_yaml(_shown(each, events))}" for each in changes)
        case "name":
            return lambda changes: "\n".join(_named(kind, each, events) for each in changes)
    columns = columns_of(kind, output=output, namespaces=namespaces)
    rows = Rows([*(("EVENT",) if events else ()), *(header for header, _ in columns)])
    return lambda changes: rows.text(
        [*((each.type,) if events else ()), *cells(columns, each.resource)] for each in changes
    )


def _shown(change: Change, events: bool) -> object:
    return {"type": change.type, "object": change.resource} if events else change.resource


def _named(kind: Kind, change: Change, events: bool) -> str:
    name = qualified(kind, change.resource.metadata.name)
    return f"{change.type} {name}" if events else name
