"""How connections are secured, as documents say it: what is demanded of callers, and what is shown to servers."""

from typing import Literal

import msgspec

from core.ir.values import INHERIT, Inherit
from core.model.config import Origin
from core.model.identity import SpiffeId
from core.model.labels import NO_LABELS, Labels

MutualTls = Literal["DISABLE", "PERMISSIVE", "STRICT"]
"""Inbound: plain bytes only, both, or mutual TLS only (Istio `PeerAuthentication.mtls.mode`)."""


class PeerRule(msgspec.Struct, frozen=True, kw_only=True):
    """What one PeerAuthentication says of the workloads in `namespace` that `labels` select.

    Without labels it holds for the whole namespace; in the root namespace, for the mesh. `ports` are the workload's.
    """

    namespace: str
    labels: Labels = NO_LABELS
    mode: MutualTls | Inherit = INHERIT
    ports: tuple[tuple[int, MutualTls | Inherit], ...] = ()
    created: float = 0.0
    origin: Origin


class PlainBytes(msgspec.Struct, frozen=True, tag=True):
    """No TLS, whatever the other side could do (DestinationRule `tls.mode: DISABLE`)."""


class MeshTls(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Mutual TLS with the mesh's certificates (`ISTIO_MUTUAL`). Empty fields: as it is done without a rule."""

    sni: str = ""
    identities: tuple[SpiffeId, ...] = ()


class ServerTls(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """TLS to a server that shows a certificate of its own (`SIMPLE`, and `MUTUAL` with `certificate` and `key`).

    Paths are of files on the caller's host. Empty fields: nothing is shown, the system's roots are trusted, and the
    name is that of the host that is called. `verify` False: any certificate will do.
    """

    sni: str = ""
    names: tuple[str, ...] = ()
    roots: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


ClientTls = PlainBytes | MeshTls | ServerTls
"""How a service is called."""
