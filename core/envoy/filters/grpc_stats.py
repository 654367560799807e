"""The HTTP filter that counts gRPC messages and makes their number known to access logs and telemetry."""

from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from core.envoy.any import NO, typed

FILTER = hcm_pb2.HttpFilter(
    name="envoy.filters.http.grpc_stats",
    typed_config=typed(config_pb2.FilterConfig(emit_filter_state=True, stats_for_all_methods=NO)),
)
