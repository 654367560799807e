"""What these tests share: documents made of a spec, and what they are lowered to."""

from collections.abc import Callable

import msgspec
import pytest

from core.ir.lowered import Lowered
from core.kinds.registry import lower, named
from core.model.config import ConfigKey, Document
from core.model.mesh import Mesh

MakeDocument = Callable[[str, object], Document]
LowerSpec = Callable[[str, object], Lowered]


def _document(word: str, spec: object) -> Document:
    kind = named(word)
    assert kind
    key = ConfigKey(kind.group, kind.kind, kind.namespace or "shop", kind.singleton or "sample")
    return Document(key=key, spec=msgspec.json.encode(spec, order="sorted"), created=7.0)


@pytest.fixture(scope="session")
def make_document() -> MakeDocument:
    """A document of a kind (by short name), in the namespace shop, named sample."""
    return _document


@pytest.fixture(scope="session")
def lower_spec() -> LowerSpec:
    return lambda word, spec: lower(_document(word, spec), Mesh())
