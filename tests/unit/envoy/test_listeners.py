"""What a listener says, read back with protobuf."""

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from core.envoy import listeners
from core.envoy.access_log import FORMAT, KEYS
from core.envoy.names import LISTENER
from core.model.mesh import AccessLog
from core.view.listener import (
    HTTP_BYTES,
    FilterChain,
    HttpChain,
    InProcess,
    Listener,
    NamedRoutes,
    Serve,
    Socket,
    TcpChain,
)
from core.view.route import RouteConfiguration, VirtualHost, WeightedUpstream

HTTP = HttpChain(stat_prefix="h", routes=NamedRoutes("80"))
TCP = TcpChain(stat_prefix="t", upstreams=(WeightedUpstream("x"),))
OUTBOUND = Listener(name="l", bind=InProcess(), direction="outbound", chains=(FilterChain(serve=HTTP),))
SNIFFING = (FilterChain(name="http", match=HTTP_BYTES, serve=HTTP), FilterChain(serve=TCP))


def read(value: Listener) -> listener_pb2.Listener:
    envelope = Any.FromString(listeners.encode(value))
    assert envelope.type_url == LISTENER
    return listener_pb2.Listener.FromString(envelope.value)


def http(value: Listener) -> hcm_pb2.HttpConnectionManager:
    (network_filter,) = read(value).filter_chains[0].filters
    assert network_filter.name == "envoy.filters.network.http_connection_manager"
    return hcm_pb2.HttpConnectionManager.FromString(network_filter.typed_config.value)


NO_LOG = AccessLog()


def serving(serve: Serve, log: AccessLog = NO_LOG) -> Listener:
    return Listener(
        name="l", bind=InProcess(), direction="outbound", chains=(FilterChain(serve=serve),), access_log=log
    )


def test_sockets() -> None:
    """A socket belongs to one proxy alone."""
    value = Listener(name="l", bind=Socket("127.0.0.1", 80), direction="inbound", chains=())
    message = read(value)
    assert (message.address.socket_address.address, message.address.socket_address.port_value) == ("127.0.0.1", 80)
    assert message.HasField("enable_reuse_port")
    assert not message.enable_reuse_port.value
    assert message.traffic_direction == 1


def test_in_process() -> None:
    """Without a socket it is an internal listener."""
    message = read(OUTBOUND)
    assert message.HasField("internal_listener")
    assert not message.HasField("address")
    assert message.traffic_direction == 2


def test_sniffing() -> None:
    """First bytes are looked at only where a chain depends on them; who stays silent is let through after a while."""
    plain = read(OUTBOUND)
    assert not plain.listener_filters
    assert not plain.filter_chains[0].HasField("filter_chain_match")
    message = read(Listener(name="l", bind=InProcess(), direction="inbound", chains=SNIFFING, sniff_timeout=100))
    assert [f.name for f in message.listener_filters] == ["envoy.filters.listener.http_inspector"]
    assert message.listener_filters_timeout.ToMilliseconds() == 100
    assert message.continue_on_listener_filters_timeout
    first, second = message.filter_chains
    assert list(first.filter_chain_match.application_protocols) == ["http/1.0", "http/1.1", "h2c"]
    assert not second.HasField("filter_chain_match")


def test_http() -> None:
    """Request ids and forwarded-for stay as they come, streams live as long as they like, paths are normalised."""
    manager = http(OUTBOUND)
    assert manager.stat_prefix == "h"
    assert manager.rds.route_config_name == "80"
    assert manager.rds.config_source.HasField("ads")
    assert manager.HasField("stream_idle_timeout")
    assert manager.stream_idle_timeout.ToMilliseconds() == 0
    assert manager.HasField("use_remote_address")
    assert not manager.use_remote_address.value
    assert manager.normalize_path.value
    assert manager.server_name == "istio-envoy"
    assert [upgrade.upgrade_type for upgrade in manager.upgrade_configs] == ["websocket"]
    assert [log.name for log in manager.access_log] == ["envoy.access_loggers.stats"]


def test_http_filters() -> None:
    """The router is last; hosts are looked up only where requests may go anywhere."""
    names = [f.name.rpartition(".")[2] for f in http(OUTBOUND).http_filters]
    assert names == ["peer_metadata", "grpc_stats", "fault", "router"]
    anywhere = http(serving(HttpChain(stat_prefix="h", routes=NamedRoutes("80"), any_host=True)))
    names = [f.name.rpartition(".")[2] for f in anywhere.http_filters]
    assert names == ["peer_metadata", "grpc_stats", "fault", "dynamic_forward_proxy", "router"]


