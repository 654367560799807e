"""Encoded resources as the static configuration of an Envoy, for `envoy --mode validate` and small experiments."""

from collections.abc import Sequence

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, extension_pb2, grpc_service_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any

from core.envoy.any import serialised, typed
from core.envoy.names import CLUSTER, LISTENER, LOAD_ASSIGNMENT

_MANAGER = "xds-grpc"


def bootstrap(resources: Sequence[bytes], admin_socket: str = "", *, own: bytes = b"") -> bytes:
    """A serialised `Bootstrap` (Envoy reads it from a file named `*.pb`) holding clusters, assignments and listeners.

    An assignment becomes a static cluster of its name, instead of the discovered one. `admin_socket` is a path.
    `own` is a part of a `Bootstrap` as JSON, which stands instead of what is here.
    """
    config = bootstrap_pb2.Bootstrap(
        node=base_pb2.Node(id="sidecar~127.0.0.1~test.default~default.svc.cluster.local", cluster="test.default"),
        dynamic_resources=_dynamic(),
        bootstrap_extensions=[_internal_listeners()],
    )
    if admin_socket:
        config.admin.address.CopyFrom(address_pb2.Address(pipe=address_pb2.Pipe(path=admin_socket)))
    config.static_resources.clusters.extend(_clusters(resources))
    config.static_resources.clusters.append(cluster_pb2.Cluster(name=_MANAGER, type=cluster_pb2.Cluster.STATIC))
    config.static_resources.listeners.extend(_unpacked(resources, LISTENER, listener_pb2.Listener))
    if own:
        part = json_format.Parse(own, bootstrap_pb2.Bootstrap())
        for field, _ in part.ListFields():
            config.ClearField(field.name)
        config.MergeFrom(part)
    return serialised(config)


def _clusters(resources: Sequence[bytes]) -> list[cluster_pb2.Cluster]:
    clusters = {each.name: each for each in _unpacked(resources, CLUSTER, cluster_pb2.Cluster)}
    for assignment in _unpacked(resources, LOAD_ASSIGNMENT, endpoint_pb2.ClusterLoadAssignment):
        cluster = clusters.setdefault(assignment.cluster_name, cluster_pb2.Cluster(name=assignment.cluster_name))
        cluster.ClearField("eds_cluster_config")
        cluster.type = cluster_pb2.Cluster.STATIC
        cluster.load_assignment.CopyFrom(assignment)
    return list(clusters.values())


def _unpacked(resources: Sequence[bytes], url: str, message: type) -> list[cluster_pb2.Cluster]:
    envelopes = map(Any.FromString, resources)
    return [message.FromString(one.value) for one in envelopes if one.type_url == url]  # type: ignore[attr-defined]


def _dynamic() -> bootstrap_pb2.Bootstrap.DynamicResources:
    to_manager = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=_MANAGER),
    )
    return bootstrap_pb2.Bootstrap.DynamicResources(
        ads_config=config_source_pb2.ApiConfigSource(
            api_type=config_source_pb2.ApiConfigSource.DELTA_GRPC,
            transport_api_version=config_source_pb2.V3,
            grpc_services=[to_manager],
        )
    )


def _internal_listeners() -> extension_pb2.TypedExtensionConfig:
    return extension_pb2.TypedExtensionConfig(
        name="envoy.bootstrap.internal_listener", typed_config=typed(internal_listener_pb2.InternalListener())
    )
