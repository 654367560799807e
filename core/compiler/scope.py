"""Scopes: proxies that see the same outbound world share one."""

from typing import Literal

import msgspec

from core.model.labels import NO_LABELS, Labels
from core.model.service import Locality
from core.model.workload import Explicit, Proxyless, Workload

CaptureMode = Literal["none", "redirect", "gateway", "proxyless"]
"""How traffic gets into the proxies of a scope (`core.model.workload.Capture`); gateways capture nothing."""


class Near(msgspec.Struct, frozen=True, order=True):
    """A caller's place, as far as it makes a difference: its locality, and labels by which a rule says who is near."""

    locality: Locality = Locality()
    labels: Labels = NO_LABELS


NOWHERE = Near()
"""The place of all callers as long as no rule makes a difference between places, and of those that have none."""


class Scope(msgspec.Struct, frozen=True, order=True):
    """`labels` holds only those labels of the workload that some rule's source match asks for.

    `virtual`: the workloads of this scope have listeners of their own for each service (capture `none` only).
    `near` makes a difference for endpoints and nothing else, so that the rest is the business of the scope `anywhere`.
    Capture `redirect` only: `dns_port` is where they find their DNS server, 0: there is none; `resolver` whom it asks.
    """

    namespace: str
    labels: Labels = NO_LABELS
    virtual: bool = False
    capture: CaptureMode = "none"
    dns_port: int = 0
    resolver: str = ""
    near: Near = NOWHERE

    @property
    def anywhere(self) -> "Scope":
        return self if self.near == NOWHERE else msgspec.structs.replace(self, near=NOWHERE)


def scope_of(workload: Workload, label_names: frozenset[str], near_labels: frozenset[str] | None = None) -> Scope:
    """The scope of a workload, when rules look at these labels of callers.

    `near_labels` are those by which rules say who is near, beside localities; None: no rule does.
    """
    near = NOWHERE if near_labels is None else Near(workload.locality, workload.labels.only(near_labels))
    labels = workload.labels.only(label_names)
    namespace, capture = workload.key.namespace, workload.capture
    if workload.role == "gateway":
        return Scope(namespace, labels, capture="gateway", near=near)
    if isinstance(capture, Proxyless):
        return Scope(namespace, labels, capture="proxyless", near=near)
    if isinstance(capture, Explicit):
        return Scope(namespace, labels, virtual=capture.virtual_network is not None, near=near)
    dns_port, resolver = capture.dns_port, capture.resolver
    return Scope(namespace, labels, capture="redirect", dns_port=dns_port, resolver=resolver, near=near)
