"""Trees of text: what YAML and JSON are read into. They know their lines, so that findings can say where."""

import re

import msgspec

Plain = bool | int | float | str | None | list["Plain"] | dict[str, "Plain"]


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with the text itself; lines and columns count from 1."""

    code: str
    message: str
    fix: str
    line: int
    column: int


class Scalar(msgspec.Struct, frozen=True):
    value: bool | int | float | str | None
    line: int
    column: int


class Sequence(msgspec.Struct, frozen=True):
    items: tuple["Node", ...]
    line: int
    column: int


class Field(msgspec.Struct, frozen=True):
    """One entry of a mapping; the place is that of its key."""

    key: str
    value: "Node"
    line: int
    column: int


class Mapping(msgspec.Struct, frozen=True):
    fields: tuple[Field, ...]
    line: int
    column: int

    def get(self, key: str) -> Field | None:
        return next((field for field in self.fields if field.key == key), None)


Node = Scalar | Sequence | Mapping


class Tree(msgspec.Struct, frozen=True):
    """One document of a text. With problems nothing of `root` may be used; it is None when there is nothing at all."""

    root: Node | None
    line: int
    problems: tuple[Problem, ...] = ()


def plain(node: Node) -> Plain:
    """The tree without its places."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {field.key: plain(field.value) for field in node.fields}


def locate(root: Node, path: str) -> tuple[int, int]:
    """Line and column of what a path like `spec.http[0].match` names, or of the innermost part of it that exists."""
    node, place, rest = root, (root.line, root.column), path
    while rest:
        step = _into_list(node, rest) if isinstance(node, Sequence) else _into_mapping(node, rest)
        if step is None:
            break
        node, place, rest = step
    return place


_Step = tuple[Node, tuple[int, int], str]
_INDEX = re.compile(r"\[([0-9]{1,9})\]\.?")


def _into_list(node: Sequence, rest: str) -> _Step | None:
    found = _INDEX.match(rest)
    if not found or int(found.group(1)) >= len(node.items):
        return None
    item = node.items[int(found.group(1))]
    return item, (item.line, item.column), rest[found.end() :]


def _into_mapping(node: Node, rest: str) -> _Step | None:
    """Keys may hold dots themselves, so the longest one that the rest begins with is taken."""
    if not isinstance(node, Mapping):
        return None
    fitting = [field for field in node.fields if _ends_key(rest, _spelled(field.key, rest))]
    if not fitting:
        return None
    field = max(fitting, key=lambda one: len(one.key))
    left = rest[len(_spelled(field.key, rest)) :]
    return field.value, (field.line, field.column), left.removeprefix(".")


def _spelled(key: str, rest: str) -> str:
    """The key as paths spell it: they are camelCase even where the document is snake_case."""
    if rest.startswith(key) or "_" not in key:
        return key
    head, *tail = key.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def _ends_key(rest: str, key: str) -> bool:
    return rest.startswith(key) and (len(rest) == len(key) or rest[len(key)] in ".[")
