"""Offline validation: decodes texts, lowers every document, and gives one verdict for each with file, line and column.

Not for references between documents (a subset that nobody defines): the compiler finds those.
"""

from collections.abc import Iterable, Iterator

import msgspec

from core.diagnostics import Diagnostic, has_errors
from core.kinds import registry
from core.kinds.decode import Entry, read, without_doubles
from core.model.config import ConfigKey
from core.model.mesh import Mesh


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of one document. `key` is None when not even its name could be read."""

    key: ConfigKey | None
    file: str
    line: int
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def valid(self) -> bool:
        """Nothing, or only warnings."""
        return not has_errors(self.diagnostics)


def validate_text(text: str, *, file: str, default_namespace: str, mesh: Mesh) -> tuple[Verdict, ...]:
    """A verdict per document of one text, in its order."""
    return tuple(validate([(file, text)], default_namespace=default_namespace, mesh=mesh))


def validate(texts: Iterable[tuple[str, str]], *, default_namespace: str, mesh: Mesh) -> Iterator[Verdict]:
    """Verdicts for (file, text) pairs; a document that stands in two of them is refused in the second."""
    entries = (entry for file, text in texts for entry in read(text, file=file, default_namespace=default_namespace))
    return (_verdict(entry, mesh) for entry in without_doubles(entries))


def findings(entry: Entry, mesh: Mesh) -> tuple[Diagnostic, ...]:
    """Everything that is wrong with a decoded document, with places."""
    if entry.draft is None:
        return entry.diagnostics
    lowered = registry.lower(entry.draft, mesh).diagnostics
    return (*entry.diagnostics, *(_placed(diagnostic, entry) for diagnostic in lowered))


def _verdict(entry: Entry, mesh: Mesh) -> Verdict:
    return Verdict(key=entry.key, file=entry.file, line=entry.line, diagnostics=findings(entry, mesh))


def _placed(diagnostic: Diagnostic, entry: Entry) -> Diagnostic:
    if diagnostic.place or not diagnostic.origin:
        return diagnostic
    return msgspec.structs.replace(diagnostic, place=entry.place(diagnostic.origin.path))
