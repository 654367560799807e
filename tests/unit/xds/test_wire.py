"""Wire primitives agree with protobuf."""

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import StringValue, UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from core.envoy.wire import Rope, packed, text, varint


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobuf_s(value: int) -> None:
    assert b"\x08" + varint(value) == UInt64Value(value=value).SerializeToString() or value == 0


@given(st.text(min_size=1, max_size=300))
def test_fields_with_a_length_are_protobuf_s(value: str) -> None:
    assert text(1, value) == StringValue(value=value).SerializeToString()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 70_000])
def test_packed_is_an_any_whether_bytes_or_rope(size: int) -> None:
    message = b"x" * size
    rope = packed("type.googleapis.com/a.B", Rope(message[: size // 2], Rope(message[size // 2 :])))
    assert isinstance(rope, Rope)
    assert rope.join() == packed("type.googleapis.com/a.B", message)
    assert Any.FromString(rope.join()) == Any(type_url="type.googleapis.com/a.B", value=message)
    assert rope.size == len(rope.join())


def test_a_rope_is_joined_once() -> None:
    rope = Rope(b"a", Rope(b"b", b"c"))
    assert rope.join() == b"abc"
    assert rope.join() is rope.join()
