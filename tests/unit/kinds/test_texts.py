"""From text to documents: what is wrong with a text is said with its place, and what is good beside it is read."""

import pytest

from core.kinds import nodes
from core.kinds.decode import decode
from core.kinds.nodes import Plain, Tree
from core.kinds.text import DEEPEST, LARGEST_TEXT, trees
from core.kinds.validate import Verdict, validate, validate_text
from core.model.config import ConfigKey
from core.model.mesh import Mesh

GOOD = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME}
spec: {host: a}
"""


def good(name: str) -> str:
    return GOOD.replace("NAME", name)


def verdicts(text: str) -> tuple[Verdict, ...]:
    return validate_text(text, file="f.yaml", default_namespace="default", mesh=Mesh())


def said(text: str) -> list[str]:
    """`line:column code path` of every finding."""
    found = [diagnostic for verdict in verdicts(text) for diagnostic in verdict.diagnostics]
    return [
        f"{d.place.line}:{d.place.column} {d.code} {d.origin.path if d.origin else ''}".rstrip()
        for d in found
        if d.place
    ]


def values(text: str) -> list[Plain]:
    return [nodes.plain(tree.root) for tree in trees(text) if tree.root]


UNREADABLE = {
    "a colon too many": ("a: b: c", "1:5 MSH0001"),
    "an open bracket": ("kind: [", "2:1 MSH0001"),
    "an open quote": ('kind: "x\nname: y', "1:7 MSH0001"),
    "a tab": ("spec:\n\thosts: []", "2:1 MSH0001"),
    "bad indentation": ("a:\n  b: 1\n c: 2", "3:2 MSH0001"),
    "a control character": ("a: 1\nb: \x01", "2:4 MSH0001"),
    "half a character": ("a: \ud800", "1:4 MSH0001"),
    "an unknown alias": ("a: *b", "1:4 MSH0001"),
    "an alias within itself": ("a: &a [*a]", "1:8 MSH0001"),
    "a foreign tag": ("a: !ruby/object {}", "1:4 MSH0001"),
    "a list as a key": ("? [a]\n: b", "1:3 MSH0001"),
    "a merge of text": ("<<: a", "1:5 MSH0001"),
    "one key twice": ("a: 1\nb: {c: 1, c: 2}", "2:11 MSH0002"),
    "two objects of JSON": ('{"apiVersion": "v1"}\n{"b": 2}', "2:1 MSH0001"),
    "too deep": ("[" * (DEEPEST + 2), f"1:{DEEPEST + 2} MSH0006"),
    "a list": ("- a", "1:1 MSH0003"),
    "plain text": ("hello", "1:1 MSH0003"),
}


@pytest.mark.parametrize(("text", "expected"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_broken_text_is_reported_with_its_place(text: str, expected: str) -> None:
    """One finding, where the mistake is (the last one, when the parser had already seen a whole document)."""
    assert said(text)[-1] == expected


@pytest.mark.parametrize("broken", [text for text, _ in UNREADABLE.values()], ids=UNREADABLE.keys())
def test_good_documents_stand_beside_broken_ones(broken: str) -> None:
    """Whatever is broken in the middle, the documents before and after it are read, at their own lines."""
    text = f"{good('first')}---\n{broken}\n---\n{good('last')}"
    decoded = decode(text, file="f.yaml", default_namespace="default")
    lines = text[: text.rindex("apiVersion")].count("\n") + 1
    assert [(d.key.name, d.source) for d in decoded.documents] == [("first", "f.yaml:1"), ("last", f"f.yaml:{lines}")]
    assert len([entry for entry in decoded.entries if entry.diagnostics]) >= 1


VS = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
ENVELOPES = {
    "nothing of a document": ("a: 1", ["1:1 IST0106", "1:1 MSH0003", "1:1 MSH0003", "1:1 MSH0003"]),
    "no kind": ("apiVersion: networking.istio.io/v1\nmetadata: {name: a}", ["1:1 MSH0003"]),
    "an unknown kind": (VS.replace("Service", "Servise") + "metadata: {name: a}", ["2:1 MSH0004"]),
    "a foreign kind": ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}", ["2:1 MSH0004"]),
    "a kind that comes later": (VS.replace("VirtualService", "Sidecar") + "metadata: {name: a}", ["2:1 MSH0004"]),
    "another group": (VS.replace("networking", "config") + "metadata: {name: a}", ["1:1 MSH0004"]),
    "no group": (VS.replace("networking.istio.io/", "") + "metadata: {name: a}", ["1:1 MSH0004"]),
    "no name": (VS + "metadata: {namespace: a}", ["3:1 MSH0003"]),
    "a name that is a number": (VS + "metadata:\n  name: 12", ["4:3 IST0106"]),
    "metadata of a list": (VS + "metadata: []", ["3:1 IST0106", "3:1 MSH0003"]),
    "a version that is none": (
        VS.replace("v1", "v2") + "metadata: {name: a}\nspec: {hosts: [a], http: [{redirect: {uri: /}}]}",
        ["1:1 MSH0004 apiVersion"],
    ),
    "a spec of a list": (
        VS + "metadata: {name: a}\nspec: []",
        ["4:1 IST0106 spec"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), ENVELOPES.values(), ids=ENVELOPES.keys())
def test_what_is_wrong_around_a_spec(text: str, expected: list[str]) -> None:
    """Everything that is wrong with the envelope is said at once."""
    assert said(text) == expected


def test_what_is_wrong_in_the_metadata() -> None:
    """Names, labels and times are checked, misspelt fields are guessed, and the spec is looked into all the same."""
    text = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: Not_A_Name
  namespace: Bad.Space
  labels:
    good: "1"
    number: 1
    bad/key/two: a
    long: white space
  annotations: {on: off}
  lables: {}
  creationTimestamp: yesterday
sepc: {}
spec: {hots: a}
"""
    assert sorted(said(text)) == [
        "10:5 IST0106 metadata.labels.long",
        "11:17 IST0106 metadata.annotations.on",
        "12:3 IST0106 metadata.lables",
        "13:3 IST0106 metadata.creationTimestamp",
        "14:1 IST0106 sepc",
        "15:8 IST0106 spec.hots",
        "4:3 IST0106 metadata.name",
        "5:3 IST0106 metadata.namespace",
        "8:5 IST0106 metadata.labels.number",
        "9:5 IST0106 metadata.labels.bad/key/two",
    ]
    (verdict,) = verdicts(text)
    assert {d.fix for d in verdict.diagnostics} >= {"did you mean labels?", "did you mean spec?", "did you mean host?"}


