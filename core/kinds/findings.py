"""Collects what is wrong with one document while it is lowered. Codes: docs/reference/diagnostics.md."""

from core.diagnostics import Diagnostic, Severity
from core.model.config import Document, Origin
from core.model.mesh import Mesh

DEPRECATED = "IST0002"
SCHEMA = "IST0106"
UNREACHABLE = "IST0130"
INEFFECTIVE = "IST0131"
DOUBTFUL = "IST0133"
ADDRESS_WANTED = "IST0134"
UNREADABLE = "MSH0001"
DUPLICATE_KEY = "MSH0002"
NOT_A_DOCUMENT = "MSH0003"
UNKNOWN_KIND = "MSH0004"
DUPLICATE_DOCUMENT = "MSH0005"
TOO_LARGE = "MSH0006"
UNSUPPORTED = "MSH0010"

MOST = 100
"""Findings kept for one document; beyond that somebody fed us the wrong file."""


class Findings:
    """Diagnostics of one document, in the order found.

    Once `shape_is_wrong` was called, rules that concern the same fields keep quiet: a field of a wrong type
    is read as absent, and "is required" would be a second report of the same mistake.
    """

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []
        self._bad: tuple[str, ...] = ()
        self._meant: list[str] = []
        self.failed = False

    def error(self, at: Origin, message: str, *, fix: str = "", code: str = SCHEMA) -> None:
        self._add(at, Severity.ERROR, code, (message, fix))

    def warn(self, at: Origin, message: str, *, fix: str = "", code: str = DOUBTFUL) -> None:
        self._add(at, Severity.WARNING, code, (message, fix))

    def shape_is_wrong(self) -> None:
        """Everything found so far is about the shape of the spec; rules about the same places are left out."""
        errors = (d.origin.path for d in self._found if d.origin and d.severity is Severity.ERROR)
        self._bad = (*errors, *self._meant)

    def meant(self, at: Origin) -> None:
        """A misspelt field was probably this one; that it is missing is the same mistake."""
        self._meant.append(at.path)

    def touch(self, at: Origin) -> bool:
        """Whether there is a finding at this place or within it."""
        return any(d.origin is not None and _within(d.origin.path, at.path) for d in self._found)

    def all(self) -> tuple[Diagnostic, ...]:
        return tuple(self._found)

    def _add(self, at: Origin, severity: Severity, code: str, text: tuple[str, str]) -> None:
        if self.failed and any(_related(at.path, bad) for bad in self._bad):
            return
        self.failed = self.failed or severity is Severity.ERROR
        if len(self._found) == MOST:
            text, code = (f"more than {MOST} findings; the rest is left out", ""), SCHEMA
        if len(self._found) <= MOST:
            found = Diagnostic(code=code, severity=severity, message=text[0], fix=text[1], origin=at)
            self._found.append(found)


def _related(path: str, bad: str) -> bool:
    """One of the two is, or lies within, the other."""
    return _within(path, bad) or _within(bad, path)


def _within(path: str, outer: str) -> bool:
    return path.startswith(outer) and (len(path) == len(outer) or path[len(outer)] in ".[")


class Context:
    """What the rules of a kind get: the document, the mesh it is for, and where to put findings."""

    def __init__(self, document: Document, mesh: Mesh) -> None:
        self.document = document
        self.mesh = mesh
        self.findings = Findings()
        self.root = Origin(document.key, "spec")

    @property
    def namespace(self) -> str:
        return self.document.key.namespace

    def error(self, at: Origin, message: str, *, fix: str = "", code: str = SCHEMA) -> None:
        self.findings.error(at, message, fix=fix, code=code)

    def warn(self, at: Origin, message: str, *, fix: str = "", code: str = DOUBTFUL) -> None:
        self.findings.warn(at, message, fix=fix, code=code)
