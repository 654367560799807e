"""Listeners with their filter chains."""

from collections.abc import Iterator
from typing import assert_never

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from msgspec.structs import replace

from core.envoy import addresses
from core.envoy.any import NO, milliseconds, packed
from core.envoy.filters import http_connection_manager, http_inspector, tcp_proxy
from core.envoy.templates import Templates
from core.view.listener import Bind, FilterChain, HttpChain, InProcess, Listener, NamedRoutes, Socket, TcpChain
from core.view.route import WeightedUpstream

_Listener = listener_pb2.Listener


def encode(listener: Listener) -> bytes:
    """An `Any` of `envoy.config.listener.v3.Listener`."""
    return _TEMPLATES.render(*taken_apart(listener))


def taken_apart(listener: Listener) -> tuple[Listener, tuple[str, ...]]:
    """The listener without the texts in which those of many services differ, and these texts."""
    bind, address = listener.bind, ""
    if isinstance(bind, Socket):
        bind, address = Socket("", bind.port), bind.address
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
    bind = Socket(address, shape.bind.port) if isinstance(shape.bind, Socket) else shape.bind
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
    if any(chain.sniffed == "http" for chain in listener.chains):
        message.MergeFrom(_inspected(listener.sniff_timeout))
    return packed(message)


_TEMPLATES = Templates(build)


def _bound(bind: Bind) -> listener_pb2.Listener:
    match bind:
        case Socket(address, port):
            # With port reuse two proxies could bind one address, and the kernel would share its connections out
            # between them without a word; without it the second one is refused and says so.
            return _Listener(address=addresses.socket(address, port), enable_reuse_port=NO)
        case InProcess():
            return _Listener(internal_listener=_Listener.InternalListenerConfig())
        case _:
            assert_never(bind)


def _inspected(timeout: int) -> listener_pb2.Listener:
    """Who has said nothing when the time is up is not an HTTP client; 0 waits for ever."""
    return _Listener(
        listener_filters=[http_inspector.FILTER],
        listener_filters_timeout=milliseconds(timeout),
        continue_on_listener_filters_timeout=True,
    )


def _chain(chain: FilterChain, listener: Listener) -> listener_components_pb2.FilterChain:
    return listener_components_pb2.FilterChain(
        name=chain.name,
        filter_chain_match=http_inspector.HTTP if chain.sniffed == "http" else None,
        filters=[_filter(chain.serve, listener)],
    )


def _filter(serve: HttpChain | TcpChain, listener: Listener) -> listener_components_pb2.Filter:
    match serve:
        case HttpChain():
            return http_connection_manager.network_filter(serve, listener.direction, listener.access_log_file)
        case TcpChain():
            return tcp_proxy.network_filter(serve, listener.access_log_file)
        case _:
            assert_never(serve)
