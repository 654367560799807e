"""Settings of the whole mesh (Istio `MeshConfig`), resolved: every value is explicit."""

from enum import StrEnum
from typing import Literal

import msgspec

from core.model.locality import Failover, LocalityPolicy


class OutboundMode(StrEnum):
    """What happens to calls to hosts that nobody registered (`MeshConfig.outboundTrafficPolicy.mode`)."""

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"


class AccessLog(msgspec.Struct, frozen=True, kw_only=True):
    """Where proxies write a line for every request and connection; `file` "" is nowhere.

    `format` is a line in Envoy's command operators, for `JSON` an object of them; "" is Istio's.
    """

    file: str = ""
    encoding: Literal["TEXT", "JSON"] = "TEXT"
    format: str = ""


class Mesh(msgspec.Struct, frozen=True, kw_only=True):
    """Mesh-wide settings. `connect_timeout` is in milliseconds.

    `locality` holds where a policy for a service says nothing of it.
    `auto_mtls`: proxies speak mutual TLS with each other unless a rule says otherwise.
    """

    root_namespace: str = "istio-system"
    domain_suffix: str = "cluster.local"
    trust_domain: str = "cluster.local"
    outbound: OutboundMode = OutboundMode.ALLOW_ANY
    connect_timeout: int = 10_000
    access_log: AccessLog = AccessLog()
    auto_mtls: bool = True
    locality: LocalityPolicy = Failover()
