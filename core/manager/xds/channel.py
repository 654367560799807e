"""One type on one stream: what the proxy wants, has and is being sent. At most one response is unacknowledged; behind
it waits the newest state and never a queue. When something may be sent is for the stream to say."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from core.manager.xds.exchange import Acked, Event, Refused, TypeStatus
from core.manager.xds.resource import Resource, ResourceType

Batch = dict[str, Resource | None]
"""What one response changes; None is a removal."""


class Flight(msgspec.Struct, frozen=True, gc=False):
    """The response that waits for its acknowledgement. `whole`: what it does not mention is gone."""

    nonce: str
    batch: Batch
    generation: int
    version: str
    whole: bool = False


class Channel:
    """The state of one type on one stream. Owner: the stream.

    `held` is what the proxy acknowledged; without a wildcard every name asked for stands in it, with None until then.
    `todo` may be sent now; `again` names what goes even if it is held. `missing` are names asked for and not delivered.
    `refused` is not sent again until its version changes. `unsure` are names of which the proxy may or may not have
    taken what it refused together with others. There are many channels, and most have nothing to do: those with
    anything to send or unanswered stand in `at_work`, which the stream's channels share. Where many names leave a set
    at once, a new one is made: an emptied set keeps its size.
    """

    __slots__ = (
        "_acked", "_at_work", "_beside", "_number", "_sent", "_suspects", "_tells_removals", "_version", "again",
        "answer", "came_back", "flight", "greet", "held", "missing", "named", "nonce", "refused", "series",
        "subscribed", "todo", "type", "unsure", "whole", "wildcard",
    )  # fmt: skip

    def __init__(self, type_: ResourceType, *, at_work: set[ResourceType], whole: bool, tells_removals: bool) -> None:
        """`whole`: each response replaces everything. `tells_removals`: it can say that a resource is gone."""
        self.type = type_
        self.whole = whole
        self._tells_removals = tells_removals
        self.series = ""
        self.subscribed = False
        self.wildcard = False
        self.named = False
        self.came_back = False
        self.missing: set[str] = set()
        self.held: dict[str, Resource | None] = {}
        self.todo: Batch = {}
        self.again: set[str] = set()
        self.answer = False
        self.greet = False
        self.refused: dict[str, Refused] = {}
        self.unsure: frozenset[str] = frozenset()
        self.flight: Flight | None = None
        self.nonce = ""
        self._at_work = at_work
        self._beside: set[str] = set()
        self._suspects: tuple[Batch, ...] = ()
        self._number = 0
        self._sent = 0
        self._acked = 0
        self._version = ""

    @property
    def names(self) -> AbstractSet[str]:
        """What is asked for by name."""
        return self._beside if self.wildcard else self.held.keys()

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.held

    def pardon(self, name: str) -> None:
        """A refusal no longer matters; yet the proxy may have an older one that it did not tell us of."""
        if self.refused.pop(name, None) is not None:
            self.unsure |= {name}

    def has_refused(self, resource: Resource) -> bool:
        refusal = self.refused.get(resource.name)
        return refusal is not None and refusal.resource is not None and refusal.resource.version == resource.version

    def busy(self) -> bool:
        """Whether anything is unacknowledged or waits to be sent."""
        return self.type in self._at_work

    def _leave_if_idle(self) -> None:
        if self.flight is None and not (self.answer or self.todo or self._suspects):
            self._at_work.discard(self.type)

    def sending(self, names: AbstractSet[str]) -> bool:
        """Whether any of `names` is unacknowledged or waits for that."""
        batches = [self.todo, *self._suspects, *([self.flight.batch] if self.flight else ())]
        return not all(names.isdisjoint(batch) for batch in batches)

    # --- what the proxy wants ---

    def add(self, names: Sequence[str]) -> None:
        """Subscribe. A name that was subscribed already is asked for again, whatever we believe that the proxy has."""
        if self.wildcard:
            self._beside.update(names)
            self.again.update(names)
        else:
            self.missing.update(names)
            self.held.update(dict.fromkeys(names))

    def drop(self, names: Sequence[str]) -> None:
        """Unsubscribe. Under a wildcard the names stay wanted, and the protocol has them sent again."""
        self.missing.difference_update(names)
        if self.wildcard:
            self._beside.difference_update(names)
            self.again.update(names)
        else:
            self._forget(names)

    def widen(self) -> None:
        """Ask for everything. An empty set is answered too: Envoy goes on to listeners only then."""
        self._beside = set(self.held)
        self.held = {name: resource for name, resource in self.held.items() if resource is not None}
        self.wildcard = self.greet = True

    def narrow(self) -> None:
        """Give up the wildcard; what was asked for by name stays."""
        names, self._beside = self._beside, set()
        self.wildcard = self.greet = self.answer = False
        self._forget([name for name in (*self.held, *self.todo, *self.refused) if name not in names])
        self.held = dict.fromkeys(names) | self.held

    def recall(self, versions: Mapping[str, str]) -> None:
        """Believe a reconnecting proxy what it has (initial_resource_versions)."""
        self.came_back = self.came_back or bool(versions)
        has = {name: Resource(name, version, b"") for name, version in versions.items() if self.wants(name)}
        self.held.update(has)
        self.again.difference_update(has)

    def resume(self, had: Mapping[str, Resource]) -> None:
        """This is what a reconnecting proxy had. It is sent again as it is wanted now, lest it waits for that."""
        self.came_back = True
        has = {name: resource for name, resource in had.items() if self.wants(name)}
        self.held.update(has)
        self.again.update(has)

    def memory(self) -> dict[str, dict[str, Resource]]:
        """What the proxy has, by the version that it says when it comes back: whether or not its last answer came."""
        found = {self._version: _present(self.held)}
        if self.flight is not None:
            found[self.flight.version] = _present({**self.held, **self.flight.batch})
        return found

    def _forget(self, names: Collection[str]) -> None:
        """What is not wanted is not known either, refusals included."""
        for name in names:
            self.held.pop(name, None)
            self.todo.pop(name, None)
            self.refused.pop(name, None)
        self.again.difference_update(names)
        self.unsure = self.unsure.difference(names)
        self._leave_if_idle()

    # --- what it gets ---

    def take_greeting(self) -> bool:
        """Whether the type was just subscribed as a whole: that is answered, if need be with nothing."""
        greet, self.greet = self.greet, False
        return greet

    def owe_answer(self) -> None:
        """Send a response even if it is empty."""
        self.answer = True
        self._at_work.add(self.type)

    def let_go(self, batch: Batch) -> None:
        """Send what of this is news to the proxy. Takes `batch` over."""
        if batch:
            if self.todo:
                self.todo.update(batch)
            else:
                self.todo = batch
            self._at_work.add(self.type)

    def insist(self, batch: Batch) -> None:
        """Send this even if the proxy has these versions. Takes `batch` over."""
        self.again.update(batch)
        self.let_go(batch)

    def take_off(self, generation: int) -> Flight | None:
        """The next response, under way from now on; None: there is nothing to say. Only while nothing is under way.

        Its nonce is the generation, or the next number where that was used already: so streams that are sent the same
        have the same bytes to send. In a `series`, its version is like no other's.
        """
        batch = self._next_batch()
        if not batch and not self.answer:
            self._leave_if_idle()
            return None
        self.answer = False
        self._number = max(generation, self._number + 1)
        self.nonce, self._sent = str(self._number), generation
        version = f"{generation}.{self.nonce}.{self.series}" if self.series else str(generation)
        self.flight = Flight(self.nonce, batch, generation, version, self.whole)
        return self.flight

    def _next_batch(self) -> Batch:
        while batch := (self._next_suspects() if self._suspects else None) or self._next_todo():
            if self.again:
                self.again = self.again.difference(batch)
            if self._tells_removals or (batch := self._without_removed(batch)):
                return batch
        return batch

    def _without_removed(self, batch: Batch) -> Batch:
        """`batch` in a dialect that has no words for removal: the proxy keeps such a thing until it loses interest."""
        self.missing = self.missing.difference(name for name, resource in batch.items() if resource is None)
        return {name: resource for name, resource in batch.items() if resource is not None}

    def _next_suspects(self) -> Batch | None:
        while self._suspects:
            suspects, *others = self._suspects
            self._suspects = tuple(others)
            # Not compared with what is held: a refused response may have been applied in part.
            if batch := {name: self.todo.pop(name, old) for name, old in suspects.items() if self.wants(name)}:
                return batch
        return None

    def _next_todo(self) -> Batch:
        todo, self.todo = self.todo, {}
        stale = [name for name, resource in todo.items() if not self._is_news(name, resource)]
        if stale:
            # The news went back to what the proxy lives on, or is no better than what it refused.
            batch = {name: todo.pop(name) for name in stale}
            self._recognise(batch)
            self._is_done_with([name for name, old in batch.items() if old is None or not self.has_refused(old)])
        return todo

    def _recognise(self, batch: Batch) -> None:
        """What a proxy brought is known by its version only, until there is the same here: then also its origins."""
        for name, resource in batch.items():
            held = self.held.get(name)
            if resource is not None and held is not None and held.version == resource.version:
                self.held[name] = resource

    def _is_news(self, name: str, resource: Resource | None) -> bool:
        if name in self.again:
            return True
        held = self.held.get(name)
        if resource is None:
            return held is not None or name in self.unsure
        if self.refused and self.has_refused(resource):
            return False
        return held is None or held.version != resource.version

    # --- what it says to that ---

    def accept(self, flight: Flight) -> Acked:
        self.flight, self._acked, self._version = None, flight.generation, flight.version
        self._now_has(flight.batch)
        if flight.whole:
            self.unsure = frozenset()
        self._leave_if_idle()
        return Acked(self.type, flight.generation)

    def refuse(self, flight: Flight, message: str) -> Event | None:
        """Nothing of the response counts as delivered.

        A refusal is neither atomic nor clear about the culprit, so the halves go again until the culprit
        is alone: that one stays away until its version changes. A removal cannot be meant.
        """
        self.flight = None
        if len(flight.batch) > 1:
            self.unsure = self.unsure.union(flight.batch)
            self._suspects = (*_halves(flight.batch), *self._suspects)
            return None
        self._leave_if_idle()
        for name, resource in flight.batch.items():
            if resource is None:
                self._now_has(flight.batch)
            elif self.wants(name):
                self.missing.discard(name)
                self.unsure -= {name}
                self.refused[name] = Refused(self.type, resource, message)
        culprit = next(iter(flight.batch.values()), None)
        return Refused(self.type, culprit, message, self.held.get(culprit.name) if culprit else None)

    def status(self) -> TypeStatus:
        return TypeStatus(
            type=self.type, subscribed=self.subscribed, sent=self._sent, acked=self._acked, waiting=self.busy(),
            refused={name: refusal.message for name, refusal in self.refused.items()}, brought=self.came_back,
        )  # fmt: skip

    def _now_has(self, batch: Batch) -> None:
        held, wildcard = self.held, self.wildcard
        for name, resource in batch.items():
            if resource is None and wildcard:
                held.pop(name, None)
            elif wildcard or name in held:
                held[name] = resource
        if self.unsure:
            self.unsure = self.unsure.difference(batch)
        self._is_done_with(batch)

    def _is_done_with(self, names: Collection[str]) -> None:
        """The proxy neither waits for these any more nor refuses them."""
        for name in names if self.refused else ():
            self.refused.pop(name, None)
        if self.missing:
            self.missing = self.missing.difference(names)


def _present(batch: Batch) -> dict[str, Resource]:
    return {name: resource for name, resource in batch.items() if resource is not None}


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    items = list(batch.items())
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])
