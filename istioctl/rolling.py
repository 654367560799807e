"""Which state of an object a rollback goes back to. From what is remembered of it to what shall be written."""

from typing import NamedTuple

from core.errors import Misconfigured, NotFound
from core.kinds.kind import Kind
from core.manager.api.histories import History, Revision
from core.manager.api.objects import Resource
from istioctl.differing import as_written


class Rollback(NamedTuple):
    """`now` None: the object is gone. `revision`: the one that `wanted` had, as far as that is known."""

    now: Resource | None
    wanted: Resource
    revision: str


def rollback(history: History, kind: Kind, *, name: str, to: str) -> Rollback:
    """Back to revision `to`, "" for the state before the last change that says something else.

    Raises `NotFound` when that is not remembered, `Misconfigured` when there was no object.
    """
    revisions = history.revisions
    if not revisions:
        fix = "the store keeps 10,000 changes, for 30 days"
        raise NotFound(f"nothing is remembered of {kind.kind} {name}", fix=fix)
    chosen = _named(revisions, to, kind=kind, name=name) if to else _previous(history)
    if chosen is None:
        fix = f"istioctl delete {kind.kind.lower()} {name} removes it; istioctl history shows other revisions"
        raise Misconfigured(f"there was no {kind.kind} {name} before the last change", fix=fix)
    wanted, revision = chosen
    return Rollback(revisions[-1].object, as_written(wanted), revision)


def _named(revisions: tuple[Revision, ...], to: str, *, kind: Kind, name: str) -> tuple[Resource, str]:
    look = f"istioctl history {kind.kind.lower()} {name} shows those there are"
    found = next((each for each in revisions if each.revision == to), None)
    if found is None:
        raise NotFound(f"{kind.kind} {name} has no revision {to} that is remembered", fix=look)
    if found.object is None:
        raise Misconfigured(f"revision {to} of {kind.kind} {name} is its deletion", fix=look)
    return found.object, to


def _previous(history: History) -> tuple[Resource, str] | None:
    """The newest state that differs in what people write; None when the object did not exist then."""
    states = [(history.before, ""), *((each.object, each.revision) for each in history.revisions)]
    now, _ = states[-1]
    for state, revision in reversed(states[:-1]):
        if state is None and now is not None:
            return None
        if state is not None and (now is None or as_written(state) != as_written(now)):
            return state, revision
    return None
