"""Brings stored objects to what files say: looks, rehearses everything, and only then writes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import structs

from core.errors import Conflict, Misconfigured, NotFound
from core.kinds.kind import Kind
from core.kinds.registry import find
from core.manager.api.failures import Cause
from core.manager.api.objects import Metadata, Resource, resource_of
from core.manager.api.transactions import Order, Outcome
from core.manager.status import Applied
from core.model.config import ConfigKey, Document
from istioctl.client import Api, Refused
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

    @property
    def key(self) -> ConfigKey:
        metadata = self.resource.metadata
        return ConfigKey(self.kind.group, self.kind.kind, metadata.namespace, metadata.name)


class Step(NamedTuple):
    """What one object needs. `revision` is the stored version, "" for none; `outcome` is known once it was tried.

    `after` is the version that is stored then, "" before that.
    """

    wanted: Wanted
    revision: str
    outcome: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f"{self.wanted} {self.outcome}"


class Doomed(NamedTuple):
    """An object that is to go."""

    kind: Kind
    key: ConfigKey

    def __str__(self) -> str:
        return qualified(self.kind, self.key.name)


class Removal(NamedTuple):
    removed: tuple[Doomed, ...]
    missing: tuple[Doomed, ...]


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
    """Asks what would become of all of them, upon what is stored now, and writes nothing. Raises what `Api` raises."""
    all_of_them = tuple(wanted)
    if not all_of_them:
        return Rehearsal((), ())
    steps, refusals = [], []
    outcomes = api.rehearse(tuple(_order(each, revision="", verb="set") for each in all_of_them))
    for each, outcome in zip(all_of_them, outcomes, strict=True):
        if outcome.failure:
            refusals.append(Refusal(each, Refused(outcome.failure)))
        else:
            steps.append(Step(each, outcome.resource_version, outcome.outcome))
    return Rehearsal(tuple(steps), tuple(refusals))


def commit(api: Api, steps: Sequence[Step], *, attempts: int = ATTEMPTS) -> tuple[Step, ...]:
    """Writes what differs, as one transaction, upon what is stored by now.

    Raises `Conflict` when somebody else keeps changing one of the objects; then nothing was written.
    """
    try:
        return _commit(api, steps)
    except (Conflict, NotFound) as error:
        if attempts <= 1:
            fix = "apply again, upon what is stored now"
            raise Conflict(
                f"somebody else keeps changing these objects: {error}; nothing was written", fix=fix
            ) from error
        again = rehearse(api, (step.wanted for step in steps))
        for refusal in again.refusals:
            raise refusal.error from error
        return commit(api, again.steps, attempts=attempts - 1)


def _commit(api: Api, steps: Sequence[Step]) -> tuple[Step, ...]:
    changing = [step for step in steps if step.outcome != UNCHANGED]
    outcomes = iter(
        api.commit(tuple(_order(step.wanted, revision=step.revision) for step in changing)) if changing else ()
    )
    return tuple(
        step._replace(after=step.revision) if step.outcome == UNCHANGED else _done(step, next(outcomes))
        for step in steps
    )


def _done(step: Step, outcome: Outcome) -> Step:
    return step._replace(outcome=outcome.outcome, after=outcome.resource_version)


def stored_now(
    api: Api, done: Sequence[Step], applied: Iterable[Applied], revisions: Mapping[ConfigKey, str]
) -> dict[ConfigKey, str]:
    """Newer revisions of what others wrote over meanwhile. Asks only about what the Manager has in another one."""
    known = {each.document: each.revision for each in applied}
    newer = {}
    for step in done:
        key = step.wanted.key
        if known.get(key) not in (None, revisions[key]) and (revision := _revision(api, step.wanted)):
            newer[key] = revision
    return newer


def _order(wanted: Wanted, *, revision: str, verb: Literal["put", "set"] = "put") -> Order:
    return Order(verb=verb, object=msgspec.Raw(msgspec.json.encode(_at(wanted.resource, revision))))


def _at(resource: Resource, revision: str) -> Resource:
    return structs.replace(resource, metadata=structs.replace(resource.metadata, resource_version=revision))


def remove(api: Api, doomed: Iterable[Doomed], *, attempts: int = ATTEMPTS) -> Removal:
    """What is there, as one transaction; what is not there does not keep the rest. Raises `Conflict`."""
    asked = tuple(doomed)
    tried = api.rehearse(tuple(_removal(each) for each in asked)) if asked else ()
    missing = tuple(each for each, outcome in zip(asked, tried, strict=True) if outcome.failure)
    found = tuple(each for each in asked if each not in missing)
    try:
        if found:
            api.commit(tuple(_removal(each) for each in found))
    except NotFound as error:
        if attempts <= 1:
            raise Conflict(f"somebody else keeps removing these objects: {error}; nothing was deleted") from error
        return remove(api, asked, attempts=attempts - 1)
    return Removal(found, missing)


def _removal(doomed: Doomed) -> Order:
    kind, key = doomed
    metadata = Metadata(name=key.name, namespace=key.namespace)
    named = {"apiVersion": f"{kind.group}/{kind.versions[0]}", "kind": kind.kind, "metadata": metadata}
    return Order(verb="remove", object=msgspec.Raw(msgspec.json.encode(named)))


def _revision(api: Api, wanted: Wanted) -> str:
    metadata = wanted.resource.metadata
    stored = api.find(wanted.kind, metadata.namespace, metadata.name)
    return stored.metadata.resource_version if stored else ""
