"""The kind of cluster whose proxy looks names up in DNS, and uses every address behind them.

What used to be the cluster type STRICT_DNS: Envoy has deprecated the fields that went with it. Whom it asks, and how
long, is the affair of its machine, and said in the bootstrap.
"""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2

from core.envoy.any import milliseconds, typed

_AFTER_FAILURE = dns_cluster_pb2.DnsCluster.RefreshRate(
    base_interval=milliseconds(1_000), max_interval=milliseconds(60_000)
)
"""Without it Envoy would wait for as long as after a success."""

CLUSTER = cluster_pb2.Cluster.CustomClusterType(
    name="envoy.cluster.dns",
    typed_config=typed(
        dns_cluster_pb2.DnsCluster(
            dns_lookup_family=dns_pb2.V4_PREFERRED,
            respect_dns_ttl=True,
            dns_refresh_rate=milliseconds(60_000),
            dns_failure_refresh_rate=_AFTER_FAILURE,
        )
    ),
)
