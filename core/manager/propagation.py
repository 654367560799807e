"""Since which generation each document is in force. What proxies have of that generation, `proxies` knows."""

from core.manager.status import Applied
from core.model.change import Change, ConfigGone, ConfigPut
from core.model.config import ConfigKey


class Propagation:
    """Owns what is known of documents that are stored now, and nothing of those that are gone."""

    def __init__(self) -> None:
        self._taken: dict[ConfigKey, str] = {}
        self._applied: dict[ConfigKey, Applied] = {}

    def take(self, change: Change) -> None:
        """The change was applied to the world; it comes into force with the next settled state."""
        match change:
            case ConfigPut(document):
                self._taken[document.key] = document.revision
            case ConfigGone(key):
                self._taken.pop(key, None)
                self._applied.pop(key, None)

    def settled(self, generation: int) -> None:
        """Everything that was taken is in force since `generation`, at the latest."""
        for key, revision in self._taken.items():
            self._applied[key] = Applied(document=key, revision=revision, generation=generation)
        self._taken.clear()

    def documents(self) -> tuple[Applied, ...]:
        """In key order."""
        return tuple(self._applied[key] for key in sorted(self._applied))
