"""The listener filter that tells HTTP from other protocols by the first bytes."""

from envoy.config.listener.v3 import listener_components_pb2 as listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2

from core.envoy.any import typed

FILTER = listener_pb2.ListenerFilter(
    name="envoy.filters.listener.http_inspector",
    typed_config=typed(http_inspector_pb2.HttpInspector()),
)
