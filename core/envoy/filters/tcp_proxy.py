"""The network filter that passes bytes on."""

from envoy.config.listener.v3 import listener_components_pb2 as listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from core.envoy import telemetry
from core.envoy.access_log import connection_logs
from core.envoy.any import milliseconds, typed
from core.model.mesh import AccessLog
from core.view.listener import TcpChain
from core.view.route import WeightedUpstream
from core.view.security import MeshServer, ServerSecurity

_Proxy = tcp_proxy_pb2.TcpProxy
_EARLY = 65_536
"""How many bytes of a caller wait while the application is being connected; Envoy wants a number."""
_AS_SOON_AS_CONNECTED = _Proxy.TcpAccessLogOptions(flush_access_log_on_connected=True)


def network_filter(
    chain: TcpChain, direction: telemetry.Direction, security: ServerSecurity, log: AccessLog
) -> listener_pb2.Filter:
    proxy = _Proxy(
        stat_prefix=chain.stat_prefix,
        access_log=(*connection_logs(log), *telemetry.tcp(direction)),
        access_log_options=_AS_SOON_AS_CONNECTED,
        idle_timeout=milliseconds(chain.idle_timeout) if chain.idle_timeout else None,
    )
    if isinstance(security, MeshServer):
        # Else the application hears of callers that then have no certificate, and telemetry cannot tell who called.
        proxy.upstream_connect_mode = tcp_proxy_pb2.ON_DOWNSTREAM_TLS_HANDSHAKE
        proxy.max_early_data_bytes.value = _EARLY
    _lead(proxy, chain.upstreams)
    return listener_pb2.Filter(name="envoy.filters.network.tcp_proxy", typed_config=typed(proxy))


def _lead(proxy: tcp_proxy_pb2.TcpProxy, upstreams: tuple[WeightedUpstream, ...]) -> None:
    if len(upstreams) == 1:
        proxy.cluster = upstreams[0].upstream
    else:
        # Unlike for HTTP, Envoy refuses a weight of 0 here.
        shares = [
            _Proxy.WeightedCluster.ClusterWeight(name=each.upstream, weight=each.weight)
            for each in upstreams
            if each.weight
        ]
        proxy.weighted_clusters.CopyFrom(_Proxy.WeightedCluster(clusters=shares))
