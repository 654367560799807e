"""Reads YAML nodes field by field and notes every mistake with its place. Knows YAML, not meshes.

A reader never raises for wrong input: it notes a finding and returns None (or nothing), so that one pass finds all.
"""

import difflib
import math
import re
from collections.abc import Iterator, Sequence

import yaml

from core.diagnostics import Diagnostic, Place, Severity
from platforms.local.codes import Code

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_TAG = "tag:yaml.org,2002:"
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_TRUE = frozenset({"true", "yes", "on"})
_MAX_NODES = 200_000
"""Aliases may repeat a node; a file that unfolds to more than this is a mistake or an attack."""


class Findings:
    """All mistakes of one file, in the order they were found."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.nodes = 0
        self._found: list[Diagnostic] = []

    def error(self, code: Code, place: Place, message: str, *, fix: str) -> None:
        self._found.append(Diagnostic(code=code.value, severity=Severity.ERROR, message=message, fix=fix, place=place))

    def sorted(self) -> tuple[Diagnostic, ...]:
        """In the order of the file, each once."""
        return tuple(sorted(dict.fromkeys(self._found), key=lambda found: found.place or Place(self.file)))


class Reader:
    """One node of the file, the path that leads to it, and where to note what is wrong with it."""

    def __init__(self, node: yaml.Node, path: str, findings: Findings, *, key: yaml.Node | None = None) -> None:
        self._node = node
        self._key = key
        self._findings = findings
        self.path = path
        findings.nodes += 1
        if findings.nodes > _MAX_NODES:
            raise OverflowError("too many nodes")

    @property
    def place(self) -> Place:
        """Of the value; of the key when nothing follows it."""
        nothing = isinstance(self._node, yaml.ScalarNode) and self._node.value == "" and self._node.style is None
        return self.key_place if nothing else _place(self._findings.file, self._node)

    @property
    def key_place(self) -> Place:
        """Of the key that leads here; of the value where there is none."""
        return _place(self._findings.file, self._key or self._node)

    @property
    def is_null(self) -> bool:
        return self._node.tag == _TAG + "null"

    @property
    def is_mapping(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    def fail(self, code: Code, message: str, *, fix: str) -> None:
        """Notes a finding about this value; the path is put in front."""
        self._note(code, self.place, message, fix)

    def fail_key(self, code: Code, message: str, *, fix: str) -> None:
        """Notes a finding about the key that leads to this value."""
        self._note(code, self.key_place, message, fix)

    def mapping(self) -> dict[str, "Reader"]:
        """Entries by key, in order; an empty value is an empty mapping."""
        if self.is_null:
            return {}
        if not isinstance(self._node, yaml.MappingNode):
            self.wrong("a mapping (`key: value` lines)")
            return {}
        merged, own = self._entries(self._node)
        return merged | own

    def fields(self, known: Sequence[str]) -> dict[str, "Reader"]:
        """As `mapping`, when only the keys in `known` mean something. `x-…` keys are left to the user."""
        entries = self.mapping()
        for name, value in entries.items():
            if name not in known and not name.startswith("x-"):
                value.fail_key(Code.UNKNOWN_FIELD, f"there is no field {name!r} here", fix=suggest(name, known))
        return {name: value for name, value in entries.items() if name in known}

    def items(self) -> list["Reader"]:
        """The entries of a list; an empty value is an empty list."""
        if self.is_null:
            return []
        if not isinstance(self._node, yaml.SequenceNode):
            self.wrong("a list (`- item` lines or [a, b])")
            return []
        return [Reader(node, f"{self.path}[{n}]", self._findings) for n, node in enumerate(self._node.value)]

    def text(self) -> str | None:
        """Any scalar exactly as it is written: `1.10` stays "1.10", `on` stays "on"."""
        if not isinstance(self._node, yaml.ScalarNode) or self.is_null:
            self.wrong("text")
            return None
        return str(self._node.value)

    def matching(self, pattern: re.Pattern[str], expected: str, *, example: str) -> str | None:
        """Text that matches the whole of `pattern`."""
        text = self.text()
        if text is None or pattern.fullmatch(text):
            return text
        self.fail(Code.BAD_VALUE, f"{text!r} is not {expected}", fix=f"write for example {example!r}")
        return None

    def integer(self, low: int, high: int) -> int | None:
        """A whole number in decimal, both bounds included."""
        text = self.text()
        if text is None:
            return None
        if re.fullmatch(r"[0-9]{1,9}", text) and low <= int(text) <= high:
            return int(text)
        self.fail(Code.BAD_VALUE, f"{text!r} is not a whole number from {low} to {high}", fix="correct the number")
        return None

    def choice(self, values: Sequence[str]) -> str | None:
        text = self.text()
        if text is None or text in values:
            return text
        self.fail(Code.BAD_VALUE, f"{text!r} is none of {', '.join(values)}", fix=suggest(text, values))
        return None

    def json(self) -> Json:
        """The node as JSON: the types of YAML 1.2, times and dates stay text."""
        if self.is_mapping:
            return {key: value.json() for key, value in self.mapping().items()}
        if self.is_list:
            return [item.json() for item in self.items()]
        return _scalar(self._node)

    def wrong(self, expected: str) -> None:
        self.fail(Code.WRONG_TYPE, f"expected {expected}, found {_described(self._node)}", fix=f"write {expected}")

    def _note(self, code: Code, place: Place, message: str, fix: str) -> None:
        self._findings.error(code, place, f"{self.path}: {message}" if self.path else message, fix=fix)

    def _entries(self, node: yaml.MappingNode) -> tuple[dict[str, "Reader"], dict[str, "Reader"]]:
        merged: dict[str, Reader] = {}
        own: dict[str, Reader] = {}
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                for source in self._merge_sources(value):
                    merged = source.mapping() | merged
            elif not isinstance(key, yaml.ScalarNode):
                Reader(key, self.path, self._findings).wrong("a plain key")
            elif key.value in own:
                self._twice(key, own[key.value])
            else:
                own[key.value] = Reader(value, self._below(key.value), self._findings, key=key)
        return merged, own

    def _merge_sources(self, value: yaml.Node) -> Iterator["Reader"]:
        for node in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            yield Reader(node, self.path, self._findings)

    def _twice(self, key: yaml.ScalarNode, first: "Reader") -> None:
        place = _place(self._findings.file, key)
        message = f"{self._below(key.value)}: the key stands here twice, first in line {first.key_place.line}"
        self._findings.error(Code.TWICE, place, message, fix="remove or rename one of them")

    def _below(self, key: str) -> str:
        if not _PLAIN_KEY.fullmatch(key):
            return f'{self.path}["{key}"]'
        return f"{self.path}.{key}" if self.path else key


def suggest(word: str, known: Sequence[str]) -> str:
    """What to write instead of `word`."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"use one of: {', '.join(known)}"


