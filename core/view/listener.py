"""Listeners: where a proxy accepts, how it tells what arrived, and what is done with it."""

from typing import Literal

import msgspec

from core.model.mesh import AccessLog
from core.view.access import Check
from core.view.route import RouteConfiguration, WeightedUpstream
from core.view.security import NO_TLS, ServerSecurity


class Socket(msgspec.Struct, frozen=True, tag=True):
    address: str
    port: int


class Captured(msgspec.Struct, frozen=True, tag=True):
    """No socket: takes over what a listener with `original` accepted and what was meant for this place.

    `address` "0.0.0.0" is any. Envoy: `bind_to_port: false`, found by the original destination.
    """

    address: str
    port: int


class InProcess(msgspec.Struct, frozen=True, tag=True):
    """No socket: reached from an `Internal` upstream of the same proxy."""


Bind = Socket | Captured | InProcess


class NamedRoutes(msgspec.Struct, frozen=True, tag=True):
    """The route configuration is a resource of its own."""

    name: str


class HttpChain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Speaks HTTP by the rules of a route configuration.

    `forward_proxy`: accepts absolute URLs and CONNECT. `any_host`: routes may lead to an `AnyHost` upstream.
    `edge`: callers are strangers, and what they say of themselves in headers is not believed. `checks`: who may call.
    """

    stat_prefix: str
    routes: NamedRoutes | RouteConfiguration
    forward_proxy: bool = False
    any_host: bool = False
    edge: bool = False
    checks: tuple[Check, ...] = ()


class TcpChain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Passes bytes on. `idle_timeout` in milliseconds, 0: the default.

    `protocols`: what is offered by ALPN instead of what the upstream says, where that may carry HTTP as well; none: as
    the upstream says. `checks`: who may connect; asked when the caller has sent its first bytes.
    """

    stat_prefix: str
    upstreams: tuple[WeightedUpstream, ...]
    idle_timeout: int = 0
    protocols: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()


Serve = HttpChain | TcpChain


Transport = Literal["any", "plain", "tls"]

PLAIN_HTTP = ("http/1.0", "http/1.1", "h2c")
"""What the first bytes of a connection without TLS are called when they are HTTP (Envoy: `http_inspector`)."""


class ChainMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Which connections a chain takes: all that is given has to hold (Envoy: `FilterChainMatch`).

    `port`: what the connection was meant for, where it was redirected; 0: any. `server_names`: SNI, "*.x" for suffixes.
    `protocols`: one of them was offered by ALPN, or is what the first bytes look like (`PLAIN_HTTP`); none: any.
    """

    port: int = 0
    transport: Transport = "any"
    server_names: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()


ANY = ChainMatch()
HTTP_BYTES = ChainMatch(protocols=PLAIN_HTTP)
"""Connections that begin like HTTP."""


class FilterChain(msgspec.Struct, frozen=True, kw_only=True):
    """The most specific match is taken: port, then server name, then transport, then protocols (Envoy's order)."""

    name: str = ""
    match: ChainMatch = ANY
    security: ServerSecurity = NO_TLS
    serve: Serve


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Where chains look at first bytes, these are waited for `sniff_timeout` ms.

    `original`: connections were redirected here; their original destination decides the chain, and the `Captured`
    listener that takes them over where there is one (outbound). `transparent`: they came by TPROXY; what is sent on
    carries the caller's address, and `mark` on its sockets (0: none).
    """

    name: str
    bind: Bind
    direction: Literal["inbound", "outbound"]
    chains: tuple[FilterChain, ...]
    sniff_timeout: int = 5_000
    access_log: AccessLog = AccessLog()
    original: bool = False
    transparent: bool = False
    mark: int = 0
