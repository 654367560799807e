"""Documents as people write them: nothing is said about them, and what they are written in makes no difference."""

import re
from pathlib import Path

import msgspec
import pytest

from core.kinds.decode import Entry, decode
from core.kinds.kind import Spec, json_name
from core.kinds.networking.destinationrule import DestinationRuleSpec
from core.kinds.networking.virtualservice import VirtualServiceSpec
from core.kinds.registry import lower
from core.kinds.validate import findings, validate
from core.model.config import Document
from core.model.mesh import Mesh

GOOD = Path(__file__).parent / "cases" / "good"
FILES = sorted(GOOD.glob("*.yaml"))
MESH = Mesh()


def entries() -> list[Entry]:
    return [
        entry
        for file in FILES
        for entry in decode(file.read_text(), file=file.name, default_namespace="default").entries
    ]


ENTRIES = entries()
DOCUMENTS = [entry.document for entry in ENTRIES if entry.document]
IDS = [document.key.name for document in DOCUMENTS]


def test_the_corpus_is_read() -> None:
    """Every document of the corpus is usable, and there are as many as somebody counted."""
    assert len(DOCUMENTS) == len(ENTRIES) == 24


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_nothing_is_said_about_a_good_document(entry: Entry) -> None:
    """No error, no warning."""
    assert findings(entry, MESH) == ()


def test_good_documents_are_valid_together() -> None:
    """The files can be applied at once: no name is there twice."""
    texts = [(file.name, file.read_text()) for file in FILES]
    assert all(
        verdict.valid and not verdict.diagnostics for verdict in validate(texts, default_namespace="default", mesh=MESH)
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_lowering_is_a_function_of_the_document(document: Document) -> None:
    """The same document gives the same rules, which can be compared and hashed."""
    first, second = lower(document, MESH), lower(document, MESH)
    assert first == second
    assert hash(first.rules) == hash(second.rules)
    assert len(first.rules) == (0 if document.key.kind == "MeshConfig" else 1)


def snake_name(key: str) -> str:
    """A name as the .proto files spell it; those of headers and labels have no capital inside and stay."""
    spelled = key.replace("consecutive5xx", "consecutive_5xx")
    return re.sub("(?<=[a-z0-9])[A-Z]", lambda found: "_" + found[0].lower(), spelled)


def snake(value: object) -> object:
    if isinstance(value, dict):
        return {snake_name(key): snake(item) for key, item in value.items()}
    return [snake(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_snake_case_means_the_same(document: Document) -> None:
    """Field names may be written as in the .proto files; what is lowered is equal, origins included."""
    spelled = msgspec.json.encode(snake(msgspec.json.decode(document.spec)), order="sorted")
    assert lower(msgspec.structs.replace(document, spec=spelled), MESH) == lower(document, MESH)


def test_something_was_in_camel_case() -> None:
    """Guards the test above: the corpus has many fields of two words."""
    changed = [
        document
        for document in DOCUMENTS
        if snake(msgspec.json.decode(document.spec)) != msgspec.json.decode(document.spec)
    ]
    assert len(changed) >= 6


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_specs_are_canonical(document: Document) -> None:
    """Equal specs are equal bytes: keys are sorted, there are no spaces."""
    assert document.spec == msgspec.json.encode(msgspec.json.decode(document.spec), order="sorted")


def test_metadata_is_kept() -> None:
    """Labels, annotations, creation time and the place of a document survive; what a server adds does not."""
    found = {document.key.name: document for document in DOCUMENTS}
    assert found["reviews-by-user"].labels.as_dict() == {"app.kubernetes.io/part-of": "bookinfo"}
    assert found["reviews-by-user"].annotations.as_dict() == {"note": "one tester sees the new version"}
    assert found["reviews-by-user"].source == "routing.yaml:2"
    assert found["canary"].created == 1740830400.0
    assert (found["canary"].key.namespace, found["canary"].version) == ("shop", "v1beta1")
    assert (found["snake"].revision, found["snake"].generation, found["snake"].created) == ("", 0, 0.0)
    assert found["default"].key.namespace == "istio-system"


def fields(spec: type[Spec]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(spec)}


def test_json_names_are_those_of_proto() -> None:
    """`json_name` is proto3's rule, digits included."""
    assert json_name("consecutive_5xx_errors") == "consecutive5xxErrors"
    assert json_name("http1_max_pending_requests") == "http1MaxPendingRequests"
    assert fields(VirtualServiceSpec) == {"hosts", "gateways", "http", "exportTo"}
    assert fields(DestinationRuleSpec) == {"host", "trafficPolicy", "subsets", "exportTo"}
