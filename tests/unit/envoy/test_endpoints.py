"""What a load assignment says, read back with protobuf, and that it is composed of parts."""

from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from core.envoy import endpoints
from core.envoy.any import packed
from core.envoy.names import LOAD_ASSIGNMENT
from core.envoy.testing import catalogue
from core.model.service import Locality
from core.view.upstream import Endpoint


def read(encoded: bytes) -> endpoint_pb2.ClusterLoadAssignment:
    envelope = Any.FromString(encoded)
    assert envelope.type_url == LOAD_ASSIGNMENT
    return endpoint_pb2.ClusterLoadAssignment.FromString(envelope.value)


def test_meaning() -> None:
    """Localities with priority and weight, endpoints with address, weight, health and workload."""
    message = read(endpoints.encode(catalogue.LOAD_ASSIGNMENTS[1]))
    first, second = message.endpoints
    assert message.cluster_name == "somebody"
    assert MessageToDict(first.locality) == {"region": "r", "zone": "z", "subZone": "s"}
    assert (first.priority, first.load_balancing_weight.value) == (0, 4)
    assert [e.load_balancing_weight.value for e in first.lb_endpoints] == [1, 3]
    assert (second.priority, second.load_balancing_weight.value) == (1, 1)
    assert second.HasField("locality"), "gRPC refuses endpoints without a locality"
    assert MessageToDict(second.lb_endpoints[0], preserving_proto_field_name=True) == {
        "endpoint": {"address": {"socket_address": {"address": "::1", "port_value": 65535}}},
        "health_status": "DRAINING",
        "load_balancing_weight": 1,
        "metadata": {"filter_metadata": {"istio": {"workload": "reviews-v1.default"}}},
    }


def test_nobody() -> None:
    """Without endpoints there is still an assignment: silence would keep the cluster waiting."""
    assert MessageToDict(read(endpoints.join("nobody", []))) == {"clusterName": "nobody"}
    assert endpoints.encode(catalogue.LOAD_ASSIGNMENTS[0]) == endpoints.join("nobody", [])


def test_parts_are_interchangeable() -> None:
    """An assignment joined of endpoints encoded elsewhere is the one that is encoded as a whole."""
    whole = catalogue.LOAD_ASSIGNMENTS[1]
    kept = {e: endpoints.encode_endpoint(e) for place in whole.localities for e in place.endpoints}
    groups = [(p.locality, p.priority, p.weight, [kept[e] for e in p.endpoints]) for p in whole.localities]
    assert endpoints.join(whole.name, groups) == endpoints.encode(whole)


def test_canonical() -> None:
    """The parts stand in the order in which protobuf writes them, so that equal contents are equal bytes."""
    for assignment in catalogue.LOAD_ASSIGNMENTS:
        assert packed(read(endpoints.encode(assignment))) == endpoints.encode(assignment)
    many = [(Locality(), 0, 300, [endpoints.encode_endpoint(Endpoint("10.0.0.1", port)) for port in range(1, 300)])]
    assert packed(read(endpoints.join("many", many))) == endpoints.join("many", many)
