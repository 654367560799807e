"""Messages and bytes inside `google.protobuf.Any`, and the scalars that protobuf wraps in messages."""

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from core.envoy import wire
from core.envoy.names import TYPE_PREFIX

YES = BoolValue(value=True)
NO = BoolValue(value=False)
NEVER = Duration()
"""Where Envoy takes a timeout: switched off."""


def serialised(message: Message) -> bytes:
    """The same bytes for equal messages, maps included: versions are content hashes."""
    return message.SerializeToString(deterministic=True)


def typed(message: Message) -> Any:
    """`message` as an extension's `typed_config`."""
    return Any(type_url=TYPE_PREFIX + message.DESCRIPTOR.full_name, value=serialised(message))


def packed(message: Message) -> bytes:
    """The bytes of an `Any` that holds `message`: a resource."""
    value = serialised(message)
    return head(TYPE_PREFIX + message.DESCRIPTOR.full_name, len(value)) + value


def head(type_url: str, size: int) -> bytes:
    """What stands before the `size` bytes of a serialised message to make them an `Any`."""
    return wire.text(Any.TYPE_URL_FIELD_NUMBER, type_url) + wire.header(Any.VALUE_FIELD_NUMBER, size)


def milliseconds(count: int) -> Duration:
    seconds, rest = divmod(count, 1000)
    return Duration(seconds=seconds, nanos=rest * 1_000_000)


def number(value: int) -> UInt32Value:
    return UInt32Value(value=value)
