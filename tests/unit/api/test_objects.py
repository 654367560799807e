"""The passage between `Document` and Kubernetes objects."""

from typing import Any

import msgspec
import pytest

from core.diagnostics import Diagnostic, Severity
from core.manager.api.objects import Resource, Submitted, document_of, resource_of
from core.model.config import ConfigKey, Document, Origin
from core.model.labels import Labels

KEY = ConfigKey("networking.istio.io", "VirtualService", "shop", "reviews")


def submitted(text: str) -> Submitted:
    return msgspec.json.decode(text, type=Submitted)


def plain(resource: Resource) -> dict[str, Any]:
    result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(resource))
    return result


def test_equal_specs_are_equal_bytes() -> None:
    """Order of keys and spaces do not matter: a spec has one spelling."""
    head = '{"apiVersion":"g/v1","kind":"K","metadata":{"finalizers":[{"z":1,"y":2}]},"spec":%s}'
    document = document_of(submitted(head % '{"b": {"d": 1, "c": [2, 1]}, "a": "x"}'))
    assert document.spec == b'{"a":"x","b":{"c":[2,1],"d":1}}'
    assert document.extra == b'{"metadata":{"finalizers":[{"y":2,"z":1}]}}'


def test_there_and_back() -> None:
    """What is read from the API and written again is the same document."""
    document = Document(
        key=KEY, spec=b'{"hosts":["a"]}', labels=Labels.of({"l": "1"}), annotations=Labels.of({"a": "2"}), revision="7"
    )
    assert document_of(submitted(msgspec.json.encode(resource_of(document)).decode())) == document


def test_an_object_carries_what_the_store_knows() -> None:
    """Creation time, generation and version are where Kubernetes has them."""
    document = Document(key=KEY, created=1_700_000_000.5, generation=3, revision="12")
    assert plain(resource_of(document))["metadata"] == {
        "name": "reviews",
        "namespace": "shop",
        "resourceVersion": "12",
        "generation": 3,
        "creationTimestamp": "2023-11-14T22:13:20Z",
    }


def test_findings_are_the_status() -> None:
    """A finding shows its code, level, field and fix under status.validationMessages."""
    found = Diagnostic(
        code="IST0101",
        severity=Severity.ERROR,
        message="no such host",
        fix="name one",
        origin=Origin(KEY, "spec.http[0]"),
    )
    (message,) = plain(resource_of(Document(key=KEY), (found,)))["status"]["validationMessages"]
    assert message == {
        "type": {"code": "IST0101"},
        "level": "ERROR",
        "message": "no such host",
        "field": "spec.http[0]",
        "fix": "name one",
    }


def test_no_finding_no_status() -> None:
    """An object that nobody complains about has no status."""
    assert "status" not in plain(resource_of(Document(key=KEY)))


def test_an_object_is_served_in_the_version_that_was_asked_for() -> None:
    """All versions of a kind share one schema, so any of them can be had."""
    assert resource_of(Document(key=KEY, version="v1"), version="v1beta1").api_version == "networking.istio.io/v1beta1"


@pytest.mark.parametrize("text", ['{"apiVersion":"a/v1","kind":"K","metadata":{},"sepc":{}}'])
def test_a_misspelt_field_beside_spec_is_refused(text: str) -> None:
    """`sepc` is not passed over: the rule would silently be empty."""
    with pytest.raises(msgspec.ValidationError, match="sepc"):
        submitted(text)
