"""Scopes: proxies that see the same outbound world share one."""

from typing import Literal

import msgspec

from core.model.labels import NO_LABELS, Labels
from core.model.workload import Explicit, Proxyless, Workload

CaptureMode = Literal["none", "redirect", "gateway", "proxyless"]
"""How traffic gets into the proxies of a scope (`core.model.workload.Capture`); gateways capture nothing."""


class Scope(msgspec.Struct, frozen=True, order=True):
    """`labels` holds only those labels of the workload that some rule's source match asks for.

    `virtual`: the workloads of this scope have listeners of their own for each service (capture `none` only).
    Capture `redirect` only: `dns_port` is where they find their DNS server, 0: there is none; `resolver` whom it asks.
    """

    namespace: str
    labels: Labels = NO_LABELS
    virtual: bool = False
    capture: CaptureMode = "none"
    dns_port: int = 0
    resolver: str = ""


def scope_of(workload: Workload, label_names: frozenset[str]) -> Scope:
    """The scope of a workload, when rules look at these labels of callers."""
    labels = Labels(tuple(pair for pair in workload.labels if pair[0] in label_names))
    namespace, capture = workload.key.namespace, workload.capture
    if workload.role == "gateway":
        return Scope(namespace, labels, capture="gateway")
    if isinstance(capture, Proxyless):
        return Scope(namespace, labels, capture="proxyless")
    if isinstance(capture, Explicit):
        return Scope(namespace, labels, virtual=capture.virtual_network is not None)
    return Scope(namespace, labels, capture="redirect", dns_port=capture.dns_port, resolver=capture.resolver)
