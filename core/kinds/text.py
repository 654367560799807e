"""Reads YAML and JSON text into trees. Bounded in depth and size; never raises on anybody's text.

Scalars are read as Kubernetes reads them (YAML 1.1: bare yes, no, on, off are booleans), keys are always text.
"""

import re
from collections.abc import Iterator

import yaml

from core.kinds.findings import DUPLICATE_KEY, TOO_LARGE, UNREADABLE
from core.kinds.nodes import Field, Mapping, Node, Problem, Scalar, Sequence, Tree

DEEPEST = 64
LARGEST_TEXT = 32 * 1024 * 1024
"""Characters in one text."""
LARGEST_EXPANSION = 1024 * 1024
"""Characters that aliases may add to one text, so that nine lines cannot become gigabytes."""

_LOADER: type = getattr(yaml, "CLoader", yaml.Loader)
_SEPARATOR = re.compile(r"^(?:---(?=[ \t\n]|$)|\.\.\.(?=[ \t]*$))", re.MULTILINE)
_UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))
_TEXT_TAGS = frozenset({"tag:yaml.org,2002:str", "!"})


def trees(text: str) -> Iterator[Tree]:
    """The documents of a text, empty ones left out. A broken one does not spoil the others."""
    if len(text) > LARGEST_TEXT:
        message = f"the text has {len(text)} characters; at most {LARGEST_TEXT} are read"
        yield Tree(None, 1, (Problem(TOO_LARGE, message, "split it into several files", 1, 1),))
        return
    for chunk, line in _chunks(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")):
        yield from _read(chunk, line)


def _chunks(text: str) -> Iterator[tuple[str, int]]:
    """Pieces between document markers, each with the number of lines before it. Directives stay with what follows."""
    start, line = 0, 0
    for cut in [found.start() for found in _SEPARATOR.finditer(text)] + [len(text)]:
        piece = text[start:cut]
        if cut < len(text) and _only_directives(piece):
            continue
        if piece:
            yield piece.removeprefix("..."), line
        line += piece.count("\n")
        start = cut


def _only_directives(piece: str) -> bool:
    lines = [line for line in piece.removeprefix("...").split("\n") if line.strip() and not line.startswith("#")]
    return bool(lines) and all(line.startswith("%") for line in lines)


def _read(chunk: str, before: int) -> Iterator[Tree]:
    if bad := _UNPRINTABLE.search(chunk):
        line, column = chunk.count("\n", 0, bad.start()), bad.start() - chunk.rfind("\n", 0, bad.start())
        message = f"the character U+{ord(bad.group()):04X} is not allowed in YAML"
        problem = Problem(UNREADABLE, message, "take it out, or escape it in double quotes", before + line + 1, column)
        yield Tree(None, problem.line, (problem,))
        return
    yield from _compose(chunk, before)


def _compose(chunk: str, before: int) -> list[Tree]:
    composer = _Composer(chunk, before)
    good: list[Tree] = []
    try:
        good.extend(composer.documents())
    except _Stop as stop:
        good.append(Tree(None, composer.line, (*composer.problems, stop.problem)))
    except yaml.YAMLError as error:
        if "Unicode character escape" in str(error) and (paired := _PAIR.sub(_whole_character, chunk)) != chunk:
            return _compose(paired, before)
        problem = _syntax(error, chunk, before, composer.line)
        good.append(Tree(None, composer.line, (*composer.problems, problem)))
    return good


_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def _whole_character(found: re.Match[str]) -> str:
    """JSON writes characters beyond 16 bits as two escapes, which YAML does not know."""
    high, low = int(found[2], 16), int(found[3], 16)
    return f"{found[1]}\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


class _Stop(Exception):
    """Not worth reading on: what follows would be as large, or means something else."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Composer:
    """Builds trees from parser events. An own one, because the library's recurses and expands without limit."""

    def __init__(self, text: str, before: int) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        self._before = before
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._expanded = 0
        self.line = before + 1
        self.problems: list[Problem] = []

    def documents(self) -> Iterator[Tree]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors, self.problems = {}, []
                root, _ = self._node(next(self._events), 0)
                if not (isinstance(root, Scalar) and root.value is None):
                    yield Tree(root, root.line, tuple(self.problems))

    def _node(self, event: yaml.Event, depth: int) -> tuple[Node, int]:
        """The node that begins with `event`, and its size in characters, aliases expanded."""
        line, column = self._place(event)
        if depth == 0:
            self.line = line
        if depth > DEEPEST:
            message = f"the document is nested more than {DEEPEST} levels deep"
            raise _Stop(Problem(TOO_LARGE, message, "flatten it", line, column))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line, column)
        node, size = self._fresh(event, depth)
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = node, size
        return node, size

    def _fresh(self, event: yaml.Event, depth: int) -> tuple[Node, int]:
        line, column = self._place(event)
        self._check_tag(event, line, column)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth, line, column)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth, line, column)
        assert isinstance(event, yaml.ScalarEvent)
        return Scalar(_scalar(event), line, column), 8 + len(event.value)

    def _alias(self, event: yaml.AliasEvent, line: int, column: int) -> tuple[Node, int]:
        if event.anchor not in self._anchors:
            message = f"the alias *{event.anchor} names nothing that was anchored before it"
            raise _Stop(Problem(UNREADABLE, message, f"define &{event.anchor} first", line, column))
        node, size = self._anchors[event.anchor]
        self._expanded += size
        if self._expanded > LARGEST_EXPANSION:
            message = "the aliases in this text expand to too much"
            raise _Stop(Problem(TOO_LARGE, message, "write the values out", line, column))
        return node, size

    def _sequence(self, depth: int, line: int, column: int) -> tuple[Node, int]:
        items, size = [], 8
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item, weight = self._node(event, depth + 1)
            items.append(item)
            size += weight
        return Sequence(tuple(items), line, column), size

    def _mapping(self, depth: int, line: int, column: int) -> tuple[Node, int]:
        fields: dict[str, Field] = {}
        merges: list[Node] = []
        size = 8
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key, at, merge = self._key(event, depth)
            value, weight = self._node(next(self._events), depth + 1)
            size += weight + len(key)
            if merge:
                merges.append(value)
            elif key in fields:
                message = f"the key {key[:80]!r} is given twice, first in line {fields[key].line}"
                self.problems.append(Problem(DUPLICATE_KEY, message, "keep one of them", *at))
            else:
                fields[key] = Field(key, value, *at)
        self._merge(fields, merges)
        return Mapping(tuple(fields.values()), line, column), size

    def _key(self, event: yaml.Event, depth: int) -> tuple[str, tuple[int, int], bool]:
        at = self._place(event)
        if isinstance(event, yaml.ScalarEvent):
            if event.anchor:
                self._anchors[event.anchor] = Scalar(event.value, *at), 8 + len(event.value)
            return event.value, at, event.value == "<<" and event.implicit[0]
        key, _ = self._node(event, depth + 1)
        if isinstance(key, Scalar):
            return str(key.value), at, False
        self.problems.append(Problem(UNREADABLE, "a key must be text, not a list or an object", "", *at))
        return f"key in line {at[0]}, column {at[1]}", at, False

    def _merge(self, fields: dict[str, Field], merges: list[Node]) -> None:
        """`<<` (YAML 1.1 "merge"): what the mapping itself says wins, then the first that is merged."""
        for value in merges:
            for source in value.items if isinstance(value, Sequence) else (value,):
                if not isinstance(source, Mapping):
                    self.problems.append(
                        Problem(UNREADABLE, "<< merges objects only", "give it an alias", source.line, source.column)
                    )
                    continue
                for field in source.fields:
                    fields.setdefault(field.key, field)

    def _check_tag(self, event: yaml.Event, line: int, column: int) -> None:
        tag = getattr(event, "tag", None)
        if tag and tag != "!" and tag not in _TAGS:
            self.problems.append(
                Problem(UNREADABLE, f"the tag {tag[:80]!r} is not supported", "take it out", line, column)
            )

    def _place(self, event: yaml.Event) -> tuple[int, int]:
        mark = event.start_mark
        assert mark is not None, "the parser marks every event"
        return self._before + mark.line + 1, mark.column + 1


