"""Join tokens on the wire of the config API: what is asked for and what is answered. No server, no secret key."""

import msgspec


class Wanted(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of `POST /v1/tokens`: `workload` or `service_account`; `ttl` in seconds; `uses` 1 or unlimited."""

    namespace: str = "default"
    service_account: str = ""
    workload: str = ""
    ttl: float = 3600.0
    uses: str = "1"


class Made(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer, the only one of the Manager that holds a token. `expires` in epoch seconds."""

    token: str
    identity: str
    expires: int
    uses: str

    def __repr__(self) -> str:
        return f"Made({self.identity}, <redacted>)"
