"""What tools and telemetry want to know of a resource: Envoy metadata under the key "istio"."""

from envoy.config.core.v3 import base_pb2
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from core.model.config import Origin

_KEY = "istio"


def metadata(fields: dict[str, Value]) -> base_pb2.Metadata:
    return base_pb2.Metadata(filter_metadata={_KEY: Struct(fields=fields)})


def text(value: str) -> Value:
    return Value(string_value=value)


def count(value: int) -> Value:
    return Value(number_value=value)


def records(*each: dict[str, str]) -> Value:
    structs = [Struct(fields={name: text(value) for name, value in one.items()}) for one in each]
    return Value(list_value=ListValue(values=[Value(struct_value=one) for one in structs]))


def path_of(origin: Origin) -> str:
    """A document as Istio writes it in metadata ("config"): `/apis/<group>/v1/namespaces/<ns>/<kind>/<name>`."""
    key = origin.config
    kind = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in key.kind).strip("-")
    return f"/apis/{key.group}/v1/namespaces/{key.namespace}/{kind}/{key.name}"
