"""When something may be sent: pushes as rounds, make before break, judged by what the proxy acknowledged.

Nothing here is about bytes or nonces (`channel`, the dialects) or about requests (`stream`). Cluster and load
assignment carry the same name; docs/adr/0003-xds-transport-and-delivery.md explains the order."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from core.manager.xds.channel import Batch, Channel
from core.manager.xds.group import Group, as_of_now, changed_after, changed_since, in_place_of, names_of, newest
from core.manager.xds.resource import IN_ROUNDS, PUSH_ORDER, Resource, ResourceType

_CLUSTER, _ENDPOINTS, _LISTENER = ResourceType.CLUSTER, ResourceType.ENDPOINTS, ResourceType.LISTENER
_ROUTES, _SECRET = ResourceType.ROUTES, ResourceType.SECRET

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

    __slots__ = (
        "_afresh", "_behind", "_channels", "_clusters_are_there", "_cold", "_doomed", "_due", "_generation", "_groups",
        "_head", "_kept", "_let_go", "_round", "_taken", "_turned", "_withheld", "delivered",
    )  # fmt: skip

    def __init__(self, channels: Mapping[ResourceType, Channel], groups: Sequence[Group]) -> None:
        self.delivered = 0
        self._channels = channels
        self._groups = tuple(groups)
        self._head = self._turned = 0
        self.look()
        self._generation = self._head
        # The generations up to which endpoints and secrets were let go, and up to which rounds have taken the others.
        self._let_go, self._taken = self._head, self._turned
        # Types of which everything has to be looked at, whatever was taken before.
        self._afresh: frozenset[ResourceType] = frozenset()
        self._round: Iterator[bool] | None = None
        self._clusters_are_there = True
        # What is gone and was not yet told to be.
        self._doomed: frozenset[tuple[ResourceType, str]] = frozenset()
        self._due = False
        self._withheld = False
        # Endpoints whose cluster changed as well: they go after it. A new endpoint may show an identity that the
        # cluster as it was does not trust.
        self._behind: frozenset[str] = frozenset()
        # Clusters that were sent and got no endpoints since.
        self._cold: frozenset[str] = frozenset()
        # What a proxy may ask for because of this round, as it was when the round began.
        self._kept = self._keep({})

    def watch(self, groups: Sequence[Group]) -> None:
        """From now on follow other groups; whatever differs goes out in the next round."""
        self._groups = tuple(groups)
        for type_ in PUSH_ORDER:
            self.start_over(type_)

    def start_over(self, type_: ResourceType) -> None:
        """Compare everything of a type with what the proxy has, in the next round."""
        self._afresh |= {type_}
        if type_ in _AT_ONCE:
            self._let_go = _NEVER

    def generation_of(self, type_: ResourceType) -> int:
        """The generation that is being sent of `type_`."""
        return self._head if type_ in _AT_ONCE else self._generation

    # --- news from the proxy ---

    def offer(self, type_: ResourceType, names: Iterable[str]) -> None:
        """Let these names go now, if they belong to this round or an earlier one. The next round brings the rest."""
        if type_ in (_LISTENER, _ROUTES) and not self._clusters_are_there:
            return
        channel = self._channels[type_]
        if type_ in (_CLUSTER, _LISTENER):
            names = [name for name in names if not self._is_unread(type_, name)]
        names = self._not_gone(type_, names)
        found = {name: self._newest(type_, name) or in_place_of(self._groups, type_, name) for name in names}
        # "There is none" is an answer too.
        nothing: Batch = {name: None for name, resource in found.items() if resource is None}
        channel.let_go(found)
        channel.insist(nothing)

    def _not_gone(self, type_: ResourceType, names: Iterable[str]) -> list[str]:
        """Those that are there, or that the proxy has not: what it brought may be in use until a round is through."""
        channel = self._channels[type_]
        held = channel.held
        gone = [name for name in names if held.get(name) is not None and self._newest(type_, name) is None]
        self._doomed = self._doomed.union((type_, name) for name in gone)
        # It waits for none of these.
        channel.missing = channel.missing.difference(gone)
        self._due = self._due or bool(gone)
        return [name for name in names if name not in gone]

    def repeat(self, type_: ResourceType) -> None:
        """Send again what the proxy has of a type that it knows by name."""
        channel = self._channels[type_]
        again: Batch = {}
        for name in sorted(channel.names):
            resource = self._newest(type_, name) if type_ in _AT_ONCE else channel.held.get(name)
            if resource is not None and not channel.has_refused(resource):
                again[name] = resource
        channel.insist(again)

    def is_cold(self, name: str) -> bool:
        """Whether the cluster was sent and waits for its endpoints."""
        return name in self._cold

    def clusters_sent(self, names: Sequence[str]) -> None:
        """A replaced cluster takes effect when its endpoints come again, changed or not: they go right behind it."""
        self._cold = self._cold.union(names)
        endpoints = self._channels[_ENDPOINTS]
        found = {name: self._newest(_ENDPOINTS, name) for name in names if endpoints.wants(name)}
        # Even if refused: that was about the cluster as it was, and it waits for an answer.
        endpoints.insist({name: assignment for name, assignment in found.items() if assignment is not None})

    def settled(self, type_: ResourceType, batch: Batch) -> None:
        """The proxy accepted or refused what changes `batch`."""
        if not self._cold:
            return
        if type_ is _ENDPOINTS:
            # What is to go again had been written before its cluster was.
            self._cold = self._cold.difference(batch.keys() - self._channels[_ENDPOINTS].again)
        elif type_ is _CLUSTER:
            self._cold = self._cold.difference(name for name, cluster in batch.items() if cluster is None)

    # --- news from the groups ---

    def refresh(self) -> bool:
        """Let news of endpoints and secrets go; their removal waits until nobody names them. Whether there is any."""
        self.look()
        since, self._let_go = self._let_go, self._head
        if since == self._head:
            return False
        for type_ in _AT_ONCE:
            if names := self._changed(type_, since):
                if type_ is _ENDPOINTS and self._is_behind():
                    names = self._put_behind(names)
                doomed = len(self._doomed)
                self._channels[type_].let_go(self._take(type_, names))
                self._due = self._due or len(self._doomed) > doomed
        return True

    def at_rest(self) -> bool:
        """Nothing is under way and nothing is new, for sure; False may mean that it has to be looked at."""
        started = self._round is not None or self._due or self._withheld or self._afresh
        return not started and self._head == self._let_go and self._turned == self._taken

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
        since, self._taken = self._taken, self._turned
        self._generation, self._due = self._head, False
        greeted = [type_ for type_ in IN_ROUNDS if self._channels[type_].take_greeting()]
        all_clusters = _CLUSTER in self._afresh
        news = {type_: self._take(type_, self._changed(type_, since)) for type_ in IN_ROUNDS}
        self._kept = self._keep(None if all_clusters else news[_CLUSTER])

        self._clusters_are_there = False
        self._release(_CLUSTER, news[_CLUSTER], greeted)
        yield from self._until(_CLUSTER)
        self._follow_clusters()
        while self._channels[_ENDPOINTS].sending(self._cold):
            yield False
        self._clusters_are_there = True

        for type_ in (_LISTENER, _ROUTES):
            self._release(type_, news[type_], greeted)
            self.offer(type_, sorted(self._channels[type_].missing))
        stays = self._retire(_LISTENER)
        yield from self._until(_LISTENER, _ROUTES, _SECRET)

        self._withheld = bool(self._doomed) and (stays or self._may_live_on_old())
        for types in () if self._withheld else _REMOVALS:
            for type_ in types:
                self._retire(type_)
            if types != (_ENDPOINTS,):
                yield from self._until(*types)
        self.delivered = self._generation

    def _put_behind(self, names: Collection[str]) -> Collection[str]:
        """Keeps back those whose cluster the next round brings; the others."""
        changed = {n for n in names if self._is_unread(_CLUSTER, n) and newest(self._groups, _CLUSTER, n) is not None}
        self._behind |= changed
        return [name for name in names if name not in changed]

    def _follow_clusters(self) -> None:
        arrived = frozenset(name for name in self._behind if not self._is_unread(_CLUSTER, name))
        self._behind -= arrived
        if arrived:
            self._channels[_ENDPOINTS].let_go(self._take(_ENDPOINTS, sorted(arrived)))

    def _until(self, *types: ResourceType) -> Iterator[bool]:
        yield True
        while any(self._channels[type_].busy() for type_ in types):
            yield False

    def _changed(self, type_: ResourceType, since: int) -> Collection[str]:
        """The names that may have changed after the generation `since`."""
        if type_ in self._afresh:
            self._afresh -= {type_}
            return self._all(type_)
        names = changed_since(self._groups, type_, since)
        return self._all(type_) if names is None else names

    def _take(self, type_: ResourceType, names: Collection[str]) -> Batch:
        """What there is of those that the proxy wants. What is gone is remembered in `_doomed`."""
        channel, groups = self._channels[type_], self._groups
        present: Batch = {}
        gone: list[str] = []
        for name in names:
            # What `channel.wants` says, without a call: this is on the way of every push.
            if channel.wildcard or name in channel.held:
                if (resource := newest(groups, type_, name)) is not None:
                    present[name] = resource
                else:
                    gone.append(name)
        if gone or self._doomed:
            self._doomed = self._doomed - {(type_, name) for name in present} | {(type_, name) for name in gone}
        for name in gone:
            # Once the push is through, nobody uses what the proxy has of what it refused.
            channel.pardon(name)
        return present

    def _all(self, type_: ResourceType) -> Collection[str]:
        channel = self._channels[type_]
        known = names_of(self._groups, type_) if channel.wildcard else ()
        return dict.fromkeys((*known, *sorted(channel.names), *channel.held))

    def _release(self, type_: ResourceType, news: Batch, greeted: Sequence[ResourceType]) -> None:
        channel = self._channels[type_]
        channel.let_go({name: resource for name, resource in news.items() if channel.wants(name)})
        if type_ in greeted:
            channel.owe_answer()

    def _retire(self, type_: ResourceType) -> bool:
        """Let removals go; whether something stays as it was, because it has come back meanwhile (the next round's)."""
        channel, doomed = self._channels[type_], sorted(name for of, name in self._doomed if of is type_)
        self._doomed = self._doomed.difference((type_, name) for name in doomed)
        gone = [name for name in doomed if newest(self._groups, type_, name) is None]
        channel.let_go({name: in_place_of(self._groups, type_, name) for name in gone if channel.wants(name)})
        return len(gone) < len(doomed)

    def _is_due(self) -> bool:
        return self._due or self._is_behind() or (self._withheld and not self._may_live_on_old())

    def _is_behind(self) -> bool:
        return self._turned != self._taken or bool(self._afresh)

    def _is_unread(self, type_: ResourceType, name: str) -> bool:
        """Whether `name` changed after this round, or may have."""
        return type_ in self._afresh or changed_after(self._groups, type_, self._taken, name)

    def _may_live_on_old(self) -> bool:
        """Whether the proxy may serve by something old, which may name what is to be removed."""
        clusters, listeners = self._channels[_CLUSTER], self._channels[_LISTENER]
        return (
            # It brought clusters from an earlier stream, and has not said yet what it uses them for.
            (clusters.came_back and not listeners.subscribed)
            or listeners.greet
            or any(listeners.held.get(name) is not None for name in listeners.refused)
            # These keep a listener waiting that may be new while its predecessor serves.
            or bool(self._channels[_ROUTES].refused)
            or any(self._newest(_SECRET, name) is not None for name in self._channels[_SECRET].refused)
        )

    def note_rest(self) -> None:
        """Nothing is to be sent, and everything is answered: the newest has been delivered."""
        self.delivered = self._head

    def _newest(self, type_: ResourceType, name: str) -> Resource | None:
        if type_ is not _ROUTES and (found := newest(self._groups, type_, name)) is not None:
            return found
        return next((kept[name] for kept in self._kept.get(type_, ()) if name in kept), None)

    def _keep(self, clusters: Batch | None) -> dict[ResourceType, Sequence[Mapping[str, Resource]]]:
        """The endpoints of these clusters, or of all; and what is few."""
        return {
            _ENDPOINTS: as_of_now(self._groups, _ENDPOINTS) if clusters is None else (self._endpoints_of(clusters),),
            _ROUTES: as_of_now(self._groups, _ROUTES),
            _SECRET: as_of_now(self._groups, _SECRET),
        }

    def _endpoints_of(self, clusters: Iterable[str]) -> dict[str, Resource]:
        # What the proxy holds serves where a refused change is taken back to a cluster as it was.
        held = self._channels[_ENDPOINTS].held
        found = ((name, newest(self._groups, _ENDPOINTS, name) or held.get(name)) for name in clusters)
        return {name: resource for name, resource in found if resource is not None and resource.body}

    def look(self) -> None:
        """Take note of how far the groups have come."""
        head = turned = 0
        for group in self._groups:
            if group.generation > head:
                head = group.generation
            if group.turned > turned:
                turned = group.turned
        self._head, self._turned = head, turned
