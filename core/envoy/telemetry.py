"""Istio's standard metrics, counted by Envoy's access logger `stats` (Istio documentation, "Istio Standard Metrics").

Envoy counts by few short tags, because each is formatted for every metric of every request; `proxy.metrics` makes
Istio's labels out of them when somebody asks. Nothing here is about one workload: its own name comes from node
metadata at run time, so all proxies share these bytes.
"""

from functools import cache
from typing import Literal, TypeAlias

import msgspec
from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as data_pb2
from envoy.extensions.access_loggers.stats.v3 import stats_pb2
from envoy.type.matcher.v3 import string_pb2

from core.envoy import wire
from core.envoy.any import typed
from core.envoy.filters.peer_metadata import METADATA

Direction = Literal["inbound", "outbound"]
Place = Literal["inbound", "outbound", "edge"]
"""Where requests are counted; "edge" is where strangers call, at a gateway."""

Log: TypeAlias = accesslog_pb2.AccessLog

PREFIX = "istio"
MOST_COUNTERS, MOST_HISTOGRAMS = 20_000, 20_000
"""How many series one proxy may hold; what comes later is not counted. Whoever can choose labels (authorities that
nobody registered) could otherwise fill the memory."""

_Config: TypeAlias = stats_pb2.Config
_Filter: TypeAlias = accesslog_pb2.AccessLogFilter
_Kind: TypeAlias = data_pb2.AccessLogType

_UNNAMED = "%CLUSTER_METADATA(istio:unnamed)%"
_SERVICE = f"%CLUSTER_METADATA(istio:service)%{_UNNAMED}"
# As Istio: calls to hosts that nobody registered are counted by the host they name.
_SERVICE_OR_HOST = (
    '%COALESCE({"operators":[{"command":"CLUSTER_METADATA","param":"istio:service"},'
    f'{{"command":"REQ","param":":authority"}}]}})%{_UNNAMED}'
)
_LOCAL = {"local": "%CEL(xds.node.metadata.SELF)%", "response_flags": "%RESPONSE_FLAGS%"}
_UPSTREAM = {
    "reporter": "source",
    "peer": "%UPSTREAM_METADATA(istio:workload)%",
    "principal": "%UPSTREAM_PEER_URI_SAN%",
}
_DOWNSTREAM = {"reporter": "destination", "principal": "%DOWNSTREAM_PEER_URI_SAN%", "service": _SERVICE}
_HTTP = {"code": "%RESPONSE_CODE%", "grpc": "%GRPC_STATUS_NUMBER%"}

_HTTP_TAGS: dict[Place, dict[str, str]] = {
    "outbound": _UPSTREAM | _LOCAL | _HTTP | {"service": _SERVICE_OR_HOST},
    # What strangers call is no label (Istio: `disable_host_header_fallback`): they could make any number of series.
    "edge": _UPSTREAM | _LOCAL | _HTTP | {"service": _SERVICE},
    "inbound": _DOWNSTREAM | _LOCAL | _HTTP | {"peer": f"%DYNAMIC_METADATA({METADATA}:peer)%"},
}
_TCP_TAGS: dict[Direction, dict[str, str]] = {
    "outbound": _UPSTREAM | _LOCAL | {"service": _SERVICE},
    "inbound": _DOWNSTREAM | _LOCAL,
}


@cache
def http(place: Place) -> tuple[Log, ...]:
    """What every HTTP connection manager counts of each request. CONNECT is none: what is in the tunnel is."""
    tags = _tags(_HTTP_TAGS[place])
    config = _Config(
        counters=[_counter("requests_total", tags)],
        histograms=[
            _histogram("request_duration_milliseconds", tags, "%DURATION%"),
            _histogram("request_bytes", tags, "%BYTES_RECEIVED%"),
            _histogram("response_bytes", tags, "%BYTES_SENT%"),
        ],
    )
    return (_log(config, _NOT_CONNECT),)


@cache
def tcp(direction: Direction) -> tuple[Log, ...]:
    """What every TCP proxy counts of each connection; it has to log when the upstream is connected, too."""
    tags = _tags(_TCP_TAGS[direction])
    opened = _Config(counters=[_counter("tcp_connections_opened_total", tags)])
    closed = _Config(
        counters=[
            _counter("tcp_connections_closed_total", tags),
            _counter("tcp_sent_bytes_total", tags, "%BYTES_SENT%"),
            _counter("tcp_received_bytes_total", tags, "%BYTES_RECEIVED%"),
        ]
    )
    return _log(opened, _BEGUN), _log(closed, _ENDED)


def _tags(formats: dict[str, str]) -> list[stats_pb2.Config.Tag]:
    return [_Config.Tag(name=name, value_format=value) for name, value in formats.items()]


def _counter(name: str, tags: list[stats_pb2.Config.Tag], value: str = "") -> stats_pb2.Config.Counter:
    counter = _Config.Counter(stat=_Config.Stat(name=name, tags=tags), value_format=value)
    if not value:
        counter.value_fixed.value = 1
    return counter


def _histogram(name: str, tags: list[stats_pb2.Config.Tag], value: str) -> stats_pb2.Config.Histogram:
    unit = _Config.Histogram.Milliseconds if name.endswith("milliseconds") else _Config.Histogram.Bytes
    return _Config.Histogram(stat=_Config.Stat(name=name, tags=tags), unit=unit, value_format=value)


def _log(config: _Config, when: _Filter) -> Log:
    config.MergeFromString(wire.field(_STATS_SCOPE_FIELD, _SCOPE.encode()))
    return Log(name="envoy.access_loggers.stats", filter=when, typed_config=typed(config))


class _Scope(msgspec.Struct, frozen=True):
    """`envoy.type.v3.Scope`, which Envoy 1.40 knows and the generated protos do not yet.

    No `sharing_name`, by which all loggers would share one limit: Envoy 1.40 then crashes when it ends.
    """

    most_counters: int
    most_histograms: int
    prefix: str

    def encode(self) -> bytes:
        return b"".join(
            (
                wire.field(1, _number(self.most_counters)),
                wire.field(3, _number(self.most_histograms)),
                b"\x20\x01",  # enable_eviction = 4, true
                wire.text(5, self.prefix),
            )
        )


def _number(value: int) -> bytes:
    return b"\x08" + wire.varint(value)


_STATS_SCOPE_FIELD = 6
_SCOPE = _Scope(MOST_COUNTERS, MOST_HISTOGRAMS, PREFIX)


def _types(*kinds: data_pb2.AccessLogType) -> _Filter:
    return _Filter(log_type_filter=accesslog_pb2.LogTypeFilter(types=kinds))


_NOT_CONNECT = _Filter(
    header_filter=accesslog_pb2.HeaderFilter(
        header=route_components_pb2.HeaderMatcher(
            name=":method", string_match=string_pb2.StringMatcher(exact="CONNECT"), invert_match=True
        )
    )
)
_ENDED = _types(_Kind.TcpConnectionEnd)
_NEVER_CONNECTED = _Filter(response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=["UF", "UH", "UO", "NR", "NC"]))
# A connection that found no upstream was opened nevertheless; one tells of that at its end.
_BEGUN = _Filter(
    or_filter=accesslog_pb2.OrFilter(
        filters=[
            _types(_Kind.TcpUpstreamConnected),
            _Filter(and_filter=accesslog_pb2.AndFilter(filters=[_ENDED, _NEVER_CONNECTED])),
        ]
    )
)
