"""What there is of one type, and what changed since when. Streams read from their own position, so a push costs
what changed and never a look at every name. One writer: the Pusher."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from core.manager.xds.resource import Resource

_FEW_GRAVES = 64


class ResourceLog:
    """The resources of one type in one group, and the order in which their names last changed.

    A name stands in the order once, at its last change; a removed one stays there as a grave, until there are more
    graves than resources. A reader from before a cleared grave is told that it has to look at everything.
    """

    __slots__ = ("_asked", "_changes", "_cleared", "_copy", "_told", "generation", "resources")

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.generation = 0
        self._changes: OrderedDict[str, int] = OrderedDict()
        self._cleared = 0
        self._asked = 0
        self._told: list[str] = []
        self._copy: Mapping[str, Resource] | None = None

    @property
    def head(self) -> int:
        """The generation of the last change: the place of a reader that has read everything."""
        return self.generation

    def put(self, resource: Resource, generation: int) -> None:
        """Add or replace a resource; nothing happens when the content is what it was."""
        held = self.resources.get(resource.name)
        if held is not None and held.version == resource.version:
            return
        self.resources[resource.name] = resource
        self._mark(resource.name, generation)

    def remove(self, name: str, generation: int) -> None:
        if self.resources.pop(name, None) is None:
            return
        self._mark(name, generation)
        if len(self._changes) - len(self.resources) > max(_FEW_GRAVES, len(self.resources)):
            self._clear_older_graves()

    def changed_since(self, position: int) -> list[str] | None:
        """The names changed after `position` (a generation that had settled), oldest first; None: look at everything.

        One list, not to be changed, for all who ask from the same place: most streams do.
        """
        if position >= self.generation:
            return []
        if position < self._cleared:
            return None
        if self._asked != position or not self._told:
            self._asked, self._told = position, list(self._newer_than(position))
            self._told.reverse()
        return self._told

    def changed_after(self, name: str, position: int) -> bool:
        """Whether `name` changed after `position`; a name that never was did not."""
        return self._changes.get(name, 0) > position

    def as_of_now(self) -> Mapping[str, Resource]:
        """What there is, kept as it is now; one copy for all who ask before the next change. For small logs."""
        if self._copy is None:
            self._copy = dict(self.resources)
        return self._copy

    def _mark(self, name: str, generation: int) -> None:
        if generation < self.generation:
            raise ValueError(f"{name} belongs to generation {generation}, but the log is at {self.generation}")
        self.generation = generation
        self._told, self._copy = [], None
        self._changes[name] = generation
        self._changes.move_to_end(name)

    def _newer_than(self, position: int) -> Iterator[str]:
        for name, changed in reversed(self._changes.items()):
            if changed <= position:
                return
            yield name

    def _clear_older_graves(self) -> None:
        graves = [name for name in self._changes if name not in self.resources]
        for name in graves[: len(graves) // 2 + 1]:
            self._cleared = self._changes.pop(name)
