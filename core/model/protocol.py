"""Which protocol a port speaks, and how names and `appProtocol` declare it (Istio "protocol selection")."""

from enum import StrEnum


class Protocol(StrEnum):
    """What is spoken on a port. `AUTO` means undeclared: the proxy looks at the first bytes."""

    AUTO = "auto"
    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    HTTPS = "https"
    TLS = "tls"
    TCP = "tcp"
    MONGO = "mongo"
    REDIS = "redis"
    MYSQL = "mysql"
    UDP = "udp"

    @property
    def is_http(self) -> bool:
        """Routed by HTTP rules."""
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        """HTTP/2 framing is known in advance, so that upstream connections may start with it."""
        return self in (Protocol.HTTP2, Protocol.GRPC)


_HTTP = frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})

_KUBERNETES_NAMES = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}
_NAMES = {p.value: p for p in Protocol if p not in (Protocol.AUTO,)} | {"http_proxy": Protocol.HTTP}

SERVER_FIRST_PORTS = frozenset({25, 53, 3306, 27017})
"""Ports whose servers usually speak first; sniffing would wait for ever, so an undeclared one is plain TCP."""


def named_protocol(text: str) -> Protocol | None:
    """The protocol that `text` names exactly (case-insensitive), `appProtocol` spellings included."""
    lowered = text.lower()
    return _KUBERNETES_NAMES.get(lowered) or _NAMES.get(lowered)


def select_protocol(number: int, *, name: str = "", app_protocol: str = "", transport: str = "TCP") -> Protocol:
    """The protocol of a service port.

    `transport` UDP wins; then `app_protocol`; then the part of the port's name before the first "-"
    ("grpc-web" as a whole); otherwise `AUTO`, or TCP on the well-known server-first ports.
    Source: Istio documentation "Protocol Selection".
    """
    if transport.upper() == "UDP":
        return Protocol.UDP
    if app_protocol and (declared := named_protocol(app_protocol)):
        return declared
    lowered = name.lower()
    if lowered == "grpc-web" or lowered.startswith("grpc-web-"):
        return Protocol.GRPC_WEB
    if declared := _NAMES.get(lowered.split("-", 1)[0]):
        return declared
    return Protocol.TCP if number in SERVER_FIRST_PORTS else Protocol.AUTO
