"""Where calls from outside come in: which gateways open which ports, for which hosts, and with which certificate."""

import msgspec

from core.model.config import Origin
from core.model.labels import NO_LABELS, Labels


class Stored(msgspec.Struct, frozen=True, tag=True):
    """Certificate and key are in the secret `name`, in the namespace of the gateway's workload."""

    name: str


class InFiles(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Certificate, key and (for callers' certificates) roots are files on the gateway's host; `roots` "": none."""

    certificate: str
    key: str
    roots: str = ""


class Terminated(msgspec.Struct, frozen=True, kw_only=True):
    """TLS ends here. `mutual`: callers must show a certificate by the given roots.

    Versions are spelled as in documents (TLSV1_2); "" leaves them to the proxy; so do no ciphers.
    """

    certificate: Stored | InFiles
    mutual: bool = False
    min_version: str = ""
    max_version: str = ""
    ciphers: tuple[str, ...] = ()


class ServedHost(msgspec.Struct, frozen=True):
    """`host` is exact, "*.x" or "*". Rules from `namespace` may be for it, "*": from any."""

    host: str
    namespace: str = "*"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One port of a gateway and the hosts it serves there. Without `tls` it speaks plain HTTP.

    `to_https`: every request is sent on to the same host with https.
    """

    port: int
    name: str
    hosts: tuple[ServedHost, ...]
    tls: Terminated | None = None
    to_https: bool = False
    origin: Origin


class GatewayRule(msgspec.Struct, frozen=True, kw_only=True):
    """What one document opens on the gateways, in whatever namespace, that `selector` selects; all if it is empty."""

    selector: Labels = NO_LABELS
    servers: tuple[Server, ...]
    created: float = 0.0
    origin: Origin

    @property
    def name(self) -> str:
        """As routing rules name it: `namespace/name`."""
        return f"{self.origin.config.namespace}/{self.origin.config.name}"
