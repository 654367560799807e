"""Reads the text format in which proxies tell their metrics (Prometheus exposition format 0.0.4). Computes nothing."""

import re
from collections.abc import Collection, Iterator

import msgspec

_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?')
_ESCAPED = re.compile(r"\\(.)")


class Series(msgspec.Struct, frozen=True):
    """What is counted: a name, and its labels in the order of their names."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()

    def label(self, name: str) -> str:
        """`""` when it has no such label, which is the same thing to Prometheus."""
        return next((value for key, value in self.labels if key == name), "")


Sample = dict[Series, float]
"""What one proxy said at one moment."""


def parse(text: str, *, names: Collection[str]) -> Sample:
    """The series called by one of `names`. Lines that are no samples are passed over: proxies are not ours to judge."""
    return dict(_samples(text, frozenset(names)))


def _samples(text: str, names: frozenset[str]) -> Iterator[tuple[Series, float]]:
    for line in text.splitlines():
        name, brace, rest = line.partition("{")
        if not brace:
            name, _, rest = line.partition(" ")
        if name not in names:
            continue
        labels, _, number = rest.rpartition("}") if brace else ("", "", rest)
        try:
            yield Series(name, _labels(labels)), float(number.split()[0])
        except (ValueError, IndexError):
            continue


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, _unescaped(value)) for name, value in _LABEL.findall(text)))


def _unescaped(value: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], value) if "\\" in value else value
