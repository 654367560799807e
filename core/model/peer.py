"""What telemetry says about a workload, as one short text: it travels in node and endpoint metadata and in a header.

One text and not a field each, because a proxy looks it up for every request. Not for decisions: a claim is no identity.
"""

import msgspec

from core.model.labels import Labels
from core.model.service import WorkloadKey

WORKLOAD_NAME = "service.istio.io/workload-name"
"""The label that names what the replicas of a workload have in common."""

CLUSTER = "default"
"""Which cluster workloads run in, until a Manager looks after several."""

_NAMES = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISIONS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_SEPARATORS = str.maketrans(dict.fromkeys(';"\\\n\r\t\0', "_"))


class Peer(msgspec.Struct, frozen=True):
    """`service` and `revision` are the canonical ones (Istio, "Canonical service"); "" is unknown."""

    workload: str = ""
    namespace: str = ""
    service: str = ""
    revision: str = ""
    cluster: str = ""
    app: str = ""
    version: str = ""

    @classmethod
    def of(cls, key: WorkloadKey, labels: Labels) -> "Peer":
        name = workload_name(key, labels)
        return cls(
            workload=name,
            namespace=key.namespace,
            service=_first(labels, _NAMES) or name,
            revision=_first(labels, _REVISIONS) or "latest",
            cluster=CLUSTER,
            app=labels.get("app"),
            version=labels.get("version"),
        )

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """The opposite of `str`. What is missing is unknown, what is too much is left out: the text is a stranger's."""
        parts = text.split(";")[:7]
        if len(parts) == 5:
            parts += parts[2:4]
        return cls(*parts)

    def __str__(self) -> str:
        """`workload;namespace;service;revision;cluster` as in Istio's endpoint metadata; and `;app;version`, where
        these are not service and revision."""
        first = (self.workload, self.namespace, self.service, self.revision, self.cluster)
        rest = () if (self.app, self.version) == (self.service, self.revision) else (self.app, self.version)
        return ";".join(part.translate(_SEPARATORS) for part in (*first, *rest))


def workload_name(key: WorkloadKey, labels: Labels) -> str:
    """What the replicas of a workload have in common."""
    return labels.get(WORKLOAD_NAME) or key.name


def _first(labels: Labels, keys: tuple[str, ...]) -> str:
    return next((value for key in keys if (value := labels.get(key))), "")
