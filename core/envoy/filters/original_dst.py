"""The listener filters of redirected connections: where they were meant to go, and from whom they came."""

from envoy.config.listener.v3 import listener_components_pb2 as listener_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2

from core.envoy.any import typed

FILTER = listener_pb2.ListenerFilter(
    name="envoy.filters.listener.original_dst",
    typed_config=typed(original_dst_pb2.OriginalDst()),
)


def keep_source(mark: int) -> listener_pb2.ListenerFilter:
    """Sends on from the caller's own address; the mark lets answers find their way back."""
    return listener_pb2.ListenerFilter(
        name="envoy.filters.listener.original_src",
        typed_config=typed(original_src_pb2.OriginalSrc(mark=mark)),
    )
