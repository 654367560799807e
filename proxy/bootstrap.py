"""The bootstrap of a sidecar's Envoy, as JSON: who it is, and where its configuration comes from. Pure.

Not for anything a rule could change: all of that comes over xDS.
"""

import re
from enum import StrEnum

import msgspec

from core.model.mesh import Mesh
from core.model.workload import Workload, node_id

Json = dict[str, object]

XDS_CLUSTER = "xds-grpc"
"""The name that Istio's tools look for."""

RECONNECT_BASE, RECONNECT_CAP = "0.2s", "2s"
"""Envoy waits a random time below a bound that doubles from the one to the other, so a returned Manager is found within
2 s and a mesh full of proxies does not arrive at once. Envoy's own cap, 30 s, is long for a Manager that restarts."""

KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT = "30s", "10s"
"""HTTP/2 PINGs find a Manager that hangs; a dead one is seen at once, because its socket closes. The server must allow
them (grpc: http2.min_ping_interval_without_data_ms below the interval), else it hangs up with ENHANCE_YOUR_CALM."""

STATS_PREFIXES = ("cluster_manager", "listener_manager", "server", "control_plane", f"cluster.{XDS_CLUSTER}", "istio")
STATS_SUFFIXES = (
    *("rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied"),
    *("downstream_cx_active", "downstream_rq_active", "membership_healthy", "ejections_active"),
    *("upstream_rq_total", "upstream_rq_5xx", "upstream_rq_timeout", "upstream_rq_retry"),
    "upstream_rq_pending_overflow",
)
"""Istio's inclusion list (bootstrap/config.go) and the few per-cluster figures that tools show. Everything Envoy could
count is left out: it doubles the CPU and adds a quarter to the memory of a proxy with a thousand clusters."""

DEFAULT_TAGS = (
    *("envoy.response_code", "envoy.response_code_class", "envoy.http_conn_manager_prefix"),
    *("envoy.listener_address", "envoy.tcp_prefix"),
)
UNLIMITED = 2147483647


class Transport(StrEnum):
    """Variant of the aggregated xDS stream; values of Envoy's `ApiConfigSource.ApiType`."""

    DELTA = "DELTA_GRPC"
    STATE_OF_THE_WORLD = "GRPC"


def bootstrap(
    workload: Workload, *, mesh: Mesh, xds_socket: str, admin_socket: str, transport: Transport = Transport.DELTA
) -> Json:
    """Envoy's `config.bootstrap.v3.Bootstrap`. Both sockets are paths of unix sockets; Envoy makes `admin_socket`."""
    return {
        "node": _node(workload, mesh),
        "admin": {"address": _pipe(admin_socket, mode=0o600)},
        "dynamic_resources": _dynamic(transport),
        "static_resources": {"clusters": [_xds_cluster(xds_socket)]},
        "stats_config": _stats(mesh),
        "layered_runtime": _runtime(),
        "overload_manager": _overload(),
        "bootstrap_extensions": [_internal_listener()],
    }


def encode(config: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(config), indent=1)


def _node(workload: Workload, mesh: Mesh) -> Json:
    where = workload.locality
    return {
        "id": node_id(workload, mesh.domain_suffix),
        "cluster": f"{workload.labels.get('app') or _workload_name(workload)}.{workload.key.namespace}",
        "locality": {"region": where.region, "zone": where.zone, "sub_zone": where.subzone},
        "metadata": _metadata(workload, mesh),
    }


def _metadata(workload: Workload, mesh: Mesh) -> Json:
    """What a proxy says of itself, in the words of Istio's `model.NodeMetadata`."""
    return {
        "NAME": workload.key.name,
        "NAMESPACE": workload.key.namespace,
        "WORKLOAD_NAME": _workload_name(workload),
        "SERVICE_ACCOUNT": workload.service_account,
        "INSTANCE_IPS": workload.address,
        "LABELS": workload.labels.as_dict(),
        "MESH_ID": mesh.trust_domain,
        "INTERCEPTION_MODE": "NONE",
    }


def _workload_name(workload: Workload) -> str:
    """What replicas have in common: the label that Istio's injector sets, or else the name of this one."""
    return workload.labels.get("service.istio.io/workload-name") or workload.key.name


def _dynamic(transport: Transport) -> Json:
    retry = {"retry_back_off": {"base_interval": RECONNECT_BASE, "max_interval": RECONNECT_CAP}}
    return {
        "ads_config": {
            "api_type": transport.value,
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": retry}}],
        },
        "cds_config": _ads(),
        "lds_config": _ads(),
    }


def _ads() -> Json:
    """Timeout 0: Envoy is not ready before the Manager has answered, however long that takes (as in Istio)."""
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _xds_cluster(socket: str) -> Json:
    keepalive = {"interval": KEEPALIVE_INTERVAL, "timeout": KEEPALIVE_TIMEOUT}
    http2: Json = {"explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"endpoint": {"address": _pipe(socket)}}
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {options: _typed(options, http2)},
        "load_assignment": {"cluster_name": XDS_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _pipe(path: str, *, mode: int = 0) -> Json:
    return {"pipe": {"path": path, **({"mode": mode} if mode else {})}}


def _stats(mesh: Mesh) -> Json:
    patterns = [{"prefix": text} for text in STATS_PREFIXES] + [{"suffix": text} for text in STATS_SUFFIXES]
    cluster = {"tag_name": "cluster_name", "regex": _cluster_tag(mesh)}
    return {
        "use_all_default_tags": False,
        "stats_tags": [cluster, *({"tag_name": tag} for tag in DEFAULT_TAGS)],
        "stats_matcher": {"inclusion_list": {"patterns": patterns}},
    }


def _cluster_tag(mesh: Mesh) -> str:
    """Envoy's own expression ends a cluster's name at its first dot; a host name has several (Istio's bootstrap)."""
    suffix = re.escape(f".svc.{mesh.domain_suffix}")
    return rf"^cluster\.((.+?(\..+?{suffix})?)\.)"


def _runtime() -> Json:
    """Istio's limit for regexes: Envoy's own (100) refuses rules people have. The layer `admin` is for debugging."""
    regexes = {"re2.max_program_size.error_level": 32768}
    return {"layers": [{"name": "global", "static_layer": regexes}, {"name": "admin", "admin_layer": {}}]}


def _overload() -> Json:
    """No limit of our own on connections, said aloud: Envoy warns when nothing is said."""
    monitor = "envoy.resource_monitors.global_downstream_max_connections"
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    limit = _typed(kind, {"max_active_downstream_connections": UNLIMITED})
    return {"resource_monitors": [{"name": monitor, "typed_config": limit}]}


def _internal_listener() -> Json:
    """Lets CONNECT of the HTTP forward proxy end in a listener that has no port."""
    kind = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
    return {"name": "envoy.bootstrap.internal_listener", "typed_config": _typed(kind, {})}


def _typed(kind: str, fields: Json) -> Json:
    return {"@type": f"type.googleapis.com/{kind}", **fields}
