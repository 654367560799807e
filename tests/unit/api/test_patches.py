"""JSON merge patch and JSON patch, by the examples of their RFCs."""

import json
from typing import Any

import pytest

from core.manager.api.failures import Failure
from core.manager.api.patches import decode_operations, merged, patched


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    """RFC 7386, appendix A."""
    before = json.dumps(target)
    assert merged(target, patch) == result
    assert json.dumps(target) == before


def steps(*operations: dict[str, Any]) -> bytes:
    return json.dumps(operations).encode()


@pytest.mark.parametrize(
    ("target", "operation", "result"),
    [
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, {"op": "add", "path": "/foo/1", "value": "b"}, {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, {"op": "add", "path": "/foo/-", "value": ["b"]}, {"foo": ["a", ["b"]]}),
        ({"a": 1, "b": 2}, {"op": "remove", "path": "/a"}, {"b": 2}),
        ({"a": [1, 2, 3]}, {"op": "remove", "path": "/a/1"}, {"a": [1, 3]}),
        ({"a": [1, 2]}, {"op": "replace", "path": "/a/1", "value": 9}, {"a": [1, 9]}),
        ({"a": {"x": 1}, "b": {}}, {"op": "move", "from": "/a/x", "path": "/b/y"}, {"a": {}, "b": {"y": 1}}),
        ({"a": [1, 2, 3]}, {"op": "move", "from": "/a/0", "path": "/a/2"}, {"a": [2, 3, 1]}),
        ({"a": {"x": 1}}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": {"x": 1}, "b": {"x": 1}}),
        ({"~1": 10, "/": 9}, {"op": "test", "path": "/~01", "value": 10}, {"~1": 10, "/": 9}),
        ({"a/b": 1}, {"op": "remove", "path": "/a~1b"}, {}),
        ({"a": None}, {"op": "add", "path": "/a", "value": None}, {"a": None}),
    ],
)
def test_json_patch(target: Any, operation: dict[str, Any], result: Any) -> None:
    """RFC 6902, appendix A."""
    assert patched(target, decode_operations(steps(operation))) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nothing"},
        {"op": "replace", "path": "/nothing", "value": 1},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add", "path": "/list/5", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "remove", "path": "/list/-"},
        {"op": "test", "path": "/text", "value": "other"},
        {"op": "add", "path": "/text"},
        {"op": "add", "path": "text", "value": 1},
        {"op": "add", "path": "/text/x", "value": 1},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "remove", "path": ""},
    ],
)
def test_a_step_that_cannot_be_done_is_named_and_nothing_changes(operation: dict[str, Any]) -> None:
    """422, with the number of the step; the steps before it are undone, too."""
    target = {"text": "a", "list": [1]}
    first = {"op": "add", "path": "/new", "value": 1}
    with pytest.raises(Failure, match="step 1") as caught:
        patched(target, decode_operations(steps(first, operation)))
    assert (caught.value.status.code, target) == (422, {"text": "a", "list": [1]})


def test_copies_of_copies_do_not_grow_for_ever() -> None:
    """Forty steps would be a million million copies."""
    grow = [{"op": "copy", "from": "/a", "path": f"/a/x{i}"} for i in range(40)]
    with pytest.raises(Failure) as caught:
        patched({"a": {"b": "c"}}, decode_operations(steps(*grow)))
    assert caught.value.status.code == 413


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[{"op":"jump","path":"/a"}]', b"[" * 100_000])
def test_what_is_no_patch_is_a_bad_request(body: bytes) -> None:
    """400 before anything is looked at."""
    with pytest.raises(Failure) as caught:
        decode_operations(body)
    assert caught.value.status.code == 400
