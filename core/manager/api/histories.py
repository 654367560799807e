"""What became of one object over time, on the wire, and each change in one line. No server, no store."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from core.diagnostics import Diagnostic
from core.manager.api.objects import Resource, ValidationMessage, message_of, resource_of
from core.model.config import Document, Revised

_LONGEST: Final = 40
"""Letters of a value in a summary; more is cut off."""


class Revision(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One change. `revision` is the object's resource version since then, `time` in epoch seconds, `author` "" unknown.

    `object` is what it was changed to, None when it was deleted; `findings` what was last known to be wrong with it.
    """

    revision: str
    time: float
    author: str
    change: Literal["created", "changed", "deleted"]
    summary: str
    object: Resource | None = None
    findings: tuple[ValidationMessage, ...] = ()


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first, as far back as is remembered. `before`: what was before the first; `findings`: those of now."""

    revisions: tuple[Revision, ...]
    before: Resource | None = None
    findings: tuple[ValidationMessage, ...] = ()


Judged = Mapping[str, tuple[Diagnostic, ...]]
"""By revision: what was last found while it was the newest."""


def history(changes: tuple[Revised, ...], judged: Judged, findings: tuple[Diagnostic, ...], *, version: str) -> History:
    """`findings` are those of now; objects are shown in the served `version`."""
    before = changes[0].before if changes else None
    return History(
        revisions=tuple(_revision(each, judged.get(each.revision, ()), version) for each in changes),
        before=resource_of(before, version=version) if before else None,
        findings=tuple(map(message_of, findings)),
    )


def _revision(revised: Revised, findings: tuple[Diagnostic, ...], version: str) -> Revision:
    document = revised.document
    return Revision(
        revision=revised.revision,
        time=revised.at,
        author=revised.author,
        change="deleted" if document is None else "changed" if revised.before else "created",
        summary=summary(revised.before, document),
        object=resource_of(document, version=version) if document else None,
        findings=tuple(map(message_of, findings)),
    )


def summary(before: Document | None, after: Document | None) -> str:
    """What is different, in one line: the first field that is, and how many others are."""
    if before is None or after is None:
        return "deleted" if before else "created"
    found = list(_differences(before, after))
    if not found:
        return "what others keep in it"
    return found[0] + (f", and {len(found) - 1} more" if len(found) > 1 else "")


def _differences(before: Document, after: Document) -> Iterator[str]:
    """Of the spec first: that is what calls follow."""
    for name, old, new in (
        ("spec", msgspec.json.decode(before.spec), msgspec.json.decode(after.spec)),
        ("metadata.labels", before.labels.as_dict(), after.labels.as_dict()),
        ("metadata.annotations", before.annotations.as_dict(), after.annotations.as_dict()),
    ):
        yield from _between(old, new, name)


def _between(old: object, new: object, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _member(old, new, name, f"{path}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _between(left, right, f"{path}[{index}]")
    elif old != new:
        yield f"{path}: {_shown(old)} -> {_shown(new)}"


def _member(old: dict[str, object], new: dict[str, object], name: str, path: str) -> Iterator[str]:
    if name not in old:
        yield f"{path} added: {_shown(new[name])}"
    elif name not in new:
        yield f"{path} removed"
    else:
        yield from _between(old[name], new[name], path)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
