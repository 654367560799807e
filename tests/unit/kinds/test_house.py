"""Promises of the package itself: cheap imports, documented codes, one table."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.kinds.registry import KINDS, find, lower, named
from core.model.config import ConfigKey, Document
from core.model.mesh import Mesh

ROOT = Path(__file__).parents[3]


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_lowering_needs_no_parser() -> None:
    """The Manager's side loads neither YAML nor a regex library until a rule has a regex."""
    loaded = modules_after("import core.kinds.registry")
    assert not loaded & {"yaml", "re2", "ipaddress", "google", "grpc", "envoy"}


def test_validating_loads_only_what_it_needs() -> None:
    """Of third-party packages, offline validation loads msgspec and yaml."""
    loaded = modules_after("import core.kinds.validate")
    assert "yaml" in loaded
    assert not loaded & {"re2", "ipaddress", "google", "grpc", "envoy", "httpx", "click", "rich"}


def codes_in(folder: str) -> set[str]:
    texts = (file.read_text() for file in (ROOT / folder).rglob("*.py"))
    return {code for text in texts for code in re.findall(r'"((?:IST|MSH)[0-9]{4})"', text)}


@pytest.mark.parametrize("folder", ["core/kinds", "core/compiler"])
def test_every_code_is_explained(folder: str) -> None:
    """The reference has a row for each code that a finding may have."""
    rows = set(re.findall(r"^\| ((?:IST|MSH)[0-9]{4}) \|", (ROOT / "docs/reference/diagnostics.md").read_text(), re.M))
    assert codes_in(folder)
    assert codes_in(folder) - rows == set()


@pytest.mark.parametrize("word", ["vs", "VirtualService", "virtualservices", "virtualservice.networking.istio.io"])
def test_kinds_have_the_names_that_people_use(word: str) -> None:
    """Kind, plural and short name, in any case, with the group or without."""
    kind = named(word)
    assert kind
    assert kind.kind == "VirtualService"


def test_kinds_that_are_none() -> None:
    """An unknown word or group is no kind, and a document of an unknown kind gets a finding."""
    assert named("virtualservice.example.com") is None
    assert named("pod") is None
    assert find("example.com", "VirtualService") is None
    (found,) = lower(Document(key=ConfigKey("example.com", "Pod", "a", "b")), Mesh()).diagnostics
    assert (found.code, found.origin and found.origin.config.kind) == ("MSH0004", "Pod")


def test_every_version_of_a_kind_is_named_once() -> None:
    """The first version is the one that is written."""
    for kind in KINDS:
        assert kind.versions
        assert len(set(kind.versions)) == len(kind.versions)
    assert KINDS[0].versions == ("v1", "v1beta1", "v1alpha3")
