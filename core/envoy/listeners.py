"""Listeners with their filter chains."""

from collections.abc import Iterator
from typing import assert_never

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from msgspec.structs import replace

from core.envoy import addresses, transport_sockets
from core.envoy.any import NO, YES, milliseconds, packed
from core.envoy.filters import http_connection_manager, network_rbac, original_dst, set_filter_state, tcp_proxy
from core.envoy.inspection import inspectors, match
from core.envoy.templates import Templates
from core.view.listener import (
    Bind,
    Captured,
    FilterChain,
    HttpChain,
    InProcess,
    Listener,
    NamedRoutes,
    Socket,
    TcpChain,
)
from core.view.route import WeightedUpstream

_Listener = listener_pb2.Listener


def encode(listener: Listener) -> bytes:
    """An `Any` of `envoy.config.listener.v3.Listener`."""
    return _TEMPLATES.render(*taken_apart(listener))


def taken_apart(listener: Listener) -> tuple[Listener, tuple[str, ...]]:
    """The listener without the texts in which those of many services differ, and these texts."""
    bind, address = listener.bind, ""
    if isinstance(bind, Socket | Captured):
        bind, address = replace(bind, address=""), bind.address
    chains = [_without_texts(chain.serve) for chain in listener.chains]
    shape = replace(
        listener,
        name="",
        bind=bind,
        chains=tuple(replace(c, serve=serve) for c, (serve, _) in zip(listener.chains, chains, strict=True)),
    )
    return shape, (listener.name, address, *(text for _, texts in chains for text in texts))


def put_together(shape: Listener, texts: tuple[str, ...]) -> Listener:
    """The opposite of `taken_apart`."""
    name, address, *rest = texts
    remaining = iter(rest)
    bind = replace(shape.bind, address=address) if isinstance(shape.bind, Socket | Captured) else shape.bind
    chains = tuple(replace(chain, serve=_with_texts(chain.serve, remaining)) for chain in shape.chains)
    return replace(shape, name=name, bind=bind, chains=chains)


def _without_texts(serve: HttpChain | TcpChain) -> tuple[HttpChain | TcpChain, tuple[str, ...]]:
    match serve:
        case HttpChain(stat_prefix=prefix, routes=NamedRoutes(name)):
            return replace(serve, stat_prefix="", routes=_SOME_ROUTES), (prefix, name)
        case TcpChain(stat_prefix=prefix, upstreams=(WeightedUpstream(upstream),)):
            return replace(serve, stat_prefix="", upstreams=_SOME_UPSTREAM), (prefix, upstream)
        case _:
            return serve, ()


def _with_texts(serve: HttpChain | TcpChain, texts: Iterator[str]) -> HttpChain | TcpChain:
    match serve:
        case HttpChain(routes=routes) if routes == _SOME_ROUTES:
            return replace(serve, stat_prefix=next(texts), routes=NamedRoutes(next(texts)))
        case TcpChain(upstreams=upstreams) if upstreams == _SOME_UPSTREAM:
            return replace(serve, stat_prefix=next(texts), upstreams=(WeightedUpstream(next(texts)),))
        case _:
            return serve


_SOME_ROUTES = NamedRoutes("")
_SOME_UPSTREAM = (WeightedUpstream(""),)


def build(shape: Listener, texts: tuple[str, ...]) -> bytes:
    """The same with protobuf alone."""
    listener = put_together(shape, texts)
    message = _bound(listener.bind)
    message.name = listener.name
    message.traffic_direction = base_pb2.TrafficDirection.Value(listener.direction.upper())
    message.filter_chains.extend(_chain(chain, listener) for chain in listener.chains)
    if listener.original:
        message.MergeFrom(_redirected(listener))
    if looking := inspectors(chain.match for chain in listener.chains):
        message.MergeFrom(_inspected(looking, listener.sniff_timeout))
    return packed(message)


_TEMPLATES = Templates(build)


def _bound(bind: Bind) -> listener_pb2.Listener:
    match bind:
        case Socket(address, port):
            # With port reuse two proxies could bind one address, and the kernel would share its connections out
            # between them without a word; without it the second one is refused and says so.
            return _Listener(address=addresses.socket(address, port), enable_reuse_port=NO)
        case Captured(address, port):
            return _Listener(address=addresses.socket(address, port), bind_to_port=NO)
        case InProcess():
            return _Listener(internal_listener=_Listener.InternalListenerConfig())
        case _:
            assert_never(bind)


def _redirected(listener: Listener) -> listener_pb2.Listener:
    """Inbound, no other listener takes over: it would be one of those that stand for calls from here."""
    message = _Listener(listener_filters=[original_dst.FILTER])
    if listener.direction == "outbound":
        message.use_original_dst.CopyFrom(YES)
    elif listener.transparent:
        message.listener_filters.append(original_dst.keep_source(listener.mark))
    if listener.transparent:
        message.transparent.CopyFrom(YES)
    return message


def _inspected(looking: list[listener_components_pb2.ListenerFilter], timeout: int) -> listener_pb2.Listener:
    """Who has said nothing when the time is up speaks neither TLS nor HTTP; 0 waits for ever."""
    return _Listener(
        listener_filters=looking,
        listener_filters_timeout=milliseconds(timeout),
        continue_on_listener_filters_timeout=True,
    )


def _chain(chain: FilterChain, listener: Listener) -> listener_components_pb2.FilterChain:
    return listener_components_pb2.FilterChain(
        name=chain.name,
        filter_chain_match=match(chain.match),
        transport_socket=transport_sockets.server(chain.security),
        filters=_filters(chain, listener),
    )


def _filters(chain: FilterChain, listener: Listener) -> list[listener_components_pb2.Filter]:
    direction, log = listener.direction, listener.access_log
    match serve := chain.serve:
        case HttpChain():
            return [http_connection_manager.network_filter(serve, direction, chain.security, log)]
        case TcpChain(protocols=protocols, checks=checks):
            offering = [set_filter_state.offering(protocols)] if protocols else []
            before = [*network_rbac.network_filters(checks), *offering]
            return [*before, tcp_proxy.network_filter(serve, direction, chain.security, log)]
        case _:
            assert_never(serve)