def test_a_message_says_what_was_meant() -> None:
    """What a user reads, whole: place, severity, code, document, field, message, fix."""
    text = good("a").replace("host: a", "host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBBIN}}")
    (verdict,) = verdicts(text)
    (found,) = verdict.diagnostics
    assert str(found) == (
        "f.yaml:4:48: Error [IST0106] (DestinationRule default/a spec.trafficPolicy.loadBalancer.simple) simple must "
        "be one of LEAST_CONN, LEAST_REQUEST, PASSTHROUGH, RANDOM, ROUND_ROBIN, UNSPECIFIED, not the text "
        "'ROUND_ROBBIN' Fix: did you mean ROUND_ROBIN?"
    )


def test_bare_words_that_yaml_changes() -> None:
    """`exact: on` is told to be put in quotes."""
    match = "[{route: [{destination: {host: a}}], match: [{uri: {exact: on}}]}]"
    text = good("a").replace("DestinationRule", "VirtualService").replace("host: a", f"hosts: [a], http: {match}", 1)
    (verdict,) = verdicts(text)
    (found,) = verdict.diagnostics
    assert "boolean" in found.message
    assert "quotes" in found.fix


def test_the_second_of_a_name_is_refused() -> None:
    """Within a text and across texts; another namespace or kind is another name."""
    twice = f"{good('a')}---\n{good('b')}---\n{good('a')}"
    assert [verdict.valid for verdict in verdicts(twice)] == [True, True, False]
    assert said(twice) == ["13:12 MSH0005 metadata.name"]
    pair = list(validate([("1.yaml", good("a")), ("2.yaml", good("a"))], default_namespace="x", mesh=Mesh()))
    assert [verdict.valid for verdict in pair] == [True, False]
    assert "1.yaml:1" in pair[1].diagnostics[0].message
    other = good("a").replace("name: a", "name: a, namespace: other")
    assert all(verdict.valid for verdict in verdicts(f"{good('a')}---\n{other}"))
    decoded = decode(twice, file="f", default_namespace="default")
    assert [document.key.name for document in decoded.documents] == ["a", "b"]
    assert [diagnostic.code for diagnostic in decoded.diagnostics] == ["MSH0005"]


def test_lists_are_their_items() -> None:
    """`kind: List` may hold good and bad items; each is a document of its own."""
    items = "".join("- " + good(name).replace("\n", "\n  ").rstrip() + "\n" for name in ("a", "b"))
    text = f"apiVersion: v1\nkind: List\nitems:\n{items}- 7\n"
    assert [(v.key.name if v.key else None, v.line, v.valid) for v in verdicts(text)] == [
        ("a", 4, True),
        ("b", 8, True),
        (None, 12, False),
    ]


@pytest.mark.parametrize("text", ["", "\n", "---\n---\n", "# a comment\n", "null", "~", "\ufeff", "...\n---\n"])
def test_nothing_is_nothing(text: str) -> None:
    """Empty documents are skipped without a word."""
    assert verdicts(text) == ()


