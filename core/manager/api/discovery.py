"""What the API says of itself: groups, versions, resources and their verbs, from the table of kinds. No server in here.

Source: Kubernetes, "API discovery": the old form, and the aggregated one that newer clients ask for.
"""

from collections.abc import Iterable
from typing import Final

from core.kinds.kind import Kind
from core.kinds.registry import KINDS

Json = dict[str, object]

VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS_VERBS: Final = ("get", "patch", "update")

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""The media type, as clients ask for it and as it is answered."""


def groups() -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind.group for kind in KINDS))


def versions(group: str) -> tuple[str, ...]:
    """Of all kinds of the group, the one that is written first."""
    return tuple(dict.fromkeys(version for kind in KINDS if kind.group == group for version in kind.versions))


def kinds(group: str, version: str) -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS if kind.group == group and version in kind.versions)


def legacy() -> Json:
    """`/api`: there is no core group here, and an empty one would only be asked for what it has not."""
    return {"kind": "APIVersions", "versions": [], "serverAddressByClientCIDRs": []}


def group_list() -> Json:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups()]}


def group(name: str) -> Json | None:
    """None when there is no such group."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)} if name in groups() else None


def _group(name: str) -> Json:
    served = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions(name)]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def resource_list(group: str, version: str) -> Json | None:
    """None when there is no such group and version."""
    if not (found := kinds(group, version)):
        return None
    resources = [entry for kind in found for entry in (_resource(kind), _status(kind))]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}",
        "resources": resources,
    }


def _resource(kind: Kind) -> Json:
    return {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "namespaced": True,
        "kind": kind.kind,
        "verbs": list(VERBS),
        "shortNames": list(kind.short_names),
        "categories": categories(kind),
    }


def categories(kind: Kind) -> list[str]:
    """Istio's: `kubectl get istio-io` shows everything."""
    return ["istio-io", kind.group.replace(".", "-")]


def _status(kind: Kind) -> Json:
    return {
        "name": f"{kind.plural}/status",
        "singularName": "",
        "namespaced": True,
        "kind": kind.kind,
        "verbs": list(STATUS_VERBS),
    }


def aggregated(served: Iterable[str]) -> Json:
    """`/apis` in one answer; `/api` the same, with no group."""
    items = [
        {"metadata": {"name": name}, "versions": [_version(name, version) for version in versions(name)]}
        for name in served
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _version(group: str, version: str) -> Json:
    found = [_aggregated(kind, version) for kind in kinds(group, version)]
    return {"version": version, "freshness": "Current", "resources": found}


def _aggregated(kind: Kind, version: str) -> Json:
    response = {"group": kind.group, "version": version, "kind": kind.kind}
    return {
        "resource": kind.plural,
        "responseKind": response,
        "scope": "Namespaced",
        "singularResource": kind.kind.lower(),
        "verbs": list(VERBS),
        "shortNames": list(kind.short_names),
        "categories": categories(kind),
        "subresources": [{"subresource": "status", "responseKind": response, "verbs": list(STATUS_VERBS)}],
    }
