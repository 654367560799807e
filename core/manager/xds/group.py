"""What several proxies have in common, or one has alone: a log for each type. A stream watches one or more groups and
reads them as one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from core.manager.xds.log import ResourceLog
from core.manager.xds.resource import IN_ROUNDS, PUSH_ORDER, Resource, ResourceType

StandIn = Callable[[ResourceType, str], Resource | None]
"""What is sent in place of a resource that is not there; the same for the same name."""


def nothing(type_: ResourceType, name: str) -> None:
    """Who asks for what is not there is told so."""


class Group:
    """A scope shared by many proxies, or the part of one workload alone. Owner: the Pusher.

    Names do not collide between the groups of one stream. `generation` is the last one that changed this group,
    `turned` the last one that changed more than endpoints and secrets: so that streams need not look into the logs.
    `stand_in` is for clients that cannot be told that something is not there.
    """

    __slots__ = ("_wakers", "generation", "logs", "stand_in", "turned")

    def __init__(self, *, stand_in: StandIn = nothing) -> None:
        self.stand_in = stand_in
        self.logs = {type_: ResourceLog() for type_ in PUSH_ORDER}
        self.generation = self.turned = 0
        self._wakers: dict[Callable[[], None], None] = {}

    def __getitem__(self, type_: ResourceType) -> ResourceLog:
        return self.logs[type_]

    def on_settled(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a generation has settled in this group. It must not raise, nor write to groups."""
        self._wakers[wake] = None

    def off_settled(self, wake: Callable[[], None]) -> None:
        self._wakers.pop(wake, None)

    @property
    def watched(self) -> bool:
        return bool(self._wakers)

    def _settle(self, generation: int) -> None:
        self.generation = generation
        self.turned = max(self.logs[type_].generation for type_ in IN_ROUNDS)
        for wake in tuple(self._wakers):
            wake()


def settle(groups: Iterable[Group], generation: int) -> None:
    """Make `generation` known, after *all* its changes were put into *all* of these groups.

    The resources of the groups of any one stream must be closed at that moment: each cluster, route configuration
    and secret that one of them names exists.
    """
    for group in groups:
        group._settle(generation)


# --- several groups read as one, by a reader who remembers up to which generation it has read ---


def newest(groups: Sequence[Group], type_: ResourceType, name: str) -> Resource | None:
    for group in groups:
        if (resource := group.logs[type_].resources.get(name)) is not None:
            return resource
    return None


def in_place_of(groups: Sequence[Group], type_: ResourceType, name: str) -> Resource | None:
    """What is sent where there is nothing newest; None: that there is nothing."""
    return next((found for group in groups if (found := group.stand_in(type_, name)) is not None), None)


def as_of_now(groups: Sequence[Group], type_: ResourceType) -> Sequence[Mapping[str, Resource]]:
    """All that there is, kept as it is now; one copy for all who ask before the next change."""
    return tuple(group.logs[type_].as_of_now() for group in groups)


def names_of(groups: Sequence[Group], type_: ResourceType) -> Iterator[str]:
    for group in groups:
        yield from group.logs[type_].resources


def changed_after(groups: Sequence[Group], type_: ResourceType, generation: int, name: str) -> bool:
    """Whether `name` changed after `generation`."""
    return any(group.logs[type_].changed_after(name, generation) for group in groups)


def changed_since(groups: Sequence[Group], type_: ResourceType, generation: int) -> Sequence[str] | None:
    """The names changed after `generation`, not to be altered; None: everything may have."""
    changed: Sequence[str] = ()
    for group in groups:
        if group.generation <= generation or (log := group.logs[type_]).generation <= generation:
            continue
        part = log.changed_since(generation)
        if part is None:
            return None
        changed = [*changed, *part] if changed else part
    return changed
