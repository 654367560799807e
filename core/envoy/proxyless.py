"""Resources as gRPC's own xDS clients and servers take them (gRFC A27 to A41): only fields they know, else they refuse.

Not for load assignments, which are those of proxies. Certificates come from the application's bootstrap, where the
agent named their files; the Manager only names the instance.
"""

from typing import assert_never

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2
from envoy.extensions.load_balancing_policies.round_robin.v3 import round_robin_pb2
from envoy.extensions.load_balancing_policies.wrr_locality.v3 import wrr_locality_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.message import Message

from core.envoy import addresses, ads, routes, wire
from core.envoy.any import YES, milliseconds, packed, typed
from core.envoy.filters import fault, rbac, router, trust_domain
from core.envoy.resilience import circuit_breakers
from core.envoy.transport_sockets import NOBODY
from core.ir.traffic import Balance, ConsistentHash, HashSourceIp
from core.model.identity import CERTIFICATE
from core.view.proxyless import GrpcServer, Target
from core.view.route import ForwardTo, Route
from core.view.security import ClientSecurity, MeshClient, MeshServer, NoTls, ServerSecurity
from core.view.upstream import Upstream

_Cluster = cluster_pb2.Cluster
_Common = tls_pb2.CommonTlsContext
_Instance = common_pb2.CertificateProviderPluginInstance
_Listener = listener_pb2.Listener
_Manager = hcm_pb2.HttpConnectionManager
_Policy = cluster_pb2.LoadBalancingPolicy

LARGEST_RING = 4096
"""What clients of gRPC take at most unless they are told otherwise (gRFC A42)."""

_HASTE = 2000
"""Milliseconds. The C core of gRPC has two clocks, of which one is 1 to 2 s behind, and counts the time that a call
may take from the one to the other (grpc/grpc#34547): with a second or less, every call would fail at once."""

_CHANNEL = "io.grpc.channel_id"
"""What gRPC hashes where proxies would hash the caller's address (gRFC A42)."""


def encode_target(target: Target) -> bytes:
    """An `Any` of a listener that has no socket: `api_listener`."""
    rds = hcm_pb2.Rds(config_source=ads.SOURCE, route_config_name=target.routes)
    return _api_listener(target.name, _Manager(rds=rds, http_filters=(fault.FILTER, router.FILTER)))


def encode_unknown(name: str, upstream: str) -> bytes | None:
    """An `Any` in place of the listener of a name that nobody has; None where a server asks for its own.

    An answer without that name tells gRPC nothing: it goes on waiting, for 15 s (gRFC A53). `upstream` has no
    endpoints (`encode_nobody`), so calls fail at once. It is the one that the name would stand for: calls that are
    willing to wait are bound to it already, and go on when it comes to be.
    """
    if name.startswith(_SERVER):
        return None
    route = route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix=""), route=route_components_pb2.RouteAction(cluster=upstream)
    )
    host = route_components_pb2.VirtualHost(name=name, domains=["*"], routes=[route])
    everything = route_pb2.RouteConfiguration(name=name, virtual_hosts=[host])
    return _api_listener(name, _Manager(route_config=everything, http_filters=(router.FILTER,)))


def encode_nobody(name: str) -> bytes:
    """An `Any` in place of a cluster that is not there, or that gRPC cannot call.

    Its endpoints have a name of their own, which failed calls tell, so that it never has those of the true one: a rule
    may demand TLS for them, and here is none.
    """
    eds = _Cluster.EdsClusterConfig(eds_config=ads.SOURCE, service_name=f"nobody at {name}")
    return packed(_Cluster(name=name, type=_Cluster.EDS, eds_cluster_config=eds, lb_policy=_Cluster.ROUND_ROBIN))


def _api_listener(name: str, manager: hcm_pb2.HttpConnectionManager) -> bytes:
    return packed(_Listener(name=name, api_listener=api_listener_pb2.ApiListener(api_listener=typed(manager))))


# -- routes ------------------------------------------------------------------------------------------------------------


def encode_route(route: Route) -> bytes:
    """A `routes` field of a virtual host: as for proxies, but for what gRPC calls by another name."""
    action = route.action
    encoded = routes.encode_routes((route,))
    if not isinstance(action, ForwardTo):
        return encoded
    (message,) = route_components_pb2.VirtualHost.FromString(encoded).routes
    message.route.ClearField("timeout")
    message.route.ClearField("max_grpc_timeout")
    if action.timeout:
        message.route.max_stream_duration.max_stream_duration.CopyFrom(milliseconds(action.timeout + _HASTE))
    if isinstance(action.hash_key, HashSourceIp):
        del message.route.hash_policy[:]
        message.route.hash_policy.add().filter_state.key = _CHANNEL
    field = route_components_pb2.VirtualHost.ROUTES_FIELD_NUMBER
    return wire.field(field, message.SerializeToString(deterministic=True))


# -- clusters ----------------------------------------------------------------------------------------------------------


