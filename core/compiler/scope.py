"""Scopes: proxies that see the same outbound world share one."""

import msgspec

from core.model.labels import NO_LABELS, Labels
from core.model.workload import Workload


class Scope(msgspec.Struct, frozen=True, order=True):
    """`labels` holds only those labels of the workload that some rule's source match asks for.

    `virtual`: the workloads of this scope have listeners of their own for each service.
    """

    namespace: str
    labels: Labels = NO_LABELS
    virtual: bool = False


def scope_of(workload: Workload, label_names: frozenset[str]) -> Scope:
    """The scope of a workload, when rules look at these labels of callers."""
    pairs = tuple(pair for pair in workload.labels if pair[0] in label_names)
    return Scope(workload.key.namespace, Labels(pairs), workload.capture.virtual_network is not None)
