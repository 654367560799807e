"""Objects as the table that `kubectl get` prints: Istio's columns for each kind.

Source: Kubernetes, "Receiving resources as Tables"; `additionalPrinterColumns` of Istio's custom resources.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from core.model.config import Document

Include = Literal["None", "Metadata", "Object"]
"""What a row carries of its object besides the cells."""

COLUMNS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "VirtualService": (("Gateways", "gateways"), ("Hosts", "hosts")),
    "DestinationRule": (("Host", "host"),),
    "ServiceEntry": (("Hosts", "hosts"), ("Location", "location"), ("Resolution", "resolution")),
    "PeerAuthentication": (("Mode", "mtls.mode"),),
    "AuthorizationPolicy": (("Action", "action"),),
}
"""By kind: titles, and where in the spec the cells are. Every kind has a name before these and an age after them.

istioctl prints the same.
"""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


class Row(msgspec.Struct, frozen=True):
    cells: tuple[str, ...]
    object: object


class Table(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`meta.k8s.io/v1.Table`."""

    kind: str = "Table"
    api_version: str = "meta.k8s.io/v1"
    metadata: dict[str, object] = {}
    column_definitions: tuple[Column, ...]
    rows: tuple[Row, ...]


def wanted(accept: str) -> bool:
    """Whether a client that says so in `Accept` would have a table before anything else."""
    first = accept.partition(",")[0].replace(" ", "")
    return first.startswith("application/json") and "as=Table" in first and "g=meta.k8s.io" in first


def columns(kind: str) -> tuple[Column, ...]:
    return (
        Column(name="Name", format="name"),
        *(Column(name=title) for title, _ in COLUMNS.get(kind, ())),
        Column(name="Age"),
    )


def cells(document: Document, *, now: float) -> tuple[str, ...]:
    """`now` in epoch seconds."""
    spec = msgspec.json.decode(document.spec)
    paths = (path for _, path in COLUMNS.get(document.key.kind, ()))
    return (document.key.name, *(cell(spec, path) for path in paths), age(now - document.created))


def table(kind: str, rows: Iterable[Row], *, metadata: dict[str, object]) -> Table:
    return Table(column_definitions=columns(kind), rows=tuple(rows), metadata=metadata)


def row(document: Document, thing: dict[str, object], include: Include, *, now: float | None = None) -> Row:
    """`thing` is the object as it would be answered by itself."""
    shown: object = None
    if include == "Object":
        shown = thing
    elif include == "Metadata":
        metadata = thing["metadata"]
        shown = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return Row(cells(document, now=time.time() if now is None else now), shown)


def cell(spec: object, path: str) -> str:
    """A list as JSON, as Kubernetes prints it; nothing for what is not there."""
    for part in path.split("."):
        spec = spec.get(part) if isinstance(spec, dict) else None
    if spec is None:
        return ""
    return spec if isinstance(spec, str) else msgspec.json.encode(spec).decode()


def age(seconds: float) -> str:
    """As kubectl says it: one unit when it is big, two when the second still matters."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _two(first: int, unit: str, second: int, smaller: str) -> str:
    return f"{first}{unit}{second}{smaller}" if second else f"{first}{unit}"
