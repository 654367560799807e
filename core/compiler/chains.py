"""Inbound filter chains: on which terms a port takes its callers, by its protocol and the mode of mutual TLS.

The layout is Istio's, so that its sidecars and ours understand each other: callers of the mesh say by ALPN what they
carry inside mutual TLS. TLS without that is the application's own, and where plain bytes are allowed it is passed on.
"""

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from core.compiler import names
from core.compiler.access import ANYBODY, Access
from core.ir.security import MutualTls
from core.ir.values import Retry
from core.model.protocol import Protocol
from core.model.service import Port
from core.view.listener import (
    ANY,
    HTTP_BYTES,
    PLAIN_HTTP,
    ChainMatch,
    FilterChain,
    HttpChain,
    Serve,
    TcpChain,
)
from core.view.route import ForwardTo, Route, RouteConfiguration, VirtualHost, WeightedUpstream
from core.view.security import MESH_HTTP, MESH_TCP, MeshServer

_TLS = ChainMatch(transport="tls")
_PLAIN = ChainMatch(transport="plain")
_HTTP_IN_PLAIN = ChainMatch(transport="plain", protocols=PLAIN_HTTP)
_HTTP_IN_TLS = ChainMatch(transport="tls", protocols=MESH_HTTP)
_BYTES_IN_TLS = ChainMatch(transport="tls", protocols=MESH_TCP)
_MESH_IN_TLS = ChainMatch(transport="tls", protocols=(*MESH_HTTP, *MESH_TCP))
# gRPC clients without a proxy know no other word than their own.
_HTTP2_IN_TLS = ChainMatch(transport="tls", protocols=(*MESH_HTTP, *MESH_TCP, "h2"))

_UNSENT = Retry(attempts=2, conditions=("reset-before-request",), ignore_previous_hosts=False)
"""The application closed an idle connection at the moment when a call was to go out on it: it saw nothing of that."""


class Terms(msgspec.Struct, frozen=True):
    """On which a port takes its callers; with mutual TLS, those of `trust_domain`. Of these, whom `access` lets in."""

    mode: MutualTls
    trust_domain: str = "cluster.local"
    access: Access = ANYBODY

    @property
    def http(self) -> MeshServer:
        return MeshServer(trust_domain=self.trust_domain, protocols=("h2", "http/1.1"))

    @property
    def bytes(self) -> MeshServer:
        return MeshServer(trust_domain=self.trust_domain)


def declared(number: int, port: Port, terms: Terms) -> tuple[FilterChain, ...]:
    """For the workload's port `number`, which serves `port` of a service."""
    upstream = names.inbound(number)
    http, tcp = _http(number, port.number, upstream, terms), _tcp(upstream, terms)
    if port.protocol.is_http:
        return tuple(_for_http(terms, http, mesh=_HTTP2_IN_TLS if port.protocol.is_http2 else _MESH_IN_TLS))
    if port.protocol is Protocol.AUTO:
        return tuple(_for_any(terms, http, tcp))
    return tuple(_for_bytes(terms, tcp))


def undeclared(terms: Terms) -> tuple[FilterChain, ...]:
    """For ports that no service knows (capture `redirect`): to wherever the connection was meant to go."""
    upstream = names.INBOUND_PASSTHROUGH
    http, tcp = _http(0, 0, upstream, terms), _tcp(upstream, terms)
    named = {HttpChain: "virtualInbound-catchall-http", TcpChain: "virtualInbound-catchall-tcp"}
    return tuple(replace(each, name=named[type(each.serve)]) for each in _for_any(terms, http, tcp))


def only_at(port: int, chain: FilterChain) -> FilterChain:
    """The same for connections that were meant for this port."""
    return replace(chain, match=replace(chain.match, port=port))


def _for_http(terms: Terms, http: Serve, *, mesh: ChainMatch) -> Iterator[FilterChain]:
    match terms.mode:
        case "STRICT":
            yield FilterChain(match=_TLS, security=terms.http, serve=http)
        case "PERMISSIVE":
            yield FilterChain(match=mesh, security=terms.http, serve=http)
            yield FilterChain(match=_PLAIN, serve=http)
        case "DISABLE":
            yield FilterChain(match=ANY, serve=http)


def _for_bytes(terms: Terms, tcp: Serve) -> Iterator[FilterChain]:
    match terms.mode:
        case "STRICT":
            yield FilterChain(match=_TLS, security=terms.bytes, serve=tcp)
        case "PERMISSIVE":
            yield FilterChain(match=_BYTES_IN_TLS, security=terms.bytes, serve=tcp)
            yield FilterChain(match=_TLS, serve=tcp)
            yield FilterChain(match=_PLAIN, serve=tcp)
        case "DISABLE":
            yield FilterChain(match=ANY, serve=tcp)


def _for_any(terms: Terms, http: Serve, tcp: Serve) -> Iterator[FilterChain]:
    match terms.mode:
        case "STRICT":
            yield FilterChain(match=_HTTP_IN_TLS, security=terms.http, serve=http)
            yield FilterChain(match=_TLS, security=terms.bytes, serve=tcp)
        case "PERMISSIVE":
            yield FilterChain(match=_HTTP_IN_TLS, security=terms.http, serve=http)
            yield FilterChain(match=_BYTES_IN_TLS, security=terms.bytes, serve=tcp)
            yield FilterChain(match=_HTTP_IN_PLAIN, serve=http)
            yield FilterChain(match=_TLS, serve=tcp)
            yield FilterChain(match=_PLAIN, serve=tcp)
        case "DISABLE":
            yield FilterChain(match=HTTP_BYTES, serve=http)
            yield FilterChain(match=ANY, serve=tcp)


def _http(number: int, service_port: int, upstream: str, terms: Terms) -> HttpChain:
    route = Route(name="default", action=ForwardTo(upstreams=(WeightedUpstream(upstream),), retry=_UNSENT))
    virtual_host = VirtualHost(f"inbound|http|{service_port}", ("*",), (route,))
    routes = RouteConfiguration(upstream, (virtual_host,))
    return HttpChain(stat_prefix=f"inbound_0.0.0.0_{number}", routes=routes, checks=terms.access.http)


def _tcp(upstream: str, terms: Terms) -> TcpChain:
    return TcpChain(stat_prefix=upstream, upstreams=(WeightedUpstream(upstream),), checks=terms.access.bytes)
