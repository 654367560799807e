"""`istioctl validate`: verdicts on files, without a mesh."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]

GOOD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: {name}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {{host: reviews}}
"""
BAD = GOOD + "    fualt: {{}}\n"
DOUBTFUL = GOOD + "  - route:\n    - destination: {{host: reviews}}\n"


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules" / "deep").mkdir(parents=True)
    (tmp_path / "rules" / "b.yaml").write_text(GOOD.format(name="b"))
    (tmp_path / "rules" / "a.yml").write_text(BAD.format(name="a"))
    (tmp_path / "rules" / "deep" / "c.yaml").write_text(DOUBTFUL.format(name="c"))
    (tmp_path / "rules" / "notes.txt").write_text("not a rule")
    return Path("rules")


def test_a_valid_file(istioctl: Run, rules: Path) -> None:
    """Nothing to say is said in one line on stderr, and the exit code is 0."""
    result = istioctl("validate", "-f", "rules/b.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 document: 1 valid\n")


def test_a_finding_is_a_line_with_place_code_object_and_field(istioctl: Run, rules: Path) -> None:
    """file:line:column, severity and code, object, field, what is wrong and what was probably meant."""
    result = istioctl("validate", "-f", "rules/a.yml")
    assert result.exit_code == 1
    assert result.stdout.startswith(
        "rules/a.yml:10:5: Error [IST0106] VirtualService default/a spec.http[0].fualt: unknown field 'fualt'; did you "
    )
    assert result.stdout.count("\n") == 1
    assert result.stderr == "1 document: 1 invalid\n"


def test_warnings_do_not_fail(istioctl: Run, rules: Path) -> None:
    """A document that is only doubtful is shown and exits 0."""
    result = istioctl("validate", "rules/deep")
    assert (result.exit_code, result.stderr) == (0, "1 document: 1 doubtful\n")
    assert ": Warning [IST0130] VirtualService default/c spec.http[1]" in result.stdout


def test_directories_are_read_in_order_and_flat(istioctl: Run, rules: Path) -> None:
    """Without -R what lies deeper is left alone; other files always are."""
    assert istioctl("validate", "rules").stderr == "2 documents: 1 valid, 1 invalid\n"
    assert istioctl("validate", "-R", "rules").stderr == "3 documents: 1 valid, 1 doubtful, 1 invalid\n"


def test_positions_and_options_add_up(istioctl: Run, rules: Path) -> None:
    """-f may be repeated and mixed with arguments."""
    result = istioctl("validate", "-f", "rules/b.yaml", "-f", "rules/a.yml", "rules/deep/c.yaml")
    assert result.stderr.startswith("3 documents")


def test_standard_input(istioctl: Run) -> None:
    """`-` reads standard input, and findings say so."""
    result = istioctl("validate", "-", stdin=BAD.format(name="x"))
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:10:5: ")


def test_one_bad_document_does_not_hide_the_others(istioctl: Run) -> None:
    """Documents behind a broken one are still read."""
    text = "---\n".join([BAD.format(name="a"), "kind: [\n", GOOD.format(name="b")])
    result = istioctl("validate", "-", stdin=text)
    assert (result.exit_code, result.stderr) == (1, "3 documents: 1 valid, 2 invalid\n")


def test_a_name_in_two_files_is_reported_at_the_second(istioctl: Run, rules: Path) -> None:
    """The same object twice is an error that says where the first one is."""
    Path("rules/z.yaml").write_text(GOOD.format(name="b"))
    result = istioctl("validate", "rules/b.yaml", "rules/z.yaml")
    assert result.exit_code == 1
    assert result.stdout.startswith("rules/z.yaml:4:")
    assert "rules/b.yaml:1" in result.stdout


def test_the_namespace_is_the_one_given(istioctl: Run, rules: Path) -> None:
    """-n is for documents that do not name one."""
    assert "VirtualService shop/a" in istioctl("-n", "shop", "validate", "rules/a.yml").stdout