_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    form: value
    for word, value in (("true", True), ("yes", True), ("on", True), ("false", False), ("no", False), ("off", False))
    for form in (word, word.title(), word.upper())
}
_INT = re.compile(r"[-+]?(?:0b[01_]{1,64}|0o?[0-7_]{1,22}|0x[0-9a-fA-F_]{1,16}|(?:0|[1-9][0-9_]{0,24}))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,400}|[0-9]{1,400}(?:\.[0-9]{0,400})?)(?:[eE][-+]?[0-9]{1,9})?")
_NUMBER_START = frozenset("+-.0123456789")


def _scalar(event: yaml.ScalarEvent) -> bool | int | float | str | None:
    text: str = event.value
    if event.tag in _TEXT_TAGS or (not event.implicit[0] and (not event.tag or event.style)):
        return text
    if text in _NULLS:
        return None
    if text[0] in _NUMBER_START:
        return _number(text)
    return _BOOLEANS.get(text, text)


def _number(text: str) -> int | float | str:
    """Numbers that JSON cannot carry (infinities, beyond 64 bits) become a float, or stay text."""
    if _INT.fullmatch(text) and text[-1] != "_" and -(2**63) <= (whole := _whole(text)) < 2**64:
        return whole
    if _FLOAT.fullmatch(text) and abs(real := float(text)) < float("inf"):
        return real
    return text


def _whole(text: str) -> int:
    digits = text.replace("_", "").lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if text[0] == "-" else value


_HINTS = (
    ("mapping values are not allowed", 'a text with ": " in it needs quotes; else look at the indentation'),
    ("could not find expected ':'", 'the line above lacks its ":", or is indented differently from its neighbours'),
    ("did not find expected key", "look at the indentation, and at quotes inside quotes"),
    ("did not find expected '-'", "look at the indentation of the list"),
    ("did not find expected ','", "a comma or a closing bracket is missing"),
    ("expected node content", "a value is missing, or a bracket is not closed"),
    ("cannot start any token", "put the text in quotes"),
    ("document start", "separate documents by a line ---"),
    ("end of stream", "a quote is not closed"),
)


def _syntax(error: yaml.YAMLError, chunk: str, before: int, line: int) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(UNREADABLE, f"this is not YAML: {error}", "look for characters that do not belong", line, 1)
    what = " ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark or error.context_mark
    if "end of stream" in what:
        mark = error.context_mark or mark
    if mark is None:
        return Problem(UNREADABLE, f"this is not YAML: {what}", "look at the indentation and the quotes", line, 1)
    fix = next((hint for sign, hint in _HINTS if sign in what), "look at the indentation and the quotes")
    if "".join(chunk.split("\n")[mark.line : mark.line + 1])[mark.column : mark.column + 1] == "\t":
        fix = "indent with spaces, not with tabs"
    return Problem(UNREADABLE, f"this is not YAML: {what}", fix, before + mark.line + 1, mark.column + 1)
