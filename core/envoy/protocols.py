"""What a cluster speaks to its endpoints, and the limits of its HTTP connections."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias

from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as options_pb2
from google.protobuf.any_pb2 import Any

from core.envoy.any import milliseconds, number, typed
from core.ir.traffic import ConnectionPool
from core.view.security import ClientSecurity, Originate
from core.view.upstream import HttpVersion

_KEY = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_Options: TypeAlias = options_pb2.HttpProtocolOptions
_HTTP1 = protocol_pb2.Http1ProtocolOptions()


@lru_cache(maxsize=256)
def http_options(version: HttpVersion, pool: ConnectionPool, security: ClientSecurity) -> Mapping[str, Any]:
    """`typed_extension_protocol_options` of a cluster; empty where no HTTP is spoken."""
    if version == "none":
        return {}
    options = _CHOICES[version](_http2(pool))
    if isinstance(security, Originate) and not security.sni:
        options.upstream_http_protocol_options.CopyFrom(_named_by_request(security))
    if _has_limits(pool):
        options.common_http_protocol_options.CopyFrom(_limits(pool))
    return {_KEY: typed(options)}


def _http1(http2: protocol_pb2.Http2ProtocolOptions) -> _Options:
    return _Options(explicit_http_config=_Options.ExplicitHttpConfig(http_protocol_options=_HTTP1))


def _http2_only(http2: protocol_pb2.Http2ProtocolOptions) -> _Options:
    return _Options(explicit_http_config=_Options.ExplicitHttpConfig(http2_protocol_options=http2))


def _follow(http2: protocol_pb2.Http2ProtocolOptions) -> _Options:
    both = _Options.UseDownstreamHttpConfig(http_protocol_options=_HTTP1, http2_protocol_options=http2)
    return _Options(use_downstream_protocol_config=both)


_CHOICES: dict[HttpVersion, Callable[[protocol_pb2.Http2ProtocolOptions], _Options]] = {
    "http1": _http1,
    "http2": _http2_only,
    "follow": _follow,
}


def _http2(pool: ConnectionPool) -> protocol_pb2.Http2ProtocolOptions:
    streams = number(pool.max_concurrent_streams) if pool.max_concurrent_streams else None
    return protocol_pb2.Http2ProtocolOptions(max_concurrent_streams=streams)


def _named_by_request(security: Originate) -> protocol_pb2.UpstreamHttpProtocolOptions:
    return protocol_pb2.UpstreamHttpProtocolOptions(
        auto_sni=True, auto_san_validation=security.verify and not security.names
    )


def _has_limits(pool: ConnectionPool) -> bool:
    return bool(pool.http_idle_timeout or pool.max_connection_duration or pool.max_requests_per_connection)


def _limits(pool: ConnectionPool) -> protocol_pb2.HttpProtocolOptions:
    requests, duration, idle = pool.max_requests_per_connection, pool.max_connection_duration, pool.http_idle_timeout
    return protocol_pb2.HttpProtocolOptions(
        idle_timeout=milliseconds(idle) if idle else None,
        max_connection_duration=milliseconds(duration) if duration else None,
        max_requests_per_connection=number(requests) if requests else None,
    )