def documents(text: str, findings: Findings) -> list[Reader]:
    """The documents of a YAML stream that are not empty; a syntax error is a finding and ends the list."""
    try:
        nodes: list[yaml.Node | None] = list(yaml.compose_all(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(findings.file, mark.line + 1, mark.column + 1) if mark else Place(findings.file)
        reason = " ".join(part for part in (error.context, error.problem) if part)
        fix = "check indentation, quotes and brackets just before this place"
        findings.error(Code.SYNTAX, place, f"not valid YAML: {reason}", fix=fix)
        return []
    except (yaml.YAMLError, RecursionError) as error:
        fix = "remove control characters and deep nesting"
        findings.error(Code.SYNTAX, Place(findings.file, 1, 1), f"not valid YAML: {error}", fix=fix)
        return []
    present = [node for node in nodes if node is not None and node.tag != _TAG + "null"]
    return [Reader(node, "", findings) for node in present]


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _place(file: str, node: yaml.Node) -> Place:
    mark = node.start_mark
    return Place(file, mark.line + 1, mark.column + 1)


def _described(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if node.tag == _TAG + "null" else repr(node.value)


def _scalar(node: yaml.Node) -> Json:
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in _TRUE
        case "int":
            return _number(text, r"[-+]?(0|[1-9][0-9_]*)|0x[0-9a-fA-F]+|0o?[0-7]+")
        case "float":
            return _fraction(text)
        case _:
            return text


def _number(text: str, pattern: str) -> Json:
    """Base-60 numbers of YAML 1.1 (`12:30`) stay text."""
    if not re.fullmatch(pattern, text):
        return text
    plain = text.replace("_", "")
    if re.fullmatch(r"0[0-7]+", plain):
        return int(plain, 8)
    return int(plain, 0)


def _fraction(text: str) -> Json:
    """Infinity and NaN are not JSON and stay text."""
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        return text
    return value if math.isfinite(value) else text
