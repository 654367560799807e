"""Every piece of YAML that readers may copy is what the product takes: the blocks in documents, and the examples."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from core.diagnostics import Diagnostic
from core.kinds.validate import validate_text
from core.model.mesh import Mesh
from platforms.local.decode import decode

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"))
OTHERS = {"call-tables.md"}
"""Pages whose YAML is of a kind of its own, which has tests of its own."""

BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def texts() -> Iterator[tuple[str, str]]:
    """Each with the place where it stands."""
    for page in sorted(PAGES):
        if page.name not in OTHERS:
            content = page.read_text()
            for block in BLOCK.finditer(content):
                yield f"{page.relative_to(ROOT)}:{content[: block.start()].count(chr(10)) + 2}", block[1]
    for file in sorted(ROOT.glob("examples/**/*.yaml")):
        yield str(file.relative_to(ROOT)), file.read_text()


def diagnostics(text: str) -> tuple[Diagnostic, ...]:
    """Of a mesh file with the documents behind it, or of rules alone. Warnings count: an example should have none."""
    first, *rest = re.split(r"^---\n", text, flags=re.MULTILINE)
    if "services" not in (yaml.safe_load(first) or {}):
        return rules(text)
    return (*decode(text, name="mesh.yaml").diagnostics, *rules("---\n".join(rest)))


def rules(text: str) -> tuple[Diagnostic, ...]:
    verdicts = validate_text(text, file="rule.yaml", default_namespace="default", mesh=Mesh())
    return tuple(diagnostic for verdict in verdicts for diagnostic in verdict.diagnostics)


@pytest.mark.parametrize("text", [pytest.param(text, id=place) for place, text in texts()])
def test_what_is_shown_is_valid(text: str) -> None:
    """No error and no warning: a mesh file decodes, and rules validate."""
    assert [str(diagnostic) for diagnostic in diagnostics(text)] == []


def test_there_is_something_to_check() -> None:
    """The blocks are found: rules and mesh files, in documents and in examples."""
    places = [place for place, _ in texts()]
    assert {"docs", "examples"} <= {place.partition("/")[0] for place in places}
    assert sum("services:" in text for _, text in texts()) > 1
    assert sum("kind: VirtualService" in text for _, text in texts()) > 1


@pytest.mark.parametrize(
    "text",
    [
        "services:\n  a: {prots: [80]}\n",
        "services: {a: {ports: [80]}}\n---\nkind: VirtualService\n",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hostz: [a]}\n",
        "just: some\nother: mapping\n",
    ],
)
def test_mistakes_are_noticed(text: str) -> None:
    """The check above can fail."""
    assert diagnostics(text)
