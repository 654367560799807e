"""What documents were in force as, and which of that is known to be good: to what a document can be put back.

Not for what is in force now: that is in the input tables, and the World writes those.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from core.model.config import ConfigKey

T = TypeVar("T")


class Proved(Generic[T]):
    """Owns it. `nothing` is what a new document was before; `in_force` gives what one is in force as."""

    def __init__(self, nothing: T, in_force: Callable[[ConfigKey], T]) -> None:
        self._nothing = nothing
        self._in_force = in_force
        self._before: dict[ConfigKey, T] = {}
        self._older: dict[ConfigKey, T] = {}
        self._versions: dict[ConfigKey, list[tuple[int, T]]] = {}
        self._reverted: set[ConfigKey] = set()

    @property
    def unproved(self) -> bool:
        """Whether some document changed of which it is not known that it is good."""
        return bool(self._versions)

    def is_reverted(self, key: ConfigKey) -> bool:
        return key in self._reverted

    def is_proved(self, key: ConfigKey) -> bool:
        """Whether what it is in force as is known to be good, and is what it says."""
        return key not in self._before and key not in self._reverted

    def begin(self, key: ConfigKey) -> None:
        """The document is about to be in force as something else."""
        self._before.setdefault(key, self._in_force(key))
        self._reverted.discard(key)

    def revert(self, key: ConfigKey) -> T:
        """What it was when that was last proved; what it was before that, when proxies elsewhere refuse it."""
        self._reverted.add(key)
        self._versions.pop(key, None)
        return self._last(key)

    def knows_better(self, key: ConfigKey) -> bool:
        """Whether there is anything to put the document back to."""
        return self._last(key) != self._nothing

    def recall(self, key: ConfigKey, good: T) -> None:
        """This is what it was when it was last proved, before anybody here knew of it."""
        self._before[key] = good

    def forget(self, key: ConfigKey) -> None:
        for known in (self._before, self._older, self._versions):
            known.pop(key, None)
        self._reverted.discard(key)

    def settled(self, generation: int) -> None:
        """What is in force now is what proxies get as `generation`."""
        for key in self._before.keys() - self._reverted:
            versions, now = self._versions.setdefault(key, []), self._in_force(key)
            if not versions or versions[-1][1] != now:
                versions.append((generation, now))

    def prove(self, generation: int) -> None:
        """All proxies took what was settled up to `generation`."""
        for key, versions in tuple(self._versions.items()):
            good = [value for at, value in versions if at <= generation]
            if not good:
                continue
            older = good[-2] if len(good) > 1 else self._before[key]
            if older != good[-1]:
                self._older[key] = older
            self._before[key], self._versions[key] = good[-1], versions[len(good) :]
            if good[-1] == self._in_force(key):
                del self._before[key], self._versions[key]

    def _last(self, key: ConfigKey) -> T:
        return self._before.get(key, self._older.get(key, self._nothing))
