"""Settings of the whole mesh (Istio `MeshConfig`), resolved: every value is explicit."""

from enum import StrEnum

import msgspec


class OutboundMode(StrEnum):
    """What happens to calls to hosts that nobody registered (`MeshConfig.outboundTrafficPolicy.mode`)."""

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"


class Mesh(msgspec.Struct, frozen=True, kw_only=True):
    """Mesh-wide settings. `connect_timeout` is in milliseconds."""

    root_namespace: str = "istio-system"
    domain_suffix: str = "cluster.local"
    trust_domain: str = "cluster.local"
    outbound: OutboundMode = OutboundMode.ALLOW_ANY
    connect_timeout: int = 10_000
    access_log_file: str = ""
