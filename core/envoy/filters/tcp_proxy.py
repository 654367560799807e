"""The network filter that passes bytes on."""

from envoy.config.listener.v3 import listener_components_pb2 as listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from core.envoy.access_log import logs
from core.envoy.any import milliseconds, typed
from core.view.listener import TcpChain
from core.view.route import WeightedUpstream

_Proxy = tcp_proxy_pb2.TcpProxy


def network_filter(chain: TcpChain, log_file: str) -> listener_pb2.Filter:
    proxy = _Proxy(
        stat_prefix=chain.stat_prefix,
        access_log=logs(log_file),
        idle_timeout=milliseconds(chain.idle_timeout) if chain.idle_timeout else None,
    )
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