def test_forward_proxy() -> None:
    """A forward proxy takes absolute URLs and CONNECT."""
    manager = http(serving(HttpChain(stat_prefix="h", routes=NamedRoutes("80"), forward_proxy=True)))
    assert manager.http_protocol_options.allow_absolute_url.value
    assert [upgrade.upgrade_type for upgrade in manager.upgrade_configs] == ["websocket", "CONNECT"]


def test_inline_routes() -> None:
    """Routes of a listener's own are inside it."""
    configuration = RouteConfiguration("inbound", (VirtualHost("v", ("*",), ()),))
    manager = http(serving(HttpChain(stat_prefix="h", routes=configuration)))
    assert manager.route_config.name == "inbound"
    assert manager.route_config.HasField("validate_clusters")
    assert manager.route_config.virtual_hosts[0].domains == ["*"]


def test_directions() -> None:
    """Inbound, the application is told whose certificate the caller showed."""
    inbound = Listener(name="l", bind=InProcess(), direction="inbound", chains=(FilterChain(serve=HTTP),))
    assert http(inbound).forward_client_cert_details == hcm_pb2.HttpConnectionManager.APPEND_FORWARD
    assert http(inbound).set_current_client_cert_details.uri
    assert http(OUTBOUND).forward_client_cert_details == hcm_pb2.HttpConnectionManager.SANITIZE


def test_tcp() -> None:
    """Bytes go to one cluster, or to several by weight, of which none is 0."""

    def proxy(chain: TcpChain) -> tcp_proxy_pb2.TcpProxy:
        (network_filter,) = read(serving(chain)).filter_chains[0].filters
        return tcp_proxy_pb2.TcpProxy.FromString(network_filter.typed_config.value)

    assert proxy(TCP).cluster == "x"
    assert not proxy(TCP).HasField("idle_timeout")
    shares = (WeightedUpstream("x", 9), WeightedUpstream("y", 1), WeightedUpstream("z", 0))
    several = proxy(TcpChain(stat_prefix="t", upstreams=shares, idle_timeout=1500))
    assert [(c.name, c.weight) for c in several.weighted_clusters.clusters] == [("x", 9), ("y", 1)]
    assert several.idle_timeout.ToMilliseconds() == 1500


def test_access_logs() -> None:
    """Logs go to the file in Istio's format; the standard streams are Envoy's own, as paths they may not be opened."""
    log, _ = http(serving(HTTP, AccessLog(file="/var/log/a.log"))).access_log
    config = file_pb2.FileAccessLog.FromString(log.typed_config.value)
    assert config.path == "/var/log/a.log"
    assert config.log_format.text_format_source.inline_string == FORMAT
    streams = [http(serving(HTTP, AccessLog(file=path))).access_log[0].name for path in ("/dev/stdout", "/dev/stderr")]
    assert streams == ["envoy.access_loggers.stdout", "envoy.access_loggers.stderr"]


def test_json_access_logs() -> None:
    """JSON has Istio's keys, or what the user wrote; a text of the user's ends its line."""
    log, _ = http(serving(HTTP, AccessLog(file="/a", encoding="JSON"))).access_log
    fields = file_pb2.FileAccessLog.FromString(log.typed_config.value).log_format.json_format
    assert dict(fields) == KEYS
    log, _ = http(serving(HTTP, AccessLog(file="/a", encoding="JSON", format='{"a": {"b": "%PROTOCOL%"}}'))).access_log
    fields = file_pb2.FileAccessLog.FromString(log.typed_config.value).log_format.json_format
    assert MessageToDict(fields) == {"a": {"b": "%PROTOCOL%"}}
    log, _ = http(serving(HTTP, AccessLog(file="/a", format="%PROTOCOL%"))).access_log
    text = file_pb2.FileAccessLog.FromString(log.typed_config.value).log_format.text_format_source.inline_string
    assert text == "%PROTOCOL%\n"


def test_connections_are_logged_once() -> None:
    """Telemetry hears of a TCP connection when it begins; the access log still has one line for it."""
    (network_filter,) = read(serving(TCP, AccessLog(file="/a"))).filter_chains[0].filters
    log, *_ = tcp_proxy_pb2.TcpProxy.FromString(network_filter.typed_config.value).access_log
    assert log.filter.log_type_filter.exclude
    assert len(log.filter.log_type_filter.types) == 1
