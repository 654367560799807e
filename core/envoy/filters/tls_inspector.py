"""The listener filter that tells TLS from plain bytes, and reads server name and offered protocols from its hello."""

from envoy.config.listener.v3 import listener_components_pb2 as listener_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from core.envoy.any import typed

FILTER = listener_pb2.ListenerFilter(
    name="envoy.filters.listener.tls_inspector",
    typed_config=typed(tls_inspector_pb2.TlsInspector()),
)
