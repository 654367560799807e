"""Whose fault is it? From what proxies refuse to the documents behind it.

A resource may be made of many documents, and Envoy's text does not name one. The suspects are those of its documents
that say something else in it than in what the proxy lives on.
"""

import re

import msgspec

from core.diagnostics import Diagnostic, Severity
from core.manager.status import Refusal
from core.manager.xds.resource import Resource, ResourceType
from core.model.config import ConfigKey, Origin
from core.model.service import WorkloadKey

REFUSED = "MSH3001"
"""Stable code: a proxy refused what a document was compiled into."""

_SHORT = {
    ResourceType.CLUSTER: "CDS",
    ResourceType.ENDPOINTS: "EDS",
    ResourceType.LISTENER: "LDS",
    ResourceType.ROUTES: "RDS",
    ResourceType.SECRET: "SDS",
}


def short_name(type_: ResourceType) -> str:
    """As proxy-status and everybody's tools write it."""
    return _SHORT[type_]


class Contribution(msgspec.Struct, frozen=True):
    """A document that a resource was made from, and a digest of the part that it has a share in."""

    document: ConfigKey
    digest: bytes


class Blame(msgspec.Struct, frozen=True):
    """One refusal: by whom, of what, why, and the documents that may be behind it."""

    workload: WorkloadKey
    type: ResourceType
    resource: str
    reason: str
    suspects: tuple[ConfigKey, ...]

    def diagnostic(self, key: ConfigKey) -> Diagnostic:
        alone = len(self.suspects) == 1
        part = "what this document says" if alone else "something that this document may be part of"
        what = f"{part} ({short_name(self.type)} {self.resource})"
        return Diagnostic(
            code=REFUSED,
            severity=Severity.ERROR if alone else Severity.WARNING,
            message=f"the proxy of {self.workload} refused {what}: {in_short(self.reason)}",
            fix="correct the part that the proxy names; until then the document's last good version stays in force",
            origin=Origin(key),
        )

    def refusal(self) -> Refusal:
        """As it is shown; with the document when only one can be behind it."""
        origin = Origin(self.suspects[0]) if len(self.suspects) == 1 else None
        reason = in_short(self.reason)
        return Refusal(type=short_name(self.type), resource=self.resource, reason=reason, origin=origin)


_DUMP = re.compile(r"goo\.gle/debug\w+")
"""With this Envoy begins to repeat a whole resource, before it says what is wrong with it; 4 KiB are all it sends."""

_LIMIT = re.compile(r"Proto constraint validation failed \(.*\)", re.DOTALL)
_LONGEST = 1000


def in_short(reason: str) -> str:
    """Envoy's reason in one line, without the resource that it is about."""
    dumped = _DUMP.search(reason)
    before = reason[: dumped.start()] if dumped else reason
    if dumped and (said := _LIMIT.search(reason, dumped.end())):
        before = f"{before} {said[0]}"
    elif dumped and not _LIMIT.search(before):
        before = f"{before} a field is beyond Envoy's limits; which one is only in the proxy's own log, envoy.log"
    text = " ".join(before.split()).removesuffix(":")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


_NO_SOCKET = "cannot bind '"
"""Envoy's words for an address that it could not have: somebody else has it, or the machine does not."""


def suspects(refused: Resource, held: Resource | None, *, reason: str = "") -> tuple[ConfigKey, ...]:
    """The documents of `refused` that are not in `held`, or not like that; none when it is not about documents.

    A document that wants a port is not to blame for who holds it: to revert it would take its other ports as well.
    """
    if _NO_SOCKET in reason:
        return ()
    known = frozenset(held.origins) if held is not None else frozenset()
    fresh = (origin for origin in refused.origins if origin not in known)
    return tuple(dict.fromkeys(origin.document for origin in fresh if isinstance(origin, Contribution)))
