"""What resources name, read with protobuf from the bytes of their messages. For tests that follow what a proxy gets."""

from collections.abc import Iterable

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2


def cluster_name(cluster: bytes) -> str:
    return str(cluster_pb2.Cluster.FromString(cluster).name)


def discovered(clusters: Iterable[bytes]) -> set[str]:
    """The names of those that get their endpoints by EDS."""
    found = map(cluster_pb2.Cluster.FromString, clusters)
    return {cluster.name for cluster in found if cluster.type == cluster_pb2.Cluster.EDS}


def route_configurations(listener: bytes) -> set[str]:
    """The names of the route configurations that a listener gets by RDS."""
    message, found = listener_pb2.Listener.FromString(listener), set()
    for chain in (*message.filter_chains, message.default_filter_chain):
        for each in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if each.typed_config.Unpack(manager) and manager.rds.route_config_name:
                found.add(manager.rds.route_config_name)
    return found


def clusters_of(configuration: bytes, virtual_host: str) -> set[str]:
    """The clusters that a virtual host of a route configuration leads to, tunnels aside."""
    hosts = route_pb2.RouteConfiguration.FromString(configuration).virtual_hosts
    routes = [route for host in hosts if host.name == virtual_host for route in host.routes]
    actions = [route.route for route in routes if not route.match.HasField("connect_matcher")]
    shares = {share.name for action in actions for share in action.weighted_clusters.clusters}
    return shares | {action.cluster for action in actions if action.cluster}
