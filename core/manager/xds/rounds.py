"""When something may be sent: pushes as rounds, make before break, judged by what the proxy acknowledged.

Nothing here is about bytes or nonces (`channel`, the dialects) or about requests (`stream`). Cluster and load
assignment carry the same name; docs/adr/0003-xds-transport-and-delivery.md explains the order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from core.manager.xds.channel import Batch, Channel
from core.manager.xds.group import Group, Reader
from core.manager.xds.resource import PUSH_ORDER, Resource, ResourceType

_CLUSTER, _ENDPOINTS, _LISTENER = ResourceType.CLUSTER, ResourceType.ENDPOINTS, ResourceType.LISTENER
_ROUTES, _SECRET = ResourceType.ROUTES, ResourceType.SECRET

_IN_ROUNDS = (_CLUSTER, _LISTENER, _ROUTES)
_AT_ONCE = (_ENDPOINTS, _SECRET)
"""Endpoints and secrets name nothing else, so their news never waits for a round."""

_NEVER = -1
"""Before every generation."""

_REMOVALS = ((_ROUTES,), (_CLUSTER, _SECRET), (_ENDPOINTS,))
"""In the order in which nobody needs them any more."""


class Rounds:
    """Moves changes of the groups into the channels' `todo`, no earlier than the proxy can take them.

    A round takes what changed since the last one, by reference, and finishes before the next one begins; so what
    the proxy is sent of clusters, listeners and routes is always closed as of one generation.
    """

    def __init__(self, channels: Mapping[ResourceType, Channel], groups: Sequence[Group]) -> None:
        self.delivered = 0
        self._channels = channels
        self._groups = tuple(groups)
        self._readers = {type_: Reader(groups, type_) for type_ in PUSH_ORDER}
        self._head = 0
        self.look()
        self._generation = self._head
        self._seen_at = self._read_at = _NEVER
        self._round: Iterator[bool] | None = None
        self._clusters_are_there = True
        self._doomed: dict[ResourceType, set[str]] = {type_: set() for type_ in PUSH_ORDER}
        self._due = False
        self._withheld = False
        # Clusters that were sent and got no endpoints since.
        self._cold: set[str] = set()
        # What a proxy may ask for because of this round, as it was when the round began.
        self._kept = self._keep(())

    def watch(self, groups: Sequence[Group]) -> None:
        """From now on follow other groups; whatever differs goes out in the next round."""
        self._groups = tuple(groups)
        self._readers = {type_: Reader(groups, type_) for type_ in PUSH_ORDER}
        for type_ in PUSH_ORDER:
            self.start_over(type_)

    def start_over(self, type_: ResourceType) -> None:
        """Compare everything of a type with what the proxy has, in the next round."""
        self._readers[type_].restart()
        self._read_at = self._seen_at = _NEVER

    def generation_of(self, type_: ResourceType) -> int:
        """The generation that is being sent of `type_`."""
        return self._head if type_ in _AT_ONCE else self._generation

    # --- news from the proxy ---

    def offer(self, type_: ResourceType, names: Iterable[str]) -> None:
        """Let these names go now, if they belong to this round or an earlier one. The next round brings the rest."""
        channel, reader = self._channels[type_], self._readers[type_]
        if type_ in (_LISTENER, _ROUTES) and not self._clusters_are_there:
            return
        for name in names:
            if type_ in (_CLUSTER, _LISTENER) and reader.unread(name):
                continue
            channel.todo[name] = resource = self._newest(type_, name)
            if resource is None:
                # "There is none" is an answer too.
                channel.again.add(name)

    def repeat(self, type_: ResourceType) -> None:
        """Send again what the proxy has of a type that it knows by name."""
        channel = self._channels[type_]
        for name in sorted(channel.names):
            resource = self._newest(type_, name) if type_ in _AT_ONCE else channel.held.get(name)
            if resource is not None and not channel.has_refused(resource):
                channel.insist(name, resource)

    def is_cold(self, name: str) -> bool:
        """Whether the cluster was sent and waits for its endpoints."""
        return name in self._cold

    def clusters_sent(self, names: Iterable[str]) -> None:
        """A replaced cluster takes effect when its endpoints come again, changed or not: they go right behind it."""
        endpoints = self._channels[_ENDPOINTS]
        for name in names:
            self._cold.add(name)
            assignment = self._newest(_ENDPOINTS, name) if endpoints.wants(name) else None
            if assignment is not None:
                # Even if refused: that was about the cluster as it was, and it waits for an answer.
                endpoints.insist(name, assignment)

    def settled(self, type_: ResourceType, batch: Batch) -> None:
        """The proxy accepted or refused what changes `batch`."""
        if type_ is _ENDPOINTS:
            # What is to go again had been written before its cluster was.
            self._cold.difference_update(name for name in batch if name not in self._channels[_ENDPOINTS].again)
        elif type_ is _CLUSTER:
            self._cold.difference_update(name for name, cluster in batch.items() if cluster is None)

    # --- news from the groups ---

    def refresh(self) -> None:
        """Let news of endpoints and secrets go. Their removal waits until nobody names them."""
        generation = self._head
        if generation == self._seen_at:
            return
        self._seen_at = generation
        for type_ in _AT_ONCE:
            if self._readers[type_].behind():
                doomed = len(self._doomed[type_])
                self._channels[type_].todo.update(self._changes(type_))
                self._due = self._due or len(self._doomed[type_]) > doomed

    def at_rest(self) -> bool:
        """Nothing is under way and nothing is new, for sure; False may mean that it has to be looked at."""
        generation = self._head
        started = self._round is not None or self._due or self._withheld
        return not started and generation == self._seen_at and generation == self._read_at

    def step(self) -> bool:
        """Go on with the round, or begin one; False when there is nothing to do before the proxy answers.

        To be called when no channel has anything to send.
        """
        if self._round is None:
            if not self._is_due():
                return False
            self._round = self._push()
        moved = next(self._round, None)
        if moved is None:
            self._round = None
            return True
        return moved

    def _push(self) -> Iterator[bool]:
        """One round, told in order. Yields True after letting something go, False while the proxy has to answer."""
        self._generation, self._due = self._head, False
        greeted = [type_ for type_ in _IN_ROUNDS if self._channels[type_].take_greeting()]
        news = {type_: self._changes(type_) for type_ in _IN_ROUNDS}
        self._kept = self._keep(news[_CLUSTER])

        self._clusters_are_there = False
        self._release(_CLUSTER, news[_CLUSTER], greeted)
        yield from self._until(_CLUSTER)
        while self._channels[_ENDPOINTS].sending(self._cold):
            yield False
        self._clusters_are_there = True

        for type_ in (_LISTENER, _ROUTES):
            self._release(type_, news[type_], greeted)
            self.offer(type_, sorted(self._channels[type_].missing))
        stays = self._retire(_LISTENER)
        yield from self._until(_LISTENER, _ROUTES, _SECRET)

        self._withheld = any(self._doomed.values()) and (stays or self._may_live_on_old())
        for types in () if self._withheld else _REMOVALS:
            for type_ in types:
                self._retire(type_)
            if types != (_ENDPOINTS,):
                yield from self._until(*types)
        self.delivered = self._generation

    def _until(self, *types: ResourceType) -> Iterator[bool]:
        yield True
        while any(self._channels[type_].busy() for type_ in types):
            yield False

    def _changes(self, type_: ResourceType) -> dict[str, Resource]:
        """What changed of what the proxy wants, by name. What is gone is remembered in `_doomed`."""
        channel, reader, doomed = self._channels[type_], self._readers[type_], self._doomed[type_]
        names, present = reader.take(), {}
        for name in self._all(type_) if names is None else names:
            if not channel.wants(name):
                continue
            resource = reader.newest(name)
            if resource is None:
                doomed.add(name)
                # Once the push is through, nobody uses what the proxy has of what it refused.
                channel.pardon(name)
            else:
                doomed.discard(name)
                present[name] = resource
        return present

    def _all(self, type_: ResourceType) -> Iterable[str]:
        channel = self._channels[type_]
        known = self._readers[type_].names() if channel.wildcard else ()
        return dict.fromkeys((*known, *sorted(channel.names), *channel.held))

    def _release(self, type_: ResourceType, news: Mapping[str, Resource], greeted: Sequence[ResourceType]) -> None:
        channel = self._channels[type_]
        channel.todo.update((name, resource) for name, resource in news.items() if channel.wants(name))
        channel.answer = channel.answer or type_ in greeted

    def _retire(self, type_: ResourceType) -> bool:
        """Let removals go; whether something stays as it was, because it has come back meanwhile (the next round's)."""
        channel, stays = self._channels[type_], False
        for name in sorted(self._doomed[type_]):
            if self._readers[type_].newest(name) is not None:
                stays = True
            elif channel.wants(name):
                channel.todo[name] = None
        self._doomed[type_].clear()
        return stays

    def _is_due(self) -> bool:
        return self._due or self._is_behind() or (self._withheld and not self._may_live_on_old())

    def _is_behind(self) -> bool:
        """Looked up once for each generation: most polls bring nothing new."""
        generation = self._head
        if generation == self._read_at:
            return False
        if any(self._readers[type_].behind() for type_ in _IN_ROUNDS):
            return True
        self._read_at = generation
        return False

    def _may_live_on_old(self) -> bool:
        """Whether the proxy may serve by something old, which may name what is to be removed."""
        clusters, listeners = self._channels[_CLUSTER], self._channels[_LISTENER]
        return (
            # It brought clusters from an earlier stream, and has not said yet what it uses them for.
            (clusters.came_back and not listeners.subscribed)
            or listeners.greet
            or any(name in listeners.held for name in listeners.refused)
            # These keep a listener waiting that may be new while its predecessor serves.
            or bool(self._channels[_ROUTES].refused)
            or any(self._newest(_SECRET, name) is not None for name in self._channels[_SECRET].refused)
        )

    def note_rest(self) -> None:
        """Nothing is to be sent, and everything is answered: the newest has been delivered."""
        self.delivered = self._head

    def _newest(self, type_: ResourceType, name: str) -> Resource | None:
        if type_ is not _ROUTES and (found := self._readers[type_].newest(name)) is not None:
            return found
        return next((kept[name] for kept in self._kept.get(type_, ()) if name in kept), None)

    def _keep(self, clusters: Iterable[str]) -> dict[ResourceType, Sequence[Mapping[str, Resource]]]:
        return {
            _ENDPOINTS: (self._endpoints_of(clusters),),
            _ROUTES: self._readers[_ROUTES].as_of_now(),
            _SECRET: self._readers[_SECRET].as_of_now(),
        }

    def _endpoints_of(self, clusters: Iterable[str]) -> dict[str, Resource]:
        # What the proxy holds serves where a refused change is taken back to a cluster as it was.
        reader, held = self._readers[_ENDPOINTS], self._channels[_ENDPOINTS].held
        found = ((name, reader.newest(name) or held.get(name)) for name in clusters)
        return {name: resource for name, resource in found if resource is not None and resource.body}

    def look(self) -> None:
        """Take note of how far the groups have come."""
        self._head = 0
        for group in self._groups:
            if group.generation > self._head:
                self._head = group.generation
