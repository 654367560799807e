"""Endpoints as Envoy load assignments, composed of ready-made bytes: when one endpoint changes, the others stay."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import msgspec
from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as components_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf.any_pb2 import Any

from core.envoy import addresses, metadata, transport_sockets, wire
from core.envoy.any import head, number, serialised
from core.envoy.names import LOAD_ASSIGNMENT
from core.envoy.templates import Templates
from core.model.service import Locality
from core.view.upstream import Endpoint, LoadAssignment, LocalityEndpoints

_Locality = components_pb2.LocalityLbEndpoints

Group = tuple[Locality, int, int, Sequence[bytes]]
"""Locality, priority, weight, and its endpoints as `encode_endpoint` makes them."""


def encode(assignment: LoadAssignment) -> bytes:
    """An `Any` of `envoy.config.endpoint.v3.ClusterLoadAssignment`. Envoy takes only IP addresses here."""
    return join(assignment.name, [_group(place) for place in assignment.localities])


def message(assignment: LoadAssignment) -> endpoint_pb2.ClusterLoadAssignment:
    """The same as a message, for clusters that hold their endpoints; there addresses may be names."""
    return endpoint_pb2.ClusterLoadAssignment.FromString(Any.FromString(encode(assignment)).value)


def _group(place: LocalityEndpoints) -> Group:
    return place.locality, place.priority, place.weight, [encode_endpoint(endpoint) for endpoint in place.endpoints]


def join(name: str, groups: Iterable[Group]) -> bytes:
    """The same from endpoints that are bytes already. Without groups: nobody is there."""
    parts = [wire.text(endpoint_pb2.ClusterLoadAssignment.CLUSTER_NAME_FIELD_NUMBER, name)]
    for locality, priority, weight, endpoints in groups:
        body = b"".join((_place(locality), *endpoints, _standing(priority, weight)))
        parts += (wire.header(endpoint_pb2.ClusterLoadAssignment.ENDPOINTS_FIELD_NUMBER, len(body)), body)
    return b"".join((head(LOAD_ASSIGNMENT, sum(map(len, parts))), *parts))


def encode_endpoint(endpoint: Endpoint) -> bytes:
    """One `lb_endpoints` field of a locality."""
    return _TEMPLATES.render(*taken_apart(endpoint))


class Shape(msgspec.Struct, frozen=True):
    """What is not text of an endpoint."""

    port: int
    weight: int
    health: Literal["HEALTHY", "DRAINING"]
    mutual: bool


def taken_apart(endpoint: Endpoint) -> tuple[Shape, tuple[str, ...]]:
    shape = Shape(endpoint.port, endpoint.weight, endpoint.health, endpoint.mutual)
    return shape, (endpoint.address, endpoint.workload)


def build(shape: Shape, texts: tuple[str, ...]) -> bytes:
    """The same with protobuf alone."""
    address, workload = texts
    message = components_pb2.LbEndpoint(
        endpoint=components_pb2.Endpoint(address=addresses.socket(address, shape.port)),
        load_balancing_weight=number(shape.weight),
        health_status=health_check_pb2.HealthStatus.Value(shape.health),
        metadata=_metadata(workload, shape),
    )
    return wire.field(_Locality.LB_ENDPOINTS_FIELD_NUMBER, serialised(message))


def _metadata(workload: str, shape: Shape) -> base_pb2.Metadata | None:
    found = metadata.metadata({"workload": metadata.text(workload)}) if workload else base_pb2.Metadata()
    if shape.mutual:
        found.filter_metadata[transport_sockets.MATCH_KEY].CopyFrom(transport_sockets.MUTUAL)
    return found if found.filter_metadata else None


_TEMPLATES = Templates(build)


@lru_cache(maxsize=1024)
def _place(locality: Locality) -> bytes:
    """Always there, if empty: gRPC's own xDS client wants it."""
    message = base_pb2.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.subzone)
    return wire.field(_Locality.LOCALITY_FIELD_NUMBER, serialised(message))


@lru_cache(maxsize=1024)
def _standing(priority: int, weight: int) -> bytes:
    """The fields of a locality that stand behind its endpoints."""
    return serialised(_Locality(priority=priority, load_balancing_weight=number(weight)))