def encode_cluster(upstream: Upstream) -> bytes:
    """An `Any` of a cluster; `upstream.endpoints` are `Discovered`."""
    return packed(
        _Cluster(
            name=upstream.name,
            type=_Cluster.EDS,
            eds_cluster_config=_Cluster.EdsClusterConfig(eds_config=ads.SOURCE),
            circuit_breakers=circuit_breakers(upstream.pool),
            transport_socket=_client(upstream.security),
            **_balanced(upstream.load_balancer),
        )
    )


def _balanced(balancer: Balance | ConsistentHash) -> dict[str, object]:
    """Clients take the first policy of a list that they know; C++ and Python know nothing of LEAST_REQUEST."""
    match balancer:
        case Balance("LEAST_REQUEST"):
            return {"load_balancing_policy": _FEWEST}
        case Balance():
            return {"lb_policy": _Cluster.ROUND_ROBIN}
        case ConsistentHash(size=size):
            ring = _Cluster.RingHashLbConfig()
            ring.minimum_ring_size.value = min(size, LARGEST_RING)
            ring.maximum_ring_size.value = LARGEST_RING
            return {"lb_policy": _Cluster.RING_HASH, "ring_hash_lb_config": ring}
        case _:
            assert_never(balancer)


def _policies(*configs: Message) -> cluster_pb2.LoadBalancingPolicy:
    return _Policy(policies=[_Policy.Policy(typed_extension_config=_extension(config)) for config in configs])


def _extension(config: Message) -> object:
    name = config.DESCRIPTOR.full_name
    return {"name": name, "typed_config": typed(config)}


_FEWEST = _policies(
    wrr_locality_pb2.WrrLocality(
        endpoint_picking_policy=_policies(least_request_pb2.LeastRequest(), round_robin_pb2.RoundRobin())
    )
)


# -- security ----------------------------------------------------------------------------------------------------------

_SHOWN = _Instance(instance_name=CERTIFICATE)
"""Where an application finds its certificate, key and roots: `certificate_providers` of its bootstrap."""


def _client(security: ClientSecurity) -> base_pb2.TransportSocket | None:
    match security:
        case NoTls():
            return None
        case MeshClient(identities=identities):
            # The only field for names that all clients of gRPC read; Envoy calls it outdated.
            named = [string_pb2.StringMatcher(exact=str(each)) for each in identities]
            context = common_pb2.CertificateValidationContext(
                ca_certificate_provider_instance=_SHOWN,
                match_subject_alt_names=named or [string_pb2.StringMatcher(exact=NOBODY)],
            )
            common = _Common(tls_certificate_provider_instance=_SHOWN, validation_context=context)
            return _tls(tls_pb2.UpstreamTlsContext(common_tls_context=common))
        case _:
            raise ValueError(f"gRPC cannot call with {security}")


def _tls(context: Message) -> base_pb2.TransportSocket:
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=typed(context))


# -- serving -----------------------------------------------------------------------------------------------------------

SERVER_NAME = "grpc/server?xds.resource.listening_address=%s"
"""`server_listener_resource_name_template` of the bootstrap: how a server asks for its listener (gRFC A36)."""

_SERVER = SERVER_NAME.partition("?")[0]


def server_name(server: GrpcServer) -> str:
    return SERVER_NAME % f"{server.address}:{server.port}"


def encode_server(server: GrpcServer) -> bytes:
    """An `Any` of the listener of a server."""
    filters = (*_members(server.security), *rbac.grpc_filters(server.checks), router.FILTER)
    manager = _Manager(route_config=_own_routes(), http_filters=filters)
    chain = listener_components_pb2.FilterChain(
        filters=[listener_components_pb2.Filter(name="http_connection_manager", typed_config=typed(manager))],
        transport_socket=_server(server),
    )
    address = addresses.socket(server.address.strip("[]"), server.port)
    return packed(_Listener(name=server_name(server), address=address, filter_chains=[chain]))


def _members(security: ServerSecurity) -> tuple[hcm_pb2.HttpFilter, ...]:
    return (trust_domain.members_of(security.trust_domain),) if isinstance(security, MeshServer) else ()


def _own_routes() -> route_pb2.RouteConfiguration:
    """Every call is for this server itself."""
    here = route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix="/"),
        non_forwarding_action=route_components_pb2.NonForwardingAction(),
    )
    host = route_components_pb2.VirtualHost(name="inbound", domains=["*"], routes=[here])
    return route_pb2.RouteConfiguration(name="inbound", virtual_hosts=[host])


def _server(server: GrpcServer) -> base_pb2.TransportSocket | None:
    """The mesh's roots have to vouch for callers: names cannot be asked for on this side (gRFC A29)."""
    if isinstance(server.security, NoTls):
        return None
    context = common_pb2.CertificateValidationContext(ca_certificate_provider_instance=_SHOWN)
    common = _Common(tls_certificate_provider_instance=_SHOWN, validation_context=context)
    return _tls(tls_pb2.DownstreamTlsContext(common_tls_context=common, require_client_certificate=YES))
