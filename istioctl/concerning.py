"""Whom an object is about: hosts, workloads, gateways, namespaces, and the proxies that have a part of it. For people,
not for deciding anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from core.errors import MeshError
from core.model.service import WorkloadKey

if TYPE_CHECKING:
    from core.kinds.kind import Kind
    from core.manager.api.objects import Resource
    from istioctl.client import Api

DOMAIN: Final = "svc.cluster.local"
MOST_PROXIES: Final = 50
"""Proxies that are looked at; of more it would take too long."""

MARKED: Final = ("VirtualService", "DestinationRule")
"""Kinds that leave their name in what proxies get."""


class Line(NamedTuple):
    what: str
    text: str


def lines(resource: Resource) -> tuple[Line, ...]:
    """What the object itself says of it."""
    spec = msgspec.json.decode(resource.spec, type=dict[str, object])
    return tuple(_said(spec, resource.metadata.namespace, resource.kind))


def _said(spec: dict[str, object], namespace: str, kind: str) -> Iterator[Line]:
    hosts = _words(spec.get("hosts")) or _words(spec.get("host"))
    if hosts:
        yield Line("hosts", ", ".join(_full(host, namespace) for host in hosts))
    if subsets := _names(spec.get("subsets")):
        yield Line("subsets", ", ".join(subsets))
    if kind == "VirtualService":
        gateways = _words(spec.get("gateways")) or ["mesh"]
        yield Line("gateways", ", ".join("mesh (all sidecars)" if each == "mesh" else each for each in gateways))
    if (labels := _labels(spec)) is not None:
        said = ", ".join(f"{name}={value}" for name, value in labels.items())
        yield Line("workloads", f"with the labels {said}" if said else f"all of namespace {namespace}")
    if kind in (*MARKED, "ServiceEntry"):
        seen = _words(spec.get("exportTo")) or ["*"]
        yield Line("exported to", ", ".join({"*": "every namespace", ".": namespace}.get(each, each) for each in seen))


def _labels(spec: dict[str, object]) -> dict[str, object] | None:
    for name in ("selector", "workloadSelector"):
        given = spec.get(name)
        if isinstance(given, dict):
            inner = given.get("matchLabels", given.get("labels", given))
            return inner if isinstance(inner, dict) else None
    return None


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _names(value: object) -> list[str]:
    return [str(each.get("name", "")) for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _full(host: str, namespace: str) -> str:
    """A name without a dot is a service of the namespace."""
    return host if "." in host or "*" in host else f"{host}.{namespace}.{DOMAIN}"


def served(api: Api, kind: Kind, key: tuple[str, str], *, proxies: list[WorkloadKey]) -> Line | None:
    """Which proxies have something that was made of it. None where that is not known; `key`: namespace, name."""
    if kind.kind not in MARKED or len(proxies) > MOST_PROXIES:
        return None
    mark = f"/namespaces/{key[0]}/{_dashed(kind.kind)}/{key[1]}".encode()
    try:
        having = [str(each) for each in proxies if _has(api, each, mark)]
    except MeshError:
        return None
    return Line("proxies", f"{len(having)} of {len(proxies)} have a part of it" + _listed(having))


def _has(api: Api, key: WorkloadKey, mark: bytes) -> bool:
    return any(re.search(re.escape(mark) + rb'(?![^"])', bytes(part)) for part in api.sent(key).values())


def _listed(names: list[str]) -> str:
    return ": " + ", ".join(names) if names else ""


def _dashed(kind: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower()
