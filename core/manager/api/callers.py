"""Who may use the config API, on its wire: what is asked for and what is answered. No server, no file."""

from typing import Final

import msgspec

PATH: Final = "/v1/callers"
"""Of the list of them; one of them is PATH/NAME."""

OWNER: Final = "/v1/owner-token"
"""A POST there makes the owner's token anew, and puts it into the kubeconfig of the state directory."""


class Newcomer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of a POST: somebody new. `ttl` in seconds, 0 for no end; `namespace` for the role of that name."""

    name: str
    role: str
    namespace: str = ""
    ttl: float = 0.0


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is let in. `until` in epoch seconds, 0 for no end; `owner`: the kubeconfig of the mesh is theirs."""

    name: str
    role: str
    namespace: str = ""
    until: int = 0
    owner: bool = False


class Callers(msgspec.Struct, frozen=True):
    callers: tuple[Listed, ...]


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a POST, the only one that holds the token."""

    token: str
    caller: Listed

    def __repr__(self) -> str:
        return f"Admitted({self.caller.name}, <redacted>)"
