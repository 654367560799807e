"""The bootstrap of a sidecar's Envoy, as JSON: who it is, and where its configuration comes from. Pure.

Not for anything a rule could change: all of that comes over xDS.
"""

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from core.model.identity import CERTIFICATE, CERTIFICATE_FILE, ROOTS, ROOTS_FILE, SpiffeId
from core.model.mesh import Mesh
from core.model.peer import CLUSTER, Peer, workload_name
from core.model.workload import Redirected, Workload, node_id

Json = dict[str, object]

XDS_CLUSTER = "xds-grpc"
"""The name that Istio's tools look for."""

RECONNECT_BASE, RECONNECT_CAP = "0.2s", "2s"
"""Envoy waits a random time below a bound that doubles from the one to the other, so a returned Manager is found within
2 s and a mesh full of proxies does not arrive at once. Envoy's own cap, 30 s, is long for a Manager that restarts."""

KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT = "10s", "5s"
"""HTTP/2 PINGs find a Manager that hangs; a dead one is seen at once, because its socket closes. The server must allow
them (grpc: http2.min_ping_interval_without_data_ms below the interval), else it hangs up with ENHANCE_YOUR_CALM."""

STATS_PREFIXES = (
    *("cluster_manager", "listener_manager", "server", "control_plane", f"cluster.{XDS_CLUSTER}", "istio"),
    "sds",
)
STATS_SUFFIXES = (
    *("rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied"),
    *("downstream_cx_active", "downstream_rq_active", "membership_healthy", "ejections_active"),
    *("upstream_rq_total", "upstream_rq_5xx", "upstream_rq_timeout", "upstream_rq_retry"),
    "upstream_rq_pending_overflow",
)
"""Istio's inclusion list (bootstrap/config.go), what tells of certificates, and the few per-cluster figures that tools
show. Everything Envoy could count is left out: it doubles the CPU and adds a quarter to the memory of a proxy with a
thousand clusters."""

FLUSH = "1s"
"""How often histograms are merged, so that quantiles are not older than counters; 5 s if left alone."""

EVICTION = "1800s"
"""How long a series of Istio's metrics may stand still before it is forgotten: workloads and codes come and go, and a
proxy must not remember all it ever saw. When it moves again it begins at 0, as after a restart."""

DEFAULT_TAGS = (
    *("envoy.response_code", "envoy.response_code_class", "envoy.http_conn_manager_prefix"),
    *("envoy.listener_address", "envoy.tcp_prefix"),
)
UNLIMITED = 2147483647


class Transport(StrEnum):
    """Variant of the aggregated xDS stream; values of Envoy's `ApiConfigSource.ApiType`."""

    DELTA = "DELTA_GRPC"
    STATE_OF_THE_WORLD = "GRPC"


SO_MARK = 36
"""Linux's number; Python knows it there only."""


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """The xDS port of a Manager on another machine. Both sides show certificates; the Manager's says `identity`."""

    host: str
    port: int
    identity: str


def bootstrap(
    workload: Workload,
    *,
    mesh: Mesh,
    xds: Sequence[str] | Elsewhere,
    admin_socket: str,
    transport: Transport = Transport.DELTA,
) -> Json:
    """Envoy's `config.bootstrap.v3.Bootstrap`. `xds`: the unix sockets of Managers for this workload, or the port of
    one. Of several sockets Envoy takes any, and the next one whenever a stream ends or cannot be had.

    Envoy makes `admin_socket`, a unix socket too.
    """
    return {
        "node": _node(workload, mesh),
        "admin": {"address": _pipe(admin_socket, mode=0o600)},
        "dynamic_resources": _dynamic(transport),
        "static_resources": {"clusters": [_xds_cluster(xds)]},
        "stats_config": _stats(mesh),
        "stats_flush_interval": FLUSH,
        "stats_eviction_interval": EVICTION,
        "layered_runtime": _runtime(),
        "overload_manager": _overload(),
        "bootstrap_extensions": [_internal_listener()],
        "typed_dns_resolver_config": _resolver(workload),
        **_marking(workload),
    }


def _resolver(workload: Workload) -> Json:
    """Whom to ask for addresses, and for how long; the machine's own resolver may lead back into this very proxy.

    A proxy that starts waits for the first answer to every name (and one that runs keeps an old cluster until then).
    Left alone, Envoy gives up a name whose server keeps silent only after more than 45 seconds; so it takes 5.
    """
    kind = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    config = _typed(kind, {"query_timeout_seconds": 1, "query_tries": 2, **_resolvers(workload)})
    return {"name": "envoy.network.dns_resolver.cares", "typed_config": config}


