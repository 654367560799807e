"""Listeners: where a proxy accepts, how it tells what arrived, and what is done with it."""

from typing import Literal

import msgspec

from core.view.route import RouteConfiguration, WeightedUpstream


class Socket(msgspec.Struct, frozen=True, tag=True):
    address: str
    port: int


class InProcess(msgspec.Struct, frozen=True, tag=True):
    """No socket: reached from an `Internal` upstream of the same proxy."""


Bind = Socket | InProcess


class NamedRoutes(msgspec.Struct, frozen=True, tag=True):
    """The route configuration is a resource of its own."""

    name: str


class HttpChain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Speaks HTTP by the rules of a route configuration.

    `forward_proxy`: accepts absolute URLs and CONNECT. `any_host`: routes may lead to an `AnyHost` upstream.
    """

    stat_prefix: str
    routes: NamedRoutes | RouteConfiguration
    forward_proxy: bool = False
    any_host: bool = False


class TcpChain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Passes bytes on. `idle_timeout` in milliseconds, 0: the default."""

    stat_prefix: str
    upstreams: tuple[WeightedUpstream, ...]
    idle_timeout: int = 0


Serve = HttpChain | TcpChain


class FilterChain(msgspec.Struct, frozen=True, kw_only=True):
    """`sniffed` "http": only connections whose first bytes are HTTP; "any": every connection that nothing else took."""

    name: str = ""
    sniffed: Literal["any", "http"] = "any"
    serve: Serve


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """At most one chain is "any". Where there is an "http" chain, the first bytes are waited for `sniff_timeout` ms."""

    name: str
    bind: Bind
    direction: Literal["inbound", "outbound"]
    chains: tuple[FilterChain, ...]
    sniff_timeout: int = 5_000
    access_log_file: str = ""
