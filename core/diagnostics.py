"""Findings about somebody's configuration: values with stable codes, the same from admission to `istioctl`."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from core.model.config import ConfigKey, Origin, Revised


class Severity(StrEnum):
    ERROR = "Error"
    WARNING = "Warning"
    INFO = "Info"


class Place(msgspec.Struct, frozen=True, order=True):
    """Where in a file; lines and columns count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. `code` is Istio's (ISTnnnn) where Istio has one, otherwise ours (MSHnnnn)."""

    code: str
    severity: Severity
    message: str
    fix: str = ""
    origin: Origin | None = None
    place: Place | None = None

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        what = f" ({self.origin})" if self.origin else ""
        fix = f" Fix: {self.fix}" if self.fix else ""
        return f"{where}{self.severity} [{self.code}]{what} {self.message}{fix}"


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """The findings about a stored document from `revision` of the store on, as the store keeps them."""

    revision: str
    key: ConfigKey
    findings: tuple[Diagnostic, ...] = ()


def has_errors(diagnostics: tuple[Diagnostic, ...]) -> bool:
    return any(d.severity is Severity.ERROR for d in diagnostics)


def judged(history: Iterable[Revised], said: Mapping[str, tuple[Diagnostic, ...]]) -> dict[str, tuple[Diagnostic, ...]]:
    """The findings of every revision of one document, from those that were reported while it was the newest.

    About a revision of which nothing else was said, holds what did before it; nothing about what is made or removed.
    """
    result: dict[str, tuple[Diagnostic, ...]] = {}
    found: tuple[Diagnostic, ...] = ()
    for revised in history:
        found = said.get(revised.revision, found if revised.before and revised.document else ())
        if found:
            result[revised.revision] = found
    return result
