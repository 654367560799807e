"""The table of kinds. A new kind is one file and one line here."""

from functools import cache

from core.diagnostics import Diagnostic, Severity
from core.ir.lowered import Lowered
from core.kinds import meshconfig
from core.kinds.findings import UNKNOWN_KIND
from core.kinds.kind import Kind
from core.kinds.networking import destinationrule, gateway, serviceentry, virtualservice
from core.kinds.security import authorizationpolicy, peerauthentication
from core.model.config import Document, Origin
from core.model.mesh import Mesh

KINDS: tuple[Kind, ...] = (
    virtualservice.KIND,
    gateway.KIND,
    destinationrule.KIND,
    serviceentry.KIND,
    peerauthentication.KIND,
    authorizationpolicy.KIND,
    meshconfig.KIND,
)


def lower(document: Document, mesh: Mesh) -> Lowered:
    """What the document says, in `core.ir`. Pure in its arguments; a document with an error gives no rules."""
    kind = find(document.key.group, document.key.kind)
    if kind is None:
        message = f"kind {document.key.kind} of group {document.key.group!r} is not known"
        diagnostic = Diagnostic(
            code=UNKNOWN_KIND, severity=Severity.ERROR, message=message, origin=Origin(document.key)
        )
        return Lowered((), (diagnostic,))
    return kind.lower(document, mesh)


@cache
def find(group: str, kind: str) -> Kind | None:
    return next((one for one in KINDS if one.group == group and one.kind == kind), None)


def named(word: str) -> Kind | None:
    """The kind that a user means by `word`: its name, plural or a short name, in any case, with ".group" or without."""
    name, _, group = word.lower().partition(".")
    return next((one for one in KINDS if name in _words(one) and group in ("", one.group)), None)


def _words(kind: Kind) -> tuple[str, ...]:
    return (kind.kind.lower(), kind.plural, *kind.short_names)
