"""Which objects a list, a watch or a deletion is about: label and field selectors, as Kubernetes writes them.

Source: Kubernetes, "Labels and Selectors" and "Field Selectors"; of fields, only name and namespace select.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from core.kinds.names import label_problem
from core.manager.api.failures import Failure
from core.model.config import Document

LONGEST: Final = 4096

_SET: Final = re.compile(r"(?P<key>[^\s!=,()]+)\s+(?P<verb>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY: Final = re.compile(r"(?P<key>[^\s!=,()]+)\s*(?P<verb>==|!=|=)\s*(?P<value>[^\s!=,()]*)")
_EXISTENCE: Final = re.compile(r"(?P<no>!?)\s*(?P<key>[^\s!=,()]+)")
_FIELDS: Final = ("metadata.name", "metadata.namespace")


class Requirement(msgspec.Struct, frozen=True):
    """`values` None: it is enough that the key is there. `wanted` False turns the whole around."""

    key: str
    values: frozenset[str] | None
    wanted: bool = True

    def holds(self, pairs: Mapping[str, str]) -> bool:
        there = self.key in pairs and (self.values is None or pairs[self.key] in self.values)
        return there is self.wanted


class Selector(msgspec.Struct, frozen=True):
    """All requirements have to hold; none selects everything."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def selects(self, document: Document) -> bool:
        key = document.key
        if self.fields:
            place = {"metadata.name": key.name, "metadata.namespace": key.namespace}
            if not all(requirement.holds(place) for requirement in self.fields):
                return False
        if not self.labels:
            return True
        pairs = document.labels.as_dict()
        return all(requirement.holds(pairs) for requirement in self.labels)


EVERYTHING: Final = Selector()


def selector(labels: str, fields: str) -> Selector:
    """Raises `Failure` 400 when one cannot be understood: the whole list would be a wrong answer."""
    return Selector(tuple(_label(part) for part in _parts(labels)), tuple(_field(part) for part in _parts(fields)))


def _parts(text: str) -> list[str]:
    """Split at commas that are not between brackets. Raises `Failure` 400 for more than anybody needs."""
    if len(text) > LONGEST:
        raise Failure(400, f"a selector has at most {LONGEST} characters")
    return [part.strip() for part in re.split(r",(?![^()]*\))", text)] if text.strip() else []


def _label(text: str) -> Requirement:
    found = _requirement(text)
    if found is None or any(label_problem(found.key, value) for value in found.values or ("",)):
        raise Failure(400, f"unable to parse requirement: {text!r} is no label selector")
    return found


def _requirement(text: str) -> Requirement | None:
    if found := _SET.fullmatch(text):
        values = frozenset(value.strip() for value in found["values"].split(","))
        return Requirement(found["key"], values, found["verb"] == "in")
    if found := _EQUALITY.fullmatch(text):
        return Requirement(found["key"], frozenset((found["value"],)), found["verb"] != "!=")
    if found := _EXISTENCE.fullmatch(text):
        return Requirement(found["key"], None, not found["no"])
    return None


def _field(text: str) -> Requirement:
    found = _EQUALITY.fullmatch(text)
    if not found or found["key"] not in _FIELDS:
        raise Failure(400, f"field selector {text!r} is not served: fields that select are {' and '.join(_FIELDS)}")
    return Requirement(found["key"], frozenset((found["value"],)), found["verb"] != "!=")
