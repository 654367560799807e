"""Whatever somebody writes, the answer is a finding, never an exception; what is lowered is sound."""

from pathlib import Path

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.diagnostics import has_errors
from core.ir.routing import Forward, RouteRule
from core.kinds.decode import decode
from core.kinds.registry import KINDS, lower
from core.kinds.validate import validate_text
from core.model.config import ConfigKey, Document
from core.model.mesh import Mesh

GOOD = Path(__file__).parent / "cases" / "good"
DOCUMENTS = [
    document
    for file in sorted(GOOD.glob("*.yaml"))
    for document in decode(file.read_text(), file=file.name, default_namespace="default").documents
]
SPECS = [(document, msgspec.json.decode(document.spec)) for document in DOCUMENTS]
MESH = Mesh()

PIECES = st.sampled_from(
    [*"abk:-{}[]&*!|>'\"%@#,?~<0.1e_\n\t \r\\/", "---", "...", "\n- ", "kind", "<<: ", "&a ", "*a", "apiVersion: "]
)
YAML = st.lists(PIECES, max_size=60).map("".join)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(
        ["*", "", "0s", "1.5s", "-1s", "%", "%REQ(", "(", "\\1", "/", "a.b", "~", ":path", "10.0.0.1", "http", "5xx"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=600)
@given(YAML | st.text())
@example("\x00")
@example("\ud800")
@example("- " * 2000)
@example('{"a":' * 500)
@example("%YAML 9.9\n---\na")
@example("? ? ? a")
def test_any_text_can_be_validated(text: str) -> None:
    """Every text gives verdicts, and their findings have places within the text."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    breaks = sum(text.count(mark) for mark in "\x85\u2028\u2029")
    for verdict in validate_text(text, file="f", default_namespace="default", mesh=MESH):
        for found in verdict.diagnostics:
            assert found.place
            assert 1 <= found.place.line <= lines + breaks + 1


@given(JSON)
def test_any_spec_can_be_lowered(spec: object) -> None:
    """Every JSON value as a spec gives rules or an error, never both."""
    for one in KINDS:
        key = ConfigKey(one.group, one.kind, one.namespace or "default", one.singleton or "a")
        sound(Document(key=key, spec=msgspec.json.encode(spec, order="sorted")))


@given(st.binary(max_size=40))
@example(b"[" * 200_000)
@example(b'{"http":' * 200_000)
@example(b'{"http":[' + b"[" * 200_000)
def test_any_bytes_can_be_lowered(spec: bytes) -> None:
    """A store may hand out rubbish."""
    sound(Document(key=DOCUMENTS[0].key, spec=spec))


@settings(max_examples=400)
@given(st.data())
def test_a_good_document_spoilt_anywhere(data: st.DataObject) -> None:
    """One place of a good document replaced by anything: rules or an error, and the document's other parts are kept."""
    document, spec = data.draw(st.sampled_from(SPECS))
    spoilt = replace_somewhere(spec, data)
    sound(msgspec.structs.replace(document, spec=msgspec.json.encode(spoilt, order="sorted")))


def replace_somewhere(value: object, data: st.DataObject) -> object:
    if isinstance(value, dict) and value and data.draw(st.integers(0, 4)):
        key = data.draw(st.sampled_from(sorted(value)))
        if not data.draw(st.integers(0, 9)):
            return {**value, data.draw(st.text(max_size=6)): data.draw(JSON)}
        return {**value, key: replace_somewhere(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 4)):
        index = data.draw(st.integers(0, len(value) - 1))
        return [replace_somewhere(item, data) if i == index else item for i, item in enumerate(value)]
    return data.draw(JSON)


def sound(document: Document) -> None:
    """What the rest of the mesh relies on."""
    lowered = lower(document, MESH)
    assert not (lowered.rules and has_errors(lowered.diagnostics))
    assert lowered.rules or lowered.diagnostics or document.key.kind == "MeshConfig"
    assert all(found.origin and found.origin.config == document.key for found in lowered.diagnostics)
    for rule in lowered.rules:
        hash(rule)
        if isinstance(rule, RouteRule):
            sound_routes(rule)


def sound_routes(rule: RouteRule) -> None:
    assert rule.hosts
    assert rule.http
    for route in rule.http:
        if isinstance(route.action, Forward):
            assert sum(share.weight for share in route.action.shares) > 0
            assert all(share.destination.host for share in route.action.shares)
