"""The Manager's settings: one frozen record, built once, by whoever starts the process."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from core.manager.paths import home

Scalar = str | int | float | bool | None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is the state directory. `platform` names an entry point of `istio.platforms`, `options` are its settings.

    `coalesce` is how long (seconds) changes may be collected while proxies are still answering the last push.
    `certificate_lifetime` (seconds) is the longest, and the usual, life of a workload's certificate. `stream_age`
    (seconds) is how long a proxy's stream lasts before it has to come back.
    For other machines, as host:port, "" for off, port 0 for a free one: `ca_listen` (HTTPS, certificates), `xds_listen`
    (gRPC with mutual TLS: proxies, and renewals) and `csr_listen` (gRPC, first certificates for a token).
    `api_listen` (host:port, "" for off) is where the config API speaks HTTPS, besides its unix socket.
    `names` are further names and addresses under which others reach these.
    Several Managers may share a state directory: this is number `number` of `managers`. They share ports, too.
    """

    state: Path
    number: int = 1
    managers: int = 1
    platform: str = "local"
    options: Mapping[str, Scalar] = {}
    coalesce: float = 0.02
    certificate_lifetime: float = 24 * 3600.0
    stream_age: float = 30 * 60.0
    ca_listen: str = ""
    xds_listen: str = ""
    csr_listen: str = ""
    api_listen: str = ""
    names: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        """The directory of this Manager's own sockets."""
        return home(self.state, self.number)
