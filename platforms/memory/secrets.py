"""A secret store that is told what exists."""

from collections.abc import AsyncIterator

from core.aio.feed import Feed
from core.model.change import SecretChange, SecretGone, SecretPut, Synced
from core.model.secret import Secret, SecretKey


class MemorySecrets:
    """A `SecretStore`. `put` and `remove` act at once; watches see it at their next turn."""

    def __init__(self) -> None:
        self._feed: Feed[SecretKey, Secret, SecretChange] = Feed(put=SecretPut, gone=SecretGone, synced=Synced())
        self._feed.complete()

    def watch(self) -> AsyncIterator[SecretChange]:
        return self._feed.watch()

    def put(self, *secrets: Secret) -> None:
        """Creates or replaces."""
        for secret in secrets:
            self._feed.put(secret.name, secret)

    def remove(self, *keys: SecretKey) -> None:
        """Unknown keys are ignored."""
        for key in keys:
            self._feed.drop(key)

    def close(self) -> None:
        """Ends every watch."""
        self._feed.close()
