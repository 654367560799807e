"""What several proxies have in common, or one has alone: a log for each type. A stream watches one or more groups and
reads them as one through a `Reader`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from core.manager.xds.log import ResourceLog
from core.manager.xds.resource import PUSH_ORDER, Resource, ResourceType


class Group:
    """A scope shared by many proxies, or the part of one workload alone. Owner: the Pusher.

    Names do not collide between the groups of one stream. `generation` is the last one that changed this group.
    """

    __slots__ = ("_wakers", "generation", "logs")

    def __init__(self) -> None:
        self.logs = {type_: ResourceLog() for type_ in PUSH_ORDER}
        self.generation = 0
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
        for wake in tuple(self._wakers):
            wake()


def settle(groups: Iterable[Group], generation: int) -> None:
    """Make `generation` known, after *all* its changes were put into *all* of these groups.

    The resources of the groups of any one stream must be closed at that moment: each cluster, route configuration
    and secret that one of them names exists.
    """
    for group in groups:
        group._settle(generation)


class Reader:
    """One stream's place in the logs of one type, over all its groups."""

    __slots__ = ("_logs", "_places")

    def __init__(self, groups: Sequence[Group], type_: ResourceType) -> None:
        self._logs = tuple(group[type_] for group in groups)
        self._places = [log.head for log in self._logs]

    def newest(self, name: str) -> Resource | None:
        for log in self._logs:
            if (resource := log.resources.get(name)) is not None:
                return resource
        return None

    def as_of_now(self) -> Sequence[Mapping[str, Resource]]:
        """All that there is, kept as it is now. For types of which there are few."""
        return tuple(log.as_of_now() for log in self._logs)

    def names(self) -> Iterator[str]:
        for log in self._logs:
            yield from log.resources

    def behind(self) -> bool:
        for log, place in zip(self._logs, self._places, strict=True):  # noqa: SIM110 - on the way of every push
            if log.head > place:
                return True
        return False

    def unread(self, name: str) -> bool:
        """Whether `name` changed after this reader's place."""
        return any(log.changed_after(name, place) for log, place in zip(self._logs, self._places, strict=True))

    def restart(self) -> None:
        """Go back to before everything."""
        self._places = [-1] * len(self._logs)

    def take(self) -> list[str] | None:
        """The names changed since the last time; None: everything may have. Moves to the end."""
        changed: list[str] | None = []
        for index, log in enumerate(self._logs):
            if self._places[index] == log.head:
                continue
            part = log.changed_since(self._places[index])
            changed = None if part is None or changed is None else changed + part
            self._places[index] = log.head
        return changed
