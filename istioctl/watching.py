"""Objects of one kind as they change, however often the Manager goes away meanwhile. What is printed, others decide."""

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from core.errors import Expired, Unavailable
from core.kinds.kind import Kind
from core.manager.api.objects import Metadata, Resource
from istioctl.client import Api, Event

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Seconds between two attempts to reach a Manager that is away."""

Say = Callable[[str], None]


class Absence:
    """A Manager that is away: `say` is told when it goes, and when it is back."""

    def __init__(self, say: Say, sleep: Callable[[float], None] = time.sleep) -> None:
        self._say = say
        self._sleep = sleep
        self._pause = 0.0

    def wait(self, error: Unavailable) -> None:
        """A little longer each time."""
        if not self._pause:
            self._say(f"{error}; waiting for it (Ctrl-C ends this)")
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._sleep(self._pause)

    def over(self) -> None:
        if self._pause:
            self._say("the Manager is back")
        self._pause = 0.0


class Change(NamedTuple):
    """`type` is the API's word: ADDED, MODIFIED or DELETED, which shows the object as it was last."""

    type: str
    resource: Resource


class Subject(NamedTuple):
    """What is watched; namespace "" is all of them, name "" every object."""

    kind: Kind
    namespace: str = ""
    name: str = ""


class _Marked(msgspec.Struct, frozen=True):
    metadata: Metadata


_Key = tuple[str, str]


class Watcher:
    """Lists, then tells every change in order. `say` is told when the Manager goes, and when it is back."""

    def __init__(self, api: Api, subject: Subject, *, say: Say, sleep: Callable[[float], None] = time.sleep) -> None:
        self._api = api
        self._subject = subject
        self._say = say
        self._absence = Absence(say, sleep)
        self._known: dict[_Key, Resource] = {}
        self._at = ""

    def begin(self) -> tuple[Resource, ...]:
        """What there is. Raises what `Api` raises."""
        self._known = self._listed()
        return tuple(self._known.values())

    def changes(self) -> Iterator[Change]:
        """Never ends by itself. Raises `Denied` and the like, which do not go away."""
        while True:
            try:
                yield from self._streamed()
            except Expired:
                yield from self._listed_again()
            except Unavailable as error:
                self._absence.wait(error)

    def _streamed(self) -> Iterator[Change]:
        kind, namespace, name = self._subject
        for event in self._api.watch(kind, namespace, name=name, since=self._at):
            self._absence.over()
            if change := self._taken(event):
                yield change

    def _taken(self, event: Event) -> Change | None:
        if event.type == "BOOKMARK":
            self._at = msgspec.json.decode(event.object, type=_Marked).metadata.resource_version
            return None
        resource = msgspec.json.decode(event.object, type=Resource)
        self._at = resource.metadata.resource_version
        if event.type == "DELETED":
            self._known.pop(_key(resource), None)
        else:
            self._known[_key(resource)] = resource
        return Change(event.type, resource)

    def _listed(self) -> dict[_Key, Resource]:
        kind, namespace, name = self._subject
        found = self._api.snapshot(kind, namespace, name=name)
        self._at = found.metadata.resource_version
        return {_key(each): each for each in found.items}

    def _listed_again(self) -> Iterator[Change]:
        """What happened meanwhile is not remembered any more, but what is different now can be told."""
        try:
            now = self._listed()
        except Unavailable as error:
            self._absence.wait(error)
            return
        self._say("the Manager does not remember every change since then: what follows is what is different now")
        before, self._known = self._known, now
        yield from (Change("DELETED", each) for key, each in before.items() if key not in now)
        for key, each in now.items():
            if key not in before:
                yield Change("ADDED", each)
            elif each.metadata != before[key].metadata:
                yield Change("MODIFIED", each)


def _key(resource: Resource) -> _Key:
    return resource.metadata.namespace, resource.metadata.name