SCALARS = {
    "yes": True, "On": True, "TRUE": True, "no": False, "off": False, "False": False, "y": "y", "n": "n",
    "~": None, "null": None, "Null": None, "nULL": "nULL",
    "12": 12, "-7": -7, "+3": 3, "0": 0, "0x1F": 31, "0o17": 15, "017": 15, "0b101": 5, "1_000": 1000, "09": 9.0,
    "1.5": 1.5, ".5": 0.5, "1.": 1.0, "1e3": 1000.0, "1.10": 1.1, "1.2.3": "1.2.3", "0x": "0x", "1_": "1_",
    ".inf": ".inf", ".nan": ".nan", "1e999": "1e999", "12:30": "12:30", "2001-01-01": "2001-01-01", "=": "=",
    "18446744073709551615": 2**64 - 1, "18446744073709551616": 2.0**64, "-9223372036854775809": -(2.0**63),
    '"12"': "12", "'on'": "on", "!!str 12": "12", "!!int '3'": "3", "! on": "on", "|-\n  on": "on",
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS.items(), ids=SCALARS.keys())
def test_scalars_are_read_as_kubernetes_reads_them(text: str, value: object) -> None:
    """YAML 1.1 booleans and octals; what JSON cannot carry stays text."""
    assert values(f"a: {text}") == [{"a": value}]
    assert type(values(f"a: {text}")[0]["a"]) is type(value)  # type: ignore[index,call-overload]


def test_keys_are_text() -> None:
    """Also keys that would be something else as values."""
    assert values("80: a\non: b\n~: c\n1.50: d") == [{"80": "a", "on": "b", "~": "c", "1.50": "d"}]


def test_anchors_and_merges() -> None:
    """`<<` fills in what the object does not say itself; the first merged one wins."""
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: *a"
    assert values(text)[0] == {
        "a": {"x": 1, "y": 1},
        "b": {"y": 2, "z": 2},
        "c": {"x": 3, "y": 1, "z": 2},
        "d": {"x": 1, "y": 1},
    }


def test_markers_directives_and_line_ends() -> None:
    """Documents are told apart by --- and ... alone; Windows line ends and a byte order mark make no difference."""
    assert values("\ufeff%YAML 1.1\r\n---\r\na: |\r\n  ---\r\n  b\r\n--- {c: 1}\r\n...\r\nd: 2\r\n") == [
        {"a": "---\nb\n"},
        {"c": 1},
        {"d": 2},
    ]


def test_json_is_yaml() -> None:
    """Tabs, escapes and pairs of surrogates of JSON are understood; half a pair is not."""
    assert problem('{"a": "\\ud83d"}').startswith("this is not YAML")
    assert values(r'["\\ud83d\\ude00"]') == [["\\ud83d\\ude00"]]
    assert values('{\n\t"a": ["\\ud83d\\ude00", "\\/", 1e2, null, true]\n}') == [{"a": ["😀", "/", 100.0, None, True]}]


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


def problem(text: str) -> str:
    (tree,) = trees(text)
    assert isinstance(tree, Tree)
    return tree.problems[-1].message


def test_alias_bombs_are_refused() -> None:
    """A text of a kilobyte that would expand to gigabytes costs nothing."""
    assert "expand to too much" in problem(bomb(30))
    text = "big: &big " + "x" * 100_000 + "\nmany: [" + ",".join(["*big"] * 100) + "]"
    assert "expand to too much" in problem(text)
    merged = "a: &a {" + ", ".join(f"k{n}: {n}" for n in range(10_000)) + "}\nb: [" + "{<<: *a}," * 1000 + "]"
    assert "expand to too much" in problem(merged)


def test_huge_inputs_are_refused() -> None:
    """A text beyond the limit is not even parsed; a spec beyond it is no document."""
    assert "characters" in problem("x" * (LARGEST_TEXT + 1))
    text = good("a").replace("host: a", f"host: a, subsets: [{{name: {'x' * 1_100_000}}}]")
    assert [entry for entry in said(text) if "MSH0006" in entry] == ["4:1 MSH0006 spec"]
    assert decode(text, file="f", default_namespace="d").documents == ()


def test_a_place_is_found_by_its_path() -> None:
    """Keys with dots, snake_case keys, list items; what does not exist is the innermost part that does."""
    (tree,) = trees("a:\n  x.y: 1\n  x: {y: 2}\n  snake_case:\n  - b: 3\n  -\n    c: 4\n")
    assert tree.root
    places = {path: nodes.locate(tree.root, path) for path in ("", "a", "a.x.y", "a.x", "a.snakeCase[0].b", "a.zz.b")}
    assert places == {
        "": (1, 1),
        "a": (1, 1),
        "a.x.y": (2, 3),
        "a.x": (3, 3),
        "a.snakeCase[0].b": (5, 5),
        "a.zz.b": (1, 1),
    }
    assert nodes.locate(tree.root, "a.snakeCase[1].c") == (7, 5)
    assert nodes.locate(tree.root, "a.snakeCase[9]") == (4, 3)


def test_a_singleton_needs_no_namespace() -> None:
    """MeshConfig goes where it belongs, whatever the default namespace is."""
    text = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}"
    (document,) = decode(text, file="f", default_namespace="shop").documents
    assert document.key == ConfigKey("mesh.istio.io", "MeshConfig", "istio-system", "default")
