"""Resources as Envoy would tell them of itself (`envoy.admin.v3.ConfigDump`), for clients that tell nothing."""

from collections.abc import Iterable

from envoy.admin.v3 import config_dump_pb2, config_dump_shared_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from core.envoy.any import typed

_Clusters = config_dump_shared_pb2.ClustersConfigDump
_Endpoints = config_dump_shared_pb2.EndpointsConfigDump
_Listeners = config_dump_shared_pb2.ListenersConfigDump
_Routes = config_dump_shared_pb2.RoutesConfigDump

Bodies = Iterable[bytes]
"""Each an `Any`."""


def config_dump(*, clusters: Bodies, endpoints: Bodies, listeners: Bodies, routes: Bodies) -> bytes:
    """JSON, in the form of Envoy's `/config_dump?include_eds`: field names with underscores."""
    parts: list[Message] = [
        _Clusters(dynamic_active_clusters=[_Clusters.DynamicCluster(cluster=each) for each in _read(clusters)]),
        _Endpoints(
            dynamic_endpoint_configs=[
                _Endpoints.DynamicEndpointConfig(endpoint_config=each) for each in _read(endpoints)
            ]
        ),
        _Listeners(
            dynamic_listeners=[
                _Listeners.DynamicListener(active_state=_Listeners.DynamicListenerState(listener=each))
                for each in _read(listeners)
            ]
        ),
        _Routes(dynamic_route_configs=[_Routes.DynamicRouteConfig(route_config=each) for each in _read(routes)]),
    ]
    whole = config_dump_pb2.ConfigDump(configs=map(typed, parts))
    return MessageToJson(whole, preserving_proto_field_name=True, indent=None).encode()


def _read(bodies: Bodies) -> Iterable[Any]:
    return map(Any.FromString, bodies)