def test_nothing_to_check_is_said(istioctl: Run) -> None:
    """An empty input is valid, but nobody should take that for a verdict."""
    result = istioctl("validate", "-", stdin="# nothing\n")
    assert (result.exit_code, result.stderr) == (0, "no document found\n")


def test_a_directory_without_files_is_an_error(istioctl: Run, tmp_path: Path) -> None:
    """A wrong directory must not look valid."""
    result = istioctl("validate", str(tmp_path))
    assert result.exit_code == 1
    assert "error: there is no .yaml" in result.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: \xe4\n", b"\x00"])
def test_any_bytes_get_a_verdict(content: bytes, istioctl: Run) -> None:
    """What is no text is invalid with a place, not a crash."""
    result = istioctl("validate", "-", stdin=content)
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:1:")


def test_a_byte_order_mark_is_no_mistake(istioctl: Run) -> None:
    """Editors on Windows write one."""
    assert istioctl("validate", "-", stdin="\ufeff".encode() + GOOD.format(name="a").encode()).exit_code == 0


VERDICT = {
    "file": str,
    "line": int,
    "group": str,
    "kind": str,
    "namespace": str,
    "name": str,
    "verdict": str,
    "diagnostics": list,
}
DIAGNOSTIC = {
    "code": str,
    "severity": str,
    "message": str,
    "fix": str,
    "field": str,
    "file": str,
    "line": int,
    "column": int,
}


def fits(value: dict[str, Any], schema: dict[str, type]) -> bool:
    return list(value) == list(schema) and all(isinstance(value[name], kind) for name, kind in schema.items())


def test_json_is_one_verdict_per_document(istioctl: Run) -> None:
    """An array with every field always there, whatever is wrong with the document."""
    text = "---\n".join([GOOD.format(name="a"), BAD.format(name="b"), "nonsense\n", "kind: [\n"])
    result = istioctl("validate", "-o", "json", "-", stdin=text)
    verdicts = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (1, "")
    assert [verdict["verdict"] for verdict in verdicts] == ["valid", "invalid", "invalid", "invalid"]
    assert all(fits(verdict, VERDICT) for verdict in verdicts)
    assert all(fits(found, DIAGNOSTIC) for verdict in verdicts for found in verdict["diagnostics"])
    assert verdicts[1] | {"diagnostics": []} == {
        "file": "<stdin>",
        "line": 11,
        "group": "networking.istio.io",
        "kind": "VirtualService",
        "namespace": "default",
        "name": "b",
        "verdict": "invalid",
        "diagnostics": [],
    }


def test_json_of_nothing_is_an_empty_array(istioctl: Run) -> None:
    """Scripts need no special case."""
    assert json.loads(istioctl("validate", "-o", "json", "-").stdout) == []


MESH = """\
namespace: shop
services:
  reviews:
    ports: [9080/{protocol}]
    workloads:
      v1: {{command: [python3, reviews.py]}}
---
"""


def test_a_mesh_file_is_checked_as_one(istioctl: Run, tmp_path: Path) -> None:
    """What `istioctl up` takes is held to the rules of mesh files, and the rules in it to those of their kinds."""
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH.format(protocol="http") + GOOD.format(name="a"))
    result = istioctl("validate", "-f", str(file), "-o", "json")
    verdicts = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [(each["verdict"], each["kind"], each["namespace"]) for each in verdicts] == [
        ("valid", "", ""),
        ("valid", "VirtualService", "shop"),
    ]


def test_mistakes_in_a_mesh_file(istioctl: Run, tmp_path: Path) -> None:
    """They are said as `istioctl up` would say them, and those of the rules beside them."""
    file = tmp_path / "mesh.yaml"
    file.write_text(MESH.format(protocol="htp") + BAD.format(name="a"))
    result = istioctl("validate", str(file))
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{file}:4:13: Error [MSH20")
    assert second.startswith(f"{file}:17:5: Error [IST0106] VirtualService shop/a")
