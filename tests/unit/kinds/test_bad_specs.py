"""One mistake at a time: each is reported with its code, severity, path and line, and nothing else is."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest
from _pytest.mark import ParameterSet

from core.diagnostics import Diagnostic, Severity
from core.kinds.decode import decode
from core.kinds.registry import lower, named
from core.kinds.validate import Verdict, validate_text
from core.model.mesh import Mesh

CASES = Path(__file__).parent / "cases" / "bad"
HEADER = "apiVersion: {group}/{version}\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n"
FILE = "rule.yaml"
MARK = re.compile(r" # <- (?P<code>[A-Z]+[0-9]+)(?P<warning>~?) (?P<path>.*?)(?P<top> @spec)?$")


def cases() -> Iterator[ParameterSet]:
    for file in sorted(CASES.glob("*.yaml")):
        for piece in file.read_text().split("# case: ")[1:]:
            name, _, spec = piece.partition("\n")
            yield pytest.param(file.stem, spec.rstrip() + "\n", id=f"{file.stem}: {name}")


ALL = tuple(cases())


def document(word: str, spec: str) -> str:
    kind = named(word)
    assert kind
    name = kind.singleton or "sample"
    header = HEADER.format(group=kind.group, version=kind.versions[0], kind=kind.kind, name=name)
    return header + indent(spec, "  ")


def expected(text: str) -> list[tuple[str, Severity, str, int]]:
    """What the marks say. `@spec`: the field is missing, so the key `spec` is blamed."""
    result = []
    for number, line in enumerate(text.split("\n"), start=1):
        if mark := MARK.search(line):
            severity = Severity.WARNING if mark["warning"] else Severity.ERROR
            result.append((mark["code"], severity, mark["path"], 5 if mark["top"] else number))
    return sorted(result)


def found(diagnostics: tuple[Diagnostic, ...]) -> list[tuple[str, Severity, str, int]]:
    result = []
    for one in diagnostics:
        assert one.place
        assert one.origin
        result.append((one.code, one.severity, one.origin.path, one.place.line))
    return sorted(result)


def verdict(text: str) -> Verdict:
    verdicts = validate_text(text, file=FILE, default_namespace="default", mesh=Mesh())
    assert len(verdicts) == 1
    return verdicts[0]


@pytest.mark.parametrize(("kind", "spec"), ALL)
def test_a_mistake_is_reported_where_it_is(kind: str, spec: str) -> None:
    """The findings are exactly those that the case marks, each on its line."""
    text = document(kind, spec)
    wanted = expected(text)
    assert wanted, "the case marks nothing"
    assert found(verdict(text).diagnostics) == wanted


@pytest.mark.parametrize(("kind", "spec"), ALL)
def test_a_document_with_an_error_has_no_rules(kind: str, spec: str) -> None:
    """A document with an error lowers to nothing; with warnings only it lowers to its rule."""
    text = document(kind, spec)
    (only,) = decode(text, file=FILE, default_namespace="default").documents
    lowered = lower(only, Mesh())
    wrong = any(severity is Severity.ERROR for _, severity, _, _ in expected(text))
    assert verdict(text).valid is not wrong
    assert bool(lowered.rules) is (not wrong and kind != "meshconfig")


@pytest.mark.parametrize(("kind", "spec"), ALL)
def test_a_finding_helps(kind: str, spec: str) -> None:
    """Every message is one line of readable length, and an error says what to do or what was expected."""
    for one in verdict(document(kind, spec)).diagnostics:
        assert "\n" not in one.message
        assert 10 < len(one.message) < 300, one.message
        assert (
            one.fix
            or " must " in one.message
            or " may " in one.message
            or " at most " in one.message
            or re.search(r" (has|uses) ", one.message)
        ), one.message
