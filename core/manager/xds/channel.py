"""One type on one stream: what the proxy wants, has and is being sent. At most one response is unacknowledged; behind
it waits the newest state and never a queue. When something may be sent is for the stream to say."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from core.manager.xds.exchange import Acked, Event, Refused, TypeStatus
from core.manager.xds.resource import Resource, ResourceType

Batch = dict[str, Resource | None]
"""What one response changes; None is a removal."""


class Flight(msgspec.Struct, frozen=True):
    """The response that waits for its acknowledgement. `whole`: what it does not mention is gone."""

    nonce: str
    batch: Batch
    generation: int
    whole: bool = False


class Channel:
    """The state of one type on one stream. Owner: the stream.

    `held` is what the proxy acknowledged. `todo` may be sent now; `again` names what goes even if it is held.
    `missing` are names asked for and not delivered. `refused` is not sent again until its version changes.
    `unsure` are names of which the proxy may or may not have taken what it refused together with others.
    """

    def __init__(self, type_: ResourceType) -> None:
        self.type = type_
        self.subscribed = False
        self.wildcard = False
        self.named = False
        self.came_back = False
        self.names: set[str] = set()
        self.missing: set[str] = set()
        self.held: dict[str, Resource] = {}
        self.todo: Batch = {}
        self.again: set[str] = set()
        self.answer = False
        self.greet = False
        self.refused: dict[str, Refused] = {}
        self.unsure: set[str] = set()
        self.flight: Flight | None = None
        self.nonce = ""
        self._suspects: list[Batch] = []
        self._sent = 0
        self._acked = 0

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def pardon(self, name: str) -> None:
        """A refusal no longer matters; yet the proxy may have an older one that it did not tell us of."""
        if self.refused.pop(name, None) is not None:
            self.unsure.add(name)

    def has_refused(self, resource: Resource) -> bool:
        refusal = self.refused.get(resource.name)
        return refusal is not None and _version(refusal.resource) == resource.version

    def busy(self) -> bool:
        """Whether anything is unacknowledged or waits for that."""
        return self.flight is not None or bool(self.todo) or bool(self._suspects)

    def sending(self, names: set[str]) -> bool:
        """Whether any of `names` is unacknowledged or waits for that."""
        batches = [self.todo, *self._suspects, *([self.flight.batch] if self.flight else ())]
        return not all(names.isdisjoint(batch) for batch in batches)

    # --- what the proxy wants ---

    def add(self, names: Sequence[str]) -> None:
        """Subscribe. A name that was subscribed already is asked for again, whatever we believe that the proxy has."""
        self.names.update(names)
        if self.wildcard:
            self.again.update(names)
            return
        self.missing.update(names)
        for name in names:
            self.held.pop(name, None)

    def drop(self, names: Sequence[str]) -> None:
        """Unsubscribe. Under a wildcard the names stay wanted, and the protocol has them sent again."""
        self.names.difference_update(names)
        self.missing.difference_update(names)
        if self.wildcard:
            self.again.update(names)
        else:
            self._forget(names)

    def narrow(self) -> None:
        """Give up the wildcard; what was asked for by name stays."""
        self.wildcard = self.greet = self.answer = False
        self._forget([name for name in (*self.held, *self.todo, *self.refused) if name not in self.names])

    def recall(self, versions: Mapping[str, str]) -> None:
        """Believe a reconnecting proxy what it has (initial_resource_versions)."""
        self.came_back = self.came_back or bool(versions)
        for name, version in versions.items():
            if self.wants(name):
                self.held[name] = Resource(name, version, b"")
                self.again.discard(name)

    def _forget(self, names: Iterable[str]) -> None:
        """What is not wanted is not known either, refusals included."""
        for name in names:
            self.held.pop(name, None)
            self.todo.pop(name, None)
            self.again.discard(name)
            self.refused.pop(name, None)
            self.unsure.discard(name)

    # --- what it gets ---

    def take_greeting(self) -> bool:
        """Whether the type was just subscribed as a whole: that is answered, if need be with nothing."""
        greet, self.greet = self.greet, False
        return greet

    def insist(self, name: str, resource: Resource | None) -> None:
        """Send `name` even if the proxy has this version."""
        self.todo[name] = resource
        self.again.add(name)

    def ready(self) -> bool:
        """Whether `next_batch` may have something."""
        return self.flight is None and (self.answer or bool(self.todo) or bool(self._suspects))

    def next_batch(self) -> Batch | None:
        """What the next response has to change; None: there is nothing to say, or no room to say it."""
        if self.flight is not None:
            return None
        batch = self._next_suspects() or self._next_todo()
        if not batch and not self.answer:
            return None
        self.answer = False
        self.again.difference_update(batch)
        return batch

    def without_removed(self, batch: Batch) -> Batch:
        """`batch` in a dialect that has no words for removal: the proxy keeps such a thing until it loses interest."""
        self.missing.difference_update(name for name, resource in batch.items() if resource is None)
        return {name: resource for name, resource in batch.items() if resource is not None}

    def send(self, flight: Flight) -> None:
        self.flight, self.nonce, self._sent = flight, flight.nonce, flight.generation

    def _next_suspects(self) -> Batch | None:
        while self._suspects:
            suspects = self._suspects.pop(0)
            # Not compared with what is held: a refused response may have been applied in part.
            if batch := {name: self.todo.pop(name, old) for name, old in suspects.items() if self.wants(name)}:
                return batch
        return None

    def _next_todo(self) -> Batch:
        todo, self.todo = self.todo, {}
        return {name: resource for name, resource in todo.items() if self._is_news(name, resource)}

    def _is_news(self, name: str, resource: Resource | None) -> bool:
        if name in self.again or (resource is None and name in self.unsure):
            return True
        if resource is not None and self.has_refused(resource):
            return False
        held = _version(self.held.get(name))
        if held != _version(resource):
            return True
        self.missing.discard(name)
        # The news went back to what the proxy lives on.
        self.refused.pop(name, None)
        return False

    # --- what it says to that ---

    def accept(self, flight: Flight) -> Acked:
        self.flight, self._acked = None, flight.generation
        for name, resource in flight.batch.items():
            self._now_has(name, resource)
        if flight.whole:
            self.unsure.clear()
        return Acked(self.type, flight.generation)

    def refuse(self, flight: Flight, message: str) -> Event | None:
        """Nothing of the response counts as delivered.

        A refusal is neither atomic nor clear about the culprit, so the halves go again until the culprit
        is alone: that one stays away until its version changes. A removal cannot be meant.
        """
        self.flight = None
        if len(flight.batch) > 1:
            self.unsure.update(flight.batch)
            self._suspects[:0] = _halves(flight.batch)
            return None
        for name, resource in flight.batch.items():
            if resource is None:
                self._now_has(name, None)
            elif self.wants(name):
                self.missing.discard(name)
                self.unsure.discard(name)
                self.refused[name] = Refused(self.type, resource, message)
        culprit = next(iter(flight.batch.values()), None)
        return Refused(self.type, culprit, message, self.held.get(culprit.name) if culprit else None)

    def status(self) -> TypeStatus:
        return TypeStatus(
            type=self.type, subscribed=self.subscribed, sent=self._sent, acked=self._acked, waiting=self.busy(),
            refused={name: refusal.message for name, refusal in self.refused.items()},
        )  # fmt: skip

    def _now_has(self, name: str, resource: Resource | None) -> None:
        self.refused.pop(name, None)
        self.missing.discard(name)
        self.unsure.discard(name)
        if resource is None:
            self.held.pop(name, None)
        elif self.wants(name):
            self.held[name] = resource


def _version(resource: Resource | None) -> str | None:
    return None if resource is None else resource.version


def _halves(batch: Batch) -> list[Batch]:
    items = list(batch.items())
    middle = len(items) // 2
    return [dict(items[:middle]), dict(items[middle:])]
