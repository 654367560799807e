"""The network filter that speaks HTTP and routes every request."""

from typing import Literal, assert_never

from envoy.config.core.v3 import address_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2 as listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from core.envoy import ads, routes, telemetry
from core.envoy.access_log import logs
from core.envoy.any import NEVER, NO, YES, number, typed
from core.envoy.filters import dynamic_forward_proxy, fault, grpc_stats, peer_metadata, rbac, router
from core.envoy.names import SERVER_NAME
from core.model.mesh import AccessLog
from core.view.listener import HttpChain, NamedRoutes
from core.view.route import RouteConfiguration
from core.view.security import ServerSecurity

_Manager = hcm_pb2.HttpConnectionManager
_Upgrade = _Manager.UpgradeConfig
Direction = Literal["inbound", "outbound"]

_WEBSOCKET = _Upgrade(upgrade_type="websocket")
_CONNECT = _Upgrade(upgrade_type="CONNECT")

_SAME_FOR_ALL = _Manager(
    server_name=SERVER_NAME,
    # As Istio for sidecars: the client's X-Forwarded-For and request id are passed on as they are.
    use_remote_address=NO,
    generate_request_id=YES,
    normalize_path=YES,
    # `reviews.` is the host `reviews` (RFC 1034 §3.1).
    strip_trailing_host_dot=True,
    proxy_100_continue=True,
    stream_idle_timeout=NEVER,
    upgrade_configs=[_WEBSOCKET],
)
_DIRECTIONS: dict[Direction, hcm_pb2.HttpConnectionManager] = {
    "outbound": _Manager(),
    # Who called, as the certificate says it; without a certificate Envoy drops what a client claims.
    "inbound": _Manager(
        forward_client_cert_details=_Manager.APPEND_FORWARD,
        set_current_client_cert_details=_Manager.SetCurrentClientCertDetails(subject=YES, dns=True, uri=True),
    ),
}
# Without any range, private addresses would count as the mesh's own.
_NO_ADDRESS = address_pb2.CidrRange(address_prefix="0.0.0.0", prefix_len=number(32))
_EDGE = _Manager(
    # The caller's address is the connection's; what strangers claim in X-Forwarded-*, X-Envoy-* and in the header that
    # tells whose certificate was shown is dropped, wherever they call from.
    use_remote_address=YES,
    internal_address_config=_Manager.InternalAddressConfig(cidr_ranges=[_NO_ADDRESS]),
    forward_client_cert_details=_Manager.SANITIZE_SET,
    set_current_client_cert_details=_Manager.SetCurrentClientCertDetails(subject=YES, cert=True, dns=True, uri=True),
)
_FORWARD_PROXY = _Manager(
    http_protocol_options=protocol_pb2.Http1ProtocolOptions(allow_absolute_url=YES),
    upgrade_configs=[_CONNECT],
)


def network_filter(
    chain: HttpChain, direction: Direction, security: ServerSecurity, log: AccessLog
) -> listener_pb2.Filter:
    manager = _Manager(
        stat_prefix=chain.stat_prefix,
        access_log=(*logs(log), *telemetry.http("edge" if chain.edge else direction)),
        http_filters=(peer_metadata.exchange(direction, security), *_filters(chain)),
    )
    manager.MergeFrom(_SAME_FOR_ALL)
    manager.MergeFrom(_DIRECTIONS[direction])
    if chain.forward_proxy:
        manager.MergeFrom(_FORWARD_PROXY)
    if chain.edge:
        manager.MergeFrom(_EDGE)
    _route(manager, chain.routes)
    return listener_pb2.Filter(name="envoy.filters.network.http_connection_manager", typed_config=typed(manager))


def _filters(chain: HttpChain) -> tuple[hcm_pb2.HttpFilter, ...]:
    any_host = (dynamic_forward_proxy.FILTER,) if chain.any_host else ()
    return (*rbac.http_filters(chain.checks), grpc_stats.FILTER, fault.FILTER, *any_host, router.FILTER)


def _route(manager: hcm_pb2.HttpConnectionManager, source: NamedRoutes | RouteConfiguration) -> None:
    match source:
        case NamedRoutes(name):
            manager.rds.CopyFrom(hcm_pb2.Rds(config_source=ads.SOURCE, route_config_name=name))
        case RouteConfiguration():
            manager.route_config.CopyFrom(routes.inline(source))
        case _:
            assert_never(source)
