"""Calls to hosts that nobody registered: the HTTP filter that looks them up, and the kind of cluster it feeds.

Both hold the same cache by name; Envoy refuses a cache that is described in two ways.
"""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2 as any_host_pb2
from envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2
from envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from core.envoy.any import typed

_CACHE = dns_cache_pb2.DnsCacheConfig(
    name="any_host",
    dns_lookup_family=cluster_pb2.Cluster.DnsLookupFamily.V4_PREFERRED,
)

FILTER = hcm_pb2.HttpFilter(
    name="envoy.filters.http.dynamic_forward_proxy",
    typed_config=typed(dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=_CACHE)),
)

CLUSTER = cluster_pb2.Cluster.CustomClusterType(
    name="envoy.clusters.dynamic_forward_proxy",
    # Without TLS there is no certificate whose name could be checked.
    typed_config=typed(any_host_pb2.ClusterConfig(dns_cache_config=_CACHE, allow_insecure_cluster_options=True)),
)
