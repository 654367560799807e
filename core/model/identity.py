"""Who a workload is: SPIFFE identities (SPIFFE-ID specification §2)."""

import msgspec

from core.errors import Misconfigured

_PREFIX = "spiffe://"


class SpiffeId(msgspec.Struct, frozen=True, order=True):
    """`spiffe://<trust domain>/<path>`; mesh workloads use the path `ns/<namespace>/sa/<service account>`."""

    trust_domain: str
    path: str

    @classmethod
    def of(cls, trust_domain: str, *, namespace: str, service_account: str) -> "SpiffeId":
        return cls(trust_domain, f"ns/{namespace}/sa/{service_account}")

    @classmethod
    def parse(cls, uri: str) -> "SpiffeId":
        """Raises `Misconfigured` when `uri` is not a SPIFFE ID."""
        domain, slash, path = uri.removeprefix(_PREFIX).partition("/")
        if not uri.startswith(_PREFIX) or not domain or not slash or not path:
            raise Misconfigured(f"{uri!r} is not a SPIFFE ID", fix="write spiffe://<trust domain>/ns/<ns>/sa/<name>")
        return cls(domain, path)

    @property
    def namespace(self) -> str:
        """Of a workload of the mesh; "" of anybody else."""
        parts = self.path.split("/")
        return parts[1] if len(parts) == 4 and (parts[0], parts[2]) == ("ns", "sa") else ""

    def __str__(self) -> str:
        return f"{_PREFIX}{self.trust_domain}/{self.path}"


CERTIFICATE_FILE = "certs/default.json"
"""Where a proxy finds its certificate and key, relative to the directory it runs in: a file that holds one Envoy
`Secret` named `CERTIFICATE`. Relative, so that what the Manager sends is the same for all proxies."""

ROOTS_FILE = "certs/ROOTCA.json"
"""The same for the roots it trusts, `Secret` `ROOTS`."""

SYSTEM_ROOTS_FILE = "certs/system-roots.pem"
"""Roots that the proxy's machine trusts (PEM), in the same directory: for servers that are no part of the mesh."""

CERTIFICATE, ROOTS = "default", "ROOTCA"
"""Istio's names of the two secrets (`istioctl proxy-config secret`)."""
