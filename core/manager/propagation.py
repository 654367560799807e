"""Since which generation each document is in force, and how many instances get no calls. Not what proxies have."""

from core.manager.status import Applied
from core.model.change import Change, ConfigGone, ConfigPut, InstanceGone, InstancePut
from core.model.config import ConfigKey
from core.model.service import Health, InstanceKey


class Propagation:
    """Owns what is known of documents and instances that are there now, and nothing of those that are gone."""

    def __init__(self) -> None:
        self._taken: dict[ConfigKey, str] = {}
        self._applied: dict[ConfigKey, Applied] = {}
        self._unwell: set[InstanceKey] = set()

    def take(self, change: Change) -> None:
        """The change was applied to the world; it comes into force with the next settled state."""
        match change:
            case ConfigPut(document):
                self._taken[document.key] = document.revision
            case ConfigGone(key):
                self._taken.pop(key, None)
                self._applied.pop(key, None)
            case InstancePut(instance) if instance.health is not Health.HEALTHY:
                self._unwell.add(instance.key)
            case InstancePut(instance):
                self._unwell.discard(instance.key)
            case InstanceGone(gone):
                self._unwell.discard(gone)

    def settled(self, generation: int) -> None:
        """Everything that was taken is in force since `generation`, at the latest.

        What is there before the first proxy comes is in force with the first generation that there will be.
        """
        generation = max(generation, 1)
        for key, revision in self._taken.items():
            self._applied[key] = Applied(document=key, revision=revision, generation=generation)
        self._taken.clear()

    @property
    def unwell(self) -> int:
        """How many instances are not healthy."""
        return len(self._unwell)

    def documents(self) -> tuple[Applied, ...]:
        """In key order."""
        return tuple(self._applied[key] for key in sorted(self._applied))