def _resolvers(workload: Workload) -> Json:
    capture = workload.capture
    if not isinstance(capture, Redirected) or not capture.resolver:
        return {}
    address, _, port = capture.resolver.rpartition(":")
    return {"resolvers": [{"socket_address": {"address": address, "port_value": int(port)}}]}


def _marking(workload: Workload) -> Json:
    """All that this proxy sends carries its mark, for the kernel to know it by; clusters that say more repeat it."""
    capture = workload.capture
    if not isinstance(capture, Redirected) or not capture.mark:
        return {}
    mark: Json = {"level": 1, "name": SO_MARK, "int_value": capture.mark, "state": "STATE_PREBIND"}
    return {"cluster_manager": {"upstream_bind_config": {"socket_options": [mark]}}}


def encode(config: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(config), indent=1)


def _node(workload: Workload, mesh: Mesh) -> Json:
    where = workload.locality
    return {
        "id": node_id(workload, mesh.domain_suffix),
        "cluster": _cluster(workload),
        "locality": {"region": where.region, "zone": where.zone, "sub_zone": where.subzone},
        "metadata": _metadata(workload, mesh),
    }


def _cluster(workload: Workload) -> str:
    name = workload.labels.get("app") or workload_name(workload.key, workload.labels)
    return f"{name}.{workload.key.namespace}"


def _metadata(workload: Workload, mesh: Mesh) -> Json:
    """What a proxy says of itself, in the words of Istio's `model.NodeMetadata`.

    `PEER` and `SELF` are ours: what its metrics say of its workload (`core.envoy.telemetry`).
    """
    key, account = workload.key, workload.service_account
    peer = str(Peer.of(key, workload.labels))
    identity = SpiffeId.of(mesh.trust_domain, namespace=key.namespace, service_account=account)
    return {
        "NAME": workload.key.name,
        "NAMESPACE": workload.key.namespace,
        "WORKLOAD_NAME": workload_name(key, workload.labels),
        "SERVICE_ACCOUNT": account,
        "CLUSTER_ID": CLUSTER,
        "INSTANCE_IPS": workload.address,
        "LABELS": workload.labels.as_dict(),
        "MESH_ID": mesh.trust_domain,
        "INTERCEPTION_MODE": workload.interception,
        "PEER": peer,
        "SELF": f"{identity}|{peer}",
    }


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


def _xds_cluster(xds: Sequence[str] | Elsewhere) -> Json:
    keepalive = {"interval": KEEPALIVE_INTERVAL, "timeout": KEEPALIVE_TIMEOUT}
    http2: Json = {"explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": XDS_CLUSTER,
        **_reached(xds),
        "typed_extension_protocol_options": {options: _typed(options, http2)},
    }


def _reached(xds: Sequence[str] | Elsewhere) -> Json:
    if not isinstance(xds, Elsewhere):
        return {"type": "STATIC", "connect_timeout": "1s", "load_assignment": _assignment(*map(_pipe, xds))}
    address: Json = {"socket_address": {"address": xds.host, "port_value": xds.port}}
    return {
        **({"type": "STATIC"} if _is_address(xds.host) else {"type": "STRICT_DNS", "dns_lookup_family": "ALL"}),
        "connect_timeout": "5s",
        "load_assignment": _assignment(address),
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": _tls(xds)},
    }


def _assignment(*addresses: Json) -> Json:
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    return {"cluster_name": XDS_CLUSTER, "endpoints": [{"lb_endpoints": endpoints}]}


def _tls(xds: Elsewhere) -> Json:
    """With the same files, and their rotation, as the workload's own connections."""
    manager = {"san_type": "URI", "matcher": {"exact": xds.identity}}
    validation = {
        "default_validation_context": {"match_typed_subject_alt_names": [manager]},
        "validation_context_sds_secret_config": _from_file(ROOTS, ROOTS_FILE),
    }
    common = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [_from_file(CERTIFICATE, CERTIFICATE_FILE)],
        "combined_validation_context": validation,
    }
    kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return _typed(kind, {"sni": xds.host, "common_tls_context": common})


def _from_file(name: str, path: str) -> Json:
    return {"name": name, "sds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"}}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
