"""What the Manager knows about its proxies, as plain values for whoever shows it. Not how it came to know."""

import msgspec

from core.model.config import Origin
from core.model.service import WorkloadKey


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How far one resource type has come at one proxy.

    `type` is the short name ("CDS"); `sent` and `acked` are versions, "" before the first;
    `generation` is the generation of the configuration that the acknowledged version was compiled from.
    """

    type: str
    sent: str = ""
    acked: str = ""
    generation: int = 0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that the proxy would not take. `reason` is Envoy's text; `origin` the document behind it."""

    type: str
    resource: str
    reason: str
    origin: Origin | None = None


class ProxyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One connected proxy. `connected_since` is seconds since the epoch."""

    workload: WorkloadKey
    node: str
    connected_since: float
    deliveries: tuple[Delivery, ...] = ()
    refused: tuple[Refusal, ...] = ()

    @property
    def synced(self) -> bool:
        """Everything that was sent is acknowledged, and nothing is refused."""
        return not self.refused and all(d.sent == d.acked for d in self.deliveries)
