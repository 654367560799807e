"""Who a workload is: SPIFFE identities (SPIFFE-ID specification §2)."""

import msgspec

from core.errors import Misconfigured

_PREFIX = "spiffe://"


class SpiffeId(msgspec.Struct, frozen=True):
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

    def __str__(self) -> str:
        return f"{_PREFIX}{self.trust_domain}/{self.path}"
