"""The kind of cluster whose proxy looks names up in DNS, and uses every address behind them.

What used to be the cluster type STRICT_DNS: Envoy has deprecated the fields that went with it.
"""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from envoy.extensions.network.dns_resolver.cares.v3 import cares_dns_resolver_pb2
from google.protobuf.wrappers_pb2 import UInt64Value

from core.envoy.any import milliseconds, number, typed

# A proxy that starts waits for the first answer to every name (and one that runs keeps the old cluster until then).
# By default the resolver gives up a name whose server keeps silent only after more than 45 seconds; so it takes 5.
_RESOLVER = extension_pb2.TypedExtensionConfig(
    name="envoy.network.dns_resolver.cares",
    typed_config=typed(
        cares_dns_resolver_pb2.CaresDnsResolverConfig(query_timeout_seconds=UInt64Value(value=1), query_tries=number(2))
    ),
)
_AFTER_FAILURE = dns_cluster_pb2.DnsCluster.RefreshRate(
    base_interval=milliseconds(1_000), max_interval=milliseconds(60_000)
)
"""Without it Envoy would wait for as long as after a success."""

CLUSTER = cluster_pb2.Cluster.CustomClusterType(
    name="envoy.cluster.dns",
    typed_config=typed(
        dns_cluster_pb2.DnsCluster(
            typed_dns_resolver_config=_RESOLVER,
            dns_lookup_family=dns_pb2.V4_PREFERRED,
            respect_dns_ttl=True,
            dns_refresh_rate=milliseconds(60_000),
            dns_failure_refresh_rate=_AFTER_FAILURE,
        )
    ),
)
