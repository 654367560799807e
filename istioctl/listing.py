"""How `get` prints objects. Columns are those of Istio's custom resource definitions (`additionalPrinterColumns`)."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from core.kinds.kind import Kind
from core.manager.api.objects import Resource, ValidationMessage
from core.manager.api.tables import COLUMNS, cell
from istioctl.names import qualified
from istioctl.output import age, as_json, as_yaml, table

Cell = Callable[[Resource], str]
Columns = tuple[tuple[str, Cell], ...]


class Found(NamedTuple):
    """Objects of one kind; `named` when they were asked for by name."""

    kind: Kind
    resources: tuple[Resource, ...]
    named: bool


def _field(path: str) -> Cell:
    """A field of the spec, as the config API's own tables have it."""
    return lambda resource: cell(msgspec.json.decode(resource.spec), path)


def _age(resource: Resource) -> str:
    created = resource.metadata.creation_timestamp
    return age(time.time() - created.timestamp()) if created else "<unknown>"


def verdict(messages: Sequence[ValidationMessage]) -> str:
    """What the Manager thinks: the most severe level, and how many findings there are."""
    if not messages:
        return "ok"
    worst = min((message.level for message in messages), key=_LEVELS.index)
    return f"{worst.lower()} ({len(messages)})"


_LEVELS = ("ERROR", "WARNING", "INFO")

WIDE: tuple[tuple[str, Cell], ...] = (
    ("VERSION", lambda resource: resource.metadata.resource_version),
    ("GENERATION", lambda resource: str(resource.metadata.generation)),
    ("FINDINGS", lambda resource: verdict(resource.status.validation_messages)),
)


def listing(found: Sequence[Found], *, output: str, namespaces: bool) -> str:
    """Everything found, in one of the formats of `get`; "" when a table or a list of names would be empty."""
    match output:
        case "json":
            return as_json(_one_value(found))
        case "yaml":
            return as_yaml(_one_value(found))
        case "name":
            return "\n".join(qualified(f.kind, r.metadata.name) for f in found for r in f.resources)
    tables = (_table(f, output=output, many=len(found) > 1, namespaces=namespaces) for f in found if f.resources)
    return "\n\n".join(tables)


def _one_value(found: Sequence[Found]) -> object:
    """The object itself when one was asked for by name, else a list of what there is."""
    resources = [resource for each in found for resource in each.resources]
    if len(resources) == 1 and found[0].named:
        return resources[0]
    return {"apiVersion": "v1", "kind": "List", "items": resources}


def _table(found: Found, *, output: str, many: bool, namespaces: bool) -> str:
    """NAME, what is special about the kind, AGE; `wide` adds what is the same for every kind."""
    columns = columns_of(found.kind, output=output, namespaces=namespaces, many=many)
    return table([header for header, _ in columns], (cells(columns, each) for each in found.resources))


def columns_of(kind: Kind, *, output: str, namespaces: bool, many: bool = False) -> Columns:
    """Of a table of this kind; of `many` kinds, if names have to say of which they are."""
    prefix = f"{kind.kind.lower()}/" if many else ""
    columns: list[tuple[str, Cell]] = [("NAMESPACE", lambda r: r.metadata.namespace)] if namespaces else []
    columns += [("NAME", lambda r: prefix + r.metadata.name)]
    return (*columns, *_special(kind), ("AGE", _age), *(WIDE if output == "wide" else ()))


def _special(kind: Kind) -> Columns:
    return tuple((title.upper(), _field(path)) for title, path in COLUMNS.get(kind.kind, ()))


def cells(columns: Columns, resource: Resource) -> list[str]:
    return [cell(resource) for _, cell in columns]
