"""Brings stored objects to what files say: looks, rehearses everything, and only then writes."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import structs

from core.errors import Conflict, MeshError, Misconfigured, NotFound
from core.kinds.kind import Kind
from core.kinds.registry import find
from core.manager.api.failures import Cause
from core.manager.api.objects import Resource, resource_of
from core.model.config import Document
from istioctl.client import DRY_RUN, Api, Refused
from istioctl.names import qualified

UNCHANGED = "unchanged"
ATTEMPTS = 3
"""How often a write is tried while somebody else keeps changing the same object."""


class Wanted(NamedTuple):
    """An object as it shall be; `source` is the file and line where it is written, for complaints."""

    kind: Kind
    resource: Resource
    source: str

    def __str__(self) -> str:
        return qualified(self.kind, self.resource.metadata.name)


class Step(NamedTuple):
    """What one object needs. `revision` is the stored version, "" for none; `outcome` is known once it was tried."""

    wanted: Wanted
    revision: str
    outcome: str = ""

    def __str__(self) -> str:
        return f"{self.wanted} {self.outcome}"


class Refusal(NamedTuple):
    wanted: Wanted
    error: Refused

    def lines(self) -> tuple[str, ...]:
        """One for each thing that the Manager found wrong."""
        causes = self.error.causes or (Cause(message=str(self.error)),)
        return tuple(f"{self.wanted.source}: Error [{c.reason}] {self.wanted} {c.field}: {c.message}" for c in causes)


class Rehearsal(NamedTuple):
    steps: tuple[Step, ...]
    refusals: tuple[Refusal, ...]


def wanted_of(document: Document, namespace: str | None) -> Wanted:
    """Raises `Misconfigured` when the user named another `namespace` than the document does."""
    key, kind = document.key, find(document.key.group, document.key.kind)
    assert kind, "decoding refuses kinds that are not in the table"
    if namespace and namespace != key.namespace and not kind.namespace:
        text = f"{document.source}: {key} says namespace {key.namespace}, and the command line says {namespace}"
        raise Misconfigured(text, fix="leave -n out, or take the namespace out of the file")
    return Wanted(kind, resource_of(document), document.source)


def rehearse(api: Api, wanted: Iterable[Wanted]) -> Rehearsal:
    """Asks for every write without doing one. Raises what `Api` raises, refusals of documents excepted."""
    steps, refusals = [], []
    for each in wanted:
        try:
            steps.append(_attempt(api, Step(each, _revision(api, each)), query=DRY_RUN))
        except Refused as error:
            refusals.append(Refusal(each, error))
    return Rehearsal(tuple(steps), tuple(refusals))


def apply(api: Api, steps: tuple[Step, ...]) -> Iterator[str]:
    """Writes what differs, one by one, and yields a line for each. Raises `MeshError` that says how far it came."""
    for done, step in enumerate(steps):
        try:
            yield str(step if step.outcome == UNCHANGED else write(api, step))
        except MeshError as error:
            text = f"{step.wanted}: {error} ({done} of {len(steps)} objects were written)"
            raise MeshError(text, fix=error.fix or "apply again: what is written already stays unchanged") from error


def write(api: Api, step: Step, *, attempts: int = ATTEMPTS) -> Step:
    """Does it, on what is stored by now. Raises `Conflict` when somebody else keeps changing the object."""
    try:
        return _attempt(api, step)
    except (Conflict, NotFound):
        if attempts <= 1:
            raise
        return write(api, Step(step.wanted, _revision(api, step.wanted)), attempts=attempts - 1)


def _revision(api: Api, wanted: Wanted) -> str:
    metadata = wanted.resource.metadata
    stored = api.find(wanted.kind, metadata.namespace, metadata.name)
    return stored.metadata.resource_version if stored else ""


def _attempt(api: Api, step: Step, *, query: str = "") -> Step:
    kind, resource, _ = step.wanted
    if not step.revision:
        api.create(kind, resource, query=query)
        return step._replace(outcome="created")
    metadata = structs.replace(resource.metadata, resource_version=step.revision)
    after = api.replace(kind, structs.replace(resource, metadata=metadata), query=query)
    same = after.metadata.resource_version == step.revision
    return step._replace(outcome=UNCHANGED if same else "configured")
